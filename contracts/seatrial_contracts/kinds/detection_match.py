"""Which detections of two answers belong together, and how these compare."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from seatrial_contracts.compare import (
    Comparison,
    Tolerance,
    compare_arrays,
    largest,
    mismatch,
    worst_of,
)
from seatrial_contracts.kinds.boxes import corners, pairs
from seatrial_contracts.kinds.instance_masks import unlike_share
from seatrial_contracts.kinds.output_kind import Arrays

if TYPE_CHECKING:
    from seatrial_contracts.kinds.detections import Detections

Pairs = Sequence[tuple[int, int]]
"""Places of boxes that belong together, in either answer."""
MOST_ARRANGED = 1024
"""Boxes whose order is looked at: each is compared with each."""
SAME = 1e-3
"""Boxes in one order differ by less, as a share of the largest side."""


def arranged(kind: Detections, want: Arrays, got: Arrays) -> Arrays:
    """Boxes that belong together at one place: a graph may sort them, and ties move.

    What is unlike stays unlike. More than `MOST_ARRANGED` boxes stay as they are.
    """
    number = len(want[0])
    if any(a.shape != b.shape for a, b in zip(want, got, strict=True)) or (
        not 0 < number <= MOST_ARRANGED
        or np.abs(want[0] - got[0]).max() <= SAME * np.abs(want[0]).max()
    ):
        return got
    mine, theirs = (
        (
            corners(each[0], kind.boxes),
            each[1] if kind.class_ids else each[1].max(-1),
            each[2] if kind.class_ids else each[1].argmax(-1),
        )
        for each in (want, got)
    )
    order = np.full(number, -1)
    for place, other in pairs(mine, theirs):
        order[place] = other
    order[order < 0] = np.setdiff1d(np.arange(number), order)
    return [each[order] for each in got]


def match_detections(
    kind: Detections, want: Arrays, got: Arrays, tolerance: Tolerance
) -> Comparison:
    """Boxes of one class by their overlap, whatever their order.

    A box that one answer lacks is no mismatch if its score is as near to the threshold as two
    scores may be to each other; where an answer is full, to its lowest score. Of boxes that
    belong together, masks are compared by their overlap, and points by their places.
    """
    mine, theirs = (want[0], want[1], want[2]), (got[0], got[1], got[2])
    both = list(pairs(mine, theirs))
    places = [place for place, _ in both]
    others = [other for _, other in both]
    sides = ((mine, places, theirs, "only wanted"), (theirs, others, mine, "not wanted"))
    for (boxes, scores, classes), met, other, side in sides:
        edges = [kind.threshold]
        if len(other[1]) >= kind.max_detections:
            edges.append(float(other[1].min()))
        for place in np.setdiff1d(np.arange(len(boxes)), met).tolist():
            score = float(scores[place])
            allowed = tolerance.allowed(np.asarray(score), 1.0)
            if all(abs(score - edge) > allowed for edge in edges):
                thing = _named(kind, (boxes, scores, classes), place)
                return mismatch(f"{thing}, score {score:.6g}: {side}")
    return worst_of(
        [
            compare_arrays(mine[0][places], theirs[0][others], tolerance, largest(mine[0])),
            compare_arrays(mine[1][places], theirs[1][others], tolerance, 1.0),
            *(_match_masks(kind, want, got, both) if kind.masks is not None else ()),
            *(_match_points(kind, want, got, both, tolerance) if kind.keypoints else ()),
        ]
    )


def _match_masks(kind: Detections, want: Arrays, got: Arrays, both: Pairs) -> Iterator[Comparison]:
    for place, other in both:
        share = unlike_share(want[3][place], got[3][other], kind.mask_encoding)
        if share > kind.unlike:
            where = _named(kind, want, place)
            limit = f"want {1 - kind.unlike:g} at least"
            yield mismatch(f"the mask of {where}: overlap (IoU) {1 - share:.4g}, {limit}")
        else:
            yield Comparison(passed=True, rows=0, worst_error=share, allowed=kind.unlike)


def _match_points(
    kind: Detections,
    want: Arrays,
    got: Arrays,
    both: Sequence[tuple[int, int]],
    tolerance: Tolerance,
) -> Iterator[Comparison]:
    for place, other in both:
        mine, theirs = want[-1][place], got[-1][other]
        scale = max(largest(want[0]), largest(mine[:, :2]))
        found = compare_arrays(mine[:, :2], theirs[:, :2], tolerance, scale)
        if not found.passed:
            apart = np.hypot(*(mine[:, :2] - theirs[:, :2]).astype(np.float64).T)
            name = f"keypoint '{kind.keypoints[found.index[0]]}' of {_named(kind, want, place)}"
            allowed = f"allowed {found.allowed:.2g} on each axis"
            yield mismatch(f"{name}: {apart[found.index[0]]:.4g} pixels apart, {allowed}")
        yield found
        if kind.keypoint_scores:
            yield compare_arrays(mine[:, 2], theirs[:, 2], tolerance, 1.0)


def _named(kind: Detections, values: Arrays, place: int) -> str:
    """One thing of an answer, for messages."""
    box = values[0][place].round(1).tolist()
    return f"'{kind.classes[int(values[2][place])]}' at {box}"
