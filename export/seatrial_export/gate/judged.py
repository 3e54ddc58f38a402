"""Does the graph answer raw rows as the library of the model's authors does?"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from seatrial_contracts.compare import (
    Comparison,
    compare_beside,
    scales_of,
    worst_of,
)
from seatrial_contracts.errors import DeclarationError, GateError, SeatrialError
from seatrial_contracts.kinds.kind import Array
from seatrial_contracts.receipt import Trial
from seatrial_contracts.sample import RawRow
from seatrial_export.gate.drawn import AT_ONCE, MOST_VALUES, WITHIN_S, summary
from seatrial_export.gate.graph_pair import Chain
from seatrial_export.gate.torch_candidate import TorchCandidate
from seatrial_export.graphs.exporter_messages import first_lines
from seatrial_export.judge import Judge, name_of

STEP = "judge"
MEND = (
    "compare tokenizer, prompts, resizing, maximum length and activation with the library's own; "
    "mend row class or model, or widen the tolerance if the difference is harmless"
)
MEND_RAISES = (
    "narrow the contract so that such rows are refused, or let the judge answer what it should be"
)
RowSet = Literal["golden", "held-out", "drawn"]
Asked = tuple[str, RawRow]
"""Where a row comes from, for messages, and the row."""


def check_judge(candidate: TorchCandidate) -> None:
    """Compare the graph with the pipeline's judge, from raw rows, where there is one.

    Golden and held-out rows are judged, and drawn ones for a few seconds. Raises `GateError` where
    the graph departs from the judge, or where the judge raises at a golden or held-out row.
    """
    judge, declared = candidate.pipeline.judge, candidate.pipeline
    if judge is None:
        return
    bench = _Bench(candidate, judge)
    sets: dict[RowSet, list[Asked]] = {
        "golden": [
            (f"golden row {place}", sample.row)
            for place, sample in enumerate(declared.golden_samples)
        ],
        "held-out": [
            (f"held-out row {place}", sample.row)
            for place, sample in enumerate(declared.held_out_samples)
        ],
        "drawn": [(each.where, each.row) for each in candidate.drawn_rows if each.named],
    }
    for name, rows in sets.items():
        if rows:
            candidate.trials.append(bench.judged(name, rows))


class _Bench:
    """Judge and graph of one candidate, asked the same rows."""

    def __init__(self, candidate: TorchCandidate, judge: Judge) -> None:
        self._declared, self._judge, self._name = candidate.pipeline, judge, name_of(judge)
        self._contract = candidate.pipeline.contract
        self._chain = Chain(candidate)
        self._size = AT_ONCE if candidate.batchable else 1
        self._scales = scales_of(candidate.golden.answers)
        self._mapped = {output.name: output for output in self._contract.mapped}

    def judged(self, row_set: RowSet, rows: Sequence[Asked]) -> Trial:
        """One line of the receipt. Raises `GateError`."""
        started, asked, notes, found = time.perf_counter(), 0, list[str](), list[Comparison]()
        is_drawn = row_set == "drawn"
        while asked < len(rows) and not (is_drawn and time.perf_counter() - started > WITHIN_S):
            some = rows[asked : asked + AT_ONCE]
            wanted = [self._wanted(where, row, notes if is_drawn else None) for where, row in some]
            for (where, row), want, got in zip(some, wanted, self._answered(some), strict=True):
                if want is not None:
                    found.append(self._compared(where, row, want, got))
            asked += len(some)
        worst = worst_of(found)
        return Trial(
            runner=STEP,
            variant="fp32",
            provider=self._name,
            batch_sizes=(self._size,),
            rows=len(found),
            held_out=row_set == "held-out",
            drawn=is_drawn,
            worst_error=worst.worst_error,
            allowed=worst.allowed,
            passed=True,
            finding=summary(notes, asked, len(rows)),
        )

    def _answered(self, some: Sequence[Asked]) -> list[dict[str, Array]]:
        encoded = [self._chain.prepared(self._declared.encode_row(row)) for _, row in some]
        return self._chain.run_in_batches(encoded, self._size, MOST_VALUES)

    def _wanted(self, where: str, row: RawRow, notes: list[str] | None) -> Mapping[str, Any] | None:
        """What the judge answers to a row; None where it raises and that is only noted."""
        try:
            [answer] = self._judge([dict(self._contract.validate_row(row))])
        except Exception as error:  # a library's own kinds
            if isinstance(error, SeatrialError):
                raise
            cause = f"{type(error).__name__}: {first_lines(error)}"
            if notes is None:
                raise GateError(
                    STEP, f"{where}: {self._name} raised {cause}", MEND_RAISES
                ) from None
            notes.append(f"{where}: {self._name} raised {cause}"[:300])
            return None
        return answer

    def _compared(
        self, where: str, row: RawRow, want: Mapping[str, Any], got: Mapping[str, Array]
    ) -> Comparison:
        tensors = {
            name: np.asarray(value)
            for name, value in want.items()
            if isinstance(value, (np.ndarray, np.generic))
        }
        known = {tensor.name for tensor in self._contract.answer_tensors}
        odd = [
            name
            for name in want
            if not (name in known if name in tensors else name in self._mapped)
        ]
        if odd or not want:
            raise DeclarationError(
                f"the judge {self._name}",
                f"an answer named {odd[0]!r}" if odd else "no answer",
                f"arrays for {', '.join(sorted(known))}",
                "or, for kinds that clients see in their own terms, what a client of V1 gets",
            )
        tolerance = self._declared.tolerance
        found = [compare_beside(self._scales, tensors, got, tolerance)] if tensors else []
        for name in want.keys() - tensors.keys():
            output = self._mapped[name]
            seen = output.client(got, self._declared.front.notes(row), self._options)
            expected = output.kind.recover(want[name])
            match = output.kind.match(expected, seen, tolerance)
            found.append(match.model_copy(update={"sample": 0, "output": name}))
        worst = worst_of(found)
        if not worst.passed:
            departed = str(worst).removeprefix("sample 0, ")
            raise GateError(STEP, f"{where}: the graph departs from {self._name}: {departed}", MEND)
        return worst

    @property
    def _options(self) -> Mapping[str, Any]:
        return self._contract.default_options
