"""A sparse embedding: the terms of a vocabulary that a text has weight in, as SPLADE makes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from seatrial_contracts.compare import Comparison, Tolerance, largest
from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.kinds.classes import best_of
from seatrial_contracts.kinds.kind import Array, Column, Features, JsonSchema, Stage, closed_object
from seatrial_contracts.kinds.mapped_kind import MappedKind
from seatrial_contracts.kinds.matching import Scored, match_scored
from seatrial_contracts.kinds.output_kind import AnswerTensor, Arrays, OptionValues
from seatrial_contracts.options import Option

MOST_TERMS = 2**20
Terms = Annotated[int, Field(ge=1, le=MOST_TERMS)]


class SparseEmbedding(MappedKind):
    """`Annotated[list[dict[str, float]], SparseEmbedding(30522, max_terms=256)]`.

    The model answers a float32 weight, none below 0, for each of the `size` terms of its
    vocabulary, shape `(batch, size)`. A client sees the terms that weigh more than `threshold` in
    the order of the vocabulary: `[{"index": 2003, "value": 1.25}, ...]`. `max_terms` is the most
    that are listed: those of highest weight, of equal ones the first. Requests may choose
    `threshold` and `top_k`, where the contract declares them.
    """

    reads_options: ClassVar[frozenset[str]] = frozenset({"threshold", "top_k"})
    kind: Literal["sparse_embedding"] = "sparse_embedding"
    size: Terms = 1
    threshold: Annotated[float, Field(ge=0, le=1e9)] = 0.0
    max_terms: Terms | None = None

    def __init__(self, size: int | None = None, /, **options: Any) -> None:
        super().__init__(**(options if size is None else {"size": size} | options))

    def declared(self, annotation: Any, nullable: bool) -> Self:
        if annotation != self.annotation():
            raise DeclarationError("st.SparseEmbedding", str(annotation), "list[dict[str, float]]")
        if "size" not in self.model_fields_set:
            raise DeclarationError("st.SparseEmbedding", "no size", "st.SparseEmbedding(30522)")
        return self.completed(nullable=nullable)

    def check(self) -> None:
        if self.nullable:
            raise DeclarationError("st.SparseEmbedding", "one that may be missing", "list[dict]")
        if self.max_terms is not None and self.max_terms > self.size:
            want = f"at most {self.size}, the size"
            raise DeclarationError("st.SparseEmbedding", f"max_terms {self.max_terms}", want)

    def check_option(self, name: str, option: Option) -> None:
        least = 0 if name == "threshold" else 1
        own = self.threshold if name == "threshold" else option.default
        if option.default != own or option.ge is None or option.ge < least:
            raise DeclarationError(
                f"option '{name}'",
                f"default {option.default}, at least {option.ge}",
                f"default {own:g}, and ge={least}",
            )

    def breaks_answer(self, option: str, old: Self) -> bool:
        if option == "max_terms":
            return self.max_terms is not None and self.max_terms < (old.max_terms or old.size)
        if option == "threshold":
            return self.threshold > old.threshold
        return super().breaks_answer(option, old)

    def annotation(self) -> Any:
        return list[dict[str, float]]

    def want(self) -> str:
        return f"those of {self.size} terms that weigh more than {self.threshold:g}"

    @property
    def datatype(self) -> str:
        return "FP32"

    @property
    def shape(self) -> tuple[int | None, ...]:
        return (self.size,)

    @property
    def is_bounded(self) -> bool:
        return True

    def outside(self, array: Array) -> Array:
        return array < 0

    def client_tensors(self, name: str) -> tuple[AnswerTensor, ...]:
        return (
            AnswerTensor(f"{name}_indices", "INT32", (None,)),
            AnswerTensor(f"{name}_values", "FP32", (None,)),
        )

    def client(self, arrays: Arrays, note: Any, options: OptionValues) -> tuple[Array, ...]:
        weights = arrays[0]
        places = np.flatnonzero(weights > options.get("threshold", self.threshold))
        most = options.get("top_k", self.max_terms)
        if most is not None and most < len(places):
            places = np.sort(places[best_of(weights[places], most)])
        return places.astype(np.int32), weights[places]

    def written(self, values: Arrays) -> Any:
        indices, weights = values
        return [
            {"index": index, "value": value}
            for index, value in zip(indices.tolist(), weights, strict=True)
        ]

    def recover(self, value: Any) -> tuple[Array, ...]:
        return (
            np.array([each["index"] for each in value], np.int32),
            np.array([each["value"] for each in value], np.float32),
        )

    def whole_options(self) -> OptionValues:
        return {"threshold": 0.0, "top_k": self.size}

    def match(self, want: Arrays, got: Arrays, tolerance: Tolerance) -> Comparison:
        """Terms of either answer by index.

        A term that one answer lacks is no mismatch if its weight is as near as two weights may be
        to each other to 0, to the threshold or, where both answers have as many terms, to the least
        weight of that answer.
        """
        weights, others = (
            dict(zip(indices.tolist(), values.tolist(), strict=True))
            for indices, values in (want, got)
        )

        def edge(index: int, there: Scored) -> float:
            weight = (others if there is weights else weights)[index]
            edges = [0.0, self.threshold]
            if len(weights) == len(others):
                edges.append(min(there.values()))
            return min(edges, key=lambda each: abs(each - weight))

        return match_scored(
            weights,
            others,
            tolerance,
            lambda index, weight: f"term {index}, weight {weight:.6g}",
            edge,
            largest(want[1]),
        )

    def json_schema(self) -> JsonSchema:
        last = self.size - 1
        return {
            "type": "array",
            "maxItems": self.size,
            "items": closed_object(
                {
                    "index": {"type": "integer", "minimum": 0, "maximum": last},
                    "value": {"type": "number", "minimum": 0},
                }
            ),
        }

    def example(self) -> Any:
        return [{"index": self.size - 1, "value": 1.25}]

    def features(self, name: str, files: Mapping[str, bytes], stage: Stage | None) -> Features:
        """How many terms are told, the highest weight, and the sum of all."""

        def features(values: Column) -> Mapping[str, Column]:
            weights = np.asarray(values, np.float64)
            return {
                "terms": (weights > self.threshold).sum(1).astype(np.float64),
                "largest": weights.max(1),
                "sum": weights.sum(1),
            }

        return features
