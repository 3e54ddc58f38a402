"""What tasks of two texts share."""

from __future__ import annotations

from math import isqrt

from seatrial_contracts.kinds.text_pair import MOST_WINDOW_TOKENS
from seatrial_contracts.sample import RawRow
from seatrial_export.hub.sentences import PAIRS
from seatrial_export.hub.text import TextSide


def rows_of_pairs(first: str, second: str) -> list[RawRow]:
    """Rows of our own, of a field `pair` whose texts have these names."""
    return [{"pair": {first: one, second: other}} for one, other in PAIRS]


def longest_chars(text: TextSide) -> int:
    """The most characters of each text where the longer of both is cut: see `st.TextPair`."""
    return min(text.max_chars, isqrt(MOST_WINDOW_TOKENS * text.max_tokens // 4))
