"""A label: the class with the highest score, and the score of every class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field

from seatrial_contracts.bins import Bins, split_words
from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.kinds.kind import (
    MAX_WORDS,
    Array,
    Column,
    Features,
    JsonSchema,
    Stage,
    Word,
)
from seatrial_contracts.kinds.output_kind import Arrays, OptionValues, OutputKind

MOST_SCORED = 8
"""With more classes, drift looks at the winner and its score alone."""


class Label(OutputKind):
    """`Annotated[str, Label("Adelie", "Chinstrap", "Gentoo")]`.

    The model answers float32 scores, shape `(batch, classes)`. A client sees
    `{"label": name, "scores": {name: score, ...}}`. The scores are the model's own: put the softmax
    in the model.
    """

    kind: Literal["label"] = "label"
    classes: Annotated[tuple[Word, ...], Field(strict=False, max_length=MAX_WORDS)] = ()

    def __init__(self, *classes: str, **options: Any) -> None:
        super().__init__(**({"classes": classes} | options if classes else options))

    def declared(self, annotation: Any, nullable: bool) -> Self:
        if annotation is not str:
            raise DeclarationError("st.Label", str(annotation), "str")
        return self.completed(nullable=nullable)

    def check(self) -> None:
        names = self.classes
        if self.nullable or len(names) < 2 or len(set(names)) != len(names):
            got = f"classes {names!r}"[:100]
            want = "two or more different class names, never missing"
            raise DeclarationError("st.Label", got, want)

    def annotation(self) -> Any:
        return Literal[self.classes]

    def want(self) -> str:
        return f"scores of {len(self.classes)} classes"

    @property
    def datatype(self) -> str:
        return "FP32"

    def json_schema(self) -> JsonSchema:
        scores = {name: {"type": "number"} for name in self.classes}
        return {
            "type": "object",
            "properties": {
                "label": {"type": "string", "enum": list(self.classes)},
                "scores": {
                    "type": "object",
                    "properties": scores,
                    "required": list(self.classes),
                    "additionalProperties": False,
                },
            },
            "required": ["label", "scores"],
        }

    def example(self) -> Any:
        share = round(1 / len(self.classes), 3)
        return {"label": self.classes[0], "scores": dict.fromkeys(self.classes, share)}

    @property
    def shape(self) -> tuple[int | None, ...]:
        return (len(self.classes),)

    def describe(self, arrays: Arrays, note: Any, options: OptionValues) -> Any:
        answer = arrays[0]
        return {
            "label": self.classes[answer.argmax()],
            "scores": dict(zip(self.classes, answer, strict=True)),
        }

    def recover(self, value: Any) -> tuple[Array, ...]:
        return (np.array([value["scores"][name] for name in self.classes], np.float32),)

    def features(self, name: str, files: Mapping[str, bytes], stage: Stage | None) -> Features:
        """The winner, its score, and the score of each class where these are few."""
        scored = self.classes if len(self.classes) <= MOST_SCORED else ()

        def features(values: Column) -> Mapping[str, Column]:
            scores = np.asarray(values)
            winners = [self.classes[place] for place in scores.argmax(1)]
            each = {f"score.{word}": scores[:, place] for place, word in enumerate(scored)}
            return {"": winners, "confidence": scores.max(1), **each}

        return features

    def split(self, feature: str, values: Column) -> Bins:
        return super().split(feature, values) if feature else split_words(values, self.classes)
