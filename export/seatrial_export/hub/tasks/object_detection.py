"""Object detection: things of known classes in a picture, each with a box."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor, nn
from transformers import AutoModelForObjectDetection

from seatrial_contracts.kinds.detections import Detections
from seatrial_contracts.sample import RawRow
from seatrial_export.hub.faults import fault
from seatrial_export.hub.folder import Folder
from seatrial_export.hub.images import read_image_side, rows_of_pictures
from seatrial_export.hub.pixels import Asked, Pixels, opened
from seatrial_export.hub.task import Field, Part, Reading, Task

THRESHOLD = 0.5
"""As transformers' pipeline has it where nothing is said."""
SOFTMAX = ("DetrImageProcessor", "YolosImageProcessor")
"""Processors by which a box has its best class, of a softmax whose last class is no thing."""
SIGMOID = ("RTDetrImageProcessor",)
"""Processors by which a box has each class above the threshold, as many in all as queries."""


class Detector(nn.Module):
    """A detector of transformers, its logits made scores as its image processor makes them."""

    def __init__(self, model: nn.Module, *, softmax: bool, **pixels: Any) -> None:
        super().__init__()
        self.pixels, self.model, self.softmax = Pixels(**pixels), model, softmax

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes, (batch, queries, 4), and scores of the classes, (batch, queries, classes)."""
        made = self.model(pixel_values=self.pixels(image))
        logits = made.logits
        return made.pred_boxes, logits.softmax(-1)[..., :-1] if self.softmax else logits.sigmoid()


class ObjectDetectionModel:
    """What transformers' processor and model answer to the file itself.

    Boxes and scores of all queries are compared, and the things that the processor's own
    post-processing finds above the threshold, whose boxes end at the picture's edges.
    """

    name = f"transformers {transformers.__version__}, object-detection"

    def __init__(
        self, folder: Path, labels: Sequence[str], threshold: float, *, softmax: bool
    ) -> None:
        self.asked = Asked(folder, AutoModelForObjectDetection)
        self.labels, self.threshold, self.softmax = labels, threshold, softmax

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Arrays of all queries, and the things that a client sees."""
        answers = []
        for row in rows:
            picture = opened(row["image"])
            made = self.asked(picture)
            logits = made.logits[0]
            scores = logits.softmax(-1)[..., :-1] if self.softmax else logits.sigmoid()
            answers.append(
                {
                    "objects_boxes": made.pred_boxes[0].numpy(),
                    "objects_scores": scores.numpy(),
                    "objects": self.things(made, picture.width, picture.height),
                }
            )
        return answers

    def things(self, made: Any, width: int, height: int) -> list[dict[str, Any]]:
        """What the processor finds in a picture of this size."""
        [found] = self.asked.processor.post_process_object_detection(
            made, threshold=self.threshold, target_sizes=torch.tensor([[height, width]])
        )
        boxes = found["boxes"].numpy().clip(0, np.array([width, height, width, height]))
        return [
            {
                "label": self.labels[label],
                "score": score,
                "box": dict(zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)),
            }
            for label, score, box in zip(
                found["labels"].tolist(), found["scores"].tolist(), boxes.tolist(), strict=True
            )
            if box[0] < box[2] and box[1] < box[3]
        ]


class ObjectDetection(Task):
    """See the module."""

    name = "object-detection"

    def fits(self, folder: Folder) -> bool:
        """A head of object detection."""
        return folder.architecture.endswith("ForObjectDetection")

    def read(self, folder: Folder, rows: Sequence[RawRow]) -> Reading:
        """One picture in, the things in it out, in pixels of the client's picture."""
        auto = AutoModelForObjectDetection
        side = read_image_side(folder, whole=True)
        name = type(side.processor).__name__.removesuffix("Pil")
        if name not in (*SOFTMAX, *SIGMOID):
            raise fault(
                folder.path, f"{name}, whose post-processing is not known here",
                f"one of {', '.join((*SOFTMAX, *SIGMOID))}",
                "write a pipeline with st.Detections, and suppress doubles by st.suppress",
            )  # fmt: skip
        model, softmax = folder.model(auto), name in SOFTMAX
        labels, notes = distinct(folder)
        queries = int(model.config.num_queries if hasattr(model.config, "num_queries")
                      else model.config.num_detection_tokens)  # fmt: skip
        things = Detections(
            *labels, on="image", boxes="cxcywh", relative=True, candidates=queries,
            max_detections=queries, threshold=THRESHOLD,
            **({} if softmax else {"multi_label": True}),
        )  # fmt: skip
        return Reading(
            inputs={"image": Field(bytes, side.kind)},
            outputs={"objects": Field(list[dict[str, Any]], things)},
            module=Part.of(Detector, model, folder.loads(auto), softmax=softmax, **side.pixels),
            judge=Part.of(
                ObjectDetectionModel, folder.path, "FOLDER", labels=labels, threshold=THRESHOLD,
                softmax=softmax,
            ),
            rows=rows or rows_of_pictures(),
            notes=notes,
        )  # fmt: skip


def distinct(folder: Folder) -> tuple[list[str], list[str]]:
    """The names of the classes, each its own, and what a user has to know of them.

    COCO numbers its 80 things to 90; folders call those that are none "N/A", all of them.
    """
    named = folder.loaded_config.id2label
    words = [str(named[place]) for place in sorted(named)]
    counts = Counter(words)
    labels = [f"{word} ({place})" if counts[word] > 1 else word for place, word in enumerate(words)]
    twice = [word for word, count in counts.items() if count > 1]
    if not twice or sorted(named) != list(range(len(labels))):
        return folder.labels, []
    return labels, [f"{counts[twice[0]]} classes are called '{twice[0]}': '{twice[0]} (ID)' now"]
