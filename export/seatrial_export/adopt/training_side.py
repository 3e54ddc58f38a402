"""The answers of the training side of an adopted model.

A user's function gives them, and they are brought into the contract's form.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seatrial_contracts.contract import Contract
from seatrial_contracts.element_types import DTYPES
from seatrial_contracts.errors import DeclarationError, GateError
from seatrial_contracts.kinds.kind import Array
from seatrial_export.adopt.estimator import SupportsFit, is_estimator
from seatrial_export.user_file import UserFiles, call

WHERE = "the reference's answer"
TrainingSide = Callable[[list[dict[str, Any]]], Any]
"""Validated rows to answers.

Answers are an array with the rows first (or a list, one entry a row), a tuple of them in the order
of the answer's fields, or a mapping by their names.
"""


def reference_at(files: UserFiles, target: str) -> TrainingSide | SupportsFit:
    """Load the function or the fitted estimator at `file.py:name`.

    Raises `DeclarationError`, and so does the function for errors of the user's code.
    """
    want = "a function from a list of rows to arrays, or a fitted scikit-learn estimator"
    function = files.value(target, "reference", want)
    if is_estimator(function) and not isinstance(function, type):
        return function
    if not callable(function):
        raise DeclarationError(
            f"reference '{target}'", f"a value of type {type(function).__name__}", want
        )
    return lambda rows: call(function, Path(target.rpartition(":")[0]), "reference", rows)


def split(contract: Contract, answer: Any, rows: int) -> list[dict[str, Array]]:
    """Split answers to `rows` rows, as a reference function gives them, by row.

    Returns one mapping for each row. Raises `DeclarationError` and `GateError`.
    """
    names = [tensor.name for tensor in contract.answer_tensors]
    values = answer if isinstance(answer, (tuple, Mapping)) else (answer,)
    if len(values) != len(names) or (isinstance(values, Mapping) and set(values) != set(names)):
        got = (
            f"a mapping of {', '.join(map(str, values))}"
            if isinstance(values, Mapping)
            else f"{len(values)} values"
        )
        raise DeclarationError(
            WHERE, got[:200], f"arrays with the rows first, for {', '.join(names)}"
        )
    named = values if isinstance(values, Mapping) else dict(zip(names, values, strict=True))
    columns = {
        tensor.name: _column(tensor.name, named[tensor.name], DTYPES[tensor.datatype], rows)
        for tensor in contract.answer_tensors
    }
    answers = [{name: column[place] for name, column in columns.items()} for place in range(rows)]
    check_answers(contract, answers)
    return answers


def _column(name: str, value: Any, dtype: str, rows: int) -> list[Array]:
    """Split one output by row.

    The output is an array with the rows first, or a list, whose rows may differ in shape.
    """
    where = f"{WHERE}, output '{name}'"
    try:
        column = [
            np.asarray(item)
            for item in (value if isinstance(value, list) else np.atleast_1d(np.asarray(value)))
        ]
    except ValueError:
        raise DeclarationError(where, "lists of unlike length", "an array for each row") from None
    if len(column) != rows:
        raise DeclarationError(where, f"answers to {len(column)} rows", f"one for each of {rows}")
    odd = [
        array.dtype
        for array in column
        if array.dtype.kind not in "fiub" or not np.can_cast(array.dtype, dtype, "same_kind")
    ]
    if odd:
        raise DeclarationError(where, f"elements of type {odd[0].name}", dtype)
    return [array.astype(dtype) for array in column]


def fits_shape(got: tuple[int, ...], want: tuple[int | None, ...]) -> bool:
    """Are these sizes the wanted ones, where None is any?"""
    return len(got) == len(want) and all(
        size in (None, have) for size, have in zip(want, got, strict=True)
    )


def shown(shape: tuple[int | None, ...]) -> str:
    """A shape as messages hold it."""
    sizes = ", ".join("any" if size is None else str(size) for size in shape)
    return f"({sizes}{',' if len(shape) == 1 else ''})"


def check_answers(contract: Contract, answers: Sequence[Mapping[str, Array]]) -> None:
    """Raise `GateError` for the first answer that no client may get.

    Such an answer holds NaN or an infinity, or has another shape than promised.
    """
    for place, answer in enumerate(answers):
        for tensor in contract.answer_tensors:
            array, where = answer[tensor.name], f"golden row {place}, output '{tensor.name}'"
            if not fits_shape(array.shape, tensor.shape):
                cause = f"{where}: got shape {shown(array.shape)}, want {shown(tensor.shape)}"
                raise GateError("answers", cause, "declare the output as the model answers it")
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                mend = (
                    "take the row out of the golden set, or let the contract refuse such rows: "
                    "bounds, or no `| None`"
                )
                raise GateError(
                    "answers", f"{where}: got NaN or an infinity, want finite numbers", mend
                )
