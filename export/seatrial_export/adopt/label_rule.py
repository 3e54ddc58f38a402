"""The rule by which a label follows from its scores: the first class with the highest score.

A classifier that decides by anything else is refused.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seatrial_contracts.errors import GateError
from seatrial_contracts.kinds.kind import Array
from seatrial_export.adopt.parts import last_of
from seatrial_export.adopt.promised import Promised
from seatrial_export.gate.answered import LABELS

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
        raise GateError(LABELS, cause, CALIBRATE)
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
        raise GateError(LABELS, cause, CLASS_ITSELF)


class FileLabel(NamedTuple):
    """What an output of a file says of one row beside its scores; it may be a label."""

    said: str
    scores: Array
    """Of the contract's field, shape `(classes,)`."""
    field: Promised

    def check(self, where: str) -> None:
        """Raise `GateError` where the label is not that of the scores, at the row `where`.

        A value that is no word of the classes is no label. Rows that tie are left aside.
        """
        assert self.field.classes, "matched with an output of scores"
        classes = self.field.classes
        ours = classes[int(self.scores.argmax())]
        if self.said in classes and self.said != ours and not ties(self.scores[None])[0]:
            cause = (
                f"{where}: the file's own label is {self.said}, and the highest of its scores, "
                f"output '{self.field.name}', is that of {ours}"
            )
            raise GateError(LABELS, cause, CLASS_ITSELF)


def check_scores(field: Promised, port: str, platt: Set[str]) -> None:
    """Raise `GateError` for scores by Platt scaling, of which the file's label does not follow."""
    if field.classes and port in platt:
        cause = (
            f"output '{field.name}' has the scores of a support vector machine by Platt scaling, "
            "whose label follows from votes, and which say otherwise for some rows"
        )
        raise GateError(LABELS, cause, f"{CLASS_ITSELF}; or {CALIBRATE}")


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
        raise GateError(LABELS, cause, CLASS_ITSELF)
