"""JSON in one spelling, so that equal values are equal bytes and equal digests."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic_core import from_json


def canonical_json(value: Any) -> bytes:
    """Write a JSON value as canonical bytes (RFC 8785 in spirit; floats as Python writes them).

    The bytes are UTF-8 with sorted keys, no spaces, no NaN, and one newline at the end.
    """
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode() + b"\n"


def readable_json(value: Any) -> bytes:
    """As canonical, indented: for files that people read and diff."""
    return (
        json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False).encode()
        + b"\n"
    )


def read_json(data: bytes) -> Any:
    """A JSON value in UTF-8.

    Raises `ValueError` for bytes that are no JSON, NaN and infinities, nesting deeper than 200 and
    whole numbers of more than 4,300 digits.
    """
    return from_json(data, allow_inf_nan=False)


def sha256(data: bytes | memoryview) -> str:
    """Lower-case hexadecimal SHA-256."""
    return hashlib.sha256(data).hexdigest()
