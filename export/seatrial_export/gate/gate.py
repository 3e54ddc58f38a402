"""The export gate: the steps that a pipeline passes on its way into a bundle, in order."""

from __future__ import annotations

from seatrial_export.gate.arithmetic import check_loads
from seatrial_export.gate.drawn import STEP as DRAWN
from seatrial_export.gate.drawn import check_drawn
from seatrial_export.gate.fresh import check_fresh_process, fresh_process
from seatrial_export.gate.independence import check_independence
from seatrial_export.gate.judged import STEP as JUDGE
from seatrial_export.gate.judged import check_judge
from seatrial_export.gate.lint import lint
from seatrial_export.gate.lookup import look_up_categories
from seatrial_export.gate.parity import check_golden
from seatrial_export.gate.precision import note_precision
from seatrial_export.gate.run_steps import Progress, Step, run_steps, silent
from seatrial_export.gate.scores import check_scores
from seatrial_export.gate.sizes import check_sizes
from seatrial_export.gate.state import check_fresh_copy, check_state
from seatrial_export.gate.strip import strip
from seatrial_export.gate.surroundings import check_surroundings
from seatrial_export.gate.to_onnx import check_opset, export_onnx
from seatrial_export.gate.torch_candidate import TorchCandidate
from seatrial_export.gate.torch_export import check_arguments, check_torch_export
from seatrial_export.gate.train_mode import check_flags, check_row_in_batch, check_two_runs
from seatrial_export.graphs.scratch import Scratch
from seatrial_export.pipeline import Pipeline


def fit_temperature(candidate: TorchCandidate) -> None:
    """From here on the pipeline has its temperatures, where it asks for them."""
    candidate.pipeline = candidate.pipeline.calibrated


FRESH, SURROUNDINGS = "fresh process", "surroundings"
STEPS: tuple[Step[TorchCandidate], ...] = (
    ("arguments", check_arguments),
    ("training mode", check_flags),
    ("precision", note_precision),
    ("temperature", fit_temperature),
    ("two runs", check_two_runs),
    ("state", check_state),
    ("row in batch", check_row_in_batch),
    ("torch.export", check_torch_export),
    (SURROUNDINGS, check_surroundings),
    ("torch.onnx.export", export_onnx),
    ("opset", check_opset),
    ("category lookup", look_up_categories),
    ("lint", lint),
    ("strip", strip),
    ("onnxruntime", check_loads),
    ("other sizes", check_sizes),
    ("scores", check_scores),
    ("parity", check_golden),
    (DRAWN, check_drawn),
    (JUDGE, check_judge),
    ("batch independence", check_independence),
    ("fresh copy", check_fresh_copy),
    (FRESH, check_fresh_process),
)
WAIVABLE = frozenset(
    {
        "torch.export",
        "two runs",
        "row in batch",
        "lint",
        "other sizes",
        "state",
        SURROUNDINGS,
        DRAWN,
        FRESH,
    }
)
"""Steps that a pipeline may waive with a reason: those that can be wrong about a right model."""


def pass_export_gate(
    pipeline: Pipeline,
    progress: Progress = silent,
    target: str | None = None,
    scratch: Scratch | None = None,
) -> TorchCandidate:
    """Run every step.

    `progress` gets the name of each step before it runs. `target` is the pipeline's `file.py:name`,
    where it has one. Weights that are too many for their graph lie in `scratch`.
    """
    with fresh_process(None if FRESH in pipeline.waive else target) as fresh:
        candidate = TorchCandidate(pipeline, fresh, scratch or Scratch())
        run_steps(candidate, STEPS, WAIVABLE, progress)
    candidate.fresh = None
    return candidate
