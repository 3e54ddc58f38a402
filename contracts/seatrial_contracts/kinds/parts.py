"""Parts of texts that answers name: where they lie, and how two lists of them are matched."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, get_args, get_origin

import numpy as np

from seatrial_contracts.compare import Comparison, Tolerance, compare_arrays, mismatch
from seatrial_contracts.errors import ModelError
from seatrial_contracts.kinds.kind import Array, JsonSchema
from seatrial_contracts.kinds.notes import TextNote

PLACE = "in code points of the text (Python's characters, not UTF-16 units)"
Scored = Mapping[Hashable, float]
"""What tells a part from others, and its score."""


def is_object(annotation: Any) -> bool:
    """Is this the Python type of a JSON object?"""
    return annotation is dict or get_origin(annotation) is dict


def is_objects(annotation: Any) -> bool:
    """Is this the Python type of a list of them?"""
    return get_origin(annotation) is list and is_object(get_args(annotation)[0])


def check_tokens(values: Array, note: TextNote, what: str) -> None:
    """Raise `ModelError` where the model answered another number of tokens than the row has."""
    if len(values) != len(note.offsets):
        raise ModelError(
            "E_OUTPUT_CONTRACT",
            f"{what}: the model answered {len(values)} tokens of a text of {len(note.offsets)}",
        )


def trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """The same part of a text without white space at its ends."""
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    return start, end


def place_schemas() -> dict[str, JsonSchema]:
    """JSON Schema of `start` and `end`."""
    place = {"type": "integer", "minimum": 0}
    return {
        "start": {**place, "description": f"Where it begins, {PLACE}."},
        "end": {**place, "description": f"Behind its last character, {PLACE}."},
    }


def scored(scores: Array, *columns: Array) -> Scored:
    """Parts by these columns and by how many were the same before."""
    found: dict[Hashable, float] = {}
    for score, *part in zip(scores.tolist(), *(each.tolist() for each in columns), strict=True):
        same = 0
        while (*part, same) in found:
            same += 1
        found[(*part, same)] = score
    return found


def match_parts(
    want: Scored, got: Scored, tolerance: Tolerance, said: Sequence[str], least: float | None = None
) -> Comparison:
    """Compare parts that both have by their scores; one that only one of both has is a mismatch.

    With `least`, the lowest score of either list, a part is none where its score is as near to that
    as two scores may be to each other. `said` names the columns of a part, for messages.
    """
    for part in [*want, *got]:
        if part in want and part in got:
            continue
        score = want.get(part, got.get(part, 0.0))
        if least is not None and abs(score - least) <= tolerance.allowed(np.asarray(score), 1.0):
            continue
        side = "only wanted" if part in want else "not wanted"
        assert isinstance(part, tuple)
        names = " ".join(f"{word} {value}" for word, value in zip(said, part, strict=False))
        return mismatch(f"{names}: {side}")
    both = [part for part in want if part in got]
    return compare_arrays(
        np.array([want[part] for part in both]), np.array([got[part] for part in both]),
        tolerance, 1.0,
    )  # fmt: skip


def column_of(value: Sequence[Mapping[str, Any]], name: str, dtype: Any) -> Array:
    """One key of all parts, from their JSON."""
    return np.array([each[name] for each in value], dtype)
