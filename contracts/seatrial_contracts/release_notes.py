"""Release notes, written from what was compared."""

from __future__ import annotations

from collections.abc import Sequence

from seatrial_contracts.answer_changes import Moved
from seatrial_contracts.contract_changes import Difference

NOTES = "RELEASE_NOTES.md"
SHOWN = 20


def write_notes(
    name: str, old: str, new: str, differences: Sequence[Difference], moved: Moved
) -> str:
    """Write Markdown: the contract's changes, the breaking ones, and the moves of answers.

    The text is the same for the same comparison.
    """
    breaking, safe = (
        [str(item) for item in differences if item.breaking is side] for side in (True, False)
    )
    parts = [f"# {name} {new}", "", f"Compared with {old}.", ""]
    parts += _section(
        "Breaking changes", breaking, "None: what a client sent and read stays right."
    )
    parts += _section("Other changes of the contract", safe, "None.")
    return "\n".join([*parts, "## Answers", "", *(f"- {line}" for line in said(moved)), ""])


def said(moved: Moved) -> list[str]:
    """The moves in sentences."""
    lines = [f"{moved.compared} golden rows are answered by both."]
    lines.append(
        f"Largest move: {moved.largest:.3g} at {moved.place}."
        if moved.place
        else "No answer moved."
    )
    if moved.flips:
        lines.append(f"{len(moved.flips)} label{'s' * (len(moved.flips) > 1)} flipped.")
    lines += [
        f"Row {flip.row}: '{flip.output}' was {flip.was}, is {flip.is_}."
        for flip in moved.flips[:SHOWN]
    ]
    if len(moved.flips) > SHOWN:
        lines.append(f"And {len(moved.flips) - SHOWN} more.")
    lines += [f"Row {row} is refused now: {code}." for row, code in moved.newly_refused[:SHOWN]]
    lines += [
        f"Row {row}, refused before with {code}, is taken now."
        for row, code in moved.newly_taken[:SHOWN]
    ]
    return lines


def _section(title: str, items: Sequence[str], none: str) -> list[str]:
    return [f"## {title}", "", *(f"- {item}" for item in items), *([] if items else [none]), ""]
