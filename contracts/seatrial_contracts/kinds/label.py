"""A label: the class with the highest score, and the scores of all classes or of the best."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from seatrial_contracts.bins import Bins, split_words
from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.kinds.classes import (
    are_probabilities,
    best_of,
    check_spread,
    class_schema,
    declared_classes,
)
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
from seatrial_contracts.kinds.output_kind import Arrays, FlatColumn, OptionValues, OutputKind
from seatrial_contracts.kinds.truth import Hit
from seatrial_contracts.options import Option

MOST_SCORED = 8
"""With more classes, drift looks at the winner and its score alone."""
MOST_SHOWN = 32
"""With more classes, a client sees the best `TOP` unless the declaration says how many."""
TOP = 5


class Label(OutputKind):
    """`Annotated[str, Label("Adelie", "Chinstrap", "Gentoo")]`.

    The model answers float32 scores, shape `(batch, classes)`. They are the model's own: put the
    softmax in the model. A client sees `{"label": name, "scores": {name: score, ...}}`.

    With `top`, which is 5 where there are more than 32 classes, or where the contract declares the
    option `top_k`, a client sees the highest scores alone, highest first, equal ones in the order
    of the classes: `{"label": name, "score": score, "top": [{"label": ..., "score": ...}, ...]}`.
    Its requests may choose `top_k`, up to all classes or what the contract declares. V2 and gRPC
    give all scores in any case.

    `file` is the path of a text file of one class a line, in place of the names. The contract holds
    what stood there when it was declared.
    """

    reads_options: ClassVar[frozenset[str]] = frozenset({"top_k"})
    decides: ClassVar[bool] = True
    kind: Literal["label"] = "label"
    classes: Annotated[tuple[Word, ...], Field(strict=False, max_length=MAX_WORDS)] = ()
    top: Annotated[int, Field(ge=1, le=MAX_WORDS)] | None = None
    file: str | None = Field(default=None, exclude=True)

    def __init__(self, *classes: str, **options: Any) -> None:
        check_spread(classes, "st.Label")
        super().__init__(**({"classes": classes} | options if classes else options))

    def declared(self, annotation: Any, nullable: bool) -> Self:
        if annotation is not str:
            raise DeclarationError("st.Label", str(annotation), "str")
        found = declared_classes(self.classes, self.file, "st.Label")
        return self.completed(nullable=nullable, classes=found, file=None)

    def check(self) -> None:
        names = self.classes
        if self.file is not None or self.nullable or len(names) < 2 or len(set(names)) < len(names):
            got = f"classes {names[:8]!r}"[:100]
            want = "two or more different class names, never missing"
            raise DeclarationError("st.Label", got, want)
        if self.top is not None and self.top > len(names):
            raise DeclarationError("st.Label", f"top {self.top}", f"at most {len(names)} classes")

    def beside(self, options: Mapping[str, Option]) -> Self:
        if "top_k" not in options or self.most is not None:
            return self
        default = int(options["top_k"].default)
        return self.model_copy(update={"top": min(default, len(self.classes))})

    @cached_property
    def most(self) -> int | None:
        """How many classes a client sees that chooses no `top_k`; None: all of them by name."""
        return self.top or (TOP if len(self.classes) > MOST_SHOWN else None)

    def own_options(self) -> Mapping[str, Option]:
        if self.most is None:
            return {}
        return {"top_k": Option(self.most, ge=1, le=len(self.classes))}

    def whole_options(self) -> OptionValues:
        return {"top_k": len(self.classes)}

    def breaks_answer(self, option: str, old: Self) -> bool:
        if option == "top" and self.most is not None and old.most is not None:
            return self.most < old.most
        return super().breaks_answer(option, old)

    def decision(self, array: Array) -> str:
        right = array.shape == self.shape and np.isfinite(array).all()
        return self.classes[array.argmax()] if right else ""

    @property
    def truth_want(self) -> str:
        return f"one of its {len(self.classes)} classes"

    def truth_schema(self) -> JsonSchema:
        return class_schema(self.classes)

    def truth_example(self) -> Any:
        return self.classes[0]

    @property
    def hit_labels(self) -> Sequence[str]:
        return self.classes

    def is_truth(self, value: Any) -> bool:
        return isinstance(value, str) and value in self._places

    def hits(self, arrays: Arrays, note: Any, options: OptionValues, truth: Any) -> Iterator[Hit]:
        """The true class alone: a row has one, and another answer is one wrong one."""
        yield Hit(truth, self.decision(arrays[0]) == truth, True)

    def surety(self, arrays: Arrays, truth: Any) -> Iterator[tuple[float, bool]]:
        if are_probabilities(arrays[0]):
            yield float(arrays[0].max()), self.decision(arrays[0]) == truth

    def annotation(self) -> Any:
        return str

    def want(self) -> str:
        return f"scores of {len(self.classes)} classes"

    @property
    def datatype(self) -> str:
        return "FP32"

    def json_schema(self) -> JsonSchema:
        label: JsonSchema = {"label": class_schema(self.classes)}
        score: JsonSchema = {"score": {"type": "number"}}
        if self.most is not None:
            items = closed_object(label | score)
            top = {"type": "array", "minItems": 1, "maxItems": len(self.classes), "items": items}
            return closed_object(label | score | {"top": top})
        return closed_object(
            label | {"scores": closed_object(dict.fromkeys(self.classes, score["score"]))}
        )

    def example(self) -> Any:
        share = round(1 / len(self.classes), 3)
        shares = np.full(len(self.classes), share)
        return self.describe([shares], None, {})

    @property
    def shape(self) -> tuple[int | None, ...]:
        return (len(self.classes),)

    def describe(self, arrays: Arrays, note: Any, options: OptionValues) -> Any:
        scores, names = arrays[0], self.classes
        if self.most is None:
            return {
                "label": names[scores.argmax()],
                "scores": dict(zip(names, scores, strict=True)),
            }
        best = best_of(scores, options.get("top_k", self.most))
        top = [
            {"label": names[place], "score": score}
            for place, score in zip(best.tolist(), scores[best], strict=True)
        ]
        return {**top[0], "top": top}

    def flat_columns(self, arrays: Arrays) -> Sequence[FlatColumn] | None:
        if self.most is not None:
            return None
        scores = arrays[0]
        label = FlatColumn("label", scores.argmax(1), self.classes)
        return [
            label,
            *(FlatColumn(f"scores.{n}", scores[:, i]) for i, n in enumerate(self.classes)),
        ]

    def recover(self, value: Any) -> tuple[Array, ...]:
        if self.most is None:
            return (np.array([value["scores"][name] for name in self.classes], np.float32),)
        scores = np.full(len(self.classes), np.nan, np.float32)
        for each in value["top"]:
            scores[self._places[each["label"]]] = float(each["score"])
        return (scores,)

    @cached_property
    def _places(self) -> Mapping[str, int]:
        return {name: place for place, name in enumerate(self.classes)}

    def filled(self, want: Arrays, got: Arrays, options: OptionValues) -> Arrays:
        """A class that the client was not told has at most the least score that it was told."""
        scores, most = got[0], options.get("top_k", self.most)
        hidden = 0 if most is None else max(len(scores) - most, 0)
        untold = np.isnan(scores)
        if scores.shape != want[0].shape or not hidden or untold.sum() != hidden:
            return got
        least = scores[~untold].min()
        return (np.where(untold, np.minimum(want[0], least), scores),)

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
