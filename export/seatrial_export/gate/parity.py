"""Does onnxruntime answer the golden rows as the reference does, in batches of any size?"""

from __future__ import annotations

from collections.abc import Sequence

from seatrial_contracts.errors import GateError
from seatrial_contracts.golden import Golden
from seatrial_contracts.host_stage import EncodedRow
from seatrial_contracts.judge import TRIAL_BATCH_SIZES, judge
from seatrial_export.gate.arithmetic import told
from seatrial_export.gate.candidate import ROWS_ALONE, Candidate
from seatrial_export.gate.graph_pair import Chain

REFERENCES = {
    "pytorch": "PyTorch",
    "scikit-learn": "scikit-learn",
    "callable": "the reference",
    "none": "the file as it was made",
}
MEND = (
    "look for operations whose ONNX form differs; compare layer by layer, "
    "or widen the tolerance if the difference is harmless"
)
MEND_BATCH = (
    "alone each row is answered rightly: where this model must not see rows together, " + ROWS_ALONE
)


def check_golden(candidate: Candidate) -> None:
    """Compare the graph's answers with the reference's answer to each row alone.

    Every golden row runs at several batch sizes, and so does every held-out row.
    """
    declared = candidate.declared
    chain = Chain(candidate)
    sizes = TRIAL_BATCH_SIZES if candidate.batchable else (1,)
    judge_rows(candidate, chain, candidate.golden, declared.encoded_golden, sizes)
    if candidate.held_out is not None:
        judge_rows(
            candidate,
            chain,
            candidate.held_out,
            declared.encoded_held_out,
            sizes[-1:],
            held_out=True,
        )


def judge_rows(
    candidate: Candidate,
    chain: Chain,
    want: Golden,
    encoded: Sequence[EncodedRow],
    sizes: Sequence[int],
    *,
    held_out: bool = False,
) -> None:
    """Compare one set of rows at each batch size.

    Raises `GateError` where the answers break the promise.
    """
    declared = candidate.declared
    reference = REFERENCES[declared.origin.reference]
    rows = [chain.prepared(row) for row in encoded]
    for size in sizes:
        found = judge(
            declared.contract, declared.whole_promise, want, chain.run_in_batches(rows, size)
        )
        if found.comparison.passed and found.finding:
            mend = f"the graph answers as {reference} does: mend the model, its data or the promise"
            raise GateError(
                "parity",
                f"the promise is broken, {'held-out' if held_out else 'golden'} rows: "
                f"{found.finding}",
                mend,
            )
        if found.finding:
            why, mend = told(
                candidate,
                MEND_BATCH if size > 1 and declared.origin.source == "adopted" else MEND,
            )
            raise GateError(
                "parity",
                f"onnxruntime departs from {reference} at batch size {size}"
                f"{', held-out rows' if held_out else ''}: {found.finding}{why}",
                mend,
            )
        trial = found.trial("onnxruntime", "fp32", "CPUExecutionProvider", size, held_out=held_out)
        candidate.trials.append(trial.model_copy(update={"finding": declared.origin.warning}))
