"""Proving a variant.

Every golden and held-out row runs at several batch sizes, rows are held apart from their mates, and
the variant's cost is measured.
"""

from __future__ import annotations

import onnx

from seatrial_contracts.compare import Comparison, Tolerance
from seatrial_contracts.cost import Cost
from seatrial_contracts.errors import GateError
from seatrial_contracts.host_stage import collate
from seatrial_contracts.judge import judge
from seatrial_contracts.manifest import Variant
from seatrial_contracts.receipt import INDEPENDENCE, Trial
from seatrial_export.gate.candidate import ROWS_ALONE
from seatrial_export.gate.independence import MATES, answerable, compare_among_mates
from seatrial_export.graphs.session import Model
from seatrial_export.graphs.weights import outside_of, sealed_form, size_of
from seatrial_export.quantize.measure_cost import MEMORY_ROWS, best_seconds, peak_memory_bytes
from seatrial_export.quantize.prove_drawn import PROVIDER, prove_drawn
from seatrial_export.quantize.subject import Subject
from seatrial_export.variants.recipe import Edges


def prove(
    subject: Subject,
    variant: Variant,
    graph: onnx.ModelProto,
    apart: Tolerance,
    edges: Edges | None = None,
) -> list[Trial]:
    """A variant's trials; that of the golden rows alone holds its cost.

    Raises `GateError` that names what the variant misses.

    `apart` is how far a row's answer among mates may be from that alone, and `edges` how far an
    answer at a drawn row may be from fp32's; None for fp32 itself.
    """
    model = Model(graph, subject.specs)
    found = rows_apart(subject, variant, model, apart)
    trials = [
        prove_rows(subject, variant, model, place, size)
        for place, sizes in enumerate((subject.sizes, subject.sizes[-1:])[: len(subject.sets)])
        for size in sizes
    ]
    at_drawn = None if edges is None else prove_drawn(subject, variant, model, edges)
    trials += [] if at_drawn is None else [at_drawn]
    cost = measure_cost(subject, model, graph).model_copy(
        update={"batch_error": found.worst_error if found else None}
    )
    trials[0] = trials[0].model_copy(update={"cost": cost})
    if found is not None:
        trials.append(
            Trial(
                runner=INDEPENDENCE,
                variant=variant.name,
                provider=PROVIDER,
                batch_sizes=(MATES + 2,),
                rows=found.rows,
                worst_error=found.worst_error,
                allowed=found.allowed,
                passed=True,
            )
        )
    return trials


def rows_apart(
    subject: Subject, variant: Variant, model: Model, apart: Tolerance
) -> Comparison | None:
    """Compare rows among mates with rows alone.

    None where rows never run together. Raises `GateError`.
    """
    if not subject.batchable:
        return None
    _, rows = subject.sets[0]
    probes = answerable(model, subject.probes)
    found = compare_among_mates(model, subject.contract, rows, probes, apart)
    if not found.passed:
        raise GateError(
            f"variant '{variant.name}', batch independence",
            f"a row's answer depends on the other rows of its batch: {found}",
            "keep the nodes that mix rows in fp32 (keep=...), or seal the model anew: "
            + ROWS_ALONE,
        )
    return found


def prove_rows(subject: Subject, variant: Variant, model: Model, place: int, size: int) -> Trial:
    """One set of rows at one batch size. Raises `GateError` where the promise is broken."""
    golden, rows = subject.sets[place]
    found = judge(subject.contract, variant.promise, golden, model.run_in_batches(rows, size))
    if found.finding:
        raise GateError(
            f"variant '{variant.name}', {'held-out' if place else 'golden'} rows "
            f"at batch size {size}",
            found.finding,
            "keep its most sensitive nodes in fp32 (seatrial quantize --budget finds them), "
            "take another variant, or promise less",
        )
    return found.trial("onnxruntime", variant.name, PROVIDER, size, held_out=bool(place))


def measure_cost(subject: Subject, model: Model, graph: onnx.ModelProto) -> Cost:
    """Size, speed beside fp32 at each batch size, peak memory."""
    timed = {
        size: best_seconds([subject.fp32, model], subject.middling, size) for size in subject.sizes
    }
    data, folder = sealed_form(graph)
    rows = MEMORY_ROWS if subject.batchable else 1
    return Cost(
        size_bytes=len(data) + sum(map(size_of, outside_of(graph))),
        seconds={size: own for size, (_, own) in timed.items()},
        speed={size: fp32 / own for size, (fp32, own) in timed.items()},
        peak_memory_bytes=peak_memory_bytes(
            data, folder, collate(subject.specs, [subject.middling] * rows)
        ),
    )
