"""What says how much of a padded row counts: its length, or a mask of its first side."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from seatrial_contracts.kinds.kind import TensorSpec

Mark = Literal["mask", "length", "none"]


def mark_specs(
    mark: Mark, name: str, side: int | str, *, padded: bool = True
) -> tuple[TensorSpec, ...]:
    """`<name>_mask`, bool, `(batch, side)`, or `<name>_length`, int64, `(batch,)`, or neither.

    A side that is not `padded` in a batch is of one size in every row.
    """
    if mark == "mask":
        pad = 0 if padded else None
        return (TensorSpec(name=f"{name}_mask", dtype="bool", dims=(side,), pad=pad),)
    return (TensorSpec(name=f"{name}_length", dtype="int64"),) if mark == "length" else ()


def marks(mark: Mark, size: int, count: int) -> tuple[Any, ...]:
    """The same of one row of this size, of which the first `count` are its own."""
    if mark == "mask":
        return (np.arange(size) < count,)
    return (count,) if mark == "length" else ()
