"""Does a model keep something of its earlier calls?

Compared are its state after other calls, and copies that were never called before.
"""

from __future__ import annotations

from dataclasses import replace

from seatrial_contracts.compare import Tolerance, compare_outputs
from seatrial_contracts.errors import GateError
from seatrial_contracts.host_stage import EncodedRow
from seatrial_export.gate.held import CACHE, Held, changed, held
from seatrial_export.gate.torch_candidate import TRACE_ROWS, TorchCandidate, copied
from seatrial_export.pipeline import Pipeline

TOLERANCE = Tolerance(relative_to_max=1e-6, relative=1e-5)
"""The allowed distance of one module's answers in one process.

The sums are of the same numbers in the same order, in memory that may be aligned otherwise.
"""
FEW = 4
"""Golden rows that the state after a call is looked at with."""
ROW_KNOWN = (
    "contract",
    "front_files",
    "front",
    "categories",
    "golden_samples",
    "held_out_samples",
    "encoded_golden",
    "encoded_held_out",
    "arguments",
    "narrow",
    "prepare_inputs",
    "prepared_specs",
    "specs",
)
"""What a pipeline found out about rows; it holds for a copy too."""
MEND = (
    "a served model is asked in any order, by several processes: take what forward keeps "
    "(a memo, a counter, F.batch_norm(training=True)) or draws (random numbers) out of it; "
    "if it never matters to an answer, say waive={'state': 'why'}"
)


def check_state(candidate: TorchCandidate) -> None:
    """Check that the modules' state after calls depends neither on the rows nor on their number.

    So a table that the first call makes may stay; a memo of the first row and a counter may not.
    Where a module cannot be copied, a call must leave everything as it was.
    """
    rows = candidate.pipeline.encoded_golden
    one, other = twin(candidate), twin(candidate)
    asked = one or candidate.pipeline
    before = state_after(asked, [])
    first = state_after(asked, rows[:1])
    refuse(
        changed(first, state_after(asked, rows[1:FEW])),
        "changes with the number of calls, or with the rows",
    )
    if other is None:
        refuse(changed(before, first), "is changed by a call")
        return
    shared = [name for name in changed(before, state_after(other, [])) if not name.endswith(CACHE)]
    refuse(shared, "outside of the modules is changed by a call")
    refuse(changed(first, state_after(other, rows[-1:])), "depends on the row that was asked first")


def check_fresh_copy(candidate: TorchCandidate) -> None:
    """Check a copy made before the first call.

    The copy must answer the golden rows, last row first, as the model did in order.
    """
    fresh = twin(candidate)
    if fresh is None:
        return
    answers = [fresh.answer_encoded(row) for row in reversed(candidate.pipeline.encoded_golden)]
    found = compare_outputs(list(candidate.golden.answers), answers[::-1], TOLERANCE)
    if not found.passed:
        raise GateError(
            "fresh copy", f"a copy that was never asked before answers otherwise: {found}", MEND
        )


def twin(candidate: TorchCandidate) -> Pipeline | None:
    """The pipeline over modules as they were before the gate first called them.

    None where the modules cannot be copied.
    """
    if candidate.pristine is None:
        return None
    model, prepare = candidate.pristine
    _ = candidate.pipeline.narrow  # a copy is not called to see
    pipeline = replace(candidate.pipeline, model=copied(model), prepare=prepare and copied(prepare))
    vars(pipeline).update(
        {name: value for name, value in vars(candidate.pipeline).items() if name in ROW_KNOWN}
    )
    return pipeline


def state_after(pipeline: Pipeline, rows: list[EncodedRow]) -> Held:
    """Take the state of a pipeline's modules after it has answered these rows.

    Each row runs in a batch of its like: batch norm cannot train on one.
    """
    for row in rows:
        pipeline.call(pipeline.batch([row] * TRACE_ROWS))
    parts = {"model": pipeline.model} | (
        {} if pipeline.prepare is None else {"prepare": pipeline.prepare}
    )
    return held(parts)


def refuse(names: list[str], what: str) -> None:
    """Raise `GateError` for the first names, where there are any."""
    if names:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        raise GateError("state", f"{', '.join(names[:3])}{more} {what}", MEND)
