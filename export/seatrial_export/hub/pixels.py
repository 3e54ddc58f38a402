"""Pictures between a file and a model of transformers: what the graph and the judges share.

A pipeline file carries these in text.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as Pillow
from PIL import ImageOps
from torch import Tensor, nn
from transformers import AutoImageProcessor
from transformers.image_utils import load_image


class Pixels(nn.Module):
    """From uint8 pixels to `pixel_values`: colours first, times `scale`, plus `shift`.

    `crop` is top, left, height and width of the part that the model sees, where it sees a part.
    """

    scale: Tensor
    shift: Tensor

    def __init__(
        self, scale: Sequence[float], shift: Sequence[float], crop: Sequence[int] | None = None
    ) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(scale).view(-1, 1, 1))
        self.register_buffer("shift", torch.tensor(shift).view(-1, 1, 1))
        self.crop = crop

    def forward(self, image: Tensor) -> Tensor:
        """(batch, height, width, 3) to (batch, 3, height, width), float32."""
        if self.crop is not None:
            top, left, height, width = self.crop
            image = image[:, top : top + height, left : left + width]
        return image.permute(0, 3, 1, 2).to(torch.float32) * self.scale + self.shift


def opened(data: bytes) -> Pillow.Image:
    """A file as transformers' pipelines read it: upright, RGB, opacity dropped.

    Gray of 16 bits keeps its upper 8, where Pillow's own conversion ends it at 255.
    """
    picture: Pillow.Image = Pillow.open(io.BytesIO(data))
    if picture.mode.startswith("I;16"):
        gray = np.asarray(ImageOps.exif_transpose(picture)) >> 8
        picture = Pillow.fromarray(gray.astype(np.uint8))
    upright: Pillow.Image = load_image(picture)
    return upright


class Asked:
    """A model of transformers and its image processor, loaded when they are first asked."""

    def __init__(self, folder: Path, auto: Any) -> None:
        self.folder, self.auto = folder, auto

    @cached_property
    def processor(self) -> Any:
        """In the form that resizes by Pillow, whether torchvision is installed or not."""
        return AutoImageProcessor.from_pretrained(self.folder, backend="pil", local_files_only=True)

    @cached_property
    def model(self) -> Any:
        """In float32."""
        return self.auto.from_pretrained(
            self.folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
        ).eval()

    def __call__(self, picture: Pillow.Image) -> Any:
        """What the model answers to one picture."""
        with torch.no_grad():
            return self.model(**self.processor(images=picture, return_tensors="pt"))
