"""The golden set: raw rows in the form of a client's request, with their answers.

The set holds the training side's answers, the truth where it is known, and rows that must be
refused.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from functools import cached_property
from typing import Annotated, Any, Self

import numpy as np
from pydantic import ConfigDict, Field, TypeAdapter
from typing_extensions import TypedDict

from seatrial_contracts.bundle_files import reading
from seatrial_contracts.canonical import canonical_json, read_json
from seatrial_contracts.contract import Contract
from seatrial_contracts.element_types import DTYPES
from seatrial_contracts.errors import BundleError
from seatrial_contracts.host_stage import HostStage
from seatrial_contracts.kinds.file_kind import base64_text
from seatrial_contracts.kinds.kind import MAX_SIDE, Array
from seatrial_contracts.kinds.temporal import wire_text
from seatrial_contracts.kinds.tensor_size import with_null
from seatrial_contracts.row import Row, plain_row, plain_value
from seatrial_contracts.sample import Sample, check_samples

GOLDEN, HELD_OUT = "golden", "heldout"
"""Folders of a bundle.

`GOLDEN` holds the rows that every gate replays. `HELD_OUT` holds rows not trained on, which only
the trial replays too.
"""
ROWS = "rows.jsonl"
ANSWERS = "answers.jsonl"
REFUSALS = "refusals.jsonl"
TRUTH = "truth.jsonl"
SLICES = "slices.jsonl"


Truth = Annotated[float, Field(allow_inf_nan=False)] | Annotated[int, Field(ge=-(2**63), lt=2**64)]


class RefusedLine(TypedDict, total=True):
    """A line of `refusals.jsonl`."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]

    row: Any
    code: Annotated[str, Field(pattern=r"^E_[A-Z0-9_]{1,64}$")]


MOST_LISTED = 1024
"""Numbers of an answer that are written one by one, for people and for diffs between versions."""


class PackedArray(TypedDict, total=True):
    """An answer of many numbers, or of none."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]

    shape: Annotated[list[Annotated[int, Field(ge=0, le=MAX_SIDE)]], Field(max_length=16)]
    base64: str


PACKED: TypeAdapter[PackedArray] = TypeAdapter(PackedArray)
FORMS: dict[str, TypeAdapter[Any]] = {
    ROWS: TypeAdapter(dict[str, Any]),
    ANSWERS: TypeAdapter(dict[str, Any]),
    REFUSALS: TypeAdapter(RefusedLine),
    TRUTH: TypeAdapter(dict[str, str | Truth | list[str] | list[dict[str, Any]]] | None),
    SLICES: TypeAdapter(list[str]),
}
WANTED = {
    ROWS: "an object: a raw row",
    ANSWERS: "the numbers of each output of the contract, finite and in its shape",
    REFUSALS: 'an object: {"row": ..., "code": "E_..."}',
    TRUTH: "null, or an object: output -> class, number, or a list",
    SLICES: "a list of names",
}
"""File of a set -> what each of its lines is."""


@dataclass(frozen=True)
class Refused:
    """A raw row that the contract must refuse, and the code it must refuse it with."""

    row: Any
    code: str


@dataclass(frozen=True)
class Golden:
    """Rows and answers in one order.

    Answers are the model's numbers without the batch, by output name. `truth` and `slices` hold one
    entry a row: the true values by output name, or None; and the names of the row's slices.
    """

    rows: tuple[Mapping[str, Any], ...]
    answers: tuple[Mapping[str, Array], ...]
    refusals: tuple[Refused, ...] = ()
    truth: tuple[Mapping[str, Any] | None, ...] = ()
    slices: tuple[tuple[str, ...], ...] = ()
    make_front: Callable[[], HostStage] | None = field(default=None, compare=False, repr=False)
    """Makes the host stage that the rows go through; None where no notes are needed."""

    @cached_property
    def notes(self) -> tuple[tuple[Any, ...], ...]:
        """What the host stage notes of each row whose truth has a place in it; else empty."""
        placed = [has_place(true) for true in self.truth]
        if self.make_front is None or not any(placed):
            return ((),) * len(self.rows)
        front = self.make_front()
        return tuple(
            front.notes(row) if has_one else ()
            for row, has_one in zip(self.rows, placed, strict=True)
        )

    def __post_init__(self) -> None:
        object.__setattr__(self, "truth", self.truth or (None,) * len(self.rows))
        object.__setattr__(self, "slices", self.slices or ((),) * len(self.rows))

    def at(self, places: Sequence[int]) -> Golden:
        """The rows at these places, in this order, without the refusals."""
        return Golden(
            tuple(self.rows[place] for place in places),
            tuple(self.answers[place] for place in places),
            (),
            tuple(self.truth[place] for place in places),
            tuple(self.slices[place] for place in places),
            self.make_front,
        )

    def only(self, names: Collection[str]) -> Golden:
        """The set with these tensors of its answers alone."""
        answers = [
            {name: array for name, array in answer.items() if name in names}
            for answer in self.answers
        ]
        return replace(self, answers=tuple(answers))

    def to_files(self, folder: str = GOLDEN) -> dict[str, bytes]:
        """Write one JSON line for each row, as the bundle holds them.

        Truth, slices and refusals are written where there are any.
        """
        answers = [
            {name: _written(array) for name, array in answer.items()} for answer in self.answers
        ]
        lines: dict[str, Sequence[Any]] = {ROWS: self.rows, ANSWERS: answers}
        if self.refusals:
            lines[REFUSALS] = [
                {"row": refused.row, "code": refused.code} for refused in self.refusals
            ]
        if any(true is not None for true in self.truth):
            lines[TRUTH] = self.truth
        if any(self.slices):
            lines[SLICES] = self.slices
        return {
            f"{folder}/{name}": b"".join(map(canonical_json, values))
            for name, values in lines.items()
        }

    @classmethod
    def from_files(
        cls,
        files: Mapping[str, bytes],
        contract: Contract,
        folder: str = GOLDEN,
        make_front: Callable[[], HostStage] | None = None,
    ) -> Self:
        """Read the set that `to_files` wrote.

        Raises `BundleError` where the files do not hold one line for each row that fits the
        contract.
        """
        lines = _read_lines(files, folder)
        rows, answers = lines[ROWS], lines[ANSWERS]
        truth, slices = (lines[name] or [None] * len(rows) for name in (TRUTH, SLICES))
        odd = [len(values) for values in (answers, truth, slices) if len(values) != len(rows)]
        if not rows or odd:
            raise BundleError(
                "E_BUNDLE_GOLDEN",
                "golden set" if folder == GOLDEN else "held-out set",
                f"{len(rows)} rows and {(odd or [0])[0]} answers, truths or slices",
                "as many of each as rows, at least one",
            )
        with reading(
            "E_BUNDLE_GOLDEN",
            f"{folder}/{TRUTH} or {SLICES}",
            "truths and slices of the contract's outputs",
        ):
            check_samples(
                list(map(Sample, rows, truth, (names or () for names in slices))), contract, folder
            )
        arrays = tuple(
            _read_answer(answer, contract, f"{folder}/{ANSWERS}, line {n}")
            for n, answer in enumerate(answers, 1)
        )
        refused = tuple(Refused(line["row"], line["code"]) for line in lines[REFUSALS])
        return cls(
            tuple(rows),
            arrays,
            refused,
            tuple(truth),
            tuple(tuple(names or ()) for names in slices),
            make_front,
        )


def has_place(truth: Mapping[str, Any] | None) -> bool:
    """Does a truth name things by their place in an input?"""
    return truth is not None and any(
        isinstance(value, (list, tuple)) and not any(isinstance(each, str) for each in value)
        for value in truth.values()
    )


def _read_lines(files: Mapping[str, bytes], folder: str) -> dict[str, list[Any]]:
    """The values of each file of a set, one a line, each of its file's own form."""
    found: dict[str, list[Any]] = {}
    for name, form in FORMS.items():
        found[name] = []
        for number, line in enumerate(files.get(f"{folder}/{name}", b"").splitlines(), 1):
            with reading("E_BUNDLE_GOLDEN", f"{folder}/{name}, line {number}", WANTED[name]):
                found[name].append(form.validate_python(read_json(line), strict=True))
    return found


