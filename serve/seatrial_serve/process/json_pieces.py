"""JSON of large answers, written piece by piece.

A thread that writes the pieces lets other threads have the interpreter in between.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson

LARGE_BYTES = 64 * 1024
"""Of numbers: what holds more is written in pieces, by a thread."""
PIECE_BYTES = 64 * 1024
"""Of an array that is written in one go, which holds the interpreter: some 2 ms as JSON."""
PIECE_ITEMS = 64
"""Of a list of plain values, likewise."""


def write_json(value: Any, size_bytes: int = 0) -> bytes:
    """Write a value as JSON; the numpy arrays in it take `size_bytes`.

    If that is much, the JSON is written in pieces, which changes no byte.
    """
    return b"".join(_pieces(value)) if size_bytes > LARGE_BYTES else _whole(value)


def _whole(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


def _pieces(value: Any) -> Iterator[bytes]:
    if isinstance(value, dict):
        mark = b"{"
        for name, item in value.items():
            yield mark + orjson.dumps(name) + b":"
            yield from _pieces(item)
            mark = b","
        yield b"}" if value else b"{}"
    elif isinstance(value, list) and any(
        isinstance(item, (dict, list, np.ndarray)) for item in value[:PIECE_ITEMS]
    ):
        mark = b"["
        for item in value:
            yield mark
            yield from _pieces(item)
            mark = b","
        yield b"]"
    elif isinstance(value, np.ndarray) and value.ndim > 1 and value.nbytes > PIECE_BYTES:
        yield from _pieces(list(value))
    elif isinstance(value, (list, np.ndarray)) and len(value) > PIECE_ITEMS:
        size = PIECE_ITEMS if isinstance(value, list) else max(1, PIECE_BYTES // value.itemsize)
        mark = b"["
        for start in range(0, len(value), size):
            yield mark + _whole(value[start : start + size])[1:-1]
            mark = b","
        yield b"]"
    else:
        yield _whole(value)
