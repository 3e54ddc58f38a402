"""The profile of a pipeline, from its reference rows and the training side's answers to them."""

from __future__ import annotations

from seatrial_contracts.profile import Lookout, Profile
from seatrial_export.pipeline import Pipeline

MOST_ROWS = 2000


def profile_of(pipeline: Pipeline) -> Profile:
    """Bins and counts for each input and output; of rows that are spread over all of them where there are very many."""
    step = max(1, -(-len(pipeline.reference) // MOST_ROWS))
    rows = [pipeline.contract.validate_row(row) for row in pipeline.reference[::step]]
    answers = [pipeline.answer_encoded(pipeline.front.encode_row(row)) for row in rows]
    return Lookout(pipeline.front).profile(rows, answers)
