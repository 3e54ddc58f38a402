"""Segmentation: the class of each pixel of a picture, or things that share the pixels."""

from __future__ import annotations

import binascii
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import transformers
from PIL import Image as Pillow
from torch import Tensor, nn
from transformers import AutoModelForSemanticSegmentation

from seatrial_contracts.kinds.mask import Mask
from seatrial_contracts.sample import RawRow
from seatrial_export.hub.faults import fault
from seatrial_export.hub.folder import Folder
from seatrial_export.hub.images import read_image_side, rows_of_pictures
from seatrial_export.hub.pixels import Asked, Pixels, opened
from seatrial_export.hub.task import Field, Part, Reading, Task
from seatrial_export.hub.tasks.panoptic_segmentation import HEADS, read_panoptic

POST = "post_process_semantic_segmentation"


class Segmenter(nn.Module):
    """A model of transformers, its logits over its own grid."""

    def __init__(self, model: nn.Module, **pixels: Any) -> None:
        super().__init__()
        self.pixels, self.model = Pixels(**pixels), model

    def forward(self, image: Tensor) -> Tensor:
        """Logits, (batch, classes, rows, columns)."""
        logits: Tensor = self.model(pixel_values=self.pixels(image)).logits
        return logits


class SemanticSegmentationModel:
    """What transformers' processor and model answer to the file itself.

    The mask has the size of the upright picture, as the processor's post-processing makes it.
    """

    name = f"transformers {transformers.__version__}, image-segmentation"

    def __init__(self, folder: Path) -> None:
        self.asked = Asked(folder, AutoModelForSemanticSegmentation)

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Class ids as a gray PNG, of 16 bits where there are more than 256."""
        answers = []
        for row in rows:
            picture = opened(row["image"])
            made, size = self.asked(picture), (picture.height, picture.width)
            [ids] = self.asked.processor.post_process_semantic_segmentation(
                made, target_sizes=[size]
            )
            wide = made.logits.shape[1] > np.iinfo(np.uint8).max + 1
            sink = io.BytesIO()
            Pillow.fromarray(ids.numpy().astype(np.uint16 if wide else np.uint8)).save(sink, "PNG")
            png = binascii.b2a_base64(sink.getvalue(), newline=False).decode()
            answers.append({"mask": {"width": size[1], "height": size[0], "png": png}})
        return answers


class ImageSegmentation(Task):
    """See the module."""

    name = "image-segmentation"

    def fits(self, folder: Folder) -> bool:
        """A head of semantic segmentation, or one whose queries are known."""
        return (
            folder.architecture.endswith("ForSemanticSegmentation") or folder.architecture in HEADS
        )

    def read(self, folder: Folder, rows: Sequence[RawRow]) -> Reading:
        """One picture in, a mask of its own size out; of queries, their segments."""
        if folder.architecture in HEADS:
            return read_panoptic(folder, rows)
        auto = AutoModelForSemanticSegmentation
        side = read_image_side(folder, whole=True)
        if not hasattr(side.processor, POST):
            name = type(side.processor).__name__
            raise fault(folder.path, f"{name}, which has no {POST}", "a processor that has it")
        return Reading(
            inputs={"image": Field(bytes, side.kind)},
            outputs={
                "mask": Field(dict[str, Any], Mask(*folder.labels, on="image", logits=True))
            },
            module=Part.of(Segmenter, folder.model(auto), folder.loads(auto), **side.pixels),
            judge=Part.of(SemanticSegmentationModel, folder.path, "FOLDER"),
            rows=rows or rows_of_pictures(),
        )  # fmt: skip
