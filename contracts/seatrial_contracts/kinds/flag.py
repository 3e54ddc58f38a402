"""A flag: true or false."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field

from seatrial_contracts.bins import Bins, split_words
from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.kinds.kind import (
    Column,
    Edge,
    Features,
    JsonSchema,
    Kind,
    Stage,
    TensorSpec,
)

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy


class Flag(Kind):
    """`bool`, which enters the graph as bool, shape `(batch,)`; a missing one as False."""

    kind: Literal["flag"] = "flag"

    @classmethod
    def from_type(cls, annotation: Any) -> Self | None:
        return cls() if annotation is bool else None

    def declared(self, annotation: Any, nullable: bool) -> Self:
        if annotation is not bool:
            raise DeclarationError("st.Flag", str(annotation), "bool")
        return self.completed(nullable=nullable)

    def annotation(self) -> Any:
        return Annotated[bool, Field(strict=True)]

    def want(self) -> str:
        return "true or false"

    @property
    def datatype(self) -> str:
        return "BOOL"

    def column(self, values: Column) -> Column:
        return values

    def json_schema(self) -> JsonSchema:
        return {"type": "boolean"}

    def example(self) -> Any:
        return True

    def strategy(self) -> SearchStrategy[Any]:
        from hypothesis import strategies as some

        return some.booleans()

    def edges(self, stage: Stage) -> Iterator[Edge]:
        yield from (Edge(False), Edge(True))

    def tensors(self, name: str) -> tuple[TensorSpec, ...]:
        return (TensorSpec(name=name, dtype="bool"),)

    def stage(self, name: str, files: Mapping[str, bytes]) -> Stage:
        return lambda value: (value,)

    def filler(self, stage: Stage) -> tuple[Any, ...]:
        return (False,)

    def features(self, name: str, files: Mapping[str, bytes], stage: Stage | None) -> Features:
        return lambda values: {"": ["true" if value else "false" for value in values]}

    def split(self, feature: str, values: Column) -> Bins:
        return split_words(values, ("false", "true"), missing=self.nullable)
