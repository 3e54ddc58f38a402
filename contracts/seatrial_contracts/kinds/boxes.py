"""Boxes in pixels: their forms, and which boxes of two answers belong together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np

from seatrial_contracts.kinds.kind import Array
from seatrial_contracts.kinds.notes import ImageNote

BoxForm = Literal["xyxy", "cxcywh", "xywh"]
LIKE = 0.5
"""Two boxes of one class may be one box from this overlap (intersection over union) on.

It is the lowest of COCO's thresholds (cocodataset.org, detection evaluation).
"""


def corners(boxes: Array, form: BoxForm) -> Array:
    """Boxes `(..., 4)` of this form as left, top, right and bottom, float64."""
    boxes = np.asarray(boxes, np.float64)
    if form == "xyxy":
        return boxes
    place, size = boxes[..., :2], boxes[..., 2:]
    first = place - size / 2 if form == "cxcywh" else place
    return np.concatenate([first, first + size], -1)


def to_client(boxes: Array, note: ImageNote, *, relative: bool) -> Array:
    """Corners `(boxes, 4)` in the graph's picture as corners in the client's, within its edges."""
    if relative:
        boxes = boxes * [note.made_width, note.made_height, note.made_width, note.made_height]
    x, y = note.to_client(boxes[:, 0::2], boxes[:, 1::2])
    return np.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], 1)


def overlaps(some: Array, others: Array) -> Array:
    """Intersection over union of corners `(n, 4)` and `(m, 4)`: `(n, m)`, NaN of empty boxes."""
    least = np.maximum(some[:, None, :2], others[None, :, :2])
    most = np.minimum(some[:, None, 2:], others[None, :, 2:])
    shared = (most - least).clip(0).prod(2)
    areas = [(each[:, 2:] - each[:, :2]).prod(1) for each in (some, others)]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(shared / (areas[0][:, None] + areas[1] - shared))


def pairs(
    want: tuple[Array, Array, Array], got: tuple[Array, Array, Array]
) -> Iterator[tuple[int, int]]:
    """Which boxes of two answers belong together: places in `want` and `got`, each once.

    Either is boxes `(n, 4)`, scores and classes. Of one class, the pair that overlaps most is taken
    first, and of equal overlaps the one whose scores are nearest.
    """
    boxes, scores, classes = want
    others, other_scores, other_classes = got
    overlap = overlaps(boxes.astype(np.float64), others.astype(np.float64))
    apart = np.abs(scores[:, None].astype(np.float64) - other_scores)
    mine, theirs = np.nonzero((overlap >= LIKE) & (classes[:, None] == other_classes))
    order = np.lexsort((apart[mine, theirs], -overlap[mine, theirs]))
    free, unmet = np.ones(len(boxes), bool), np.ones(len(others), bool)
    for place, other in zip(mine[order].tolist(), theirs[order].tolist(), strict=True):
        if free[place] and unmet[other]:
            free[place] = unmet[other] = False
            yield place, other
