"""Forms of a vector on the wire: floats of two sizes, bytes by ranges, and bits by sign."""

from __future__ import annotations

from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field

from seatrial_contracts.compare import Array
from seatrial_contracts.declared import Declared
from seatrial_contracts.errors import DeclarationError

VectorForm = Literal["float32", "float16", "int8", "uint8", "binary", "ubinary"]
FORM_TYPES: dict[str, str] = {
    "float32": "float32", "float16": "float16", "int8": "int8", "uint8": "uint8",
    "binary": "int8", "ubinary": "uint8",
}  # fmt: skip
"""Form -> numpy's name of its element type. Eight dimensions share a byte of the binary forms."""
RANGED, BITS = frozenset({"int8", "uint8"}), frozenset({"binary", "ubinary"})
STEPS = 255
SIGN_BIT = 0x80
DIGITS = 7
"""Of a range's ends: what float32 holds."""
MAX_SIZE = 2**16
Ends = Annotated[tuple[float, ...], Field(strict=False, min_length=1, max_length=MAX_SIZE)]


class Ranges(Declared):
    """The least and the greatest value of each dimension, between which bytes lie."""

    low: Ends
    high: Ends

    @classmethod
    def of(cls, vectors: Array) -> Self:
        """Those of some vectors, shape `(rows, dimensions)`."""
        low, high = vectors.min(0), vectors.max(0)
        return cls(low=tuple(map(_rounded, low)), high=tuple(map(_rounded, high)))

    def check(self, size: int) -> None:
        """Raise `DeclarationError` where they are not those of so many dimensions."""
        ordered = all(low <= high for low, high in zip(self.low, self.high, strict=False))
        if not (len(self.low) == len(self.high) == size and ordered):
            got = f"ranges of {len(self.low)} and {len(self.high)} ends"
            want = f"{size} low and {size} high ends, no low one above its high one"
            raise DeclarationError("st.Ranges", got, want)


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def in_form(vectors: Array, form: str, ranges: Ranges | None = None) -> Array:
    """Float32 vectors, shape `(..., dimensions)`, in a form.

    The arithmetic is `quantize_embeddings` of sentence-transformers 6.2: a value between the ends
    of its range falls on one of 256 steps, rounded down, and a value beyond them on the last step.
    A bit is 1 where the value is above 0; the first dimension is the top bit of the first byte, and
    the last byte is filled up with zeros.
    """
    if form in BITS:
        bits = np.packbits(vectors > 0, axis=-1)
        return bits if form == "ubinary" else (bits ^ SIGN_BIT).view(np.int8)
    if form not in RANGED:
        return vectors.astype(FORM_TYPES[form], copy=False)
    assert ranges is not None, "unsealed ranges: this is a bug in seatrial"
    low, steps = _steps(ranges)
    places = np.clip(np.floor((vectors - low) / steps), 0, STEPS).astype(np.uint8)
    return places if form == "uint8" else (places ^ SIGN_BIT).view(np.int8)


def restored(values: Array, form: str, size: int, ranges: Ranges | None = None) -> Array:
    """Float32 vectors from a form: the middle of each step, and -1 or 1 for a bit."""
    if form in BITS:
        bits = values.view(np.uint8) ^ np.uint8(0 if form == "ubinary" else SIGN_BIT)
        return np.unpackbits(bits, axis=-1, count=size).astype(np.float32) * 2 - 1
    if form not in RANGED:
        return values.astype(np.float32, copy=False)
    assert ranges is not None, "unsealed ranges: this is a bug in seatrial"
    low, steps = _steps(ranges)
    places = values.view(np.uint8) ^ np.uint8(0 if form == "uint8" else SIGN_BIT)
    vectors: Array = low + (places.astype(np.float32) + np.float32(0.5)) * steps
    return vectors


def _steps(ranges: Ranges) -> tuple[Array, Array]:
    low, high = np.array(ranges.low, np.float32), np.array(ranges.high, np.float32)
    steps = (high - low) / np.float32(STEPS)
    return low, np.where(steps == 0, np.float32(1), steps)
