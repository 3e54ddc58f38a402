"""Entries of vocabularies, whole numbers among them, plain texts and defaults: 82 to 84."""

from __future__ import annotations

from typing import Any

from refusals.case import CANARY, Case, v1, v2

ROW: dict[str, Any] = {"product": "word 7", "tier": 1}
TENSORS: dict[str, dict[str, Any]] = {
    "product": {"datatype": "BYTES", "data": ["word 7"]},
    "tier": {"datatype": "INT64", "data": [1]},
}


def shop(**change: Any) -> bytes:
    """A row with a change."""
    return v1({"instances": [ROW | change]}, "shop")


def tensors(**change: Any) -> bytes:
    """The same as tensors, each field a datatype and a value."""
    named = TENSORS | {
        name: {"datatype": datatype, "data": [value]} for name, (datatype, value) in change.items()
    }
    inputs = [{"name": name, "shape": [1], **given} for name, given in named.items()]
    return v2({"inputs": inputs}, "shop")


CASES = [
    Case("82 defaults of what is left out", shop(), 200),
    Case("82 defaults of inputs that are left out", tensors(), 200),
    Case("82 no entry of a long file", shop(product=CANARY), 400, "E_CATEGORY"),
    Case("82 an entry with a space behind it", shop(product="word 7 "), 400, "E_CATEGORY"),
    Case("82 the empty word", shop(product=""), 400, "E_CATEGORY"),
    Case("82 a word of 1 MB", shop(product="w" * 10**6), 400, "E_CATEGORY"),
    Case("82 a code for a word", shop(product=7), 400, "E_TYPE"),
    Case("82 no entry, as a tensor", tensors(product=("BYTES", CANARY)), 400, "E_CATEGORY"),
    Case("83 a number that is no entry", shop(tier=3), 400, "E_CATEGORY"),
    Case("83 a float for an entry", shop(tier=1.0), 400, "E_TYPE"),
    Case("83 true for an entry", shop(tier=True), 400, "E_TYPE"),
    Case("83 text for an entry", shop(tier="1"), 400, "E_TYPE"),
    Case("83 an entry of 2^64", shop(user=2**64), 400, "E_RANGE"),
    Case("83 an entry of 4,000 digits", shop(user=10**4000), 400, "E_RANGE"),
    Case("83 no entry, as INT64", tensors(tier=("INT64", 3)), 400, "E_CATEGORY"),
    Case("83 INT32 for INT64", tensors(tier=("INT32", 1)), 400, "E_DTYPE"),
    Case("83 null for a default", shop(user=None), 400, "E_MISSING"),
    Case("84 a plain text beyond its characters", shop(note="x" * 41), 400, "E_TEXT_LIMIT"),
    Case("84 a number for a plain text", shop(note=7), 400, "E_TYPE"),
    Case("84 half a surrogate pair in a plain text", shop(note="\ud83d"), 400, "E_JSON"),
    Case("84 NUL in a plain text", shop(note="a\0b"), 200),
    Case("84 a plain text beyond them, as a tensor", tensors(note=("BYTES", "x" * 41)), 400,
         "E_TEXT_LIMIT"),
]  # fmt: skip
