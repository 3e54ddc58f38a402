"""Labels: those of several independent classes whose score reaches a threshold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from seatrial_contracts.compare import Comparison, Tolerance, compare_arrays, mismatch
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
from seatrial_contracts.kinds.mapped_kind import MappedKind
from seatrial_contracts.kinds.output_kind import AnswerTensor, Arrays, OptionValues

Score = Annotated[float, Field(ge=0, le=1)]
MOST_SHARES = 8
"""With more classes, drift looks at how many pass, and at the highest score."""


class Labels(MappedKind):
    """`Annotated[list[str], Labels("urgent", "billing", "spam", threshold=0.5)]`.

    The model answers float32 scores, shape `(batch, classes)`, each from 0 to 1 and independent of
    the others: put the sigmoid in the model. A client sees the classes whose score is at least the
    `threshold`, highest first: `[{"label": name, "score": score}, ...]`, an empty list where none
    is. `thresholds` gives classes a threshold of their own. `top` is the most that are listed.
    Requests may choose `threshold` (for all classes) and `top_k`, where the contract declares them.
    """

    reads_options: ClassVar[frozenset[str]] = frozenset({"threshold", "top_k"})
    kind: Literal["labels"] = "labels"
    classes: Annotated[tuple[Word, ...], Field(strict=False, max_length=MAX_WORDS)] = ()
    threshold: Score = 0.5
    thresholds: Annotated[dict[Word, Score], Field(max_length=MAX_WORDS)] = {}
    top: Annotated[int, Field(ge=1, le=MAX_WORDS)] | None = None

    def __init__(self, *classes: str, **options: Any) -> None:
        super().__init__(**({"classes": classes} | options if classes else options))

    def declared(self, annotation: Any, nullable: bool) -> Self:
        if annotation != list[str]:
            raise DeclarationError("st.Labels", str(annotation), "list[str]")
        return self.completed(nullable=nullable)

    def check(self) -> None:
        names = self.classes
        if self.nullable or not names or len(set(names)) != len(names):
            got = f"classes {names!r}"[:100]
            raise DeclarationError("st.Labels", got, "one or more different names, never missing")
        odd = [name for name in self.thresholds if name not in names]
        if odd:
            raise DeclarationError("st.Labels", f"a threshold of {odd[0]!r}", "one of its classes")

    def annotation(self) -> Any:
        return list[str]

    def want(self) -> str:
        return f"those of {len(self.classes)} classes whose score reaches {self.threshold:g}"

    @property
    def datatype(self) -> str:
        return "FP32"

    @property
    def shape(self) -> tuple[int | None, ...]:
        return (len(self.classes),)

    @property
    def is_bounded(self) -> bool:
        return True

    def outside(self, array: Array) -> Array:
        return (array < 0) | (array > 1)

    def client_tensors(self, name: str) -> tuple[AnswerTensor, ...]:
        return (
            AnswerTensor(f"{name}_labels", "BYTES", (None,)),
            AnswerTensor(f"{name}_scores", "FP32", (None,)),
        )

    def client(self, arrays: Arrays, note: Any, options: OptionValues) -> tuple[Array, ...]:
        scores = arrays[0]
        threshold = options.get("threshold")
        least = self._least if threshold is None else threshold
        ordered = np.argsort(-scores, kind="stable")
        passed = ordered[(scores >= least)[ordered]][: options.get("top_k", self.top)]
        return self._names[passed], scores[passed]

    @property
    def _least(self) -> Array:
        return np.array(
            [self.thresholds.get(name, self.threshold) for name in self.classes], np.float32
        )

    @property
    def _names(self) -> Array:
        return np.array(self.classes, object)

    def written(self, values: Arrays) -> Any:
        labels, scores = values
        return [
            {"label": label, "score": score} for label, score in zip(labels, scores, strict=True)
        ]

    def recover(self, value: Any) -> tuple[Array, ...]:
        return (
            np.array([each["label"] for each in value], object),
            np.array([each["score"] for each in value], np.float32),
        )

    def whole_options(self) -> OptionValues:
        return {"threshold": 0.0, "top_k": len(self.classes)}

    def match(self, want: Arrays, got: Arrays, tolerance: Tolerance) -> Comparison:
        """Labels of either answer by name.

        A label that one answer lacks is no mismatch if its score is as near to its threshold as two
        scores may be to each other.
        """
        scores, others = (
            dict(zip(labels, values.tolist(), strict=True)) for labels, values in (want, got)
        )
        least = dict(zip(self.classes, self._least.tolist(), strict=True))
        for name in scores.keys() ^ others.keys():
            score = scores.get(name, others.get(name, 0.0))
            if abs(score - least[name]) > tolerance.allowed(np.asarray(score), 1.0):
                side = "only wanted" if name in scores else "not wanted"
                return mismatch(f"label '{name}', score {score:.6g}: {side}")
        both = [name for name in scores if name in others]
        return compare_arrays(
            np.array([scores[name] for name in both]),
            np.array([others[name] for name in both]),
            tolerance,
            1.0,
        )

    def json_schema(self) -> JsonSchema:
        return {
            "type": "array",
            "maxItems": len(self.classes),
            "items": {
                "type": "object",
                "properties": {
                    "label": {"type": "string"},
                    "score": {"type": "number", "minimum": 0, "maximum": 1},
                },
                "required": ["label", "score"],
                "additionalProperties": False,
            },
        }

    def example(self) -> Any:
        return [{"label": self.classes[0], "score": 0.9}]

    def features(self, name: str, files: Mapping[str, bytes], stage: Stage | None) -> Features:
        """How many classes pass, the highest score, and each class's score where these are few."""
        each = self.classes if len(self.classes) <= MOST_SHARES else ()

        def features(values: Column) -> Mapping[str, Column]:
            scores = np.asarray(values)
            own = {f"score.{word}": scores[:, place] for place, word in enumerate(each)}
            passed = (scores >= self._least).sum(1).astype(np.float64)
            return {"passed": passed, "confidence": scores.max(1), **own}

        return features
