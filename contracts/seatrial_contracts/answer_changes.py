"""How far answers moved between two versions, on the same raw rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from seatrial_contracts.contract import Contract
from seatrial_contracts.kinds.kind import Array

Answered = Mapping[str, Array] | str
"""The numbers of one row by output, without the batch; or the code that it was refused with."""


@dataclass(frozen=True)
class Flip:
    """A row whose label, or labels, are others now."""

    row: int
    output: str
    was: str
    is_: str


@dataclass(frozen=True)
class Moved:
    """The moves of the answers from one version to the next.

    `compared` counts the rows that both versions answer. The largest move stands with its place,
    and the rows that only one version takes are listed.
    """

    compared: int
    flips: tuple[Flip, ...] = ()
    largest: float = 0.0
    """|new - old|; inf where shapes differ or one of both is no number."""
    place: str = ""
    newly_refused: tuple[tuple[int, str], ...] = ()
    newly_taken: tuple[tuple[int, str], ...] = ()
    """Row and the code that it was refused with."""


def compare_answers(contract: Contract, old: Sequence[Answered], new: Sequence[Answered]) -> Moved:
    """Compare the answers of two versions, row by row.

    `old` and `new` hold one item for each row, in the same order. Outputs that both versions have
    are compared by the new `contract`.
    """
    both = [
        (row, was, is_)
        for row, (was, is_) in enumerate(zip(old, new, strict=True))
        if not isinstance(was, str) and not isinstance(is_, str)
    ]
    moves = [
        (move, f"row {row}, output '{name}'")
        for row, was, is_ in both
        for name, move in _moves(was, is_)
    ]
    largest, place = max(moves, default=(0.0, ""))
    pairs = list(enumerate(zip(old, new, strict=True)))
    return Moved(
        len(both),
        tuple(flip for row, was, is_ in both for flip in _flips(contract, row, was, is_)),
        largest,
        place if largest else "",
        tuple(
            (row, is_)
            for row, (was, is_) in pairs
            if isinstance(is_, str) and not isinstance(was, str)
        ),
        tuple(
            (row, was)
            for row, (was, is_) in pairs
            if isinstance(was, str) and not isinstance(is_, str)
        ),
    )


def _moves(was: Mapping[str, Array], is_: Mapping[str, Array]) -> Iterator[tuple[str, float]]:
    for name in was.keys() & is_.keys():
        a, b = np.asarray(was[name], np.float64), np.asarray(is_[name], np.float64)
        if a.shape != b.shape:
            yield name, float("inf")
            continue
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        with np.errstate(invalid="ignore"):
            moved = np.where(same, 0.0, np.abs(a - b))
        yield name, float(np.nan_to_num(moved, nan=np.inf).max(initial=0.0))


def _flips(
    contract: Contract, row: int, was: Mapping[str, Array], is_: Mapping[str, Array]
) -> Iterator[Flip]:
    for field in contract.outputs:
        kind, name = field.kind, field.name
        both = name in was and name in is_
        if kind.decides and both and was[name].shape == is_[name].shape:
            old, new = (kind.decision(answer[name]) for answer in (was, is_))
            if old != new:
                yield Flip(row, name, old, new)
