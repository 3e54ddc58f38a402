"""Does the graph answer as the reference does where no golden row looks? Rows drawn from the contract, each asked of both."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from seatrial_contracts.compare import Comparison, Tolerance, compare_beside, compare_rows, is_whole, scales_of
from seatrial_contracts.drawn_rows import DrawnRow
from seatrial_contracts.errors import GateError, SeatrialError
from seatrial_contracts.host_stage import EncodedRow
from seatrial_contracts.kinds.kind import Array
from seatrial_contracts.receipt import Trial
from seatrial_export.gate.candidate import Candidate
from seatrial_export.gate.graph_pair import Chain
from seatrial_export.gate.integer_arithmetic import integer_lines
from seatrial_export.gate.parity import BATCH_SIZES, REFERENCES
from seatrial_export.graphs.exporter_messages import first_lines

Numbers = Mapping[str, Array]
STEP = "drawn rows"
WITHIN_S = 8.0
"""The reference is asked no further row after that long; the receipt says how many there were."""
ASKED_AT_ONCE = 8
ROUNDING = 16.0
"""An error counts as rounding up to so many times what the reference's own answer moves by where its inputs move by their last bit: a
sum of n products in another order errs by about sqrt(n) such movements."""
WIDE = Tolerance(relative_to_max=1e-2, relative=1e-2)
"""Where a value is bounded by its element type alone: far from every golden row sums cancel, and only gross departures count."""
MOST_NOTES = 3
MEND_RAISES = (
    "narrow the contract so that such rows are refused (st.Number(ge=0, le=9), no `| None`, fewer words, shorter texts), or mend the model; "
    "if no such row ever comes, say waive={'drawn rows': 'why'}"
)
MEND_WRAPS = "the graph takes what the model refuses (a negative index counts from the end of a table): bound the input, st.Number(ge=0, lt=ROWS_OF_THE_TABLE)"
MEND_DEPARTS = "look for a branch, a clamp or a table that this row meets and golden rows do not; where such rows must not come, narrow the contract"


class NoAnswer(NamedTuple):
    """Why a row has no answer."""

    cause: str
    raised: bool = True
    """Else there are numbers, some of which are NaN, infinite or beyond their bounds: a server refuses to give them."""


Answered = Numbers | NoAnswer


def check_drawn(candidate: Candidate) -> None:
    """Every drawn row, each alone by the reference, in batches by the graph. Raises `GateError` for the first that departs.

    A row at which both fail is one that the contract should refuse: where the declaration names such values, the gate says so and
    stops; where only the element type bounds them, the receipt names it. NaN on both sides is named too.
    """
    chain = Chain(candidate)
    drawn = candidate.drawn_rows
    started, notes = time.perf_counter(), list[str]()
    scales = scales_of(candidate.golden.answers)
    asked, worst = 0, Comparison(passed=True, rows=0, worst_error=0.0, allowed=0.0)
    for part in parts(drawn):
        if time.perf_counter() - started > WITHIN_S:
            break
        want, got = reference_answers(candidate, part), graph_answers(candidate, chain, part)
        for each, mine, its in zip(part, want, got, strict=True):
            found = judge_row(candidate, each, mine, its, scales)
            if isinstance(found, str):
                notes.append(found)
            elif found.ratio >= worst.ratio:
                worst = found
        asked += len(part)
    candidate.trials.append(Trial(
        runner="onnxruntime", variant="fp32", provider="CPUExecutionProvider", batch_sizes=(batch_rows(candidate),), rows=asked, drawn=True,
        worst_error=worst.worst_error, allowed=worst.allowed, passed=True, finding=summary(notes, asked, len(drawn)),
    ))  # fmt: skip


def batch_rows(candidate: Candidate) -> int:
    """How many drawn rows the graph is asked at once."""
    return ASKED_AT_ONCE if candidate.batchable else 1


def parts(rows: Sequence[DrawnRow]) -> Iterator[Sequence[DrawnRow]]:
    """A few rows at a time."""
    for start in range(0, len(rows), ASKED_AT_ONCE):
        yield rows[start : start + ASKED_AT_ONCE]


def reference_answers(candidate: Candidate, rows: Sequence[DrawnRow]) -> list[Answered]:
    """What the reference answers to each row, or why it does not; where one fails, each is asked alone."""
    return each_or_all(lambda some: candidate.answer([each.row for each in some]), rows, candidate)


def graph_answers(candidate: Candidate, chain: Chain, rows: Sequence[DrawnRow]) -> list[Answered]:
    """The same of the graphs. Rows that come through prepare are kept: they stand beside others in a later step."""
    ready = [prepared(candidate, chain, each.row) for each in rows]
    good = [row for row in ready if not isinstance(row, NoAnswer)]
    candidate.probes += good
    answers = iter(
        each_or_all(lambda some: chain.run_in_batches(some, batch_rows(candidate)), good, candidate) if good else []
    )
    return [row if isinstance(row, NoAnswer) else next(answers) for row in ready]


def prepared(candidate: Candidate, chain: Chain, row: Mapping[str, Any]) -> EncodedRow | NoAnswer:
    """A raw row as the model graph takes it, or why the prepare graph does not make that."""
    try:
        return chain.prepared(candidate.declared.encode_row(row))
    except Exception as error:  # onnxruntime's own kinds
        return NoAnswer(said(error))


def each_or_all(
    ask: Callable[[Sequence[Any]], Sequence[Numbers]], rows: Sequence[Any], candidate: Candidate
) -> list[Answered]:
    """All at once; where that raises, each alone."""
    try:
        answers = ask(rows)
    except Exception as error:  # the user's modules and onnxruntime raise kinds of their own
        if len(rows) > 1:
            return [each_or_all(ask, [row], candidate)[0] for row in rows]
        return [NoAnswer(said(error), not (isinstance(error, GateError) and error.step == "answers"))]
    return [unfit(candidate, answer) or answer for answer in answers]


def said(error: Exception) -> str:
    """What was raised, for messages."""
    if isinstance(error, GateError):
        return error.cause
    return str(error) if isinstance(error, SeatrialError) else f"{type(error).__name__}: {first_lines(error)}"


def unfit(candidate: Candidate, answer: Numbers) -> NoAnswer | None:
    """Why no server may give this answer."""
    contract = candidate.declared.contract
    fault = contract.fault_of(answer)
    return None if fault is None else NoAnswer(f"output '{fault.output}': {fault.cause}", raised=False)


def judge_row(
    candidate: Candidate, drawn: DrawnRow, want: Answered, got: Answered, scales: Mapping[str, float]
) -> Comparison | str:
    """How one row compares, or what the receipt notes of it. Raises `GateError`."""
    who = REFERENCES[candidate.declared.origin.reference]
    if isinstance(want, NoAnswer):
        both = isinstance(got, NoAnswer)
        if want.raised and not both:
            cause = f"{drawn.where}: the graph answers, where {who} raises {want.cause}"
            raise GateError(STEP, cause, MEND_WRAPS)
        if want.raised and drawn.named:
            raise GateError(STEP, f"the contract takes what {who} does not, {drawn.where}: {want.cause}", MEND_RAISES)
        if not both and drawn.named:
            cause = f"{drawn.where}: the graph answers with numbers, {who}: {want.cause}"
            raise GateError(STEP, cause, MEND_DEPARTS)
        return f"{drawn.where}: {want.cause}"
    if isinstance(got, NoAnswer):
        if not drawn.named and not got.raised:
            return f"{drawn.where}: the graph overflows, {got.cause}"
        raise GateError(STEP, f"{drawn.where}: {who} answers, the graph does not: {got.cause}", MEND_DEPARTS)
    tolerance = candidate.declared.tolerance if drawn.named else WIDE
    found = compare_beside(scales if drawn.named else {}, want, got, tolerance)
    if found.passed or is_rounding(candidate, drawn, want, got, tolerance):
        return found if found.passed else f"{drawn.where}: rounding, error {found.worst_error:.1e}"
    lines = integer_lines(candidate) if is_whole(want[str(found.output)]) else ""
    departed = str(found).removeprefix("sample 0, ")
    raise GateError(
        STEP,
        f"onnxruntime departs from {who} at a row that the contract takes and no golden row shows, {drawn.where}: {departed}{lines}",
        MEND_DEPARTS,
    )


def is_rounding(candidate: Candidate, drawn: DrawnRow, want: Numbers, got: Numbers, tolerance: Tolerance) -> bool:
    """Is the difference no more than the reference's own rounding, at a row where its sums cancel?"""
    if any(is_whole(want[name]) and not np.array_equal(want[name], got[name]) for name in want):
        return False
    moved = {name: np.zeros(array.shape) for name, array in want.items()}
    for row in nudged_rows(candidate, drawn.row):
        answer = each_or_all(lambda some: candidate.answer(some), [row], candidate)[0]
        if isinstance(answer, NoAnswer) or any(answer[name].shape != want[name].shape for name in want):
            return False
        for name, before in moved.items():
            np.maximum(before, np.abs(np.asarray(answer[name], np.float64) - want[name]), out=before)
    nearer = {
        name: want[name] + np.sign(got[name] - want[name]) * np.maximum(np.abs(got[name] - want[name]) - ROUNDING * moved[name], 0.0)
        for name in want if not is_whole(want[name])
    }  # fmt: skip
    floats = {name: want[name] for name in nearer}
    return compare_rows([floats], [nearer], tolerance)[0].passed


