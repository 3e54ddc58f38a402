"""Mean average precision of boxes, as COCO has it (cocodataset.org, detection evaluation).

The rules are those of `COCOeval` in pycocotools with areas of all sizes and no crowds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from seatrial_contracts.compare import Array
from seatrial_contracts.kinds.boxes import overlaps

THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""Overlaps (intersection over union) from which a box is the true one."""
RECALLS = np.linspace(0.0, 1.0, 101)
"""Where precision is read off its curve."""


class Boxes(NamedTuple):
    """Boxes of one picture."""

    boxes: Array
    """Corners, `(n, 4)`."""
    scores: Array
    """`(n,)`; of true boxes they mean nothing."""
    classes: Array
    """Of any kind that compares, `(n,)`."""

    def of(self, which: object) -> Boxes:
        """Those of one class."""
        mine = self.classes == which
        return Boxes(self.boxes[mine], self.scores[mine], self.classes[mine])


def mean_average_precision(pictures: Sequence[tuple[Boxes, Boxes]]) -> float | None:
    """Mean over the classes that a truth holds, and over `THRESHOLDS`, of the average precision.

    `pictures` holds what was found and what is true, for each picture. None: no truth holds a box.
    """
    known = np.unique(np.concatenate([true.classes for _, true in pictures] or [np.zeros(0)]))
    if not len(known):
        return None
    each = [
        average_precisions([(found.of(which), true.of(which)) for found, true in pictures])
        for which in known
    ]
    return float(np.mean(each))


def average_precisions(pictures: Sequence[tuple[Boxes, Boxes]]) -> Array:
    """Average precision of one class at each of `THRESHOLDS`."""
    scores = np.concatenate([found.scores for found, _ in pictures])
    right = np.concatenate([hits(found, true) for found, true in pictures], axis=1)
    order = np.argsort(-scores, kind="stable")
    many = sum(len(true.boxes) for _, true in pictures)
    return np.array([average_precision(each[order], many) for each in right])


def average_precision(right: Array, many: int) -> float:
    """Mean precision at `RECALLS`, of boxes from the best one on.

    `right` is bool, `(n,)`, and `many` how many boxes are true. Beyond the last recall it is 0, and
    before that the best precision at this recall or a higher one.
    """
    hit = np.cumsum(right)
    precision = np.maximum.accumulate((hit / np.arange(1, len(hit) + 1))[::-1])[::-1]
    places = np.searchsorted(hit / many, RECALLS, side="left")
    return float(np.append(precision, 0.0)[places].mean())


def hits(found: Boxes, true: Boxes) -> Array:
    """Which boxes of one class in one picture are right: bool, `(thresholds, n)`.

    From the best score on, a box takes the true one that it overlaps most and that no other took.
    """
    right = np.zeros((len(THRESHOLDS), len(found.boxes)), bool)
    if not len(true.boxes):
        return right
    # COCO takes the last of equal overlaps.
    shared = np.nan_to_num(overlaps(found.boxes, true.boxes))[:, ::-1]
    taken = np.zeros((len(THRESHOLDS), len(true.boxes)), bool)
    every = np.arange(len(THRESHOLDS))
    for place in np.argsort(-found.scores, kind="stable").tolist():
        free = ~taken & (shared[place] >= np.minimum(THRESHOLDS, 1 - 1e-10)[:, None])
        best = np.where(free, shared[place], -1.0).argmax(1)
        right[:, place] = free[every, best]
        taken[every, best] |= free[every, best]
    return right
