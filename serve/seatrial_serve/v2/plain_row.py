"""The most frequent request of all: one row of plain numbers, words and flags in JSON.

The row is read without an array for each value.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from struct import Struct
from typing import Any

from pydantic import ValidationError

from seatrial_contracts.contract import Contract
from seatrial_contracts.kinds.category import MISSING, Category
from seatrial_contracts.kinds.flag import Flag
from seatrial_contracts.kinds.kind import Kind
from seatrial_contracts.kinds.number import Number

SHAPES = ([1], [1, 1])
FP32 = Struct("<f")
KEYS = 4
"""Of an ordinary input: name, shape, datatype and data."""


class PlainRow:
    """Reads the row of a request that is plain and has every value as the contract wants it.

    Whatever else a request is, and whatever is wrong with it, is the matter of `columns_of`.
    """

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self._fields = {
            field.name: (field.kind.datatype, reader_of(field.kind)) for field in contract.inputs
        }
        self._offered = all(read is not None for _, read in self._fields.values())

    def read(self, head: dict[str, Any]) -> dict[str, Any] | None:
        """Return the validated row of a request without parameters and outputs of its own.

        None: the request is another one.
        """
        inputs = head.get("inputs")
        if (
            not self._offered
            or type(inputs) is not list
            or len(inputs) != len(self._fields)
            or not head.keys() <= {"inputs", "id"}
        ):
            return None
        row = {}
        try:
            for item in inputs:
                name, data = item["name"], item["data"]
                datatype, read = self._fields[name]
                shape = item["shape"]
                if (
                    item["datatype"] != datatype
                    or shape not in SHAPES
                    or len(item) != KEYS
                    or name in row
                ):
                    return None
                if (
                    type(data) is not list
                    or type(shape[0]) is not int
                    or type(shape[-1]) is not int
                ):
                    return None
                [value] = data
                assert read is not None
                row[name] = read(value)
            return self._contract.row_model.model_validate(row).__dict__
        except (
            KeyError,
            TypeError,
            ValueError,
            OverflowError,
            ValidationError,
        ):  # what is wrong is said elsewhere
            return None


def reader_of(kind: Kind) -> Callable[[Any], Any] | None:
    """Return what makes a value in JSON one of a row, as it would become by way of a column.

    None: that takes more than a look at the value.

    It raises `TypeError` for what is to be looked at more closely.
    """
    read: Callable[[Any], Any] | None = None
    if isinstance(kind, Number):
        open_bound = kind.gt is not None or kind.lt is not None
        read = (
            None if open_bound else {"FP32": fp32, "FP64": fp64, "INT64": int64}.get(kind.datatype)
        )
    elif isinstance(kind, Category):
        read = word
    elif isinstance(kind, Flag):
        read = flag
    return partial(or_missing, read) if read is not None and kind.nullable else read


def or_missing(read: Callable[[Any], Any], value: Any) -> Any:
    """A value that may be missing: null, or the empty word."""
    return None if value is None or (value == MISSING and read is word) else read(value)


def fp32(value: Any) -> float:
    """The nearest number that the column would hold: bounds are those of this one."""
    if type(value) is not float and type(value) is not int:
        raise TypeError
    rounded: float = FP32.unpack(FP32.pack(value))[0]
    return rounded


def fp64(value: Any) -> float:
    """A number."""
    if type(value) is not float and type(value) is not int:
        raise TypeError
    return float(value)


def int64(value: Any) -> int:
    """A whole number."""
    if type(value) is not int:
        raise TypeError
    return value


def word(value: Any) -> str:
    """A word that is not empty, as which a missing one is written."""
    if type(value) is not str or not value:
        raise TypeError
    return value


def flag(value: Any) -> bool:
    """True or false."""
    if type(value) is not bool:
        raise TypeError
    return value
