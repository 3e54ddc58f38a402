"""Bins: how one feature of a field is split, and which bin each of its values falls into."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from math import ceil
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

Places = NDArray[np.intp]
Values = NDArray[Any] | Sequence[Any]
"""One value a row: numbers, or words.

A missing value is NaN or None among numbers, and None among words. A word outside the list is
`UNSEEN`.
"""
UNSEEN = ""
MISSING_BIN, OTHER_BIN, UNSEEN_BIN = "(missing)", "(other)", "(unseen)"
SPECIAL = (MISSING_BIN, OTHER_BIN, UNSEEN_BIN)
RANGES = 10
"""Deciles, the usual choice for PSI (Siddiqi, Credit Risk Scorecards, 2006)."""
LEAST_IN_RANGE = 5
"""Fewer reference values than this in a bin say nothing (Cochran's rule for chi-squared)."""
NARROWEST = 1e-4
"""Of the range of the values: narrower bins would count the last bits of a model's arithmetic."""
MOST_WORDS = 20


class _Bins(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ignored_types=(cached_property,))


class _Between(_Bins):
    """Numbers between edges.

    A number belongs to the range that it begins (`edge <= value`). The first and last ranges are
    open.
    """

    edges: Annotated[tuple[Annotated[float, Field(allow_inf_nan=False)], ...], Field(max_length=64)]
    missing: bool = False
    """Is there a bin for missing values?"""

    @model_validator(mode="after")
    def _increasing(self) -> Self:
        if any(not low < high for low, high in pairwise(self.edges)):
            raise ValueError("edges increase")
        return self

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The bins in order: "below 36.2", "36.2 to 38.1", "from 51"."""
        shown = list(map(self._shown, self.edges))
        inner = [f"{low} to {high}" for low, high in pairwise(shown)]
        ranges = [f"below {shown[0]}", *inner, f"from {shown[-1]}"] if shown else ["any"]
        return (*ranges, *([MISSING_BIN] if self.missing else []))

    def _shown(self, edge: float) -> str:
        return short if float(short := f"{edge:.12g}") == edge else repr(edge)

    def places(self, values: Values) -> Places:
        """Each value's bin, shape `(rows,)`."""
        numbers = np.asarray(values, np.float64)
        places = np.searchsorted(self._edges, numbers, side="right")
        if self.missing:
            places[np.isnan(numbers)] = len(self.edges) + 1
        return places

    @cached_property
    def _edges(self) -> NDArray[np.float64]:
        return np.asarray(self.edges, np.float64)


class Ranges(_Between):
    """Ranges of numbers."""

    sort: Literal["ranges"] = "ranges"


class Dates(_Between):
    """Ranges of days or seconds since 1970-01-01, shown as dates or times (UTC)."""

    sort: Literal["dates"] = "dates"
    unit_s: Literal[1, 86_400]
    """How many seconds a number stands for."""

    def _shown(self, edge: float) -> str:
        most = 2.0**52  # float64 holds whole seconds up to here, and datetime64 shows them all
        moment = np.datetime64(int(min(max(edge * self.unit_s, -most), most)), "s")
        return str(moment.astype("datetime64[D]") if self.unit_s > 1 else moment)


class Words(_Bins):
    """Words with a bin each.

    The rest of the list shares one bin, and so do words outside the list, and missing ones.
    """

    sort: Literal["words"] = "words"
    words: Annotated[tuple[Annotated[str, Field(max_length=1024)], ...], Field(max_length=64)]
    other: bool = False
    unseen: bool = False
    missing: bool = False

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The bins in order."""
        there = ((OTHER_BIN, self.other), (UNSEEN_BIN, self.unseen), (MISSING_BIN, self.missing))
        words = (f"'{word}'" if word in SPECIAL else word for word in self.words)
        return (*words, *(name for name, is_there in there if is_there))

    @cached_property
    def _table(self) -> Mapping[Any, int]:
        table: dict[Any, int] = {word: place for place, word in enumerate(self.words)}
        for value, name in ((UNSEEN, UNSEEN_BIN), (None, MISSING_BIN)):
            if name in self.names:
                table[value] = self.names.index(name)
        return table

    def places(self, values: Values) -> Places:
        """Each value's bin, shape `(rows,)`."""
        table, rest = self._table, len(self.words) if self.other else 0
        return np.fromiter((table.get(value, rest) for value in values), np.intp, len(values))


Bins = Annotated[Ranges | Dates | Words, Field(discriminator="sort")]


def split_numbers(values: Values, *, missing: bool = False) -> Ranges:
    """Split these values into ranges that hold about as many of them each.

    There are ten ranges, or fewer where there are few values or many equal ones. Edges lie between
    values that differ, so that float32 and float64 fall alike. Where all values are equal, the
    numbers below and above have a bin of their own.
    """
    numbers = np.asarray(values, np.float64)
    different, counts = np.unique(numbers[~np.isnan(numbers)], return_counts=True)
    if len(different) == 1:
        near = max(abs(float(different[0])), 1.0) * 1e-6
        return Ranges(
            edges=(float(different[0]) - near, float(different[0]) + near), missing=missing
        )
    share = max(counts.sum() / RANGES, LEAST_IN_RANGE)
    edges, held, left = list[float](), 0, int(counts.sum())
    before, least_width = (
        (float(different[0]), float(np.ptp(different)) * NARROWEST)
        if len(different)
        else (0.0, 0.0)
    )
    for low, high, count in zip(
        different.tolist(), different[1:].tolist(), counts.tolist(), strict=False
    ):
        held += count
        edge = between(low, high)
        if held >= share and left - held >= LEAST_IN_RANGE and edge - before >= least_width:
            edges.append(edge)
            before = edge
            left, held = left - held, 0
    if not edges and len(different) > 1:
        middle = len(different) // 2
        edges = [between(*different[middle - 1 : middle + 1].tolist())]
    return Ranges(edges=tuple(edges), missing=missing)


def split_dates(values: Values, unit_s: Literal[1, 86_400], *, missing: bool = False) -> Dates:
    """Split whole days or seconds as `split_numbers` does; each edge is a whole one too."""
    edges = map(ceil, split_numbers(values).edges)
    return Dates(edges=tuple(edges), missing=missing, unit_s=unit_s)


def between(low: float, high: float) -> float:
    """A number above `low` and not above `high`, of as few digits as that needs."""
    middle = low + (high - low) / 2
    for digits in range(1, 17):
        short = float(f"{middle:.{digits}g}")
        if low + (high - low) / 4 <= short <= high - (high - low) / 4:
            return short
    return high


def split_words(
    values: Values, listed: Collection[str], *, unseen: bool = False, missing: bool = False
) -> Words:
    """A bin for each word of the list, or for the most frequent ones where it is long.

    `values` are words of the list, `UNSEEN`, or None.
    """
    if len(listed) <= MOST_WORDS:
        return Words(words=tuple(listed), unseen=unseen, missing=missing)
    counts = Counter(value for value in values if value is not None and value != UNSEEN)
    order = {
        word: place for place, word in enumerate(listed) if place < MOST_WORDS or word in counts
    }
    top = set(sorted(order, key=lambda word: (-counts[word], order[word]))[:MOST_WORDS])
    return Words(
        words=tuple(word for word in order if word in top),
        other=True,
        unseen=unseen,
        missing=missing,
    )