def _read_answer(answer: Mapping[str, Any], contract: Contract, where: str) -> dict[str, Array]:
    """Read the numbers of one row by output.

    Raises `BundleError` where the numbers break the contract.
    """
    with reading("E_BUNDLE_GOLDEN", where, WANTED[ANSWERS]):
        arrays = {
            tensor.name: _read_array(answer[tensor.name], tensor.datatype)
            for tensor in contract.answer_tensors
        }
        contract.check_outputs({name: array[None] for name, array in arrays.items()}, 1)
        if len(answer) != len(arrays):
            raise ValueError("an output that the contract does not have")
    return arrays


def _written(array: Array) -> Any:
    """An answer as JSON holds it: nested lists, or its shape and its bytes.

    The bytes are little-endian, in base64. They are written for an answer of many numbers or of
    none.
    """
    if 0 < array.size <= MOST_LISTED:
        return array.tolist()
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return {"shape": list(array.shape), "base64": base64_text(little.tobytes())}


def _read_array(values: Any, datatype: str) -> Array:
    """Numbers of one element type.

    Raises `ValueError` where some are of another type, or beyond its range: numpy would make them
    fit.
    """
    dtype = np.dtype(DTYPES[datatype])
    if isinstance(values, dict):
        written = PACKED.validate_python(values, strict=True)
        data = binascii.a2b_base64(written["base64"], strict_mode=True)
        packed = (
            np.frombuffer(data, dtype.newbyteorder("<")).astype(dtype).reshape(written["shape"])
        )
        if dtype.kind == "b" and np.frombuffer(data, np.uint8).max(initial=0) > 1:
            raise ValueError("bytes that are no booleans")
        return packed
    if dtype.kind == "f":
        fit = np.array(values).dtype.kind in "fiu"
    else:
        wanted = bool if dtype.kind == "b" else int
        fit = all(type(value) is wanted for value in np.array(values, object).flat)
    if not fit and np.size(values):
        raise ValueError("values of another type")
    with np.errstate(over="raise"):
        return np.array(values, dtype)


def wire_row(row: Any) -> Any:
    """A row as JSON carries it: files in base64, arrays as lists, a `Row` as an object."""
    if isinstance(row, Row):
        row = plain_row(row)
    if not isinstance(row, Mapping):
        return row
    return {name: wire_value(value) for name, value in row.items()}


def wire_value(value: Any) -> Any:
    """One value as JSON carries it."""
    value = plain_value(value)
    if isinstance(value, bytes):
        return base64_text(value)
    if isinstance(value, list):
        return [wire_value(each) for each in value]
    if isinstance(value, Mapping):
        return {name: wire_value(each) for name, each in value.items()}
    if isinstance(value, (date, timedelta)):
        return wire_text(value)
    if isinstance(value, np.ndarray) and value.dtype.kind == "f" and np.isnan(value).any():
        value = with_null(value)
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value
