"""The golden set: raw rows as a client would send them, what the training side answered, and rows that must be refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from seatrial_contracts.canonical import canonical_json
from seatrial_contracts.contract import Contract
from seatrial_contracts.errors import BundleError
from seatrial_contracts.kinds.image import base64_text
from seatrial_contracts.kinds.kind import V2_DATATYPES, Array
from seatrial_contracts.row import Row

ROWS, ANSWERS, REFUSALS = "golden/rows.jsonl", "golden/answers.jsonl", "golden/refusals.jsonl"


@dataclass(frozen=True)
class Refused:
    """A raw row that the contract must refuse, and the code it must refuse it with."""

    row: Any
    code: str


@dataclass(frozen=True)
class Golden:
    """Rows and answers in one order; answers are the model's numbers without the batch, by output name."""

    rows: tuple[Mapping[str, Any], ...]
    answers: tuple[Mapping[str, Array], ...]
    refusals: tuple[Refused, ...] = ()

    def to_files(self) -> dict[str, bytes]:
        """One JSON line for each row, as the bundle holds them."""
        answers = [{name: array.tolist() for name, array in answer.items()} for answer in self.answers]
        refusals = [{"row": refused.row, "code": refused.code} for refused in self.refusals]
        return {
            name: b"".join(map(canonical_json, lines))
            for name, lines in ((ROWS, self.rows), (ANSWERS, answers), (REFUSALS, refusals))
        }

    @classmethod
    def from_files(cls, files: Mapping[str, bytes], contract: Contract) -> Self:
        """The golden set that `to_files` wrote. Raises `BundleError` where rows and answers do not match."""
        rows, answers, refusals = (
            [json.loads(line) for line in files[name].splitlines()] for name in (ROWS, ANSWERS, REFUSALS)
        )
        if not rows or len(rows) != len(answers):
            raise BundleError(
                "E_BUNDLE_GOLDEN",
                "golden set",
                f"{len(rows)} rows and {len(answers)} answers",
                "as many answers as rows, at least one",
            )
        dtypes = {field.name: numpy_dtype(field.kind.datatype) for field in contract.outputs}
        arrays = tuple({name: np.array(values, dtypes[name]) for name, values in answer.items()} for answer in answers)
        return cls(tuple(rows), arrays, tuple(Refused(line["row"], line["code"]) for line in refusals))


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
