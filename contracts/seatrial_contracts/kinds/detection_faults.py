"""Detections that nobody may be given: no boxes, no points, or none of the picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from seatrial_contracts.kinds.boxes import corners
from seatrial_contracts.kinds.image import Image
from seatrial_contracts.kinds.kind import Array, Kind
from seatrial_contracts.kinds.output_kind import Arrays

if TYPE_CHECKING:
    from seatrial_contracts.kinds.detections import Detections

MOST_DETECTIONS = 2**16
OVERHANG = 1.0
"""How far a box may reach beyond the graph's picture, in sides of it.

Detectors guess how a cut thing goes on: DETR's boxes reach up to half a side beyond.
"""


def faults_of(kind: Detections, arrays: Arrays, about: Kind | None) -> Mapping[int, str]:
    """Rows of a batch whose answer nobody may be given, each with what the model answered."""
    if len(arrays[0][0]) > MOST_DETECTIONS:
        cause = f"more than {MOST_DETECTIONS} boxes"
        return dict.fromkeys(range(len(arrays[0])), cause)
    scores, classes = kind.scored(arrays)
    shown = scores > kind.threshold
    with np.errstate(invalid="ignore"):  # other rows may be infinite, which is a fault of its own
        box = corners(arrays[0], kind.boxes)
    crossed, outside = (box[..., 2:] < box[..., :2]).any(-1), _outside(kind, box, about)
    if kind.multi_label:
        crossed, outside = (np.repeat(each, len(kind.classes), -1) for each in (crossed, outside))
    causes = (
        ((arrays[1] < 0) | (arrays[1] > 1), "a score that is not from 0 to 1"),
        (
            shown & ((classes < 0) | (classes >= len(kind.classes))),
            f"a class that is not from 0 to {len(kind.classes) - 1}",
        ),
        (shown & crossed, "a box that ends before it begins"),
        (shown & outside, "a box that reaches further beyond its picture than that is large"),
        *_point_faults(kind, arrays, shown, about),
    )
    found: dict[int, str] = {}
    for bad, what in causes:
        for row in np.flatnonzero(bad.reshape(len(bad), -1).any(1)).tolist():
            found.setdefault(row, what)
    return found


def _point_faults(
    kind: Detections, arrays: Arrays, shown: Array, about: Kind | None
) -> Iterator[tuple[Array, str]]:
    if not kind.keypoints:
        return
    points = arrays[-1]
    far = _outside(kind, np.tile(points[..., :2], 2), about).any(-1)
    if kind.multi_label:
        far = np.repeat(far, len(kind.classes), -1)
    what = "a keypoint that lies further beyond its picture than that is large"
    yield shown & far, what
    if kind.keypoint_scores:
        scores = points[..., 2]
        yield (scores < 0) | (scores > 1), "a keypoint's score that is not from 0 to 1"


def _outside(kind: Detections, box: Array, about: Kind | None) -> Array:
    """Which corners `(..., 4)` lie too far beyond the graph's picture, where its size is known.

    A picture of open size is known to the answer alone, which ends boxes at its edges.
    """
    if not kind.relative:
        if not isinstance(about, Image) or about.made_px is None:
            return np.zeros(box.shape[:-1], bool)
        height, width = about.made_px
        box = box / [width, height, width, height]
    return np.asarray(((box < -OVERHANG) | (box > 1 + OVERHANG)).any(-1))
