"""Depth estimation: how far each part of a picture is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image as Pillow
from torch import Tensor, nn
from transformers import AutoModelForDepthEstimation

from seatrial_contracts.kinds.tensor import Tensor as TensorKind
from seatrial_contracts.sample import RawRow
from seatrial_export.hub.faults import fault
from seatrial_export.hub.folder import Folder, told
from seatrial_export.hub.images import ImageSide, read_image_side, rows_of_pictures
from seatrial_export.hub.pixels import Asked, Pixels, opened
from seatrial_export.hub.task import Field, Part, Reading, Task

OBLONG = (96, 72)
"""Width and height of a picture that no processor makes square, unless all are."""


class DepthEstimator(nn.Module):
    """A model of transformers, its depth over its own grid."""

    def __init__(self, model: nn.Module, **pixels: Any) -> None:
        super().__init__()
        self.pixels, self.model = Pixels(**pixels), model

    def forward(self, image: Tensor) -> Tensor:
        """Depth, (batch, rows, columns), in the model's own unit."""
        depth: Tensor = self.model(pixel_values=self.pixels(image)).predicted_depth
        return depth


class DepthEstimationModel:
    """The `predicted_depth` that transformers' processor and model make of the file itself.

    It is compared as the model has it. The pipeline's own is resized to the picture (bicubic).
    """

    name = f"transformers {transformers.__version__}, depth-estimation"

    def __init__(self, folder: Path) -> None:
        self.asked = Asked(folder, AutoModelForDepthEstimation)

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Depth over the model's grid, float32."""
        made = [self.asked(opened(row["image"])) for row in rows]
        return [{"depth": each.predicted_depth[0].numpy().astype(np.float32)} for each in made]


class DepthEstimation(Task):
    """See the module."""

    name = "depth-estimation"

    def fits(self, folder: Folder) -> bool:
        """A head of depth estimation."""
        return folder.architecture.endswith("ForDepthEstimation")

    def read(self, folder: Folder, rows: Sequence[RawRow]) -> Reading:
        """One picture in, a grid of numbers over the whole of it out."""
        auto = AutoModelForDepthEstimation
        side = read_image_side(folder, whole=True)
        model = folder.model(auto)
        grid = TensorKind(dtype="float32", dims=grid_of(folder, model, side))
        return Reading(
            inputs={"image": Field(bytes, side.kind)},
            outputs={"depth": Field(np.ndarray, grid)},
            module=Part.of(DepthEstimator, model, folder.loads(auto), **side.pixels),
            judge=Part.of(DepthEstimationModel, folder.path, "FOLDER"),
            rows=rows or rows_of_pictures(),
            notes=["depth is the model's own grid over the picture: clients resize it"],
        )  # fmt: skip


def grid_of(folder: Folder, model: Any, side: ImageSide) -> tuple[int | None, ...]:
    """Rows and columns, where every picture is made one size.

    Raises `DeclarationError` where pictures are not, and the model takes square ones alone.
    """
    size = side.kind.made_px
    if size is None:
        check_oblong(folder, model, side)
        return (None, None)
    with torch.no_grad():
        made = model(pixel_values=torch.zeros(1, 3, *size))
    return tuple(made.predicted_depth.shape[1:])


def check_oblong(folder: Folder, model: Any, side: ImageSide) -> None:
    """Raise `DeclarationError` where the model fails at a picture that is wider than high."""
    pixels = side.processor(images=Pillow.new("RGB", OBLONG), return_tensors="pt")["pixel_values"]
    try:
        with torch.no_grad():
            model(pixel_values=pixels)
    except RuntimeError as error:
        raise fault(
            folder.path,
            f"a {folder.architecture} that fails at pictures of {OBLONG}: {told(error)}",
            f"one that takes every picture of its {type(side.processor).__name__}",
            "set keep_aspect_ratio to false in preprocessor_config.json: transformers' own DPT "
            "takes square pictures alone, unless it has a backbone_config",
        ) from None  # fmt: skip
