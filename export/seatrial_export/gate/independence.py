"""Is a row's answer in the graph the same alone and among NaN and extreme mates? If not, rows are never batched."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from seatrial_contracts.compare import Comparison, Tolerance, compare_outputs
from seatrial_contracts.host_stage import EncodedRow
from seatrial_contracts.kinds.kind import TensorSpec
from seatrial_contracts.receipt import Trial
from seatrial_export.gate.candidate import Candidate
from seatrial_export.gate.graph_pair import Chain
from seatrial_export.graphs.session import Model

TOLERANCE = Tolerance(relative_to_max=1e-6, relative=1e-5)
"""Measured for independent fp32 graphs: 0 to 3e-8. A graph with one activation scale for the whole batch is off by 1e-2."""
MOST_ROWS = 24


def check_independence(candidate: Candidate) -> None:
    """Never raises: a graph that fails is sealed with `batchable: false`, which the receipt says."""
    if not candidate.batchable:
        return
    chain = Chain(candidate)
    found = compare_among_mates(chain, [chain.prepared(row) for row in candidate.declared.encoded_golden], TOLERANCE)
    candidate.batchable = found.passed
    candidate.trials.append(Trial(
        runner="independence", variant="fp32", provider="CPUExecutionProvider", batch_sizes=(1, 5), rows=found.rows,
        worst_error=found.worst_error if np.isfinite(found.worst_error) else None, allowed=found.allowed, passed=True,
        finding="" if found.passed else "rows depend on each other: batchable is false",
    ))  # fmt: skip


def compare_among_mates(model: Model, rows: Sequence[EncodedRow], tolerance: Tolerance) -> Comparison:
    """Prepared rows among NaN and extreme mates against each alone; of the first ones, since each takes two runs."""
    some = list(rows[:MOST_ROWS])
    alone = [model.run([row])[0] for row in some]
    among = [model.run([*mates(model.specs, some, place), row])[-1] for place, row in enumerate(some)]
    return compare_outputs(alone, among, tolerance)


def mates(specs: tuple[TensorSpec, ...], rows: list[EncodedRow], place: int) -> list[EncodedRow]:
    """Four rows to stand beside `rows[place]`: NaN, both extremes, and the longest golden row."""
    row = rows[place]
    longest = max(
        rows,
        key=lambda other: sum(len(value) for spec, value in zip(specs, other, strict=True) if spec.pad is not None),
    )
    columns = list(zip(specs, row, longest, zip(*rows, strict=True), strict=True))
    extremes = [
        tuple(extreme(spec, own, other, column, value) for spec, own, other, column in columns)
        for value in (np.nan, 1e30, -1e30)
    ]
    return [*extremes, tuple(other if spec.pad is not None else own for spec, own, other, _ in columns)]


def extreme(spec: TensorSpec, own: object, other: object, column: Sequence[object], value: float) -> object:
    """An odd value of this sort: `value` for floats, another golden row's word, the longest row's for what is padded, else the own.

    No unknown word: a contract may refuse those, and graphs that look words up for themselves may fail on them.
    """
    if spec.dtype.startswith("float"):
        return value if not spec.dims else np.full_like(np.asarray(own), value)
    if spec.dtype == "string":
        return next((word for word in column if word != own), own)
    return other if spec.pad is not None else own
