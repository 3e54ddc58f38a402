"""The rule by which a label follows from its scores: the first class with the highest score.

A classifier that decides by anything else is refused.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from seatrial_contracts.errors import GateError
from seatrial_export.adopt.parts import last_of

STEP = "labels"
TIE = 2e-6
"""Scores nearer to each other than this tie.

It is two steps of the rounding of voters' scores, and more than float32 loses in a sum.
"""
CALIBRATE = (
    "wrap it: CalibratedClassifierCV(SVC(), ensemble=False), whose labels follow from its scores"
)
CLASS_ITSELF = (
    "let the answer be the scores, st.Tensor[np.float32, classes], and apply the threshold where "
    "they are used"
)


def check_rule(estimator: Any) -> None:
    """Raise `GateError` for a classifier whose own labels do not follow from its scores."""
    last = last_of(estimator)
    kind = type(last).__name__
    if kind in ("SVC", "NuSVC"):
        cause = (
            f"{kind}(probability=True) labels rows by its decision function, and its scores by "
            "Platt scaling say otherwise for some"
        )
        raise GateError(STEP, cause, CALIBRATE)
    threshold = (
        getattr(last, "best_threshold_", None) if kind == "TunedThresholdClassifierCV" else None
    )
    if kind == "FixedThresholdClassifier":
        threshold = 0.5 if last.threshold == "auto" else last.threshold
    if threshold is None:
        return
    by_scores = last.response_method != "decision_function" and hasattr(last, "predict_proba")
    if threshold != 0.5 or not by_scores:
        cause = f"{kind} labels rows by the threshold {threshold:.6g}, not by the highest score"
        raise GateError(STEP, cause, CLASS_ITSELF)


def ties(scores: NDArray[Any]) -> NDArray[np.bool_]:
    """The rows, of shape `(rows, classes)`, whose two highest scores tie."""
    ordered = np.sort(scores, 1)
    tied: NDArray[np.bool_] = ordered[:, -1] - ordered[:, -2] <= TIE
    return tied


def check_labels(classes: NDArray[Any], scores: NDArray[Any], labels: NDArray[Any]) -> None:
    """Raise `GateError` for the first row whose own label is not that of its scores.

    The own label is the estimator's; rows that tie are left aside.
    """
    ours = classes[scores.argmax(1)]
    for row in np.flatnonzero((ours != labels) & ~ties(scores)):
        cause = (
            f"row {row}: the estimator's predict says {labels[row]}, and the highest of its scores "
            f"is that of {ours[row]}"
        )
        raise GateError(STEP, cause, CLASS_ITSELF)
