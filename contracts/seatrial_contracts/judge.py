"""One judgement of a runner's answers.

The export gate, the load gate, parity and quantisation share it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from seatrial_contracts.compare import Answers, Array, Comparison, compare_rows, worst_of
from seatrial_contracts.contract import Contract
from seatrial_contracts.golden import Golden
from seatrial_contracts.measures import Measures, flips, measure, measure_slices
from seatrial_contracts.promise import Promise
from seatrial_contracts.receipt import ERROR_EDGES, Trial, WorstRow

TRIAL_BATCH_SIZES = (1, 2, 8, 32)
"""Rows in a batch at which every runner is tried.

A row is tried alone, with one mate, and in batches as the server makes them.

The export gate, the load gate and the parity suite share them. The exporter traces with none of
these numbers of rows.
"""
WORST_ROWS = 3
SHOWN_NUMBERS = 5
"""Of each output of a worst row, beside that at the worst place."""
MOST_FLIPS = 50


@dataclass(frozen=True)
class Verdict:
    """The judgement of one runner's answers.

    `finding` names what breaks the promise, and is empty where the promise is kept.
    """

    comparison: Comparison
    measures: Measures | None = None
    slices: dict[str, Measures] = field(default_factory=dict)
    finding: str = ""
    allowed: float | None = None
    """The tolerance at the place of the worst error; None where no single number is bound."""
    errors: tuple[int, ...] = ()
    worst: tuple[WorstRow, ...] = ()
    flipped: tuple[int, ...] = ()

    def trial(
        self,
        runner: str,
        variant: str,
        provider: str | None,
        batch_rows: int,
        *,
        held_out: bool = False,
    ) -> Trial:
        """It as a line of a receipt."""
        error = self.comparison.worst_error
        return Trial(
            runner=runner,
            variant=variant,
            provider=provider,
            batch_sizes=(batch_rows,),
            rows=self.comparison.rows,
            held_out=held_out,
            worst_error=error if np.isfinite(error) else None,
            allowed=self.allowed,
            passed=not self.finding,
            finding=self.finding,
            measures=self.measures,
            slices=self.slices,
            errors=self.errors,
            worst=self.worst,
            flipped=self.flipped,
        )


def judge(
    contract: Contract, promise: Promise | None, golden: Golden, answers: Answers,
    mapped: Sequence[Comparison] = (),
) -> Verdict:  # fmt: skip
    """Hold the answers to the golden rows against `promise`, else the contract's tolerance.

    A promise is held against all rows, and against each slice of enough rows: a slice that breaks
    it fails, whatever the mean. A row that is answered with NaN, an infinity or out of bounds
    fails, though the training side answers it alike: no server gives such an answer. `mapped` says
    for each row how its outputs compare in the client's terms, where there are such outputs.
    """
    promise = promise or Promise(tolerance=contract.tolerance)
    if len(answers) == len(golden.rows):
        pairs = zip(golden.answers, answers, strict=True)
        answers = [contract.arranged(want, got) for want, got in pairs]
    rows = compare_rows(golden.answers, answers, promise.tolerance or contract.tolerance)
    if mapped and len(answers) == len(golden.rows):
        rows = [worst_of(pair) for pair in zip(rows, mapped, strict=True)] if rows else [*mapped]
    worst = worst_of(rows)
    if len(answers) != len(golden.rows):
        return Verdict(worst, finding=str(worst))
    measures = measure(contract, golden.answers, answers, golden.truth, golden.notes)
    slices = measure_slices(
        contract, golden.answers, answers, golden.truth, golden.slices, golden.notes
    )
    finding = (
        str(worst) if not worst.passed and (promise.tolerance is not None or worst.cause) else ""
    )
    finding = refused_answer(contract, answers) or finding
    return Verdict(
        worst,
        measures,
        slices,
        finding or broken(contract, promise, golden, measures, slices),
        worst.allowed if promise.tolerance is not None else promise.max_error,
        error_counts(rows),
        worst_rows(contract, rows, golden.answers, answers),
        flips(contract, golden.answers, answers)[:MOST_FLIPS],
    )


def refused_answer(contract: Contract, answers: Answers) -> str:
    """The first row whose answer holds what no server gives; empty where there is none.

    No server gives NaN, an infinity, or a number out of bounds.
    """
    for sample, outputs in enumerate(answers):
        fault = contract.fault_of(outputs)
        if fault is not None:
            return f"sample {sample}, output '{fault.output}': {fault.cause}"
    return ""


def broken(
    contract: Contract,
    promise: Promise,
    golden: Golden,
    measures: Measures,
    slices: dict[str, Measures],
) -> str:
    """Which part of a promise the measures break, of all rows or of a slice; empty where none."""
    if not any(promise.bars()):
        return ""
    finding = promise.finding(
        measures, measure(contract, golden.answers, golden.answers, golden.truth, golden.notes)
    )
    if finding:
        return finding
    own = measure_slices(
        contract, golden.answers, golden.answers, golden.truth, golden.slices, golden.notes
    )
    for name, measured in slices.items():
        finding = (
            promise.finding(measured, own[name]) if measured.rows >= promise.min_slice_rows else ""
        )
        if finding:
            return f"slice '{name}', {finding}"
    return ""


def error_counts(rows: Sequence[Comparison]) -> tuple[int, ...]:
    """How many rows are exact, how many err up to each of `ERROR_EDGES`, and how many beyond."""
    places = [
        0
        if row.worst_error == 0
        else 1 + int(np.searchsorted(ERROR_EDGES, row.worst_error, side="left"))
        for row in rows
    ]
    return tuple(np.bincount(places, minlength=len(ERROR_EDGES) + 2).tolist())


def worst_rows(
    contract: Contract, rows: Sequence[Comparison], want: Answers, got: Answers
) -> tuple[WorstRow, ...]:
    """The rows nearest to their tolerance or beyond it, the worst first; none that is exact."""
    ordered = sorted((row for row in rows if row.ratio > 0), key=lambda row: -row.ratio)[
        :WORST_ROWS
    ]
    pairs = [(row, row.sample) for row in ordered if row.sample is not None]
    return tuple(
        _worst_row(contract, row, sample, want[sample], got[sample]) for row, sample in pairs
    )


def _worst_row(
    contract: Contract,
    row: Comparison,
    sample: int,
    want: Mapping[str, Array],
    got: Mapping[str, Array],
) -> WorstRow:
    answers, labels = {}, {}
    kinds = {output.name: output.kind for output in contract.outputs}
    in_client_terms = {output.name for output in contract.mapped}
    for output in contract.answer_tensors:
        expected, answer = want.get(output.name), got.get(output.name)
        if expected is None or answer is None or answer.shape != expected.shape:
            continue
        places = np.argsort(-np.abs(np.asarray(expected, np.float64)), axis=None, kind="stable")[
            :SHOWN_NUMBERS
        ].tolist()
        # The index of a mapped output is a place in what its client sees.
        if output.name == row.output and row.index and row.output not in in_client_terms:
            places.append(int(np.ravel_multi_index(row.index, expected.shape)))
        answers[output.name] = {place: shown(float(answer.flat[place])) for place in places}
        kind = kinds.get(output.name)
        if kind is not None and kind.decides:
            labels[output.name] = kind.decision(answer)
    return WorstRow(
        sample=sample,
        output=row.output or "",
        index=row.index,
        want=shown(row.want),
        got=shown(row.got),
        error=shown(row.worst_error),
        allowed=row.allowed,
        cause=row.cause or row.mismatch,
        answers=answers,
        labels=labels,
    )


def shown(value: float | None) -> float | None:
    """A number to seven digits; None where it is none that JSON knows."""
    return None if value is None or not np.isfinite(value) else float(f"{value:.7g}")
