"""Keypoints: named points of a thing, in pixels of the client's picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from seatrial_contracts.kinds.kind import Array, JsonSchema, closed_object
from seatrial_contracts.kinds.notes import ImageNote

WITH_SCORE = 3
"""Numbers of a point that has a score of its own."""


def placed(points: Array, note: ImageNote, *, relative: bool) -> Array:
    """Points `(things, keypoints, 2 or 3)` of the graph's picture in pixels of the client's.

    A point may lie beyond the picture, where a thing is cut off by its edge. Scores stay. float32.
    """
    made = np.array(points, np.float32)
    places = np.asarray(points[..., :2], np.float64)
    if relative:
        places = places * [note.made_width, note.made_height]
    places = (places - [note.left, note.top]) / [note.scale_x, note.scale_y]
    made[..., :2] = places
    return made


def points_json(points: Array, names: Sequence[str]) -> list[dict[str, Any]]:
    """The points of one thing, `(keypoints, 2 or 3)`, as JSON values, in the order of `names`."""
    keys = ("x", "y", "score")[: points.shape[1]]
    return [
        {"label": name, **dict(zip(keys, point, strict=True))}
        for name, point in zip(names, map(list, points), strict=True)
    ]


def points_of(value: Sequence[Any]) -> list[list[float]]:
    """The numbers of one thing's points, back from `points_json`."""
    return [[number for key, number in point.items() if key != "label"] for point in value]


def points_schema(names: Sequence[str], *, scored: bool) -> JsonSchema:
    """JSON Schema (2020-12) of `points_json`."""
    point: JsonSchema = {
        "label": {"type": "string", "enum": list(names)},
        "x": {"type": "number"},
        "y": {"type": "number"},
    }
    if scored:
        point["score"] = {"type": "number", "minimum": 0, "maximum": 1}
    many = {"minItems": len(names), "maxItems": len(names)}
    return {"type": "array", "items": closed_object(point), **many}
