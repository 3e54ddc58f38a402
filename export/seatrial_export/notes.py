"""What changed since the version before."""

from __future__ import annotations

from typing import Any

from seatrial_contracts.answer_changes import Answered, compare_answers
from seatrial_contracts.bundle import Bundle
from seatrial_contracts.contract_changes import compare_contracts
from seatrial_contracts.release_notes import write_notes
from seatrial_export.gate.candidate import Candidate


def notes_since(old: Bundle, candidate: Candidate) -> bytes:
    """What changed since a version: contracts, and the answers to its golden rows."""
    declared = candidate.declared
    differences = compare_contracts(old.contract, candidate.sealed_contract)
    now = [answered(candidate, row) for row in old.golden.rows]
    moved = compare_answers(declared.contract, old.golden.answers, now)
    return write_notes(declared.name, old.version, declared.version, differences, moved).encode()


def answered(candidate: Candidate, row: Any) -> Answered:
    """The reference's answer to a raw row, or the code that it is refused with."""
    return candidate.declared.front.refusal_code(row) or candidate.answer([row])[0]
