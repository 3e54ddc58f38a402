"""What the training side of an adopted model answers: a user's function, brought into the contract's form."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seatrial_contracts.contract import Contract
from seatrial_contracts.errors import DeclarationError, GateError
from seatrial_contracts.golden import numpy_dtype
from seatrial_contracts.kinds.kind import Array
from seatrial_export.user_file import UserFiles, call

TrainingSide = Callable[[list[dict[str, Any]]], Any]
"""Validated rows to answers: an array with the rows first, a tuple of them in the order of the answer's fields, or a mapping by their names."""


def reference_at(files: UserFiles, target: str) -> TrainingSide:
    """The function at `file.py:name`. Raises `DeclarationError`, and so does the function for what the user's code raises."""
    function = files.value(target, "reference", "a function from a list of rows to arrays")
    if not callable(function):
        raise DeclarationError(
            f"reference '{target}'",
            f"a value of type {type(function).__name__}",
            "a function from a list of rows to arrays",
        )
    return lambda rows: call(function, Path(target.rpartition(":")[0]), "reference", rows)


def split(contract: Contract, answer: Any, rows: int) -> list[dict[str, Array]]:
    """Answers to `rows` rows, as a reference function gives them, to one mapping for each row. Raises `DeclarationError`."""
    names = [field.name for field in contract.outputs]
    values = answer if isinstance(answer, (tuple, Mapping)) else (answer,)
    if isinstance(values, Mapping):
        fits = set(values) == set(names)
        named = dict(values)
    else:
        fits = len(values) == len(names)
        named = dict(zip(names, values, strict=False))
    if not fits:
        got = (
            f"a mapping with {', '.join(map(str, values))}" if isinstance(values, Mapping) else f"{len(values)} arrays"
        )
        raise DeclarationError(
            "the reference's answer", got[:200], f"arrays with the rows first, for {', '.join(names)}"
        )
    arrays = {
        field.name: _array(field.name, named[field.name], numpy_dtype(field.kind.datatype))
        for field in contract.outputs
    }
    for field in contract.outputs:
        shape, want = arrays[field.name].shape, (rows, *field.kind.shape)
        if not fits_shape(shape, want):
            raise DeclarationError(
                f"the reference's answer, output '{field.name}'",
                f"shape {shape} for {rows} rows",
                f"shape {shown(want)}",
            )
    answers = [{name: array[place] for name, array in arrays.items()} for place in range(rows)]
    check_answers(contract, answers)
    return answers


def _array(name: str, value: Any, dtype: str) -> Array:
    where = f"the reference's answer, output '{name}'"
    try:
        array = np.asarray(value)
    except ValueError:
        raise DeclarationError(where, "rows of unlike shape", "one array with the rows first") from None
    if array.dtype.kind not in "fiub" or not np.can_cast(array.dtype, dtype, "same_kind"):
        raise DeclarationError(where, f"elements of type {array.dtype.name}", dtype)
    return array.astype(dtype)


def fits_shape(got: tuple[int, ...], want: tuple[int | None, ...]) -> bool:
    """Are these sizes the wanted ones, where None is any?"""
    return len(got) == len(want) and all(size in (None, have) for size, have in zip(want, got, strict=True))


def shown(shape: tuple[int | None, ...]) -> str:
    """A shape as messages hold it."""
    return f"({', '.join('any' if size is None else str(size) for size in shape)}{',' if len(shape) == 1 else ''})"


def check_answers(contract: Contract, answers: Sequence[Mapping[str, Array]]) -> None:
    """Raise `GateError` for the first answer that no client may get: NaN, an infinity, another shape than promised."""
    for place, answer in enumerate(answers):
        for field in contract.outputs:
            array, where = answer[field.name], f"golden row {place}, output '{field.name}'"
            if not fits_shape(array.shape, field.kind.shape):
                cause = f"{where}: got shape {shown(array.shape)}, want {shown(field.kind.shape)}"
                raise GateError("answers", cause, "declare the output as the model answers it")
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                mend = (
                    "take the row out of the golden set, or let the contract refuse such rows: bounds, or no `| None`"
                )
                raise GateError("answers", f"{where}: got NaN or an infinity, want finite numbers", mend)
