"""Is the latency objective's error budget burning?

Each alert has two windows: the long one shows that the burning matters, the short one that it goes
on.
"""

from __future__ import annotations

from typing import NamedTuple

from seatrial_serve.metrics import names
from seatrial_serve.monitor.alert import Alert, Trial
from seatrial_serve.monitor.figures import Figures

BUDGET = 0.01
"""The objective is a p99: one request in a hundred may take longer."""
MINUTES = 60
"""Of the trials: a rate over a longer window is that of what there is."""


class Burn(NamedTuple):
    """How fast the budget burns, over which windows, and how urgent that is.

    The values are from the SRE Workbook (Beyer et al., 2018), chapter 5, table 5-8.
    """

    factor: float
    windows: tuple[str, str]
    severity: str
    summary: str


BURNS = (
    Burn(14.4, ("1h", "5m"), "page", "burns the latency budget of a month in two days"),
    Burn(6.0, ("6h", "30m"), "ticket", "burns the latency budget of a month in five days"),
)


def latency_alerts(figures: Figures) -> list[Alert]:
    """One for each burn; none where the contract has no objective."""
    return (
        []
        if figures.objective_s is None
        else [_alert(figures, burn, figures.objective_s) for burn in BURNS]
    )


def _alert(figures: Figures, burn: Burn, objective_s: float) -> Alert:
    limit = f"> {burn.factor:g} * {BUDGET}"
    long, short = (
        f"seatrial:slow:ratio{window}{{{figures.this}}} {limit}" for window in burn.windows
    )
    return Alert(
        f"SeatrialLatencyBurn{burn.severity.title()}",
        f"{long} and {short}",
        "1m",
        burn.severity,
        (
            f"{figures.model} {{{{ $labels.version }}}} {burn.summary}: "
            f"{{{{ $value | humanizePercentage }}}} of requests took over {objective_s:g} s"
        ),
        (
            "Look at the phases on the dashboard: queue grows with load (add replicas), run with "
            "the machine or the batch, front with the input. Roll back if it began with a version."
        ),
        Trial(
            _samples(figures, objective_s, 60),
            _samples(figures, objective_s, 1),
            f"{MINUTES}m",
            {"version": "1.0.0"},
            "60%",
        ),
    )


def _samples(figures: Figures, objective_s: float, slow: int) -> dict[str, str]:
    of = f'{figures.this}, version="1.0.0", phase="total"'
    return {
        f'{names.PHASE_BUCKET}{{{of}, le="{objective_s}"}}': f"0+{600 - slow * 6}x{MINUTES}",
        f"{names.PHASE_COUNT}{{{of}}}": f"0+600x{MINUTES}",
    }
