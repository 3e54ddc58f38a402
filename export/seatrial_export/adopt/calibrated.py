"""CalibratedClassifierCV in a graph, around whatever scores: boosters and pipelines too.

skl2onnx 1.20 takes neither, and writes isotonic calibration as steps where it is straight between.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from seatrial_contracts.errors import GateError
from seatrial_export.adopt.booster_graph import BoostedTrees
from seatrial_export.adopt.parts import last_of
from seatrial_export.adopt.written_steps import Writer, WrittenStep

STEP = "CalibratedClassifierCV"
RAW = "raw_scores"


class Calibrated(WrittenStep):
    """The mean of what each calibrated member says."""

    def __init__(self, classifier: Any, dtype: str) -> None:
        self.members, self.dtype = classifier.calibrated_classifiers_, dtype
        self.width: int = len(classifier.classes_)
        for member in self.members:
            last = last_of(member.estimator)
            if isinstance(last, BoostedTrees) and last.has_raw:
                last.decide()
            if member.method not in CALIBRATORS:
                raise GateError(
                    STEP, f"method='{member.method}'", f"one of {', '.join(CALIBRATORS)}"
                )
            if len(member.calibrators) != (1 if self.width == 2 else self.width):
                raise GateError(
                    STEP, "a member that has not seen every class", "fewer folds: cv=3, stratified"
                )

    def write(self, writer: Writer) -> str:
        """See `WrittenStep.write`."""
        scores = [self._member(writer, member) for member in self.members]
        count = writer.constant(np.array(float(len(scores))))
        total = scores[0]
        for each in scores[1:]:
            total = writer.add("Add", total, each)
        return writer.add("Div", total, count)

    def _member(self, writer: Writer, member: Any) -> str:
        given = scores_of(writer, member.estimator)
        calibrate = CALIBRATORS[member.method]
        places = [-1] if self.width == 2 else range(self.width)
        columns = [
            calibrate(
                writer, writer.add("Gather", given, writer.constant(np.array([place])), axis=1), by
            )
            for place, by in zip(places, member.calibrators, strict=True)
        ]
        one = writer.constant(np.array(1.0))
        if self.width == 2:
            return writer.beside([writer.add("Sub", one, columns[0]), columns[0]])
        made = writer.beside(columns)
        total = writer.add("ReduceSum", made, writer.constant(np.array([1])), keepdims=1)
        none = writer.add("Equal", total, writer.constant(np.array(0.0)))
        shares = writer.add("Div", made, writer.add("Where", none, one, total))
        alike = writer.constant(np.full((1, self.width), 1 / self.width))
        return writer.add("Where", none, alike, shares)


def scores_of(writer: Writer, member: Any) -> str:
    """What a member is calibrated by: its decision function, else its probabilities."""
    if isinstance(member, WrittenStep):
        return member.write(writer)
    raw = hasattr(member, "decision_function")
    if raw and not writer.takes_option(last_of(member), RAW):
        raise GateError(
            STEP,
            f"around {type(last_of(member)).__name__}: the graph has no form for its "
            "decision_function",
            "calibrate LogisticRegression, LinearSVC, a forest, a booster or GradientBoosting",
        )
    return writer.floats(writer.answers(member, {RAW: True} if raw else {}))


def _sigmoid(writer: Writer, scores: str, by: Any) -> str:
    slope, shift = (writer.constant(np.array(-value)) for value in (by.a_, by.b_))
    return writer.add("Sigmoid", writer.add("Add", writer.add("Mul", scores, slope), shift))


def _isotonic(writer: Writer, scores: str, by: Any) -> str:
    """Straight lines between thresholds: how far each was walked, times how steep it is."""
    starts, values = (np.asarray(each, np.float64) for each in (by.X_thresholds_, by.y_thresholds_))
    if len(starts) == 1:
        none = writer.add("Mul", scores, writer.constant(np.array(0.0)))
        return writer.add("Add", none, writer.constant(values[0]))
    lengths = np.diff(starts)
    beyond = writer.add("Sub", scores, writer.constant(starts[None, :-1]))
    walked = writer.add("Min", beyond, writer.constant(lengths[None]))
    walked = writer.add("Max", walked, writer.constant(np.array(0.0)))
    steep = writer.constant((np.diff(values) / lengths)[:, None])
    risen = writer.add("MatMul", walked, steep)
    return writer.add("Add", risen, writer.constant(values[0]))


CALIBRATORS: dict[str, Callable[[Writer, str, Any], str]] = {
    "sigmoid": _sigmoid,
    "isotonic": _isotonic,
}
