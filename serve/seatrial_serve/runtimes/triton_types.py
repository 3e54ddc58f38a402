"""The element types in which Triton takes a model's raw inputs and gives its answers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from seatrial_contracts.element_types import DTYPES, V2_DATATYPES
from seatrial_contracts.errors import Refusal
from seatrial_contracts.kinds.kind import Array
from seatrial_contracts.kinds.raw_tensor import RawTensor

SMALL = ("INT8", "INT16", "INT32", "UINT8", "UINT16", "UINT32")
WIDE: Mapping[str, str] = {**dict.fromkeys(SMALL, "INT64"), "BF16": "FP32"}
"""The datatype of small numbers -> the one that Triton takes for it.

Triton reads JSON's whole numbers as 64 bits and keeps the lower ones: 300 becomes 44 in UINT8,
before any model sees it. Its Python backend makes no numpy array of BF16.
"""


def wide(datatype: str) -> str:
    """Return the V2 datatype of a raw input in Triton.

    Whole numbers take 64 bits, where one that does not fit can still be found.
    """
    return WIDE.get(datatype, datatype)


def answered(datatype: str) -> str:
    """Return the V2 datatype of an answer in Triton: that of the graph's own tensor."""
    return V2_DATATYPES[DTYPES[datatype]]


def narrowed(raw: RawTensor, datatype: str, array: Array) -> tuple[str, Array]:
    """Return numbers in the tensor's own datatype, from the wide one that Triton takes.

    The contract rounds what comes as BF16. Raises `Refusal` if a whole number does not fit.
    """
    if WIDE.get(raw.datatype) != datatype:
        return datatype, array
    if raw.datatype == "BF16":
        return raw.datatype, array
    own = np.dtype(DTYPES[raw.datatype])
    bad = (array < np.iinfo(own).min) | (array > np.iinfo(own).max)
    if bad.any():
        row = int(bad.reshape(len(array), -1).any(1).argmax())
        raise Refusal("E_RANGE", f"input '{raw.name}', row {row}", str(array[bad][0]), raw.want)
    return raw.datatype, array.astype(own)
