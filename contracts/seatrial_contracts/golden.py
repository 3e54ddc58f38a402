"""The golden set: raw rows as a client would send them, what the training side answered, what is true, and rows that must be refused."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from seatrial_contracts.canonical import canonical_json
from seatrial_contracts.contract import Contract
from seatrial_contracts.errors import BundleError
from seatrial_contracts.kinds.image import base64_text
from seatrial_contracts.kinds.kind import V2_DATATYPES, Array
from seatrial_contracts.row import Row

GOLDEN, HELD_OUT = "golden", "heldout"
"""Folders of a bundle: the rows that every gate replays, and rows not trained on that only the trial asks too."""
ROWS, ANSWERS, REFUSALS, TRUTH, SLICES = "rows.jsonl", "answers.jsonl", "refusals.jsonl", "truth.jsonl", "slices.jsonl"


@dataclass(frozen=True)
class Refused:
    """A raw row that the contract must refuse, and the code it must refuse it with."""

    row: Any
    code: str


@dataclass(frozen=True)
class Golden:
    """Rows and answers in one order; answers are the model's numbers without the batch, by output name.

    `truth` and `slices` hold one entry a row: what is true of it, by output name, or None; the names of its slices.
    """

    rows: tuple[Mapping[str, Any], ...]
    answers: tuple[Mapping[str, Array], ...]
    refusals: tuple[Refused, ...] = ()
    truth: tuple[Mapping[str, Any] | None, ...] = ()
    slices: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "truth", self.truth or (None,) * len(self.rows))
        object.__setattr__(self, "slices", self.slices or ((),) * len(self.rows))

    def at(self, places: Sequence[int]) -> Golden:
        """The rows at these places, in this order, without the refusals."""
        return Golden(
            tuple(self.rows[place] for place in places), tuple(self.answers[place] for place in places), (),
            tuple(self.truth[place] for place in places), tuple(self.slices[place] for place in places),
        )  # fmt: skip

    def to_files(self, folder: str = GOLDEN) -> dict[str, bytes]:
        """One JSON line for each row, as the bundle holds them; truth, slices and refusals where there are any."""
        answers = [{name: array.tolist() for name, array in answer.items()} for answer in self.answers]
        lines: dict[str, Sequence[Any]] = {ROWS: self.rows, ANSWERS: answers}
        if self.refusals:
            lines[REFUSALS] = [{"row": refused.row, "code": refused.code} for refused in self.refusals]
        if any(true is not None for true in self.truth):
            lines[TRUTH] = self.truth
        if any(self.slices):
            lines[SLICES] = self.slices
        return {f"{folder}/{name}": b"".join(map(canonical_json, values)) for name, values in lines.items()}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes], contract: Contract, folder: str = GOLDEN) -> Self:
        """The set that `to_files` wrote. Raises `BundleError` where the files do not hold one line for each row."""
        rows, answers, refusals, truth, slices = (
            [json.loads(line) for line in files.get(f"{folder}/{name}", b"").splitlines()]
            for name in (ROWS, ANSWERS, REFUSALS, TRUTH, SLICES)
        )
        odd = [len(lines) for lines in (answers, truth or answers, slices or answers) if len(lines) != len(rows)]
        if not rows or odd:
            raise BundleError(
                "E_BUNDLE_GOLDEN",
                "golden set" if folder == GOLDEN else "held-out set",
                f"{len(rows)} rows and {(odd or [0])[0]} answers, truths or slices",
                "as many of each as rows, at least one",
            )
        dtypes = {field.name: numpy_dtype(field.kind.datatype) for field in contract.outputs}
        arrays = tuple({name: np.array(values, dtypes[name]) for name, values in answer.items()} for answer in answers)
        refused = tuple(Refused(line["row"], line["code"]) for line in refusals)
        return cls(tuple(rows), arrays, refused, tuple(truth), tuple(map(tuple, slices)))


def numpy_dtype(datatype: str) -> str:
    """Numpy's name of a V2 datatype of numbers."""
    return next(name for name, v2 in V2_DATATYPES.items() if v2 == datatype)


def wire_row(row: Any) -> Any:
    """A row as JSON carries it: files in base64, arrays as lists, a `Row` as an object."""
    if isinstance(row, Row):
        row = dict(row.__dict__)
    if not isinstance(row, Mapping):
        return row
    return {name: wire_value(value) for name, value in row.items()}


def wire_value(value: Any) -> Any:
    """One value as JSON carries it."""
    if isinstance(value, bytes):
        return base64_text(value)
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value
