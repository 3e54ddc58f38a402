"""Do requests come, and are they answered?"""

from __future__ import annotations

from seatrial_serve.metrics import names
from seatrial_serve.monitor.alert import Alert, Trial
from seatrial_serve.monitor.figures import Figures, share

FAULT_SHARE, REFUSED_SHARE, SHED_SHARE, FAILING_SHARE = 0.01, 0.1, 0.01, 0.05
CALLER = ("contract", "size")
"""Causes of a refusal that lie in the request itself."""


def request_alerts(figures: Figures) -> list[Alert]:
    """Faults, refusals, shed load, no traffic."""
    model, this, hold = figures.model, figures.this, figures.windows.hold
    caller = figures.sum("rate", names.REFUSALS, f'cause=~"{"|".join(CALLER)}"')
    shed = figures.sum("rate", names.REFUSALS, 'cause=~"overload|memory|deadline"')
    return [
        Alert(
            "SeatrialErrors",
            f"seatrial:faults:ratio{{{this}}} > {FAULT_SHARE}",
            hold,
            "page",
            (
                f"{model} {{{{ $labels.version }}}} fails "
                "{{ $value | humanizePercentage }} of its requests"
            ),
            (
                "The log names the code: E_MODEL and E_OUTPUT_* are the model's, E_RUNTIME_* the "
                "engine behind it, E_INTERNAL a bug. Roll back if it began with a version."
            ),
            Trial(
                _requests(this, ok=90, fault=10),
                _requests(this, ok=100, fault=0),
                "30m",
                {"version": "1.0.0"},
                "10%",
            ),
        ),
        Alert(
            "SeatrialRefusals",
            f"{share(caller, figures.rate())} > {REFUSED_SHARE}",
            hold,
            "ticket",
            (
                f"{model} {{{{ $labels.version }}}} refuses {{{{ $value | humanizePercentage }}}} "
                "of its requests as breaking the contract"
            ),
            (
                "Codes on the dashboard say what callers send. A client changed, "
                "or the contract did: seatrial diff the two versions."
            ),
            Trial(
                _refused(this, "contract", 20),
                _refused(this, "contract", 1),
                "30m",
                {"version": "1.0.0"},
                "20%",
            ),
        ),
        Alert(
            "SeatrialOverload",
            f"{share(shed, figures.rate())} > {SHED_SHARE}",
            hold,
            "page",
            (
                f"{model} {{{{ $labels.version }}}} sheds {{{{ $value | humanizePercentage }}}} "
                "of its requests"
            ),
            (
                "More comes than this machine answers in time. Add replicas; "
                "callers' deadlines and budget_bytes say what may wait."
            ),
            Trial(
                _refused(this, "overload", 20),
                _refused(this, "overload", 0),
                "30m",
                {"version": "1.0.0"},
                "20%",
            ),
        ),
        Alert(
            "SeatrialNoTraffic",
            (
                f"sum by (model) (rate({names.REQUESTS}{{{this}}}[15m])) == 0 and "
                f"sum by (model) (increase({names.REQUESTS}{{{this}}}[1d])) > 0"
            ),
            hold,
            "ticket",
            f"{model} got requests today, and none for a quarter of an hour",
            (
                "Ask a replica itself with the curl line of the console. If it answers, "
                "look at whatever stands before it: balancer, DNS, client."
            ),
            Trial(_requests(this, ok=10, fault=0, then=40), _requests(this, ok=10, fault=0), "1h"),
        ),
    ]


def _requests(this: str, *, ok: int, fault: int, then: int = 0) -> dict[str, str]:
    """Return the series of so many good and faulty requests a minute.

    With `then`, nothing more comes for that many minutes after the first half hour.
    """
    counters = {"ok": ok, "E_MODEL": fault}
    steady = {
        code: f"0+{rate}x30 {rate * 30}+0x{then}" if then else f"0+{rate}x120"
        for code, rate in counters.items()
    }
    return {
        f'{names.REQUESTS}{{{this}, version="1.0.0", code="{code}"}}': values
        for code, values in steady.items()
    }


def _refused(this: str, cause: str, number: int) -> dict[str, str]:
    code = {"contract": "E_RANGE", "overload": "E_OVERLOADED"}[cause]
    of = f'{this}, version="1.0.0"'
    return {
        f'{names.REQUESTS}{{{of}, code="ok"}}': f"0+{100 - number}x120",
        f'{names.REQUESTS}{{{of}, code="{code}"}}': f"0+{number}x120",
        f'{names.REFUSALS}{{{of}, cause="{cause}"}}': f"0+{number}x120",
    }
