"""Is a row's answer in the graph the same alone and among NaN and extreme mates? If not, rows are never batched."""

from __future__ import annotations

import numpy as np

from seatrial_contracts.compare import Tolerance, compare_outputs
from seatrial_contracts.front import EncodedRow
from seatrial_contracts.kinds.category import Category
from seatrial_contracts.kinds.kind import TensorSpec
from seatrial_contracts.receipt import Trial
from seatrial_export.declared import Declared
from seatrial_export.gate.sealable import Sealable
from seatrial_export.gate.session import Chain

TOLERANCE = Tolerance(relative_to_max=1e-6, relative=1e-5)
"""Measured for independent fp32 graphs: 0 to 3e-8. A graph with one activation scale for the whole batch is off by 1e-2."""
MOST_ROWS = 24


def check_independence(candidate: Sealable) -> None:
    """Never raises: a graph that fails is sealed with `batchable: false`, which the receipt says."""
    declared = candidate.declared
    if not candidate.batchable:
        return
    chain = Chain(candidate)
    rows = [chain.prepared(row) for row in declared.encoded_golden[:MOST_ROWS]]
    alone = [chain.run([row])[0] for row in rows]
    among = [chain.run([*mates(declared, rows, place), row])[-1] for place, row in enumerate(rows)]
    found = compare_outputs(alone, among, TOLERANCE)
    candidate.batchable = found.passed
    candidate.trials.append(Trial(
        runner="independence", variant="fp32", provider="CPUExecutionProvider", batch_sizes=(1, 5), rows=len(rows),
        worst_error=found.worst_error if np.isfinite(found.worst_error) else None, allowed=found.allowed, passed=True,
        finding="" if found.passed else "rows depend on each other: batchable is false",
    ))  # fmt: skip


def mates(declared: Declared, rows: list[EncodedRow], place: int) -> list[EncodedRow]:
    """Four rows to stand beside `rows[place]`: NaN, both extremes, and the longest golden row."""
    row, specs = rows[place], declared.specs
    longest = max(
        rows,
        key=lambda other: sum(len(value) for spec, value in zip(specs, other, strict=True) if spec.pad is not None),
    )
    extremes = [
        tuple(
            extreme(spec, declared.categories.get(spec.name), own, other, value)
            for spec, own, other in zip(specs, row, longest, strict=True)
        )
        for value in (np.nan, 1e30, -1e30)
    ]
    return [
        *extremes,
        tuple(other if spec.pad is not None else own for spec, own, other in zip(specs, row, longest, strict=True)),
    ]


def extreme(spec: TensorSpec, category: Category | None, own: object, other: object, value: float) -> object:
    """An odd value of this sort: `value` for floats, another word for categories, the longest row's for what is padded, else the own."""
    if spec.dtype.startswith("float"):
        return value if not spec.dims else np.full_like(np.asarray(own), value)
    if category is not None:
        known = (word for word in category.categories if word != own)
        return "an unknown word" if category.unknown == "bucket" else next(known, own)
    return other if spec.pad is not None else own
