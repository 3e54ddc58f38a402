"""Image feature extraction: one vector of a picture.

A two-tower model (CLIP, SigLIP) has vectors of pictures and of texts in one space: see
`text_tower.py` for the other one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image as Pillow
from torch import Tensor, nn
from transformers import AutoModel

from seatrial_contracts.kinds.embedding import Embedding
from seatrial_contracts.sample import RawRow
from seatrial_export.hub.faults import fault
from seatrial_export.hub.folder import Folder
from seatrial_export.hub.images import ImageSide, read_image_side, rows_of_pictures
from seatrial_export.hub.pixels import Asked, Pixels, opened
from seatrial_export.hub.task import Field, Part, Reading, Task

TRIED = (64, 64)
"""The size of a picture of which a vector is tried, where any will do."""


class ImageEncoder(nn.Module):
    """A model of transformers, its pooled vector; of two towers, the picture's, of length 1."""

    def __init__(self, model: nn.Module, *, tower: bool, **pixels: Any) -> None:
        super().__init__()
        self.pixels, self.model, self.tower = Pixels(**pixels), model, tower

    def forward(self, image: Tensor) -> Tensor:
        """Vectors, (batch, size)."""
        return image_vectors(self.model, self.pixels(image), tower=self.tower)


def image_vectors(model: Any, pixel_values: Tensor, *, tower: bool) -> Tensor:
    """The pooled vector, (batch, size); of two towers, the picture's, divided by its length."""
    made = model.get_image_features if tower else model
    vectors: Tensor = made(pixel_values=pixel_values).pooler_output.flatten(1)
    return vectors / vectors.norm(dim=-1, keepdim=True) if tower else vectors


class ImageFeatures:
    """What transformers' processor and model make of the file itself."""

    name = f"transformers {transformers.__version__}, image-feature-extraction"

    def __init__(self, folder: Path, *, tower: bool) -> None:
        self.asked, self.tower = Asked(folder, AutoModel), tower

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Vectors, float32."""
        answers = []
        for row in rows:
            pixels = self.asked.processor(images=opened(row["image"]), return_tensors="pt")
            with torch.no_grad():
                [vector] = image_vectors(self.asked.model, pixels["pixel_values"], tower=self.tower)
            answers.append({"embedding": np.asarray(vector, np.float32)})
        return answers


class ImageFeatureExtraction(Task):
    """See the module."""

    name = "image-feature-extraction"

    def fits(self, folder: Folder) -> bool:
        """A model without a head, and an image processor."""
        return folder.architecture.endswith("Model") and bool(
            folder.preprocessor or folder.file("processor_config.json").get("image_processor")
        )

    def read(self, folder: Folder, rows: Sequence[RawRow]) -> Reading:
        """One picture in, one vector out."""
        model, side = folder.model(AutoModel), read_image_side(folder)
        tower = hasattr(model, "get_image_features")
        size = size_of(folder, model, side, tower=tower)
        kind = Embedding(size, **({"normalized": True} if tower else {}))
        return Reading(
            inputs={"image": Field(bytes, side.kind)},
            outputs={"embedding": Field(list[float], kind)},
            module=Part.of(
                ImageEncoder, model, folder.loads(AutoModel), tower=tower, **side.pixels
            ),
            judge=Part.of(ImageFeatures, folder.path, "FOLDER", tower=tower),
            rows=rows or rows_of_pictures(),
            notes=[told_tower(model)] if tower else [],
        )


def told_tower(model: Any) -> str:
    """Where the other tower is, and what makes probabilities of both towers' vectors."""
    scale = float(model.logit_scale.detach().exp())
    bias = getattr(model, "logit_bias", None)
    made = (
        f"softmax over the texts of {scale:.6g} x cosine" if bias is None
        else f"sigmoid of {scale:.6g} x cosine + {float(bias.detach()):.6g}"
    )  # fmt: skip
    return (
        "this is the pictures' tower: --task text-feature-extraction adopts the texts'. "
        f"A text's probability is the {made}"
    )


def size_of(folder: Folder, model: Any, side: ImageSide, *, tower: bool) -> int:
    """How many numbers a vector has. Raises `DeclarationError` where the model pools none."""
    gray = Pillow.new("RGB", side.kind.made_px or TRIED)
    pixels = side.processor(images=gray, return_tensors="pt")["pixel_values"]
    try:
        with torch.no_grad():
            return int(image_vectors(model, pixels, tower=tower).shape[-1])
    except AttributeError:
        got = f"{folder.architecture}, which answers no pooled vector"
        raise fault(folder.path, got, "a model with a pooler_output") from None