def nudged_rows(candidate: Candidate, row: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The row with every number with a fraction moved by its last bit of float32, up and down, where the contract takes that."""
    front = candidate.declared.front
    for towards in (np.inf, -np.inf):
        moved = dict(row)
        for name, value in row.items():
            if isinstance(value, (float, list)):
                beside = {**moved, name: nudged(value, towards)}
                moved = beside if front.refusal_code(beside) is None else moved
        yield moved


def nudged(value: float | list[Any], towards: float) -> Any:
    """The next float32 in that direction, of each number; whole numbers stay."""
    if isinstance(value, list):
        return [nudged(inner, towards) for inner in value]
    return float(np.nextafter(np.float32(value), np.float32(towards))) if isinstance(value, float) else value


def summary(notes: Sequence[str], asked: int, drawn: int) -> str:
    """What the receipt says of rows that had no answer, and of rows that were not asked."""
    parts = list(notes[:MOST_NOTES])
    if len(notes) > MOST_NOTES:
        parts.append(f"{len(notes) - MOST_NOTES} rows more")
    if asked < drawn:
        parts.append(f"{drawn - asked} of {drawn} drawn rows not asked: {WITHIN_S:g} s were over")
    return "; ".join(parts)[:1000]


assert ASKED_AT_ONCE not in BATCH_SIZES
