"""What variants cost beside fp32: a table, and the plane of speed and error."""

from __future__ import annotations

from dataclasses import dataclass

from seatrial_contracts.cost import Cost
from seatrial_contracts.measures import Measures
from seatrial_contracts.receipt import Trial
from seatrial_parity.report.charts import Mark, curve_chart
from seatrial_parity.report.findings import Findings

CURVE_ROWS = 8
"""The batch whose speed is drawn, where it was measured; else the largest that was."""


@dataclass(frozen=True)
class CostLine:
    """One variant with its cost, and what its answers to the golden rows were measured at."""

    variant: str
    machine: int
    cost: Cost
    measures: Measures


def cost_lines(findings: Findings) -> list[CostLine]:
    """The variants whose cost a receipt holds."""
    return [
        CostLine(trial.variant, machine, trial.cost, trial.measures)
        for machine, trial in findings.trials
        if trial.cost is not None and trial.measures is not None
    ]


def curve(findings: Findings) -> str:
    """The chart of speed against error; empty where no receipt holds a cost."""
    lines = cost_lines(findings)
    if not lines:
        return ""
    marks = [
        Mark(line.variant, error_of(line.measures), _speed(line.cost), sealed=True)
        for line in lines
    ]
    searches = [search for receipt in findings.receipts for search in receipt.searches]
    for search in searches:
        marks += [
            Mark(
                f"{len(point.keep)}/{search.nodes}",
                error_of(point.measures),
                point.speed,
                sealed=False,
            )
            for place, point in enumerate(search.points)
            if place != search.chosen
        ]
    by_cosine = any(line.measures.cosine is not None for line in lines)
    return curve_chart(marks, "1 - mean cosine" if by_cosine else "largest error")


def error_of(measures: Measures) -> float:
    """The distance 1 - mean cosine, or the largest error where no output has an angle."""
    if measures.cosine is not None:
        return max(0.0, 1 - measures.cosine)
    return measures.max_error or 0.0


def flipped(findings: Findings) -> list[Trial]:
    """Trials with rows whose label is not the training side's."""
    return [trial for _, trial in findings.trials if trial.flipped]


def _speed(cost: Cost) -> float:
    rows = CURVE_ROWS if CURVE_ROWS in cost.speed else max(cost.speed)
    return cost.speed[rows]
