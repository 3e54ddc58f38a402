"""Digits: a small CNN, trained on files in the form that a client sends.

The model is served from PNG or JPEG bytes of any size.

Seal it:  seatrial export examples/digits/pipeline.py:pipeline --out bundles
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional as F

import seatrial as st

sys.path.append(str(Path(__file__).resolve().parent.parent))
from edge_images import edge_images, encoded, refused_images

SIDE = 16


class Picture(st.Row):
    """A photographed or drawn digit, dark on light or light on dark as it comes."""

    image: Annotated[bytes, st.Image(formats=("PNG", "JPEG"), max_pixels=25_000_000)]


class Digit(st.Answer):
    """Which digit it is."""

    digit: Annotated[str, st.Label(*"0123456789")]


class Prepare(nn.Module):
    """Any picture to a gray square: part of the bundle, called by training too."""

    def forward(self, image: Tensor) -> Tensor:
        """uint8 (height, width, 3) -> float32 (1, 16, 16) from 0 to 1."""
        gray = image.to(torch.float32).mean(2)[None, None] / 255
        return F.interpolate(gray, size=(SIDE, SIDE), mode="bilinear", antialias=True)[0]


class DigitNet(nn.Module):
    """Two convolutions and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Dropout(0.2), nn.Linear(32 * 4 * 4, 10),
        )  # fmt: skip

    def forward(self, image: Tensor) -> Tensor:
        """float32 (batch, 1, 16, 16) -> probabilities (batch, 10)."""
        return torch.softmax(self.body(image), 1)


def drawn(values: np.ndarray, side: int) -> Image.Image:
    """An 8x8 digit of scikit-learn's (0 to 16) as an RGB picture, dark on light."""
    return (
        Image.fromarray((255 - values * 15.9).astype(np.uint8))
        .resize((side, side), Image.Resampling.BICUBIC)
        .convert("RGB")
    )


def load_samples() -> list[st.Sample]:
    """Load 1,797 digits as files: PNGs of several sizes, every fourth a JPEG.

    Their slices are format and size.
    """
    data, sides = load_digits(), (8, 16, 28, 40)
    samples = []
    for place, (values, digit) in enumerate(zip(data.images, data.target, strict=True)):
        side, fmt = sides[place % 4], "JPEG" if place % 4 == 3 else "PNG"
        row = {"image": encoded(drawn(values, side), fmt)}
        samples.append(st.Sample(row, truth={"digit": str(digit)}, slices=(fmt, f"{side} px")))
    return samples


def codes(samples: list[st.Sample]) -> Tensor:
    """Their digits as class numbers."""
    return torch.tensor([int(sample.truth["digit"]) for sample in samples])


def train(net: DigitNet, inputs: Tensor, target: Tensor, epochs: int = 14) -> None:
    """Seeded mini-batches."""
    optimiser = torch.optim.Adam(net.parameters(), 3e-3)
    order = torch.Generator().manual_seed(0)
    net.train()
    for _ in range(epochs):
        for places in torch.randperm(len(target), generator=order).split(64):
            optimiser.zero_grad()
            F.cross_entropy(net.body(inputs[places]), target[places]).backward()
            optimiser.step()
    net.eval()


def pipeline() -> st.Pipeline:
    """Train, report and declare."""
    torch.manual_seed(0)
    # More threads sum in another order, and the weights would differ in their last bits.
    torch.set_num_threads(1)
    samples = load_samples()
    picture = drawn(load_digits().images[7], 120)
    edges = [
        st.Sample({"image": data}, slices=("edges", form))
        for form, data in edge_images(picture).items()
    ]
    net = DigitNet().eval()
    digits = [sample.truth["digit"] for sample in samples]
    fitted, held_out = train_test_split(samples, test_size=0.25, stratify=digits, random_state=0)
    rows = [sample.row for sample in fitted]
    declared = st.Pipeline(
        name="digits",
        version="1.0.0",
        inputs=Picture,
        outputs=Digit,
        model=net,
        prepare=Prepare().eval(),
        golden=[*samples[:40], *edges],
        held_out=held_out,
        promise=st.Promise(accuracy=0.95, min_slice_rows=20),
        refused=refused_images(picture, "image"),
        reference=rows[:300],
        objective=st.Objective(p99_s=0.1),
    )
    train(net, declared.encode(rows)["image"], codes(fitted))
    winners = declared.call(declared.encode([sample.row for sample in held_out]))["digit"].argmax(1)
    accuracy = (winners == codes(held_out)).float().mean()
    print(f"digits: accuracy {accuracy:.3f} on {len(held_out)} pictures not trained on")
    return declared
