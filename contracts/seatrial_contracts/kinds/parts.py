"""Parts of texts that answers name: where they lie, and how two lists of them are matched."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, get_args, get_origin

import numpy as np

from seatrial_contracts.compare import Comparison, Tolerance
from seatrial_contracts.errors import ModelError
from seatrial_contracts.kinds.kind import Array, JsonSchema
from seatrial_contracts.kinds.matching import Scored, match_scored
from seatrial_contracts.kinds.notes import TextNote

PLACE = "in code points of the text (Python's characters, not UTF-16 units)"


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
    return match_scored(
        want,
        got,
        tolerance,
        lambda part, _score: " ".join(
            f"{word} {value}" for word, value in zip(said, part, strict=False)
        ),
        lambda _part, _there: least,
    )


def column_of(value: Sequence[Mapping[str, Any]], name: str, dtype: Any) -> Array:
    """One key of all parts, from their JSON."""
    return np.array([each[name] for each in value], dtype)
