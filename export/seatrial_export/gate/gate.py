"""The gate itself: its steps, in order. Each raises `GateError`, which names the cause and the mend, or lets the candidate pass."""

from __future__ import annotations

from collections.abc import Callable

from seatrial_contracts.errors import DeclarationError, GateError, SeatrialError
from seatrial_export.gate.candidate import Candidate
from seatrial_export.gate.independence import check_independence
from seatrial_export.gate.lint import lint
from seatrial_export.gate.lookup import look_up_categories
from seatrial_export.gate.parity import check_golden, check_sizes
from seatrial_export.gate.strip import strip
from seatrial_export.gate.to_onnx import export_onnx
from seatrial_export.gate.torch_export import check_arguments, check_torch_export
from seatrial_export.gate.train_mode import check_flags, check_row_in_batch, check_state, check_two_runs
from seatrial_export.gate.words import first_lines, raised_by_us
from seatrial_export.pipeline import Pipeline

Step = Callable[[Candidate], None]
Progress = Callable[[str], None]


def fit_temperature(candidate: Candidate) -> None:
    """From here on the pipeline has its temperatures, where it asks for them."""
    candidate.pipeline = candidate.pipeline.calibrated


STEPS: tuple[tuple[str, Step], ...] = (
    ("arguments", check_arguments),
    ("training mode", check_flags),
    ("temperature", fit_temperature),
    ("two runs", check_two_runs),
    ("state", check_state),
    ("row in batch", check_row_in_batch),
    ("torch.export", check_torch_export),
    ("torch.onnx.export", export_onnx),
    ("category lookup", look_up_categories),
    ("lint", lint),
    ("strip", strip),
    ("other sizes", check_sizes),
    ("parity", check_golden),
    ("batch independence", check_independence),
)
WAIVABLE = frozenset({"torch.export", "two runs", "row in batch", "lint", "other sizes"})
"""Steps that a pipeline may waive with a reason: those that can be wrong about a model that is right."""


def silent(step: str) -> None:
    """Progress that nobody watches."""


def pass_export_gate(pipeline: Pipeline, progress: Progress = silent) -> Candidate:
    """Run every step. `progress` is told the name of each before it runs."""
    odd = set(pipeline.waive) - WAIVABLE
    if odd:
        raise DeclarationError(
            "pipeline waive", ", ".join(sorted(odd)), f"steps among {', '.join(sorted(WAIVABLE))}, each with a reason"
        )
    candidate = Candidate(pipeline)
    for name, step in STEPS:
        progress(name)
        if name not in pipeline.waive:
            run(name, step, candidate)
    return candidate


def run(name: str, step: Step, candidate: Candidate) -> None:
    """One step. What the user's own modules raise in it becomes its finding, with the line it came from."""
    try:
        step(candidate)
    except SeatrialError:
        raise
    except Exception as error:  # forward may raise anything
        if raised_by_us(error):
            raise
        cause = f"{type(error).__name__}: {first_lines(error)}"
        raise GateError(
            name, cause, "the model must answer any number of rows, one alone too; --debug shows the traceback"
        ) from error
