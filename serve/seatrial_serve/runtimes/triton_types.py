"""The element types in which Triton takes a model's raw inputs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from seatrial_contracts.element_types import DTYPES
from seatrial_contracts.errors import Refusal
from seatrial_contracts.kinds.kind import Array
from seatrial_contracts.kinds.raw_tensor import RawTensor

WIDE: Mapping[str, str] = dict.fromkeys(
    ("INT8", "INT16", "INT32", "UINT8", "UINT16", "UINT32"), "INT64"
)
"""The datatype of small whole numbers -> the one that Triton takes for it.

Triton reads JSON's whole numbers as 64 bits and keeps the lower ones: 300 becomes 44 in UINT8,
before any model sees it.
"""


def wide(datatype: str) -> str:
    """Return the V2 datatype of a raw input in Triton.

    Whole numbers take 64 bits, where one that does not fit can still be found.
    """
    return WIDE.get(datatype, datatype)


def narrowed(raw: RawTensor, array: Array) -> Array:
    """Return whole numbers in the tensor's own type, from the wide one that Triton takes.

    Raises `Refusal` if one does not fit.
    """
    if raw.datatype not in WIDE or array.dtype != np.int64:
        return array
    own = np.dtype(DTYPES[raw.datatype])
    bad = (array < np.iinfo(own).min) | (array > np.iinfo(own).max)
    if bad.any():
        row = int(bad.reshape(len(array), -1).any(1).argmax())
        raise Refusal("E_RANGE", f"input '{raw.name}', row {row}", str(array[bad][0]), raw.want)
    return array.astype(own)
