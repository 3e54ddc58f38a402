"""A judge: a library's own answers from raw rows, which the sealed graph is compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Judged = Sequence[Mapping[str, Any]]
"""For each row its answers by name.

An array is what the graph must answer, by the name of its tensor. Any other value is what a client
of V1 must see who chooses no option, by the name of the answer's field.
"""
Judge = Callable[[Sequence[Mapping[str, Any]]], Judged]
"""From validated rows to answers. A judge's `name` stands in receipts, else that of the function.

In the rows missing values are None, tensors are numpy arrays, and files are bytes.
"""


def name_of(judge: Judge) -> str:
    """How receipts and messages call the judge."""
    name = getattr(judge, "name", None) or getattr(judge, "__name__", type(judge).__name__)
    return str(name)[:200]
