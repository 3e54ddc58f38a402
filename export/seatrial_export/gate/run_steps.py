"""Running the steps of a gate, in order.

Each step lets the candidate pass, or raises `GateError` that names the cause and the mend.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from seatrial_contracts.errors import DeclarationError, GateError, SeatrialError
from seatrial_contracts.gate_steps import PROVES, WAIVED, GateStep
from seatrial_export.gate.candidate import Candidate
from seatrial_export.gate.mend import mend_of
from seatrial_export.gate.strip import LEAKS
from seatrial_export.graphs.exporter_messages import first_lines, raised_by_us

Tried = TypeVar("Tried", bound=Candidate)
Step = tuple[str, Callable[[Tried], None]]
Progress = Callable[[str], None]


def silent(step: str) -> None:
    """Progress that nobody watches."""


def run_steps(
    candidate: Tried, steps: Sequence[Step[Tried]], waivable: frozenset[str], progress: Progress
) -> None:
    """Every step that is not waived; `candidate.gate` lists them.

    `progress` is told the name of each before it runs, and `WAIVED` before those that do not.
    """
    odd = {name for name in set(candidate.declared.waive) - waivable if not name.startswith(LEAKS)}
    if odd:
        want = (
            f"steps among {', '.join(sorted(waivable))}, "
            f"or '{LEAKS}' and a file of the bundle, each with a reason"
        )
        raise DeclarationError(f"{candidate.declared.noun} waive", ", ".join(sorted(odd)), want)
    for name, step in steps:
        reason = candidate.declared.waive.get(name)
        if reason is not None:
            progress(WAIVED + name)
            candidate.gate.append(GateStep(step=name, waived=reason))
            continue
        progress(name)
        begun_s = time.perf_counter()
        _run(name, step, candidate)
        took_s = round(time.perf_counter() - begun_s, 3)
        candidate.gate.append(GateStep(step=name, proved=PROVES[name], seconds=took_s))


def _run(name: str, step: Callable[[Tried], None], candidate: Tried) -> None:
    """Run one step.

    An error of the user's own modules becomes the step's finding, with the line it came from.
    """
    try:
        step(candidate)
    except SeatrialError:
        raise
    except Exception as error:  # forward may raise anything
        if raised_by_us(error):
            raise
        cause = f"{type(error).__name__}: {first_lines(error)}"
        raise GateError(name, cause, mend_of(candidate, error)) from error
