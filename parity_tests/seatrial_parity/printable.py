"""Words of strangers, from receipts and bundles, as people may see them."""

from __future__ import annotations

KEPT = "\n"


def printable(text: str) -> str:
    """The text with everything that cannot be seen spelt out: neither a terminal nor a page acts on it."""
    return "".join(
        char if char.isprintable() or char in KEPT else char.encode("unicode_escape").decode()
        for char in text
    )
