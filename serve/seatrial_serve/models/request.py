"""A validated request: what it asks, and on which terms it is answered."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from seatrial_contracts.kinds.kind import Column
from seatrial_serve.process.drain import Drain

if TYPE_CHECKING:
    from seatrial_serve.models.request_record import RequestRecord


@dataclass(slots=True)
class Terms:
    """The terms on which a request is answered.

    They are until when (a time of `now_s`), for whom, and how urgently (1 is the highest, 0 the
    usual).
    """

    deadline_s: float = math.inf
    flow: Hashable = None
    priority: int = 0
    record: RequestRecord | None = None
    """What is told of its way, where somebody wants to know."""
    partial: bool = False
    """Are rows that cannot be answered errors of their own, beside the answers of the others?"""
    drain: Drain | None = None
    """The count of requests that were begun and not answered, this one among them.

    None: nobody counts them.
    """

    @property
    def alone(self) -> bool:
        """Is there surely nobody to share a batch with?"""
        return self.drain is not None and self.drain.in_flight == 1


Given = Sequence[Mapping[str, Any]] | Mapping[str, Column]
"""What a request asks, validated: its rows, or its columns."""


def row_at(given: Given, place: int) -> Mapping[str, Any]:
    """One row of it."""
    if isinstance(given, Mapping):
        return {name: column[place] for name, column in given.items()}
    return given[place]


def rows_at(given: Given, places: Sequence[int]) -> Given:
    """Some of its rows, in the form it has."""
    if not isinstance(given, Mapping):
        return [given[place] for place in places]
    return {
        name: column[np.asarray(places, np.intp)]
        if isinstance(column, np.ndarray)
        else [column[place] for place in places]
        for name, column in given.items()
    }


def rows_of(given: Given) -> Sequence[Mapping[str, Any]]:
    """All of its rows."""
    if isinstance(given, Mapping):
        return [dict(zip(given, row, strict=True)) for row in zip(*given.values(), strict=True)]
    return given
