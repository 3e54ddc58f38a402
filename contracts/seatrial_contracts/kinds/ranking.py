"""A ranking: the items of a row, by their scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from seatrial_contracts.compare import Comparison, Tolerance, largest, mismatch
from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.kinds.classes import best_of
from seatrial_contracts.kinds.kind import Array, Column, Features, JsonSchema, Stage, closed_object
from seatrial_contracts.kinds.mapped_kind import MappedKind
from seatrial_contracts.kinds.matching import match_scored
from seatrial_contracts.kinds.output_kind import AnswerTensor, Arrays, OptionValues

MOST_ITEMS = 2**20


class Ranking(MappedKind):
    """`Annotated[list[dict[str, float]], Ranking(top=10)]`.

    The model answers a float32 score for each item of an input of open length, shape
    `(batch, items)`. A client sees `[{"index": place, "score": score}, ...]`, highest first, items
    of equal scores in their own order. `top` is the most that are listed. Requests may choose
    `top_k`, where the contract declares it.
    """

    reads_options: ClassVar[frozenset[str]] = frozenset({"top_k"})
    kind: Literal["ranking"] = "ranking"
    top: Annotated[int, Field(ge=1, le=MOST_ITEMS)] | None = None

    def declared(self, annotation: Any, nullable: bool) -> Self:
        if annotation != self.annotation():
            raise DeclarationError("st.Ranking", str(annotation), "list[dict[str, float]]")
        return self.completed(nullable=nullable)

    def breaks_answer(self, option: str, old: Self) -> bool:
        if option == "top":
            return self.top is not None and (old.top is None or self.top < old.top)
        return super().breaks_answer(option, old)

    def annotation(self) -> Any:
        return list[dict[str, float]]

    def want(self) -> str:
        return "items by score" if self.top is None else f"the best {self.top} items by score"

    @property
    def datatype(self) -> str:
        return "FP32"

    @property
    def shape(self) -> tuple[int | None, ...]:
        return (None,)

    def client_tensors(self, name: str) -> tuple[AnswerTensor, ...]:
        return (
            AnswerTensor(f"{name}_indices", "INT32", (None,)),
            AnswerTensor(f"{name}_scores", "FP32", (None,)),
        )

    def client(self, arrays: Arrays, note: Any, options: OptionValues) -> tuple[Array, ...]:
        scores = arrays[0]
        best = best_of(scores, options.get("top_k", self.top) or len(scores))
        return best.astype(np.int32), scores[best]

    def written(self, values: Arrays) -> Any:
        indices, scores = values
        return [
            {"index": index, "score": score}
            for index, score in zip(indices.tolist(), scores, strict=True)
        ]

    def recover(self, value: Any) -> tuple[Array, ...]:
        return (
            np.array([each["index"] for each in value], np.int32),
            np.array([each["score"] for each in value], np.float32),
        )

    def whole_options(self) -> OptionValues:
        return {"top_k": MOST_ITEMS}

    def match(self, want: Arrays, got: Arrays, tolerance: Tolerance) -> Comparison:
        """Items of either answer by index.

        An item that one answer lacks is no mismatch if its score is as near to the least score of
        that answer as two scores may be to each other.
        """
        if len(want[0]) != len(got[0]):
            return mismatch(f"got {len(got[0])} items, want {len(want[0])}")
        scale = largest(want[1])
        scores, others = (
            dict(zip(indices.tolist(), values.tolist(), strict=True))
            for indices, values in (want, got)
        )
        return match_scored(
            scores,
            others,
            tolerance,
            lambda index, score: f"item {index}, score {score:.6g}",
            lambda _index, there: min(there.values()),
            scale,
        )

    def json_schema(self) -> JsonSchema:
        return {
            "type": "array",
            "items": closed_object(
                {"index": {"type": "integer", "minimum": 0}, "score": {"type": "number"}}
            ),
        }

    def example(self) -> Any:
        return [{"index": 1, "score": 0.9}, {"index": 0, "score": 0.25}][: self.top]

    def features(self, name: str, files: Mapping[str, bytes], stage: Stage | None) -> Features:
        """The highest score, and how far the second lies below it."""

        def features(values: Column) -> Mapping[str, Column]:
            best = [np.sort(np.asarray(row, np.float64))[::-1] for row in values]
            return {
                "best": [float(row[0]) for row in best],
                "lead": [float(row[0] - row[min(1, len(row) - 1)]) for row in best],
            }

        return features
