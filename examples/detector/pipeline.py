"""Detector: boxes in photographs, by a small network with seeded random weights.

The example shows the form of a detector and its speed: its boxes mean nothing.

Seal it:  seatrial export examples/detector/pipeline.py:pipeline --out bundles
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

CLASSES = ("one", "two", "three")
SIDE, STRIDE = 128, 8
CELLS = (SIDE // STRIDE) ** 2


class Photo(st.Row):
    """A photograph of any size, laid into a square of 128 pixels."""

    photo: Annotated[
        bytes,
        st.Image(formats=("JPEG", "PNG"), size_px=(SIDE, SIDE), fit="letterbox", fill=114),
    ]


class Things(st.Answer):
    """Boxes in pixels of the photograph."""

    things: Annotated[
        list, st.Detections(*CLASSES, on="photo", candidates=CELLS, max_detections=20)
    ]


class Options(st.Options):
    """What a request may choose."""

    threshold: Annotated[float, st.Option(0.5, ge=0, le=1)]
    top_k: Annotated[int, st.Option(20, ge=1, le=20)]


class Detector(nn.Module):
    """One box for each cell of 8 x 8 pixels, without anchors (FCOS, Tian et al. 2019)."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(),
            nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(),
            nn.Conv2d(32, 32, 3, 2, 1), nn.GroupNorm(8, 32), nn.ReLU(),
        )  # fmt: skip
        self.scores, self.sides = nn.Conv2d(32, len(CLASSES), 1), nn.Conv2d(32, 4, 1)
        places = torch.arange(SIDE // STRIDE) * STRIDE + STRIDE / 2
        y, x = torch.meshgrid(places, places, indexing="ij")
        self.register_buffer("centres", torch.stack([x, y], -1).reshape(1, CELLS, 2).float())

    def forward(self, photo: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 (batch, 128, 128, 3) -> boxes (batch, 256, 4) and scores (batch, 256, 3)."""
        pixels = photo.permute(0, 3, 1, 2).to(torch.float32) / 255
        seen = self.body(pixels)
        scores = torch.sigmoid(6 * self.scores(seen) - 2).flatten(2).transpose(1, 2)
        sides = F.softplus(6 * self.sides(seen)).flatten(2).transpose(1, 2) * STRIDE
        boxes = torch.cat([self.centres - sides[..., :2], self.centres + sides[..., 2:]], 2)
        return boxes, st.suppress(boxes, scores, iou=0.5)


def pipeline() -> st.Pipeline:
    """Declare; there is nothing to train."""
    torch.manual_seed(4)
    pictures = [Image.fromarray(array) for array in load_sample_images().images]
    sizes = ((640, 427), (200, 300), (320, 90), (128, 128))
    files = [
        encoded(picture.resize(size), "JPEG", quality=90) for picture in pictures for size in sizes
    ]
    edges = edge_images(pictures[0].resize((96, 64)))
    return st.Pipeline(
        name="detector",
        version="1.0.0",
        inputs=Photo,
        outputs=Things,
        options=Options,
        model=Detector().eval(),
        golden=[{"photo": data} for data in (*files, *edges.values())],
        refused=refused_images(pictures[0].resize((96, 64)), "photo"),
        reference=[{"photo": data} for data in files],
    )
