"""Vocabularies: up to a million words or whole numbers, sealed as a file and looked up by place.

A vocabulary of a million words takes its text and 16 bytes a word: Python's own table of them takes
ten times as much.
"""

from __future__ import annotations

from abc import abstractmethod
from bisect import bisect_left
from collections.abc import Sequence
from functools import cached_property
from hashlib import sha256
from io import BytesIO
from typing import Annotated, Any, Literal, Self, overload

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.kinds.classes import words_in
from seatrial_contracts.kinds.kind import MAX_WORDS

Sort = Literal["words", "integers"]
LEAST_INTEGER, MOST_INTEGER = -(2**63) + 2**21, 2**63 - 1
"""Of a vocabulary; the whole numbers of int64 below stand for what is missing or unknown."""
MOST_INTEGER_CHARS = 20
LINE_END = 10
"""Of a file in UTF-8: no other character has this byte."""


class Vocabulary(BaseModel):
    """What a contract says of a vocabulary, which lies beside it in the bundle."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    count: int = Field(ge=1, le=MAX_WORDS)
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

    def __str__(self) -> str:
        return f"{self.count} entries of SHA-256 {self.sha256[:12]}"


class Listed(Sequence[Any]):
    """The entries of a vocabulary in order; `place` finds one."""

    @abstractmethod
    def place(self, value: Any) -> int | None:
        """Where the entry stands, from 0; None where it is no entry."""

    @abstractmethod
    def to_file(self) -> bytes:
        """One entry a line, in UTF-8: the same bytes for equal vocabularies."""

    def __contains__(self, value: Any) -> bool:
        return self.place(value) is not None

    @overload
    def __getitem__(self, place: int) -> Any: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Any]: ...
    def __getitem__(self, place: int | slice) -> Any:
        if isinstance(place, slice):
            return [self.entry(each) for each in range(*place.indices(len(self)))]
        return self.entry(range(len(self))[place])

    @abstractmethod
    def entry(self, place: int) -> Any:
        """The entry at a place from 0."""

    @cached_property
    def facts(self) -> Vocabulary:
        """What the contract says of it."""
        return Vocabulary(count=len(self), sha256=sha256(self.to_file()).hexdigest())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Listed) and self.facts == other.facts

    def __hash__(self) -> int:
        return hash(self.facts.sha256)


class Words(Listed):
    """Words, as the lines of a text in UTF-8."""

    def __init__(self, data: bytes) -> None:
        """Raises `ValueError` where the bytes are no text, or a line is empty or unfinished."""
        data.decode()
        ends = np.flatnonzero(np.frombuffer(data, np.uint8) == LINE_END)
        if not len(ends) or ends[-1] != len(data) - 1 or len(ends) > MAX_WORDS:
            raise ValueError("no lines of words")
        self._data = data
        self._starts = np.concatenate([[0], ends + 1]).astype(np.uint32)
        if (np.diff(self._starts) < 2).any():
            raise ValueError("an empty line")

    @classmethod
    def of(cls, words: Sequence[str]) -> Self:
        """The vocabulary of these words. Raises `ValueError`."""
        return cls("".join(f"{word}\n" for word in words).encode())

    def __len__(self) -> int:
        return len(self._starts) - 1

    def entry(self, place: int) -> str:
        """See `Listed.entry`."""
        return self._data[self._starts[place] : self._starts[place + 1] - 1].decode()

    def place(self, value: Any) -> int | None:
        """See `Listed.place`: words whose hashes are equal are told apart by their bytes."""
        line = value.encode() + b"\n"
        key, (keys, places) = hash(line), self._table
        at = bisect_left(keys, key)
        while at < len(keys) and keys[at] == key:
            place = places[at]
            if self._data[self._starts[place] : self._starts[place + 1]] == line:
                return place
            at += 1
        return None

    @cached_property
    def _table(self) -> tuple[memoryview[int], memoryview[int]]:
        """The hashes of the lines in order, and the line that each belongs to."""
        hashes = np.fromiter(map(hash, BytesIO(self._data)), np.int64, len(self))
        order = hashes.argsort(kind="stable")
        return hashes[order].data, order.astype(np.uint32).data

    def to_file(self) -> bytes:
        """See `Listed.to_file`."""
        return self._data

    @property
    def longest(self) -> int:
        """How many bytes the longest word has in UTF-8: as many characters at least."""
        return int(np.diff(self._starts).max()) - 1

    def __reduce__(self) -> Any:
        return Words, (self._data,)


class Integers(Listed):
    """Whole numbers of 64 bits."""

    def __init__(self, values: NDArray[np.int64]) -> None:
        self.values = values

    @classmethod
    def of(cls, values: Sequence[int]) -> Self:
        """The vocabulary of these numbers."""
        return cls(np.array(values, np.int64))

    @classmethod
    def read(cls, data: bytes) -> Self:
        """The vocabulary of the lines of a text. Raises `ValueError` and `OverflowError`."""
        return cls(np.fromiter(map(int, BytesIO(data)), np.int64))

    def __len__(self) -> int:
        return len(self.values)

    def entry(self, place: int) -> int:
        """See `Listed.entry`."""
        return int(self.values[place])

    def place(self, value: Any) -> int | None:
        """See `Listed.place`."""
        keys, places = self._views
        at = bisect_left(keys, value)
        return places[at] if at < len(keys) and keys[at] == value else None

    def places(self, values: NDArray[np.int64]) -> NDArray[np.int64]:
        """The place of each of several numbers, shape `(values,)`; -1 for what is no entry."""
        if not len(self):
            return np.full(len(values), -1)
        at = np.searchsorted(self._sorted, values)
        at[at == len(self)] = 0
        return np.where(self._sorted[at] == values, self._order[at], -1)

    @cached_property
    def _order(self) -> NDArray[np.int64]:
        return self.values.argsort(kind="stable")

    @cached_property
    def _sorted(self) -> NDArray[np.int64]:
        return self.values[self._order]

    @cached_property
    def _views(self) -> tuple[memoryview[int], memoryview[int]]:
        return self._sorted.data, self._order.data

    def to_file(self) -> bytes:
        """See `Listed.to_file`."""
        return "".join(f"{value}\n" for value in self.values.tolist()).encode()

    def __reduce__(self) -> Any:
        return Integers, (self.values,)


def declared_vocabulary(path: str, sort: Sort, where: str) -> Listed:
    """The vocabulary of a text file in UTF-8 of one word, or one whole number, a line.

    Raises `DeclarationError` that names the line.
    """
    lines = words_in(path, where, "word" if sort == "words" else "whole number")
    return Words.of(lines) if sort == "words" else Integers.of(whole_numbers(lines, path, where))


def whole_numbers(lines: Sequence[str], path: str, where: str) -> list[int]:
    """Lines as whole numbers, each in its shortest form. Raises `DeclarationError`."""
    values: list[int] = []
    for number, line in enumerate(lines, 1):
        digits = line.removeprefix("-")
        if not (digits.isascii() and digits.isdigit() and len(line) <= MOST_INTEGER_CHARS):
            got, want = f"{len(line)} characters that are no whole number", "digits, as in -12"
        elif str(value := int(line)) != line:
            got, want = "a whole number with a sign or zeros before it", f"{value}"
        elif not LEAST_INTEGER <= value <= MOST_INTEGER:
            got, want = line, f"{LEAST_INTEGER} to {MOST_INTEGER}"
        else:
            values.append(value)
            continue
        raise DeclarationError(f"{where}, file '{path}', line {number}", got, want)
    return values


def read_vocabulary(facts: Vocabulary, data: bytes, sort: Sort, where: str) -> Listed:
    """The vocabulary of a bundle. Raises `DeclarationError` where it is another than sealed."""
    if sha256(data).hexdigest() == facts.sha256:
        try:
            listed: Listed = Words(data) if sort == "words" else Integers.read(data)
            if len(listed) == facts.count:
                return listed
        except (ValueError, OverflowError):
            pass  # said below
    raise DeclarationError(where, "another vocabulary", f"{facts}")
