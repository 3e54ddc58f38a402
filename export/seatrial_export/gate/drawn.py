"""Does the graph answer as the reference does where no golden row looks?

Rows drawn from the contract are given to both.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from seatrial_contracts.compare import (
    Comparison,
    Tolerance,
    compare_beside,
    is_whole,
    scales_of,
)
from seatrial_contracts.drawn_rows import DrawnRow
from seatrial_contracts.errors import GateError
from seatrial_contracts.host_stage import EncodedRow
from seatrial_contracts.receipt import Trial
from seatrial_export.gate.answered import Answered, NoAnswer, Numbers, ask_rows, no_answer
from seatrial_export.gate.arithmetic import told
from seatrial_export.gate.candidate import Candidate
from seatrial_export.gate.graph_pair import Chain
from seatrial_export.gate.parity import REFERENCES
from seatrial_export.gate.rounding import is_rounding

STEP = "drawn rows"
WITHIN_S = 8.0
"""No further row is asked after that long; the receipt says how many there were."""
AT_ONCE = 8
MOST_VALUES = 2**20
"""Of the inputs of a batch: one sound of 30 s at 16 kHz with its mask.

Drawn rows are as long as rows may be, and stand together for speed alone.
"""
WIDE = Tolerance(relative_to_max=1e-2, relative=1e-2)
"""The tolerance where the element type alone bounds a value.

