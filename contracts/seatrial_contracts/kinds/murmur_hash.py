"""MurmurHash3 of 32 bits, which says where scikit-learn's HashingVectorizer counts a term."""

from __future__ import annotations

from functools import lru_cache

MASK = 2**32 - 1
FIRST, SECOND = 0xCC9E2D51, 0x1B873593
"""Of MurmurHash3_x86_32 (Austin Appleby, public domain), as all constants here."""
KEPT = 2**16
"""Hashes that are remembered: the terms of a language are few, and Python takes 2 us for each."""


@lru_cache(KEPT)
def murmur_hash(text: str) -> int:
    """The signed hash of a text in UTF-8, with the seed 0: from -2**31 to 2**31 - 1."""
    data = text.encode()
    whole = len(data) & ~3
    state = 0
    for place in range(0, whole, 4):
        state ^= _mixed(int.from_bytes(data[place : place + 4], "little"))
        state = (_rotated(state, 13) * 5 + 0xE6546B64) & MASK
    if len(data) > whole:
        state ^= _mixed(int.from_bytes(data[whole:], "little"))
    state ^= len(data)
    state = ((state ^ state >> 16) * 0x85EBCA6B) & MASK
    state = ((state ^ state >> 13) * 0xC2B2AE35) & MASK
    state ^= state >> 16
    return state - 2**32 if state >= 2**31 else state


def _mixed(block: int) -> int:
    return (_rotated((block * FIRST) & MASK, 15) * SECOND) & MASK


def _rotated(value: int, bits: int) -> int:
    return ((value << bits) | (value >> (32 - bits))) & MASK
