"""Image classification: one class, labels of several, or a number, of one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import transformers
from torch import Tensor, nn
from transformers import AutoModelForImageClassification

from seatrial_contracts.sample import RawRow
from seatrial_export.hub.folder import Folder
from seatrial_export.hub.images import read_image_side, rows_of_pictures
from seatrial_export.hub.pixels import Asked, Pixels, opened
from seatrial_export.hub.task import Field, Part, Reading, Task
from seatrial_export.hub.tasks.text_classification import answer_of


class Classifier(nn.Module):
    """A model of transformers with the activation that its pipeline applies."""

    def __init__(self, model: nn.Module, activation: str, *, single: bool, **pixels: Any) -> None:
        super().__init__()
        self.pixels, self.model = Pixels(**pixels), model
        self.activation, self.single = activation, single

    def forward(self, image: Tensor) -> Tensor:
        """Scores of the classes, (batch, classes); a number, (batch,), of one without classes."""
        logits = self.model(pixel_values=self.pixels(image)).logits
        scores = {"softmax": logits.softmax(-1), "sigmoid": logits.sigmoid(), "none": logits}
        chosen: Tensor = scores[self.activation]
        return chosen[:, 0] if self.single else chosen


class ImageClassificationPipeline:
    """What transformers' own pipeline answers to the file itself."""

    name = f"transformers {transformers.__version__}, image-classification"

    def __init__(self, folder: Path, answer: str, labels: Sequence[str]) -> None:
        self.asked = Asked(folder, AutoModelForImageClassification)
        self.answer, self.labels = answer, labels

    @cached_property
    def pipeline(self) -> Any:
        """The pipeline, loaded when it is first asked."""
        return transformers.pipeline(
            "image-classification", model=self.asked.model, image_processor=self.asked.processor,
            device="cpu",
        )  # fmt: skip

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Scores in the order of the classes."""
        answers = []
        for row in rows:
            answered = self.pipeline(opened(row["image"]), top_k=len(self.labels))
            found = {each["label"]: each["score"] for each in answered}
            scores = np.array([found[label] for label in self.labels], np.float32)
            answers.append({self.answer: scores[0] if self.answer == "score" else scores})
        return answers


class ImageClassification(Task):
    """See the module."""

    name = "image-classification"

    def fits(self, folder: Folder) -> bool:
        """A head of image classification; DeiT's has a teacher beside it."""
        return "ForImageClassification" in folder.architecture

    def read(self, folder: Folder, rows: Sequence[RawRow]) -> Reading:
        """One picture in, what the config's problem type says out."""
        auto = AutoModelForImageClassification
        model, side = folder.model(auto), read_image_side(folder)
        name, output, activation = answer_of(folder)
        single = name == "score"
        return Reading(
            inputs={"image": Field(bytes, side.kind)},
            outputs={name: output},
            module=Part.of(
                Classifier, model, folder.loads(auto), activation=activation, single=single,
                **side.pixels,
            ),
            judge=Part.of(
                ImageClassificationPipeline, folder.path, "FOLDER", answer=name,
                labels=folder.labels,
            ),
            rows=rows or rows_of_pictures(),
        )  # fmt: skip
