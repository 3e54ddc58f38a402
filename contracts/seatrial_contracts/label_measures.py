"""Precision, recall and F1 of labels that are independent of each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from seatrial_contracts.kinds.kind import Array

MOST_LABELS = 64
"""With more labels, none is measured on its own."""
Share = Annotated[float, Field(ge=0, le=1)]


class LabelMeasures(BaseModel):
    """One label against its truth. A ratio of nothing to nothing counts as 0."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    true: Annotated[int, Field(ge=0, le=2**53 - 1)]
    """Rows whose truth holds the label."""
    passed: Annotated[int, Field(ge=0, le=2**53 - 1)]
    """Rows that are answered with it."""
    precision: Share
    recall: Share
    f1: Share


class LabelCounts(NamedTuple):
    """Of labels by name: rows that are both, rows answered with it, rows whose truth holds it."""

    names: Sequence[str]
    both: Array
    passed: Array
    true: Array

    def measures(self) -> Mapping[str, float | Mapping[str, LabelMeasures] | None]:
        """Precision, recall and F1 over all labels (micro), their mean F1 (macro), and each one's.

        None where no row is answered with a label and no truth holds one.
        """
        both, passed, true = (int(each.sum()) for each in (self.both, self.passed, self.true))
        if not passed + true:
            return {}
        each = [
            LabelMeasures(
                true=held,
                passed=answered,
                precision=_ratio(hit, answered),
                recall=_ratio(hit, held),
                f1=_ratio(2 * hit, answered + held),
            )
            for hit, answered, held in zip(
                self.both.tolist(), self.passed.tolist(), self.true.tolist(), strict=True
            )
        ]
        few = len(each) <= MOST_LABELS
        return {
            "precision": _ratio(both, passed),
            "recall": _ratio(both, true),
            "f1": _ratio(2 * both, passed + true),
            "f1_macro": float(np.mean([label.f1 for label in each])),
            "by_label": dict(zip(self.names, each, strict=True)) if few else {},
        }


def count_labels(names: Sequence[str], passed: Array, true: Array) -> LabelCounts:
    """Count labels; both arrays are bool, `(rows, labels)`."""
    return LabelCounts(names, (passed & true).sum(0), passed.sum(0), true.sum(0))


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
