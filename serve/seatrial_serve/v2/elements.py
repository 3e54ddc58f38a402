"""The elements of tensors: bytes and JSON values to numpy, and back.

The formats are those of the Open Inference Protocol and of its binary tensor data extension.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from math import prod
from struct import Struct
from typing import Any

import numpy as np

from seatrial_contracts.element_types import DTYPES, NOT_IN_JSON, PYTHON_TYPES
from seatrial_contracts.errors import Refusal
from seatrial_contracts.kinds.floats import bfloat16_bits, from_bfloat16_bits
from seatrial_contracts.kinds.kind import Array, Column

MAX_RANK = 16
MAX_ELEMENTS = 2**31
LITTLE = {
    datatype: np.dtype(dtype).newbyteorder("<")
    for datatype, dtype in DTYPES.items()
    if datatype != "BYTES"
} | {"BF16": np.dtype("<u2")}
"""Datatype -> numpy's type of its bytes; those of BF16 are the upper half of a float32."""
CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""Datatype -> where typed contents of a gRPC message hold it; FP16 and BF16 travel raw alone."""
LENGTH = Struct("<I")
JSON_TYPES = PYTHON_TYPES | {"f": PYTHON_TYPES["f"] | {type(None)}}
"""numpy's kind of an element type -> what may stand for it; null is NaN, which JSON lacks."""


def checked_datatype(datatype: Any, where: str) -> str:
    """Return the datatype; raise `Refusal` for one that the protocol does not have."""
    if not isinstance(datatype, str) or datatype not in DTYPES:
        raise Refusal(
            "E_DTYPE", where, "an unknown datatype", f"one of {', '.join(sorted(DTYPES))}"
        )
    return datatype


def checked_shape(shape: Any, where: str) -> tuple[int, ...]:
    """A shape of whole numbers from 0. Raises `Refusal`."""
    if (
        not isinstance(shape, Sequence)
        or isinstance(shape, str)
        or not all(type(side) is int for side in shape)
    ):
        raise Refusal("E_SHAPE", where, "another shape", "a list of whole numbers")
    if len(shape) > MAX_RANK:
        raise Refusal("E_LIMIT", where, f"{len(shape)} dimensions", f"at most {MAX_RANK}")
    if not shape or min(shape) < 0 or prod(shape) > MAX_ELEMENTS:
        raise Refusal(
            "E_SHAPE",
            where,
            "a shape that no data has",
            f"sizes from 0, with at most {MAX_ELEMENTS} elements, rows first",
        )
    return tuple(shape)


def from_bytes(datatype: str, shape: tuple[int, ...], data: memoryview, where: str) -> Column:
    """Return flat elements from little-endian bytes; BYTES are a list of bytes.

    Numbers stay where they are, aligned or not: their batches are copies where they must be.

    Raises `Refusal` if size and shape disagree.
    """
    count = prod(shape)
    if datatype == "BYTES":
        return _words(bytes(data), count, where)
    dtype = LITTLE[datatype]
    if len(data) != count * dtype.itemsize:
        raise Refusal(
            "E_SHAPE",
            where,
            f"{len(data)} bytes",
            f"{count * dtype.itemsize} bytes for shape {list(shape)} of {datatype}",
        )
    if datatype == "BOOL" and np.frombuffer(data, np.uint8).max(initial=0) > 1:
        raise Refusal("E_TYPE", where, "a byte that is no boolean", "bytes 0 and 1")
    array = np.frombuffer(data, dtype)
    return from_bfloat16_bits(array) if datatype == "BF16" else array


def _words(data: bytes, count: int, where: str) -> list[Any]:
    """BYTES: for each element its length, 4 bytes, and as many bytes."""
    words: list[Any] = []
    place, end, unpack = 0, len(data), LENGTH.unpack_from
    while place + 4 <= end and len(words) < count:
        start = place + 4
        place = start + unpack(data, place)[0]
        words.append(data[start:place])
    if place != end or len(words) != count:
        raise Refusal(
            "E_SHAPE",
            where,
            "lengths that do not fit the data",
            f"{count} elements, each after its length in 4 bytes",
        )
    return words


def from_json(datatype: str, shape: tuple[int, ...], data: Any, where: str) -> Column:
    """Return flat elements from a list, nested as `shape` has it or flat.

    Raises `Refusal`; no type is coerced.
    """
    flat = _flat(data, shape, where)
    if len(flat) != prod(shape):
        raise Refusal(
            "E_SHAPE", where, f"{len(flat)} elements", f"{prod(shape)} for shape {list(shape)}"
        )
    kinds = set(map(type, flat))
    if datatype == "BYTES":
        if kinds - {str, type(None)}:
            raise Refusal("E_TYPE", where, "an element that is no string", "strings")
        return flat
    if datatype in NOT_IN_JSON:
        raise not_in_json(datatype, where)
    dtype = LITTLE[datatype]
    if kinds - JSON_TYPES[dtype.kind]:
        raise Refusal("E_TYPE", where, "an element of another type", f"{datatype} elements")
    try:
        with np.errstate(over="ignore"):
            array = np.array(
                [np.nan if value is None else value for value in flat]
                if type(None) in kinds
                else flat,
                dtype,
            )
    except OverflowError:
        raise Refusal(
            "E_RANGE", where, "a number that does not fit", f"{datatype} elements"
        ) from None
    if dtype.kind == "f" and np.isinf(array).any():
        raise Refusal("E_RANGE", where, "a number that does not fit", f"{datatype} elements")
    return array


def not_in_json(datatype: str, where: str, mend: str = "") -> Refusal:
    """The refusal of numbers for which the protocol has no form in JSON."""
    want = f"{datatype} as binary tensor data: the protocol has no form of it in JSON"
    return Refusal("E_DTYPE", where, f"{datatype} in JSON", want, mend)


def _flat(data: Any, shape: tuple[int, ...], where: str) -> list[Any]:
    if not isinstance(data, list):
        raise Refusal("E_TYPE", where, "data that is no list", "a list")
    if not data or not isinstance(data[0], list):
        return data
    for side, inner in zip(shape, (*shape[1:], None), strict=True):
        if len(data) % max(side, 1) or (
            inner is not None
            and not all(type(item) is list and len(item) == inner for item in data)
        ):
            raise Refusal(
                "E_SHAPE",
                where,
                "lists that are nested otherwise",
                f"lists nested as shape {list(shape)}, or one flat list",
            )
        if inner is not None:
            data = list(chain.from_iterable(data))
    return list(data)


def to_bytes(array: Array, datatype: str) -> bytes:
    """Row-major, little-endian; BYTES, which are words in an array of objects, by length."""
    if datatype == "BF16":
        array = bfloat16_bits(array)
    if array.dtype.kind == "O":
        words = [word.encode() for word in array.ravel().tolist()]
        return b"".join(chain.from_iterable((LENGTH.pack(len(word)), word) for word in words))
    return array.astype(array.dtype.newbyteorder("<"), "C", copy=False).tobytes()
