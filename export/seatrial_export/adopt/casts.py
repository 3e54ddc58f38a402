"""Which element types may stand for which, between a contract and a foreign graph."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from seatrial_contracts.element_types import V2_DATATYPES
from seatrial_contracts.kinds.category import Category
from seatrial_contracts.kinds.flag import Flag
from seatrial_contracts.kinds.kind import Kind
from seatrial_contracts.kinds.number import Number
from seatrial_contracts.kinds.tokenised import Tokenised

Range = tuple[float, float]


def element_type(dtype: str) -> int:
    """ONNX's number of an element type that numpy names so, or "string"."""
    if dtype == "string":
        return int(onnx.TensorProto.STRING)
    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def range_of(kind: Kind | None) -> Range | None:
    """The least and most whole number that a field can bring into the graph.

    None where the field's type alone bounds it.
    """
    if isinstance(kind, Number) and kind.whole:
        return kind.range
    if isinstance(kind, Flag):
        return 0, 1
    if isinstance(kind, Category):
        return kind.range if kind.whole else (0, kind.codes_count - 1)
    if isinstance(kind, Tokenised):
        return 0, np.iinfo(np.int32).max  # no vocabulary is larger
    return None


def holds(have: str, want: str, values: Range | None = None) -> bool:
    """Whether every value of type `have` can be of type `want`.

    `values` bounds the whole numbers, where given. Floats round, as they do wherever such a graph
    is fed.
    """
    if have == want:
        return True
    if not {have, want} <= set(V2_DATATYPES) - {"string"}:
        return False
    source, target = np.dtype(have), np.dtype(want)
    if target.kind == "f":
        return True
    if target.kind not in "iu" or source.kind not in "iub":
        return False
    low, high = values or (
        (0, 1) if source.kind == "b" else (np.iinfo(source).min, np.iinfo(source).max)
    )
    return np.iinfo(target).min <= low and high <= np.iinfo(target).max
