"""Panoptic and instance segmentation: queries whose masks share out the pixels of a picture."""

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
from transformers import AutoModelForUniversalSegmentation

from seatrial_contracts.kinds.segments import Segments
from seatrial_contracts.sample import RawRow
from seatrial_export.hub.faults import fault
from seatrial_export.hub.folder import Folder
from seatrial_export.hub.images import read_image_side, rows_of_pictures
from seatrial_export.hub.pixels import Asked, Pixels, opened
from seatrial_export.hub.task import Field, Part, Reading
from seatrial_export.hub.tasks.object_detection import distinct

HEADS = {
    "DetrForSegmentation": ("logits", "pred_masks"),
    "MaskFormerForInstanceSegmentation": ("class_queries_logits", "masks_queries_logits"),
}
"""Architecture -> what its output calls the logits of classes and of masks."""
PROCESSORS = ("DetrImageProcessor", "MaskFormerImageProcessor")
"""Image processors whose `post_process_panoptic_segmentation` is the rule of `st.Segments`."""
RULE = {"threshold": 0.5, "mask_threshold": 0.5, "overlap": 0.8}
"""As these processors have it where nothing is said."""


class QuerySegmenter(nn.Module):
    """A model of transformers, its logits of classes and of masks for each query."""

    def __init__(self, model: nn.Module, *, heads: Sequence[str], **pixels: Any) -> None:
        super().__init__()
        self.pixels, self.model, self.heads = Pixels(**pixels), model, heads

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (batch, queries, classes + 1), and masks (batch, queries, rows, columns)."""
        made = self.model(pixel_values=self.pixels(image))
        return made[self.heads[0]], made[self.heads[1]]


class PanopticSegmentationModel:
    """What transformers' processor and model answer to the file itself.

    Logits of all queries are compared, and the segments that the processor's own post-processing
    makes, on a mask of the size of the upright picture.
    """

    name = f"transformers {transformers.__version__}, image-segmentation"

    def __init__(
        self, folder: Path, labels: Sequence[str], heads: Sequence[str], *, threshold: float,
        mask_threshold: float, overlap: float,
    ) -> None:  # fmt: skip
        self.asked = Asked(folder, AutoModelForUniversalSegmentation)
        self.labels, self.heads = labels, heads
        self.rule = {
            "threshold": threshold, "mask_threshold": mask_threshold,
            "overlap_mask_area_threshold": overlap,
        }  # fmt: skip

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Arrays of all queries, and the segments that a client sees."""
        answers = []
        for row in rows:
            picture = opened(row["image"])
            made = self.asked(picture)
            logits, masks = (made[head][0].numpy() for head in self.heads)
            answers.append(
                {
                    "panoptic_logits": logits,
                    "panoptic_masks": masks,
                    "panoptic": self.segments(made, picture.width, picture.height),
                }
            )
        return answers

    def segments(self, made: Any, width: int, height: int) -> dict[str, Any]:
        """What the processor makes for a picture of this size: ids as a gray PNG, and a list.

        Where it finds nothing, it says -1 of each pixel: 0 here.
        """
        [found] = self.asked.processor.post_process_panoptic_segmentation(
            made, label_ids_to_fuse=set(), target_sizes=[(height, width)], **self.rule
        )
        ids, sink = found["segmentation"].numpy().clip(0), io.BytesIO()
        wide = ids.max() > np.iinfo(np.uint8).max
        Pillow.fromarray(ids.astype(np.uint16 if wide else np.uint8)).save(sink, "PNG")
        return {
            "width": width,
            "height": height,
            "png": binascii.b2a_base64(sink.getvalue(), newline=False).decode(),
            "segments": [
                {
                    "id": each["id"],
                    "label": self.labels[each["label_id"]],
                    "score": each["score"],
                }
                for each in found["segments_info"]
            ],
        }


def read_panoptic(folder: Folder, rows: Sequence[RawRow]) -> Reading:
    """One picture in, its segments out."""
    auto = AutoModelForUniversalSegmentation
    side = read_image_side(folder, whole=True)
    name = type(side.processor).__name__.removesuffix("Pil")
    if name not in PROCESSORS:
        raise fault(
            folder.path, f"{name}, whose post-processing is not known", f"one of {PROCESSORS}"
        )
    model, heads = folder.model(auto), HEADS[folder.architecture]
    labels, notes = distinct(folder)
    queries = getattr(model.config, "decoder_config", model.config).num_queries
    kind = Segments(*labels, on="image", queries=queries, **RULE)
    return Reading(
        inputs={"image": Field(bytes, side.kind)},
        outputs={"panoptic": Field(dict[str, Any], kind)},
        module=Part.of(QuerySegmenter, model, folder.loads(auto), heads=heads, **side.pixels),
        judge=Part.of(
            PanopticSegmentationModel, folder.path, "FOLDER", labels=labels, heads=heads, **RULE
        ),
        rows=rows or rows_of_pictures(),
        notes=notes,
    )
