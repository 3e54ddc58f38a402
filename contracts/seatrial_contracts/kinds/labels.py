"""Labels: those of several independent classes whose score reaches a threshold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from seatrial_contracts.bins import Bins, split_words
from seatrial_contracts.compare import Comparison, Tolerance
from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.kinds.classes import best_of, check_spread, class_schema, declared_classes
from seatrial_contracts.kinds.kind import (
    MAX_WORDS,
    Array,
    Column,
    Features,
    JsonSchema,
    Stage,
    Word,
    closed_object,
)
from seatrial_contracts.kinds.mapped_kind import MappedKind
from seatrial_contracts.kinds.matching import match_scored
from seatrial_contracts.kinds.output_kind import AnswerTensor, Arrays, OptionValues
from seatrial_contracts.kinds.truth import Hit

Score = Annotated[float, Field(ge=0, le=1)]
MOST_SHARES = 8
"""With more classes, drift looks at the best one, how many pass, and the highest score."""
NONE = "(none)"
"""Stands for the best class where none passes."""


class Labels(MappedKind):
    """`Annotated[list[str], Labels("urgent", "billing", "spam", threshold=0.5)]`.

    The model answers float32 scores, shape `(batch, classes)`, each from 0 to 1 and independent of
    the others: put the sigmoid in the model. A client sees the classes whose score is at least the
    `threshold`, highest first: `[{"label": name, "score": score}, ...]`, an empty list where none
    is. `thresholds` gives classes a threshold of their own. `top` is the most that are listed.
    Requests may choose `threshold` (for all classes) and `top_k`, where the contract declares them.
    `file` is the path of a text file of one class a line, in place of the names, as `Label` has it.
    """

    reads_options: ClassVar[frozenset[str]] = frozenset({"threshold", "top_k"})
    decides: ClassVar[bool] = True
    kind: Literal["labels"] = "labels"
    classes: Annotated[tuple[Word, ...], Field(strict=False, max_length=MAX_WORDS)] = ()
    threshold: Score = 0.5
    thresholds: Annotated[dict[Word, Score], Field(max_length=MAX_WORDS)] = {}
    top: Annotated[int, Field(ge=1, le=MAX_WORDS)] | None = None
    file: str | None = Field(default=None, exclude=True)

    def __init__(self, *classes: str, **options: Any) -> None:
        check_spread(classes, "st.Labels")
        super().__init__(**({"classes": classes} | options if classes else options))

    def declared(self, annotation: Any, nullable: bool) -> Self:
        if annotation != list[str]:
            raise DeclarationError("st.Labels", str(annotation), "list[str]")
        found = declared_classes(self.classes, self.file, "st.Labels")
        return self.completed(nullable=nullable, classes=found, file=None)

    def check(self) -> None:
        names = self.classes
        if self.file is not None or self.nullable or not names or len(set(names)) < len(names):
            got = f"classes {names[:8]!r}"[:100]
            raise DeclarationError("st.Labels", got, "one or more different names, never missing")
        known = set(names)
        odd = [name for name in self.thresholds if name not in known]
        if odd:
            raise DeclarationError("st.Labels", f"a threshold of {odd[0]!r}", "one of its classes")

    def passes(self, scores: Array) -> Array:
        """Which classes reach their threshold: bool, of the shape of `scores`, `(..., classes)`."""
        return np.asarray(scores) >= self._least

    def decision(self, array: Array) -> str:
        if array.shape != self.shape or not np.isfinite(array).all():
            return ""
        return ", ".join(self._names[self.passes(array)]) or "none"

    def breaks_answer(self, option: str, old: Self) -> bool:
        if option == "top":
            return self.top is not None and (old.top is None or self.top < old.top)
        return super().breaks_answer(option, old)

    @property
    def truth_want(self) -> str:
        return f"a list of some of its {len(self.classes)} classes"

    def truth_schema(self) -> JsonSchema:
        return {
            "type": "array",
            "maxItems": len(self.classes),
            "items": class_schema(self.classes),
        }

    def truth_example(self) -> Any:
        return [self.classes[0]]

    @property
    def hit_labels(self) -> Sequence[str]:
        return self.classes

    def is_truth(self, value: Any) -> bool:
        return isinstance(value, (list, tuple)) and all(
            isinstance(word, str) and word in self._known for word in value
        )

    def hits(self, arrays: Arrays, note: Any, options: OptionValues, truth: Any) -> Iterator[Hit]:
        answered, true = {*self.client(arrays, note, options)[0].tolist()}, {*truth}
        for word in sorted(answered | true):
            yield Hit(word, word in answered, word in true)

    def surety(self, arrays: Arrays, truth: Any) -> Iterator[tuple[float, bool]]:
        true = {*truth}
        for word, score in zip(self.classes, arrays[0].tolist(), strict=True):
            yield score, word in true

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.classes)

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
        scores, threshold = arrays[0], options.get("threshold")
        places = np.flatnonzero(scores >= (self._least if threshold is None else threshold))
        best = places[best_of(scores[places], options.get("top_k", self.top) or len(places))]
        return self._names[best], scores[best]

    @cached_property
    def _least(self) -> Array:
        return np.array(
            [self.thresholds.get(name, self.threshold) for name in self.classes], np.float32
        )

    @cached_property
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
        return match_scored(
            scores,
            others,
            tolerance,
            lambda name, score: f"label '{name}', score {score:.6g}",
            lambda name, _there: least[name],
        )

    def json_schema(self) -> JsonSchema:
        return {
            "type": "array",
            "maxItems": len(self.classes),
            "items": closed_object(
                {
                    "label": class_schema(self.classes),
                    "score": {"type": "number", "minimum": 0, "maximum": 1},
                }
            ),
        }

    def example(self) -> Any:
        return [{"label": self.classes[0], "score": 0.9}]

    def features(self, name: str, files: Mapping[str, bytes], stage: Stage | None) -> Features:
        """The best class that passes, how many pass, and the highest score.

        Where the classes are few: whether each passes, and its score.
        """
        each = self.classes if len(self.classes) <= MOST_SHARES else ()

        def features(values: Column) -> Mapping[str, Column]:
            scores = np.asarray(values)
            passed = self.passes(scores)
            highest = np.where(passed, scores, -1).argmax(1)
            best = [
                self.classes[place] if row[place] else NONE
                for place, row in zip(highest.tolist(), passed, strict=True)
            ]
            shares = {f"passes.{word}": passed[:, at].astype(float) for at, word in enumerate(each)}
            own = {f"score.{word}": scores[:, at] for at, word in enumerate(each)}
            count = passed.sum(1).astype(np.float64)
            return {"": best, "passed": count, "confidence": scores.max(1), **shares, **own}

        return features

    def split(self, feature: str, values: Column) -> Bins:
        known = (*self.classes, NONE)
        return super().split(feature, values) if feature else split_words(values, known)