So far from every golden row sums cancel and squares overflow, and only gross departures count,
beside the largest golden answer.
"""
MOST_NOTES = 3
MEND_RAISES = (
    "narrow the contract so that such rows are refused (st.Number(ge=0, le=9), no `| None`, fewer "
    "words, shorter texts), or mend the model; "
    "if no such row ever comes, say waive={'drawn rows': 'why'}"
)
MEND_WRAPS = (
    "the graph takes what the model refuses (a negative index counts from the end of a table): "
    "bound the input, st.Number(ge=0, lt=ROWS) or st.Tensor[np.int64, 4, Interval(ge=0, lt=ROWS)]"
)
MEND_DEPARTS = (
    "look for a branch, a clamp or a table that this row meets and golden rows do not; where such "
    "rows must not come, narrow the contract"
)

MEND_TIES = (
    "ranks of equal scores are as each library likes: narrow the contract to values at which "
    "scores differ (st.Number(le=...), st.Tensor[np.float32, 8, Interval(ge=-10, le=10)]); where "
    "none are equal, " + MEND_DEPARTS
)


def check_drawn(candidate: Candidate) -> None:
    """Run every drawn row by the reference and by the graph.

    Raises `GateError` for the first row that departs.

    A row at which both fail is one that the contract should refuse: where the declaration names
    such values, the gate names the row and stops; where only the element type bounds them, the
    receipt names it. NaN on both sides is named too.
    """
    asking, drawn = Asking(candidate), candidate.drawn_rows
    started, asked, notes = time.perf_counter(), 0, list[str]()
    worst = Comparison(passed=True, rows=0, worst_error=0.0, allowed=0.0)
    while asked < len(drawn) and time.perf_counter() - started < WITHIN_S:
        some = drawn[asked : asked + AT_ONCE]
        for found in asking.judged(some):
            if isinstance(found, str):
                notes.append(found)
            elif found.ratio >= worst.ratio:
                worst = found
        asked += len(some)
    candidate.trials.append(
        Trial(
            runner="onnxruntime",
            variant="fp32",
            provider="CPUExecutionProvider",
            batch_sizes=(asking.batch_rows,),
            rows=asked,
            drawn=True,
            worst_error=worst.worst_error,
            allowed=worst.allowed,
            passed=True,
            finding=summary(notes, asked, len(drawn)),
        )
    )


def summary(notes: Sequence[str], asked: int, drawn: int) -> str:
    """What the receipt says of rows that had no answer, and of rows that were not asked."""
    parts = list(notes[:MOST_NOTES])
    if len(notes) > MOST_NOTES:
        parts.append(f"{len(notes) - MOST_NOTES} rows more")
    if asked < drawn:
        parts.append(f"{drawn - asked} of {drawn} drawn rows not asked: {WITHIN_S:g} s were over")
    return f"drawn rows: {'; '.join(parts)}"[:1000] if parts else ""


class Asking:
    """Reference and graph of one candidate, asked the same rows."""

    def __init__(self, candidate: Candidate) -> None:
        self._candidate = candidate
        self._declared = candidate.declared
        self._chain = Chain(candidate)
        self._scales = scales_of(candidate.golden.answers)
        self._who = REFERENCES[candidate.declared.origin.reference]
        self.batch_rows = AT_ONCE if candidate.batchable else 1

    def judged(self, rows: Sequence[DrawnRow]) -> list[Comparison | str]:
        """How each row compares, or what the receipt notes of it. Raises `GateError`."""
        contract = self._declared.contract
        want = ask_rows(
            contract, lambda some: self._candidate.answer([each.row for each in some]), rows
        )
        ready = [self._prepared(each.row) for each in rows]
        self._candidate.probes += [row for row in ready if not isinstance(row, NoAnswer)]
        got = self._graph(ready)
        return [self._judge(*each) for each in zip(rows, want, got, ready, strict=True)]

    def _prepared(self, row: Mapping[str, Any]) -> EncodedRow | NoAnswer:
        """A raw row as the model graph takes it, or why the prepare graph does not make that."""
        try:
            return self._chain.prepared(self._declared.encode_row(row))
        except Exception as error:  # onnxruntime's own kinds
            return no_answer(error)

    def _graph(self, ready: Sequence[EncodedRow | NoAnswer]) -> list[Answered]:
        good = [row for row in ready if not isinstance(row, NoAnswer)]
        run = lambda some: self._chain.run_in_batches(some, self.batch_rows, MOST_VALUES)
        answers = iter(ask_rows(self._declared.contract, run, good))
        return [row if isinstance(row, NoAnswer) else next(answers) for row in ready]

    def _beside(
        self, scales: Mapping[str, float], want: Numbers, got: Numbers, tolerance: Tolerance
    ) -> Comparison:
        return compare_beside(scales, want, self._declared.contract.arranged(want, got), tolerance)

    def _judge(
        self, drawn: DrawnRow, want: Answered, got: Answered, ready: EncodedRow | NoAnswer
    ) -> Comparison | str:
        if isinstance(want, NoAnswer):
            return self._judge_unanswered(drawn, want, got)
        tolerance, scales = self._declared.tolerance if drawn.named else WIDE, self._scales
        found = None if isinstance(got, NoAnswer) else self._beside(scales, want, got, tolerance)
        if found is not None and found.passed:
            return found
        # Whether its mates did that is what batch independence looks at.
        alone = self._graph([ready])[0]
        if isinstance(alone, NoAnswer):
            if not drawn.named and not alone.raised:
                return f"{drawn.where}: the graph overflows, {alone.cause}"
            cause = f"{drawn.where}: {self._who} answers, the graph does not: {alone.cause}"
            raise GateError(STEP, cause, MEND_DEPARTS)
        found = self._beside(scales, want, alone, tolerance)
        if found.passed:
            return found
        if is_rounding(self._candidate, drawn.row, want, alone, tolerance):
            return f"{drawn.where}: rounding, error {found.worst_error:.1e}"
        traced = None if drawn.named else self._candidate.answer_as_traced(drawn.row)
        if traced is not None and not self._beside(scales, want, traced, tolerance).passed:
            return f"{drawn.where}: float64 holds what float32 does not"
        departed = str(found).removeprefix("sample 0, ")
        cause = (
            f"onnxruntime departs from {self._who} where no golden row looks, {drawn.where}: "
            f"{departed}"
        )
        whole = found.output is not None and is_whole(want[found.output])
        why, mend = told(self._candidate, MEND_TIES if whole else MEND_DEPARTS)
        raise GateError(STEP, cause + why, mend)

    def _judge_unanswered(self, drawn: DrawnRow, want: NoAnswer, got: Answered) -> str:
        if want.refused is not None:
            step, mend = want.refused.step, want.refused.mend
            raise GateError(step, f"{drawn.where}: {want.cause}", mend)
        both = isinstance(got, NoAnswer)
        if want.raised and not both:
            cause = f"{drawn.where}: the graph answers, where {self._who} raises {want.cause}"
            raise GateError(STEP, cause, MEND_WRAPS)
        if want.raised and drawn.named:
            cause = f"the contract takes what {self._who} does not, {drawn.where}: {want.cause}"
            raise GateError(STEP, cause, MEND_RAISES)
        if not both and drawn.named:
            cause = (
                f"{drawn.where}: the graph answers with numbers, {self._who} does not: {want.cause}"
            )
            raise GateError(STEP, cause, MEND_DEPARTS)
        return f"{drawn.where}: {want.cause}"
