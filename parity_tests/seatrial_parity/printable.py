"""Words of strangers, from receipts and bundles, as people may see them."""

from __future__ import annotations

KEPT = "\n"


def printable(text: str) -> str:
    """Spell out every character of the text that cannot be seen.

    Neither a terminal nor a page acts on the result.
    """
    return "".join(
        char if char.isprintable() or char in KEPT else char.encode("unicode_escape").decode()
        for char in text
    )
