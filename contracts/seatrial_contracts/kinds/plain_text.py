"""A plain text: it enters the graph as it came, for operators that read strings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import annotated_types
import numpy as np
from pydantic import Field

from seatrial_contracts.errors import DeclarationError, Refusal
from seatrial_contracts.kinds.kind import (
    ESCAPED_BYTES,
    SHORT_BYTES,
    Column,
    Edge,
    Features,
    JsonSchema,
    Kind,
    Stage,
    TensorSpec,
    text_of,
)
from seatrial_contracts.kinds.tokenised import EXAMPLE, ODD, fill

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy


class PlainText(Kind):
    """`Annotated[str, Text(max_chars=2000)]`, a text without a tokenizer.

    It enters the graph as a string, shape `(batch,)`, as it came: the graph's own operators
    (StringNormalizer, StringSplit, TfIdfVectorizer) make numbers of it. So a model of this kind is
    adopted: a PyTorch module takes no strings.
    """

    keeps: ClassVar[Mapping[type, str]] = {
        annotated_types.MinLen: "min_chars",
        annotated_types.MaxLen: "max_chars",
    }
    kind: Literal["plain_text"] = "plain_text"
    max_chars: Annotated[int, Field(ge=1, le=2**24)] = 4096
    min_chars: Annotated[int, Field(ge=0, le=2**24)] = 0

    def declared(self, annotation: Any, nullable: bool) -> Self:
        if annotation is not str:
            raise DeclarationError("st.Text", str(annotation), "str")
        return self.completed(nullable=nullable)

    def check(self) -> None:
        if self.min_chars > self.max_chars:
            got = f"{self.min_chars} to {self.max_chars} characters"
            raise DeclarationError("st.Text", got, "min_chars <= max_chars")

    def annotation(self) -> Any:
        return Annotated[
            str, Field(min_length=self.min_chars, max_length=self.max_chars, strict=True)
        ]

    def breaks(self, option: str, old: Self) -> bool:
        if option == "max_chars":
            return self.max_chars < old.max_chars
        if option == "min_chars":
            return self.min_chars > old.min_chars
        return super().breaks(option, old)

    def want(self) -> str:
        return f"a text of {self.min_chars} to {self.max_chars} characters"

    @property
    def datatype(self) -> str:
        return "BYTES"

    @property
    def most_bytes(self) -> int:
        return self.max_chars * ESCAPED_BYTES + SHORT_BYTES

    def column(self, values: Column) -> Column:
        texts = [text_of(value, place, self.want()) for place, value in enumerate(values)]
        for place, text in enumerate(texts):
            if not self.min_chars <= len(text) <= self.max_chars:
                got = f"{len(text)} characters"
                raise Refusal("E_TEXT_LIMIT", f"row {place}", got, self.want())
        return np.array(texts, object)

    def json_schema(self) -> JsonSchema:
        return {"type": "string", "minLength": self.min_chars, "maxLength": self.max_chars}

    def example(self) -> Any:
        return fill(EXAMPLE, max(self.min_chars, min(self.max_chars, len(EXAMPLE))))

    def strategy(self) -> SearchStrategy[Any]:
        from hypothesis import strategies as some

        least, most = self.min_chars, max(self.min_chars, min(self.max_chars, 400))
        return some.text(some.characters(codec="utf-8"), min_size=least, max_size=most)

    def edges(self, stage: Stage) -> Iterator[Edge]:
        """Odd texts, the shortest and the longest."""
        yield from (Edge(text) for text in ODD if self.min_chars <= len(text) <= self.max_chars)
        sizes = dict.fromkeys((self.min_chars, self.max_chars))
        yield from (Edge(fill(EXAMPLE, chars)) for chars in sizes if chars)

    def tensors(self, name: str) -> tuple[TensorSpec, ...]:
        return (TensorSpec(name=name, dtype="string"),)

    def filler(self, stage: Stage) -> tuple[Any, ...]:
        """What the graph sees in the place of a missing text: the empty one."""
        return ("",)

    def stage(self, name: str, files: Mapping[str, bytes]) -> Stage:
        return lambda value: (value,)

    def features(self, name: str, files: Mapping[str, bytes], stage: Stage | None) -> Features:
        return lambda values: {"chars": list(map(len, values))}
