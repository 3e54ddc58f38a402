"""Photos: a network of ResNet-18's shape with seeded random weights.

The example is for size and speed only: its answers mean nothing.

Seal it:  seatrial export examples/photos/pipeline.py:pipeline --out bundles
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import Tensor, nn
from torch.nn import functional as F

import seatrial as st

sys.path.append(str(Path(__file__).resolve().parent.parent))
from edge_images import edge_images, encoded, refused_images

CLASSES = tuple(f"class {i}" for i in range(10))


class Photo(st.Row):
    """A photograph.

    Pillow brings its shorter side to 256 pixels, as torchvision's pipelines do.
    """

    photo: Annotated[bytes, st.Image(formats=("JPEG", "PNG"), shorter_side_px=256)]


class Scores(st.Answer):
    """Scores of ten made-up classes."""

    label: Annotated[str, st.Label(*CLASSES)]


class Prepare(nn.Module):
    """Centre crop and ImageNet's normalisation."""

    def __init__(self, side: int = 224) -> None:
        super().__init__()
        self.side = side
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).reshape(3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).reshape(3, 1, 1))

    def forward(self, photo: Tensor) -> Tensor:
        """uint8 (height, width, 3), both at least 224 -> float32 (3, 224, 224)."""
        top, left = (photo.shape[0] - self.side) // 2, (photo.shape[1] - self.side) // 2
        crop = photo[top : top + self.side, left : left + self.side]
        # First: a mean along the last side costs onnxruntime ten times as much.
        pixels = crop.permute(2, 0, 1).to(torch.float32)
        return (pixels / 255 - self.mean) / self.std


class Block(nn.Module):
    """ResNet's basic block (He et al. 2016, figure 2)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.short = (
            nn.Identity()
            if stride == 1
            else nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """Same batch, `outputs` channels, sides divided by the stride."""
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(y + self.short(x))


class PhotoNet(nn.Module):
    """ResNet-18's layers, 11 million weights."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv2d(3, 64, 7, 2, 3, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
        ]
        for inputs, outputs, stride in ((64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2)):
            layers += [Block(inputs, outputs, stride), Block(outputs, outputs, 1)]
        self.body = nn.Sequential(
            *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, classes)
        )

    def forward(self, photo: Tensor) -> Tensor:
        """float32 (batch, 3, 224, 224) -> probabilities (batch, 10)."""
        return torch.softmax(self.body(photo), 1)


def settle_norms(net: PhotoNet, photos: Tensor) -> None:
    """Give the batch norms the statistics of real photos.

    The values then stay in range through all layers.
    """
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        net.train()(photos)
    net.eval()


def parts(pictures: list[Image.Image]) -> list[bytes]:
    """Six parts of each picture, each seen by nothing before."""
    boxes = [(left, top, left + 213, top + 213) for left in (0, 213, 426) for top in (0, 213)]
    return [encoded(picture.crop(box), "JPEG", quality=90) for picture in pictures for box in boxes]


def pipeline() -> st.Pipeline:
    """Declare; there is nothing to train."""
    torch.manual_seed(0)
    # More threads sum in another order, and the statistics would differ in their last bits.
    torch.set_num_threads(1)
    pictures = [Image.fromarray(array) for array in load_sample_images().images]
    sizes = ((640, 480), (480, 640), (320, 240), (256, 256))
    files = [
        encoded(picture.resize(size), "JPEG", quality=90) for picture in pictures for size in sizes
    ]
    edges = edge_images(pictures[0].resize((96, 64)))
    net = PhotoNet().eval()
    declared = st.Pipeline(
        name="photos",
        version="1.0.0",
        inputs=Photo,
        outputs=Scores,
        model=net,
        prepare=Prepare().eval(),
        golden=[
            *(st.Sample({"photo": data}, slices=("photo",)) for data in files),
            *(st.Sample({"photo": data}, slices=("edges", form)) for form, data in edges.items()),
        ],
        held_out=[st.Sample({"photo": data}, slices=("part",)) for data in parts(pictures)],
        refused=refused_images(pictures[0].resize((96, 64)), "photo"),
        reference=[{"photo": data} for data in files],
        objective=st.Objective(p99_s=1.0),
    )
    settle_norms(net, declared.encode([{"photo": data} for data in files])["photo"])
    return declared
