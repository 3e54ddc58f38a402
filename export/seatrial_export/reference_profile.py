"""Making the profile of what passed the gate, from the reference rows that were declared."""

from __future__ import annotations

from seatrial_contracts.profile import DriftFeatures, Profile
from seatrial_export.gate.candidate import Candidate

MOST_ROWS = 2000


def profile_of(candidate: Candidate) -> Profile:
    """Count bins for each input and output.

    Where there are very many rows, the counted ones are spread over all of them.
    """
    declared = candidate.declared
    step = max(1, -(-len(declared.reference) // MOST_ROWS))
    raw = declared.reference[::step]
    rows = [declared.contract.validate_row(row) for row in raw]
    return DriftFeatures(declared.front).profile(rows, candidate.answer(raw) if raw else [])
