"""Raw rows as a command line gives them: JSON text, a file, or standard input."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from seatrial_contracts.errors import DeclarationError

MENDS = {
    IsADirectoryError: "answers to the files of a folder go to a file: --out FILE",
    UnicodeDecodeError: "a picture or sound is given by --file",
}
"""What could not be read -> what it may have been."""


def read_rows(text: str) -> list[Any]:
    """Read rows from JSON text, a .json or .jsonl file by its name, or `-`.

    Raises `DeclarationError`.
    """
    if text == "-":
        return rows_of(sys.stdin.read())
    if text.lstrip()[:1] in ("{", "["):
        return rows_of(text)
    try:
        held = Path(text).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        got = f"'{text[:80]}': {getattr(error, 'strerror', None) or 'bytes that are no UTF-8'}"
        mend = MENDS.get(type(error))
        want = "JSON, or the name of a .json or .jsonl file"
        raise DeclarationError("rows", got, want, mend) from None
    if not text.endswith(".jsonl"):
        return rows_of(held)
    lines = [(number, line) for number, line in enumerate(held.split("\n"), 1) if line.strip()]
    return [_value(line, f"line {number}") for number, line in lines]


def rows_of(text: str) -> list[Any]:
    """One row, or a list of rows."""
    value = _value(text)
    return value if isinstance(value, list) else [value]


def _value(text: str, place: str = "") -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = f"no JSON at {place or f'line {error.lineno}'}, column {error.colno}"
        mend = """names and words in double quotes: '{"size": 50, "town": "Oslo"}'"""
        raise DeclarationError("rows", where, "a row, or a list of rows", mend) from None
