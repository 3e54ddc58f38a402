"""The numbers of an element type of floats: rounding, neighbours and ends, bfloat16 among them.

numpy has no bfloat16. Its numbers are float32 numbers here whose 16 lower bits are 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

import numpy as np

from seatrial_contracts.compare import Array
from seatrial_contracts.element_types import DECLARED_DATATYPES, DTYPES

SIGNIFICAND_BITS = 8
"""Of bfloat16, with the leading one that is not stored: IEEE 754's binary32 has 24 of them."""
LEAST_EXPONENT = -133
"""The least number above 0 of bfloat16 is 2 to this: binary32's least, 2**-149, has 16 bits more.
"""
STEP_OF_FLOAT32 = np.float32(2.0**16)
"""A step of bfloat16 as so many of float32."""
LARGEST_BFLOAT16 = (2.0**SIGNIFICAND_BITS - 1) * 2.0**120


def held_in(dtype: str) -> str:
    """Numpy's name of the array that holds numbers of an element type, which numpy may lack."""
    return DTYPES[DECLARED_DATATYPES[dtype]]


def rounded(values: Any, dtype: str) -> Array:
    """Numbers as those of an element type, in the array that holds it.

    Rounding is IEEE 754's: to nearest, ties to even, once, from the number given. A number beyond
    the type's ends becomes an infinity.
    """
    if dtype != "bfloat16":
        with np.errstate(over="ignore"):
            return np.asarray(values, dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        exact = np.asarray(values, np.float64)
        _, exponent = np.frexp(exact)
        step = np.ldexp(1.0, np.maximum(exponent - SIGNIFICAND_BITS, LEAST_EXPONENT))
        return np.asarray(np.rint(exact / step) * step, np.float32)


def bfloat16_bits(values: Array) -> Array:
    """Numbers as bfloat16 has them, in uint16: the upper half of a float32, which is rounded."""
    return (rounded(values, "bfloat16").view(np.uint32) >> 16).astype(np.uint16)


def from_bfloat16_bits(bits: Array) -> Array:
    """The float32 numbers whose upper half these uint16 are."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def next_float(value: float, towards: float, dtype: str) -> float:
    """The next number of an element type in that direction, from one of its numbers."""
    if dtype != "bfloat16":
        element = np.dtype(dtype).type
        with np.errstate(over="ignore"):
            return float(np.nextafter(element(value), element(towards)))
    if value == towards:
        return value
    fraction, exponent = np.frexp(abs(value)) if value else (0.0, LEAST_EXPONENT)
    inward = (towards > value) != (value > 0)
    # Below a power of 2, steps are half as large as above it.
    halved = inward and fraction == 0.5
    step = 2.0 ** max(int(exponent) - SIGNIFICAND_BITS - halved, LEAST_EXPONENT)
    found = value + (step if towards > value else -step)
    return found if abs(found) <= LARGEST_BFLOAT16 else float(np.copysign(inf, found))


def largest_float(dtype: str) -> float:
    """The largest finite number of an element type."""
    return LARGEST_BFLOAT16 if dtype == "bfloat16" else float(np.finfo(dtype).max)


def rounded_up_to(bound: float, dtype: str) -> float:
    """The least float64 that an element type rounds to `bound`, one of its numbers, or above.

    Rounding is IEEE 754's: to nearest, ties to even.
    """
    below = next_float(bound, -inf, dtype)
    gap = bound - (below if np.isfinite(below) else next_float(bound, 0, dtype))
    middle = bound - abs(gap) / 2
    return middle if rounded(middle, dtype) >= bound else float(np.nextafter(middle, inf))


def near_bfloat16(want: Sequence[Array], got: Sequence[Array]) -> list[Array]:
    """`got` with numbers of `want` in the place of those that are no further from them than a step.

    Whether a number that lies between two of bfloat16 becomes the one or the other says nothing:
    the last bit of float32 may decide it.
    """
    return [
        _settled(ours, theirs) if ours.shape == theirs.shape else theirs
        for ours, theirs in zip(want, got, strict=True)
    ]


def _settled(want: Array, got: Array) -> Array:
    want = np.asarray(want, np.float32)
    with np.errstate(invalid="ignore"):
        step = np.spacing(np.abs(want)) * STEP_OF_FLOAT32
        return np.where(np.abs(got - want) <= step, want, got)
