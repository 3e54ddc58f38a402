"""A variant at rows drawn from the contract, beside the fp32 graph.

A promise is about golden and held-out rows. At drawn rows an answer must be one that a server may
give, and no wild one; what it differs by is named in the receipt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from seatrial_contracts.compare import (
    Array,
    Comparison,
    compare_beside,
    is_whole,
    scales_of,
)
from seatrial_contracts.drawn_rows import DrawnRow
from seatrial_contracts.errors import GateError
from seatrial_contracts.manifest import Variant
from seatrial_contracts.measures import decided_outputs, decides_alike
from seatrial_contracts.receipt import Trial
from seatrial_export.gate.answered import NoAnswer, ask_rows
from seatrial_export.graphs.session import Model
from seatrial_export.quantize.subject import Subject
from seatrial_export.variants.recipe import Edges

PROVIDER = "CPUExecutionProvider"
MEND = (
    "bound the fields more narrowly, calibrate on rows that reach the bounds "
    "(Pipeline(reference=...), --rows), keep nodes in fp32 (keep=...), or take another variant"
)
Numbers = Mapping[str, Array]


def prove_drawn(subject: Subject, variant: Variant, model: Model, edges: Edges) -> Trial | None:
    """Ask the variant every drawn row that fp32 answers, each alone.

    None where there is no such row. Raises `GateError` for the first row at which the variant has
    no answer, or one that is further from fp32's than `edges.most`.
    """
    found, rows = AtDrawnRows(subject, edges), [row for _, row in subject.edge_rows]
    if not rows:
        return None
    run = lambda some: model.run_in_batches(some, 1)
    answers = ask_rows(subject.contract, run, rows)
    for (drawn, _), want, got in zip(subject.edge_rows, subject.edge_answers, answers, strict=True):
        cause = (
            f"no answer, {got.cause}" if isinstance(got, NoAnswer) else found.add(drawn, want, got)
        )
        if cause:
            where = f"variant '{variant.name}', drawn rows"
            raise GateError(where, f"{drawn.where}: {cause}", MEND)
    return Trial(
        runner="onnxruntime",
        variant=variant.name,
        provider=PROVIDER,
        batch_sizes=(1,),
        rows=len(rows),
        drawn=True,
        worst_error=found.worst.worst_error,
        allowed=found.worst.allowed,
        passed=True,
        finding=found.finding(len(rows)),
    )


class AtDrawnRows:
    """How a variant's answers at drawn rows differ from fp32's, as far as they were seen."""

    def __init__(self, subject: Subject, edges: Edges) -> None:
        named = [
            answer
            for (drawn, _), answer in zip(subject.edge_rows, subject.edge_answers, strict=True)
            if drawn.named
        ]
        self._edges, self._scales = edges, scales_of([*subject.bundle.golden.answers, *named])
        self._contract, self._decided = subject.contract, decided_outputs(subject.contract)
        self._other: Counter[str] = Counter()
        self._where = ""
        self.worst = Comparison(passed=True, rows=0, worst_error=0.0, allowed=0.0)
        """The comparison that is the most times its allowance."""

    def add(self, drawn: DrawnRow, want: Numbers, got: Numbers) -> str:
        """Count one row; why its answer must not be given, empty where it may."""
        self._other.update(
            name
            for name, kind in self._decided.items()
            if not decides_alike(kind, want[name], got.get(name))
        )
        floats = {name: array for name, array in want.items() if not is_whole(array)}
        if not floats:
            return ""
        got = self._contract.arranged(want, got)
        found = compare_beside(self._scales, floats, got, self._edges.most)
        if found.ratio > self.worst.ratio:
            self.worst = found
        told = compare_beside(self._scales, floats, got, self._edges.told)
        if not told.passed and found is self.worst:
            self._where = f"{drawn.where}, {str(told).partition(', ')[2]}"
        return "" if found.passed else str(found).partition(", ")[2]

    def finding(self, rows: int) -> str:
        """What the receipt says of it; empty where nothing is to be told."""
        told = [
            f"output '{name}' is decided otherwise at {count} of {rows}"
            for name, count in self._other.items()
        ]
        if self._where:
            told.append(f"furthest from fp32 at {self._where}")
        return f"drawn rows, of which nothing is promised: {'; '.join(told)}" if told else ""
