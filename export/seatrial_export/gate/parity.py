"""Does onnxruntime answer the golden rows as the reference does, in batches of any size?"""

from __future__ import annotations

from seatrial_contracts.compare import compare_outputs
from seatrial_contracts.errors import GateError
from seatrial_contracts.front import EncodedRow, places_by
from seatrial_contracts.receipt import Trial
from seatrial_export.gate.sealable import Sealable
from seatrial_export.gate.session import Chain, Outputs

BATCH_SIZES = (1, 2, 7, 32)
"""None of them the traced one."""
REFERENCES = {
    "pytorch": "PyTorch",
    "scikit-learn": "scikit-learn",
    "callable": "the reference",
    "none": "its own answer",
}
NO_REFERENCE = (
    "no independent reference: the golden answers are onnxruntime's own, so they do not prove that the model is right"
)


def check_golden(candidate: Sealable) -> None:
    """Every golden row, at several batch sizes, against the reference's answer to it alone."""
    declared = candidate.declared
    chain = Chain(candidate)
    want = candidate.answers
    rows = [chain.prepared(row) for row in declared.encoded_golden]
    for size in BATCH_SIZES if candidate.batchable else (1,):
        found = compare_outputs(want, run_in_batches(chain, rows, size), declared.tolerance)
        if not found.passed:
            raise GateError(
                "parity",
                f"onnxruntime departs from {REFERENCES[declared.origin.reference]} at batch size {size}: {found}",
                "look for operations whose ONNX form differs; compare layer by layer, or widen the tolerance if the difference is harmless",
            )
        candidate.trials.append(Trial(
            runner="onnxruntime", variant="fp32", provider="CPUExecutionProvider", batch_sizes=(size,), rows=len(rows), worst_error=found.worst_error,
            allowed=found.allowed, passed=True, finding=NO_REFERENCE if declared.origin.reference == "none" else "",
        ))  # fmt: skip


def run_in_batches(chain: Chain, rows: list[EncodedRow], size: int) -> list[Outputs]:
    """Prepared rows in batches of `size` of like shape; answers in the rows' order."""
    answers: list[Outputs] = [{}] * len(rows)
    for places in places_by(map(chain.shape, rows)).values():
        for start in range(0, len(places), size):
            some = places[start : start + size]
            for place, answer in zip(some, chain.run([rows[place] for place in some]), strict=True):
                answers[place] = answer
    return answers
