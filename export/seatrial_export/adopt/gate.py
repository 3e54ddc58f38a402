"""The gate of adopted models.

The first step fits the graph to its contract. The other steps are those of the export gate that
need the graph alone.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import numpy as np

from seatrial_contracts.bundle import Bundle
from seatrial_contracts.kinds.label import Label
from seatrial_contracts.promise import Promise
from seatrial_contracts.receipt import Trial
from seatrial_export.adopt.activation import OPERATORS, check_activations, check_probabilities
from seatrial_export.adopt.adoption import AdoptedCandidate, Adoption
from seatrial_export.adopt.as_made import AsMade
from seatrial_export.adopt.fit import fit
from seatrial_export.adopt.foreign import check_graph
from seatrial_export.adopt.label_rule import ties
from seatrial_export.check_declared import check_declared
from seatrial_export.gate.answered import LABELS
from seatrial_export.gate.drawn import STEP as DRAWN
from seatrial_export.gate.drawn import WITHIN_S, check_drawn
from seatrial_export.gate.independence import check_independence
from seatrial_export.gate.lint import lint
from seatrial_export.gate.parity import check_golden
from seatrial_export.gate.run_steps import Progress, Step, run_steps, silent
from seatrial_export.gate.strip import strip
from seatrial_export.graphs.scratch import Scratch
from seatrial_export.graphs.weights import stored
from seatrial_export.place import placed
from seatrial_export.seal import seal
from seatrial_export.tool_versions import tool_versions

TOOLS = ("onnx", "onnxruntime", "numpy", "seatrial")


def adopt_model(
    adoption: Adoption,
    out: Path,
    progress: Progress = silent,
    source: Path | None = None,
    *,
    since: Bundle | None = None,
    allow_breaking: bool = False,
    fastest: Promise | None = None,
    version: str | None = None,
    force: bool = False,
) -> Bundle:
    """Take a foreign graph through the gate and seal it, with a receipt beside it.

    The bundle is written as `out`/name/version. The arguments are those of `export_pipeline`.
    Raises `GateError`, `DeclarationError`, `Refusal` for a golden row and `BundleError`.
    """
    adoption = placed(adoption, Path(out), version, force=force)
    check_declared(adoption, since, allow_breaking=allow_breaking, fastest=fastest)
    check_activations(adoption.contract, adoption.activations)
    tools = tool_versions((*TOOLS, *adoption.made_by))
    with Scratch(Path(out)) as scratch:
        candidate = AdoptedCandidate(adoption, scratch)
        run_steps(candidate, STEPS, frozenset({"lint", DRAWN}), progress)
        return seal(
            candidate, out, tools, progress, source, since=since, fastest=fastest, replace=force
        )


def check_foreign(candidate: AdoptedCandidate) -> None:
    """The graph is one that can be run elsewhere too."""
    check_graph(candidate.adoption.graph)


def fit_contract(candidate: AdoptedCandidate) -> None:
    """Fit the graph to the contract: its inputs take the contract's rows, its outputs its answers.

    If the graph takes one row at a time, the server runs one row at a time.
    """
    adoption = candidate.adoption
    fitted = fit(candidate.graph, adoption, adoption.renamed, adoption.activations)
    candidate.model.proto = stored(fitted.model, partial(candidate.data_path, candidate.model))
    candidate.as_made = AsMade(
        candidate.graph, fitted, adoption, adoption.prepared, adoption.activations
    )
    for name, activation in adoption.activations.items():
        if activation in OPERATORS:
            finding = f"output '{name}': {activation} stands behind the graph's own answer"
            candidate.trials.append(noted("signature", finding))
    if fitted.one_at_a_time:
        candidate.batchable = False
        finding = "the graph takes one row at a time: batchable is false"
        candidate.trials.append(noted("signature", finding))


def noted(runner: str, finding: str, rows: int = 0) -> Trial:
    """A line of the receipt that something is so."""
    return Trial(
        runner=runner,
        variant="fp32",
        rows=rows,
        worst_error=None,
        allowed=0.0,
        passed=True,
        finding=finding,
    )


def ask_reference(candidate: AdoptedCandidate) -> None:
    """Check that every golden row has a finite answer of the promised shape.

    The scores of a file have to be probabilities, unless its label says otherwise. The receipt
    names the outputs whose classes tie.
    """
    golden, _ = candidate.golden, candidate.held_out
    adoption = candidate.adoption
    if not adoption.made_by:
        check_probabilities(adoption.contract, golden.answers, adoption.activations)
    for field in candidate.adoption.contract.outputs:
        if not isinstance(field.kind, Label):
            continue
        tied = int(ties(np.stack([answer[field.name] for answer in golden.answers])).sum())
        if tied:
            finding = (
                f"output '{field.name}': {tied} of {len(golden.rows)} golden rows tie, and have "
                "the first of the classes that do"
            )
            candidate.trials.append(noted(LABELS, finding, len(golden.rows)))


def check_file_labels(candidate: AdoptedCandidate) -> None:
    """Check that a file's own labels are those of its scores, at golden and at drawn rows.

    Raises `GateError` for the first row at which they differ. A row at which the file raises has
    no label.
    """
    declared, made = candidate.adoption, candidate.as_made
    if made is None or not made.has_labels:
        return
    for place, row in enumerate(declared.encoded_golden):
        for label in made.labels(row):
            label.check(f"golden row {place}")
    started = time.perf_counter()
    for drawn in candidate.drawn_rows:
        if time.perf_counter() - started > WITHIN_S:
            return
        try:
            labels = made.labels(declared.encode_row(drawn.row))
        except Exception:  # onnxruntime's own kinds; the step before judged the row
            labels = []
        for label in labels:
            label.check(drawn.where)


STEPS: tuple[Step[AdoptedCandidate], ...] = (
    ("graph", check_foreign),
    ("contract", fit_contract),
    ("lint", lint),
    ("strip", strip),
    ("answers", ask_reference),
    ("parity", check_golden),
    (DRAWN, check_drawn),
    (LABELS, check_file_labels),
    ("batch independence", check_independence),
)
