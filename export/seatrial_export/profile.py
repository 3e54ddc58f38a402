"""The profile: how the reference rows and the answers to them are spread, which drift is measured against."""

from __future__ import annotations

from typing import Any

from seatrial_export.gate.sealable import Sealable

MOST_ROWS = 2000


def profile_of(candidate: Sealable) -> dict[str, Any]:
    """Bins and counts for each input and output, from the reference rows declared, or the golden ones where there are none."""
    declared = candidate.declared
    raw = list(declared.reference or [sample.row for sample in declared.golden_samples])[:MOST_ROWS]
    rows = [declared.contract.validate_row(row) for row in raw]
    answers = candidate.answer(raw) if declared.reference else candidate.golden.answers[:MOST_ROWS]
    return {
        "schema": 1,
        "rows": len(rows),
        "inputs": {
            spec.name: spec.kind.distribution([row[spec.name] for row in rows]) for spec in declared.contract.inputs
        },
        "outputs": {
            spec.name: spec.kind.distribution([answer[spec.name] for answer in answers])
            for spec in declared.contract.outputs
        },
    }
