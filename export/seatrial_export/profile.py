"""The profile: how the reference rows and the answers to them are spread, which drift is measured against."""

from __future__ import annotations

from typing import Any

from seatrial_export.pipeline import Pipeline

MOST_ROWS = 2000


def profile_of(pipeline: Pipeline) -> dict[str, Any]:
    """Bins and counts for each input and output, from the pipeline's reference rows, or its golden ones where it has none."""
    raw = list(pipeline.reference or [sample.row for sample in pipeline.golden_samples])[:MOST_ROWS]
    rows = [pipeline.contract.validate_row(row) for row in raw]
    answers = [pipeline.answer_encoded(pipeline.front.encode_row(row)) for row in rows]
    return {
        "schema": 1,
        "rows": len(rows),
        "inputs": {
            spec.name: spec.kind.distribution([row[spec.name] for row in rows]) for spec in pipeline.contract.inputs
        },
        "outputs": {
            spec.name: spec.kind.distribution([answer[spec.name] for answer in answers])
            for spec in pipeline.contract.outputs
        },
    }
