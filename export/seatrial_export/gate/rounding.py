"""Is a difference no more than rounding?

An answer's own sensitivity decides: how far it moves where its inputs move by their last bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from seatrial_contracts.compare import Tolerance, compare_outputs, is_whole
from seatrial_export.gate.answered import NoAnswer, Numbers, ask_rows
from seatrial_export.gate.candidate import Candidate

ROUNDING = 16.0
"""An error is rounding up to so many times what the answer moves.

A sum of n products in another order errs by about sqrt(n) times that.
"""


def is_rounding(
    candidate: Candidate, row: Mapping[str, Any], want: Numbers, got: Numbers, tolerance: Tolerance
) -> bool:
    """Are the answers the same but for rounding, at a row where sums cancel?

    Whole numbers never round.
    """
    floats = {
        name: np.asarray(array, np.float64) for name, array in want.items() if not is_whole(array)
    }
    if any(
        not np.array_equal(got[name], array) for name, array in want.items() if name not in floats
    ):
        return False
    moved = {name: np.zeros(array.shape) for name, array in floats.items()}
    for beside in nudged_rows(candidate, row):
        answer = ask_rows(candidate.declared.contract, candidate.answer, [beside])[0]
        if isinstance(answer, NoAnswer) or any(
            answer[name].shape != array.shape for name, array in floats.items()
        ):
            return False
        moved = {
            name: np.maximum(most, np.abs(answer[name] - floats[name]))
            for name, most in moved.items()
        }
    nearer = {}
    for name, array in floats.items():
        error = got[name] - array
        nearer[name] = array + np.sign(error) * np.maximum(
            np.abs(error) - ROUNDING * moved[name], 0.0
        )
    return compare_outputs([floats], [nearer], tolerance).passed


def nudged_rows(candidate: Candidate, row: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The row with every number with a fraction moved by its last bit of float32, up and down.

    A number stays as it is where the contract does not take the moved one.
    """
    front = candidate.declared.front
    for towards in (np.inf, -np.inf):
        moved = dict(row)
        for name, value in row.items():
            beside = {**moved, name: nudged(value, towards)}
            moved = beside if front.refusal_code(beside) is None else moved
        yield moved


def nudged(value: Any, towards: float) -> Any:
    """The next float32 in that direction, of each number; all else stays."""
    if isinstance(value, list):
        return [nudged(inner, towards) for inner in value]
    return (
        float(np.nextafter(np.float32(value), np.float32(towards)))
        if isinstance(value, float)
        else value
    )
