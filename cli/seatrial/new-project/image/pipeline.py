"""model-name: tells circles from squares, trained on pictures that it draws.

The model is served from PNG or JPEG files of any size.

Seal it:  seatrial export pipeline.py:pipeline
"""

import io
import random
from typing import Annotated

import torch
from PIL import Image, ImageDraw
from torch import nn
from torch.nn import functional as F

import seatrial as st

CLASSES = ("circle", "square")
SIDE = 16


class Picture(st.Row):
    """What a client sends: a file."""

    image: Annotated[bytes, st.Image(formats=("PNG", "JPEG"), max_pixels=25_000_000)]


class Shape(st.Answer):
    """What it is answered with."""

    shape: Annotated[str, st.Label(*CLASSES)]


class Prepare(nn.Module):
    """Any picture to a small gray square: part of the bundle, and called by training too."""

    def forward(self, image):
        """uint8 (height, width, 3) -> float32 (1, 16, 16) from 0 to 1."""
        gray = image.to(torch.float32).mean(2)[None, None] / 255
        return F.interpolate(gray, size=(SIDE, SIDE), mode="bilinear", antialias=True)[0]


class Net(nn.Module):
    """A convolution and a head."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(8 * (SIDE // 2) ** 2, len(CLASSES)),
        )  # fmt: skip

    def forward(self, image):
        """float32 (batch, 1, 16, 16) -> probabilities (batch, classes)."""
        return torch.softmax(self.body(image), 1)


def drawn(shape, chance):
    """A picture of a shape, as a PNG file; read your own files here."""
    side = chance.choice((24, 32, 48))
    picture = Image.new("RGB", (side, side), "white")
    left, top = chance.uniform(0, side / 3), chance.uniform(0, side / 3)
    size = chance.uniform(side / 3, side / 2)
    draw = ImageDraw.Draw(picture)
    (draw.ellipse if shape == "circle" else draw.rectangle)(
        (left, top, left + size, top + size), fill=chance.choice(("black", "navy", "maroon"))
    )
    sink = io.BytesIO()
    picture.save(sink, "PNG")
    return sink.getvalue()


def pipeline():
    """Train, and declare what is to be sealed."""
    torch.manual_seed(0)
    torch.set_num_threads(1)  # so that two exports sum in the same order
    chance = random.Random(0)
    shapes = [CLASSES[place % 2] for place in range(240)]
    samples = [st.Sample({"image": drawn(each, chance)}, truth={"shape": each}) for each in shapes]
    held_out, learnt = samples[:60], samples[60:]
    net = Net().eval()
    declared = st.Pipeline(
        name="model-name",
        version="1.0.0",
        inputs=Picture,
        outputs=Shape,
        model=net,
        prepare=Prepare().eval(),
        golden=learnt[:30],
        held_out=held_out,
        refused=[st.Refused({"image": b"no picture"}, "E_IMAGE_FORMAT")],
        reference=[sample.row for sample in learnt],
    )
    train(net, declared.encode([sample.row for sample in learnt])["image"], targets(learnt))
    answers = declared.call(declared.encode([sample.row for sample in held_out]))["shape"]
    accuracy = (answers.argmax(1) == targets(held_out)).float().mean()
    print(f"accuracy {accuracy:.3f} on {len(held_out)} pictures not trained on")
    return declared


def targets(samples):
    """Class numbers, int64 (samples,)."""
    return torch.tensor([CLASSES.index(sample.truth["shape"]) for sample in samples])


def train(net, images, target, epochs=60):
    """A few steps over all pictures; write your own training here."""
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    net.train()
    for _ in range(epochs):
        optimiser.zero_grad()
        F.cross_entropy(net.body(images), target).backward()
        optimiser.step()
    net.eval()
