"""Text classification: one class, labels of several, or a number, of one text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from seatrial_contracts.kinds.label import Label
from seatrial_contracts.kinds.labels import Labels
from seatrial_contracts.kinds.number import Number
from seatrial_contracts.kinds.tensor import Tensor as TensorKind
from seatrial_contracts.kinds.text import Text
from seatrial_contracts.sample import RawRow
from seatrial_export.hub.folder import Folder
from seatrial_export.hub.sentences import TEXTS
from seatrial_export.hub.task import Field, Part, Reading, Task
from seatrial_export.hub.text import read_text_side


class Classifier(nn.Module):
    """A model of transformers with the activation that its pipeline applies."""

    def __init__(self, model: nn.Module, activation: str, *, single: bool) -> None:
        super().__init__()
        self.model, self.activation, self.single = model, activation, single

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> Tensor:
        """Scores of the classes, (batch, classes); a number, (batch,), of one without classes."""
        types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        logits = self.model(input_ids=input_ids, attention_mask=attention_mask, **types).logits
        scores = {"softmax": logits.softmax(-1), "sigmoid": logits.sigmoid(), "none": logits}
        chosen: Tensor = scores[self.activation]
        return chosen[:, 0] if self.single else chosen


class TextClassificationPipeline:
    """What transformers' own pipeline answers to the text itself, or to the two `texts`."""

    name = f"transformers {transformers.__version__}, text-classification"

    def __init__(
        self, folder: Path, answer: str, labels: Sequence[str], texts: Sequence[str] = ()
    ) -> None:
        self.folder, self.answer, self.labels, self.texts = folder, answer, labels, texts

    @cached_property
    def pipeline(self) -> Any:
        """The pipeline, loaded when it is first asked."""
        model = AutoModelForSequenceClassification.from_pretrained(
            self.folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
        )
        tokenizer = AutoTokenizer.from_pretrained(self.folder, local_files_only=True)
        return transformers.pipeline(
            "text-classification", model=model, tokenizer=tokenizer, device="cpu"
        )

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Scores in the order of the classes."""
        answers = []
        for row in rows:
            given = row["text"] if not self.texts else self.both(row["pair"])
            found = {each["label"]: each["score"] for each in self.pipeline(given, top_k=None)}
            scores = np.array([found[label] for label in self.labels], np.float32)
            answers.append({self.answer: scores[0] if self.answer == "score" else scores})
        return answers

    def both(self, pair: Mapping[str, str]) -> dict[str, str]:
        """Two texts as the pipeline takes them."""
        first, second = self.texts
        return {"text": pair[first], "text_pair": pair[second]}


class TextClassification(Task):
    """See the module."""

    name = "text-classification"

    def fits(self, folder: Folder) -> bool:
        """A head of sequence classification."""
        return folder.architecture.endswith("ForSequenceClassification")

    def read(self, folder: Folder, rows: Sequence[RawRow]) -> Reading:
        """One text in, what the config's problem type says out."""
        model = folder.model(AutoModelForSequenceClassification)
        text = read_text_side(folder, model)
        inputs = {"text": Field(str, Text(**text.options()))}
        return classifier_of(folder, model, inputs, rows or [{"text": text} for text in TEXTS])


def classifier_of(
    folder: Folder, model: nn.Module, inputs: Mapping[str, Field], rows: Sequence[RawRow],
    **judged: Any,
) -> Reading:  # fmt: skip
    """The reading of a head of sequence classification; `judged` are more options of its judge."""
    name, output, activation = answer_of(folder)
    loads = folder.loads(AutoModelForSequenceClassification)
    return Reading(
        inputs=inputs,
        outputs={name: output},
        module=Part.of(Classifier, model, loads, activation=activation, single=name == "score"),
        judge=Part.of(
            TextClassificationPipeline,
            folder.path,
            "FOLDER",
            answer=name,
            labels=folder.labels,
            **judged,
        ),
        rows=rows,
    )


def answer_of(folder: Folder) -> tuple[str, Field, str]:
    """The answer's name and kind, and what makes it of logits, as transformers' pipeline has it."""
    labels, problem = folder.labels, folder.loaded_config.problem_type
    if problem == "regression":
        if len(labels) > 1:
            return (
                "scores",
                Field(np.ndarray, TensorKind(dtype="float32", dims=(len(labels),))),
                "none",
            )
        return "score", Field(float, Number()), "none"
    if problem == "multi_label_classification":
        return "labels", Field(list[str], Labels(*labels)), "sigmoid"
    if len(labels) == 1:
        return "score", Field(float, Number(ge=0, le=1)), "sigmoid"
    return "label", Field(str, Label(*labels)), "softmax"
