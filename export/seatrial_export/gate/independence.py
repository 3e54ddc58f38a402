"""Is a row's answer in the graph the same among its copies and among other rows?

Other rows are those that can come. If the answer differs, rows are never batched.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from seatrial_contracts.compare import Comparison, Tolerance, compare_outputs
from seatrial_contracts.contract import Contract
from seatrial_contracts.host_stage import EncodedRow, group_places
from seatrial_contracts.kinds.kind import TensorSpec
from seatrial_contracts.receipt import INDEPENDENCE, Trial
from seatrial_export.gate.candidate import Candidate
from seatrial_export.gate.graph_pair import Chain
from seatrial_export.graphs.session import Model

TOLERANCE = Tolerance(relative_to_max=1e-6, relative=1e-5)
"""Measured for independent fp32 graphs: 0 to 3e-8.

A graph with one activation scale for the whole batch is off by 1e-2.
"""
MOST_ROWS = 12
MATES = 3
"""Beside each row, and one copy of it."""
REPEATS, NOISE = 3, 4.0
"""A graph that answers one batch otherwise each time is noisy.

A difference counts from so many times that noise on.
"""


def check_independence(candidate: Candidate) -> None:
    """Mark a graph whose rows depend on their mates.

    The step never raises: a graph that fails is sealed with `batchable: false`, which the receipt
    notes.
    """
    if not candidate.batchable:
        return
    chain = Chain(candidate)
    rows = [chain.prepared(row) for row in candidate.declared.encoded_golden]
    probes = answerable(chain, candidate.probes)
    contract = candidate.declared.contract
    found = compare_among_mates(chain, contract, rows, [*probes, *rows], TOLERANCE)
    candidate.batchable = found.passed
    left_out = len(candidate.probes) - len(probes)
    findings = [
        "" if found.passed else f"rows depend on each other, so batchable is false: {found}",
        f"{left_out} drawn rows stood beside none: the graph raises on them" if left_out else "",
    ]
    candidate.trials.append(
        Trial(
            runner=INDEPENDENCE,
            variant="fp32",
            provider="CPUExecutionProvider",
            batch_sizes=(MATES + 2,),
            rows=found.rows,
            worst_error=found.worst_error if np.isfinite(found.worst_error) else None,
            allowed=found.allowed,
            passed=True,
            finding="; ".join(filter(None, findings)),
        )
    )


def answerable(model: Model, rows: Sequence[EncodedRow]) -> list[EncodedRow]:
    """Those rows on which the graph does not raise.

    A row on which the graph raises fails alone in a server too, so it stands beside no other row.
    """
    try:
        model.run_in_batches(rows, MATES)
    except Exception:  # onnxruntime's own kinds; which row it was is found by halving
        middle = len(rows) // 2
        return (
            [*answerable(model, rows[:middle]), *answerable(model, rows[middle:])] if middle else []
        )
    return list(rows)


def compare_among_mates(
    model: Model, contract: Contract, rows: Sequence[EncodedRow], probes: Sequence[EncodedRow],
    tolerance: Tolerance,
) -> Comparison:  # fmt: skip
    """Compare prepared rows among others with each in a batch of as many copies of itself.

    The others are drawn from `probes`.

    Both batches have one size, so that kernels which sum in another order at another size do not
    count; of the first rows, since each takes two runs. What differs again and again between runs
    of one batch is noise.
    """
    some = list(rows[:MOST_ROWS])
    batches = [[*mates(model, probes, row, place), row, row] for place, row in enumerate(some)]
    copies = [model.run([row] * len(batch))[-1] for row, batch in zip(some, batches, strict=True)]
    beside = [model.run(batch)[-1] for batch in batches]
    found = compare_outputs(copies, [*map(contract.arranged, copies, beside)], tolerance)
    if found.passed or found.sample is None or not np.isfinite(found.worst_error):
        return found
    noise = noise_of(model, batches[found.sample], str(found.output))
    return (
        found.model_copy(update={"passed": True}) if found.worst_error <= NOISE * noise else found
    )


def noise_of(model: Model, batch: list[EncodedRow], output: str) -> float:
    """How far answers to the last row are from each other where one batch runs several times."""
    answers = np.stack(
        [np.asarray(model.run(batch)[-1][output], np.float64) for _ in range(REPEATS)]
    )
    return float(np.ptp(answers, axis=0).max(initial=0.0))


def mates(
    model: Model, probes: Sequence[EncodedRow], row: EncodedRow, place: int
) -> list[EncodedRow]:
    """Rows of like shape to stand beside this one; other rows get others.

    Where there are too few, the row's own form stands in at the probes' extremes.
    """
    alike = group_places(map(model.shape, probes)).get(model.shape(row), [])
    chosen = [
        probes[alike[(MATES * place + step) % len(alike)]] for step in range(min(MATES, len(alike)))
    ]
    while 0 < len(chosen) < MATES:
        chosen += chosen[: MATES - len(chosen)]
    if len(set(alike)) >= MATES:
        return chosen
    extremes = [at_extreme(model.specs, probes, row, pick) for pick in (np.min, np.max)]
    return [*chosen[: MATES - len(extremes)], *extremes]


def at_extreme(
    specs: Sequence[TensorSpec],
    probes: Sequence[EncodedRow],
    row: EncodedRow,
    pick: Callable[..., Any],
) -> EncodedRow:
    """The row with each array filled with the least or largest number of any probe there.

    Bounds that hold for the probes hold for such a row.
    """
    columns = zip(specs, row, zip(*probes, strict=True), strict=True)
    return tuple(
        np.full_like(own, pick([pick(value) for value in column]))
        if spec.dims and spec.pad is None
        else own
        for spec, own, column in columns
    )
