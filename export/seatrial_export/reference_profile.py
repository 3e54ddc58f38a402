"""Making the profile of what passed the gate, from the reference rows that were declared."""

from __future__ import annotations

from seatrial_contracts.profile import DriftFeatures, Profile
from seatrial_export.gate.candidate import Candidate


def profile_of(candidate: Candidate) -> Profile:
    """Count bins for each input and output."""
    declared = candidate.declared
    raw, answers = candidate.reference
    rows = [declared.contract.validate_row(row) for row in raw]
    return DriftFeatures(declared.front).profile(rows, answers)
