"""A category: one of a closed list of words, looked up inside the graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, get_args, get_origin

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from seatrial_contracts.bins import UNSEEN, Bins, split_words
from seatrial_contracts.errors import DeclarationError, Refusal
from seatrial_contracts.kinds.kind import (
    MAX_WORDS,
    Array,
    Column,
    Edge,
    Features,
    JsonSchema,
    Kind,
    Stage,
    TensorSpec,
    Word,
    text_of,
)

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

MISSING = ""
"""The text of a missing category where a string must stand (V2 tensors and the graph's input)."""


class Category(Kind):
    """`Literal["a", "b"]`, or `Annotated[str, Category("a", "b", unknown="bucket")]`.

    `unknown="reject"` refuses a word outside the list; `"bucket"` gives every such word one code of
    its own. The graph's input is a string, shape `(batch,)`; inside, and in training, it is an
    int64 code: the place in `categories`, then one for missing (where the field is `| None`), then
    one for unknown (with `"bucket"`). `codes_count` is the number of codes, for an embedding.
    """

    marks_missing: ClassVar[bool] = False
    kind: Literal["category"] = "category"
    categories: Annotated[tuple[Word, ...], Field(strict=False, max_length=MAX_WORDS)] = ()
    unknown: Literal["reject", "bucket"] = "reject"
    max_chars: Annotated[int, Field(ge=1, le=2**20)] = 256

    def __init__(self, *categories: str, **options: Any) -> None:
        super().__init__(**({"categories": categories} | options if categories else options))

    @classmethod
    def from_type(cls, annotation: Any) -> Self | None:
        return cls() if get_origin(annotation) is Literal else None

    def declared(self, annotation: Any, nullable: bool) -> Self:
        if get_origin(annotation) is not Literal:
            if annotation is not str:
                raise DeclarationError(
                    "st.Category", str(annotation), "str, or a Literal of its words"
                )
            return self.completed(nullable=nullable)
        words = get_args(annotation)
        if self.categories:
            raise DeclarationError(
                "st.Category", "its words twice, in the Literal and in st.Category", "once"
            )
        nullable = nullable or None in words
        return self.completed(
            categories=tuple(word for word in words if word is not None), nullable=nullable
        )

    def check(self) -> None:
        words = self.categories
        if (
            not words
            or not all(isinstance(word, str) and word for word in words)
            or len(set(words)) != len(words)
        ):
            raise DeclarationError(
                "st.Category",
                repr(words)[:80],
                "a list of different, non-empty words",
                "write numbers that stand for classes as words",
            )
        longest = max(map(len, words))
        if self.unknown == "bucket" and longest > self.max_chars:
            raise DeclarationError(
                "st.Category", f"a word of {longest} characters", f"max_chars={longest} or more"
            )

    def breaks(self, option: str, old: Self) -> bool:
        if option == "categories":
            return not set(old.categories) <= set(self.categories)
        if option == "unknown":
            return self.unknown == "reject"
        if option == "max_chars":
            return self.max_chars < old.max_chars
        return super().breaks(option, old)

    @property
    def codes_count(self) -> int:
        """How many codes there are, those of missing and unknown included."""
        return len(self.categories) + self.nullable + (self.unknown == "bucket")

    @property
    def unknown_code(self) -> int:
        """The code of a word outside the list.

        The code is -1, which no model sees, where such words are refused.
        """
        return len(self.categories) + self.nullable if self.unknown == "bucket" else -1

    def lookup(self) -> dict[str, int]:
        """Word -> code, the missing word included: what the graph's lookup holds."""
        words = (*self.categories, MISSING) if self.nullable else self.categories
        return {word: code for code, word in enumerate(words)}

    @property
    def looked_up(self) -> Kind | None:
        return self

    def codes(self, words: Array) -> NDArray[np.int64]:
        """Look up the int64 codes of graph-side strings, in the shape that they have.

        The method is the training-side twin of the lookup in the graph.
        """
        table, unknown = self.lookup(), self.unknown_code
        codes = [table.get(word, unknown) for word in words.ravel().tolist()]
        return np.array(codes, np.int64).reshape(words.shape)

    def annotation(self) -> Any:
        if self.unknown == "bucket":
            return Annotated[str, Field(min_length=1, max_length=self.max_chars, strict=True)]
        return Literal[self.categories]

    def want(self) -> str:
        if self.unknown == "bucket":
            return f"a word of 1 to {self.max_chars} characters"
        shown = [f"'{word}'" for word in self.categories[:10]]
        return (
            "one of "
            + ", ".join(shown)
            + ("" if len(self.categories) <= 10 else f" ... ({len(self.categories)} in all)")
        )

    @property
    def datatype(self) -> str:
        return "BYTES"

    @cached_property
    def _written(self) -> dict[bytes | str | None, str]:
        """Every way a word can stand in a V2 column -> the word."""
        written: dict[bytes | str | None, str] = {word: word for word in self.categories}
        written |= {word.encode(): word for word in self.categories}
        return (
            written | dict.fromkeys((None, MISSING, MISSING.encode()), MISSING)
            if self.nullable
            else written
        )

    def column(self, values: Column) -> Column:
        words = list(map(self._written.get, values))
        if None in words:
            words = [
                self._other(value, place) if word is None else word
                for place, (word, value) in enumerate(zip(words, values, strict=True))
            ]
        return np.array(words, object)

    def _other(self, value: bytes | str | None, place: int) -> str:
        """A word outside the list, where such are taken."""
        word = text_of(value, place, self.want())
        if self.unknown == "reject":
            raise Refusal("E_CATEGORY", f"row {place}", "an unknown word", self.want())
        if not 0 < len(word) <= self.max_chars:
            raise Refusal("E_TEXT_LIMIT", f"row {place}", f"{len(word)} characters", self.want())
        return word

    def json_schema(self) -> JsonSchema:
        if self.unknown == "bucket":
            return {
                "type": "string",
                "minLength": 1,
                "maxLength": self.max_chars,
                "examples": list(self.categories),
            }
        return {"type": "string", "enum": list(self.categories)}

    def example(self) -> Any:
        return self.categories[0]

    def strategy(self) -> SearchStrategy[Any]:
        from hypothesis import strategies as some

        known = some.sampled_from(self.categories)
        if self.unknown == "reject":
            return known
        nearly = some.builds(str.__add__, known, some.sampled_from([" ", "\x00", "\u0301", "."]))
        odd = some.text(
            some.characters(codec="utf-8"), min_size=1, max_size=min(self.max_chars, 100)
        )
        return (
            known
            | (nearly | known.map(str.swapcase)).filter(
                lambda word: 0 < len(word) <= self.max_chars
            )
            | odd
        )

    def edges(self, stage: Stage) -> Iterator[Edge]:
        """Each word; where others are taken, also near misses, a foreign word and the longest."""
        yield from map(Edge, self.categories)
        if self.unknown == "bucket":
            first = self.categories[0]
            others = (f"{first} ", f"{first}s", first.swapcase(), "\u5e74", "x" * self.max_chars)
            taken = dict.fromkeys(word for word in others if len(word) <= self.max_chars)
            yield from (Edge(word) for word in taken if word not in self.categories)

    def tensors(self, name: str) -> tuple[TensorSpec, ...]:
        return (TensorSpec(name=name, dtype="string"),)

    def stage(self, name: str, files: Mapping[str, bytes]) -> Stage:
        return lambda value: (MISSING if value is None else value,)

    def features(self, name: str, files: Mapping[str, bytes], stage: Stage | None) -> Features:
        seen: dict[str | None, str | None] = {
            None: None,
            MISSING: None,
            **{word: word for word in self.categories},
        }
        return lambda values: {"": [seen.get(value, UNSEEN) for value in values]}

    def split(self, feature: str, values: Column) -> Bins:
        return split_words(values, self.categories, unseen=True, missing=self.nullable)
