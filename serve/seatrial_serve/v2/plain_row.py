"""The most frequent request of all: one row of plain numbers, words and flags.

The row is read without an array for each value, from JSON or from a gRPC message.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from math import isnan
from struct import Struct
from struct import error as StructError  # noqa: N812  (it is a class)
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from seatrial_contracts.contract import Contract
from seatrial_contracts.kinds.category import MISSING, Category
from seatrial_contracts.kinds.flag import Flag
from seatrial_contracts.kinds.kind import Kind
from seatrial_contracts.kinds.number import Number
from seatrial_serve.v2.elements import CONTENTS, LENGTH

if TYPE_CHECKING:
    from seatrial_serve.v2.proto import inference_pb2 as pb

SHAPES = ([1], [1, 1])
FP32 = Struct("<f")
KEYS = 4
"""Of an ordinary input: name, shape, datatype and data."""
UNLIKE = (LookupError, TypeError, ValueError, OverflowError, StructError, ValidationError)
"""What reading raises for a request that is no plain row as the contract wants it."""


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
        self._elements = {
            name: (datatype, CONTENTS[datatype], RAW[datatype])
            for name, (datatype, _) in self._fields.items()
            if self._offered
        }

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
            return self._contract.values_model.model_validate(row).__dict__
        except UNLIKE:  # what is wrong is said elsewhere
            return None

    def read_message(self, message: pb.ModelInferRequest) -> dict[str, Any] | None:
        """The same of a gRPC message, whose elements are typed or raw."""
        inputs, raw = message.inputs, message.raw_input_contents
        count = len(inputs)
        if (
            not self._offered
            or count != len(self._elements)
            or len(raw) not in (0, count)
            or message.parameters
            or message.outputs
        ):
            return None
        row: dict[str, Any] = {}
        try:
            for place, given in enumerate(inputs):
                name, shape = given.name, given.shape
                datatype, contents, unpack = self._elements[name]
                if (
                    given.datatype != datatype
                    or shape[0] != 1
                    or (len(shape) > 1 and list(shape) != [1, 1])
                    or given.parameters
                    or name in row
                ):
                    return None
                if raw:
                    if given.HasField("contents"):
                        return None
                    value = unpack(raw[place])
                else:
                    values = getattr(given.contents, contents)
                    if len(values) != 1:
                        return None
                    value = values[0]
                row[name] = element(value)
            return self._contract.values_model.model_validate(row).__dict__
        except UNLIKE:  # what is wrong is said elsewhere
            return None


def reader_of(kind: Kind) -> Callable[[Any], Any] | None:
    """Return what makes a value in JSON one of a row, as it would become by way of a column.

    None: that takes more than a look at the value.

    It raises `TypeError` for what is to be looked at more closely.
    """
    read: Callable[[Any], Any] | None = None
    if kind.marked:
        return None
    if isinstance(kind, Number):
        open_bound = kind.gt is not None or kind.lt is not None
        read = (
            None if open_bound else {"FP32": fp32, "FP64": fp64, "INT64": int64}.get(kind.datatype)
        )
    elif isinstance(kind, Category):
        read = word if not kind.whole else None if kind.nullable else int64
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


def element(value: Any) -> Any:
    """A message's element as a value of a row; an empty word and NaN are missing."""
    if type(value) is bytes:
        return value.decode() or None
    return None if type(value) is float and isnan(value) else value


def raw_word(data: bytes) -> bytes:
    """The only word of a raw tensor. Raises `ValueError` or `StructError` where it is another."""
    if LENGTH.unpack_from(data)[0] != len(data) - LENGTH.size:
        raise ValueError
    return data[LENGTH.size :]


def raw_number(form: Struct, data: bytes) -> Any:
    """The only number of a raw tensor. Raises `StructError` where there is not one."""
    return form.unpack(data)[0]


RAW: Mapping[str, Callable[[bytes], Any]] = {
    "FP32": partial(raw_number, FP32),
    "FP64": partial(raw_number, Struct("<d")),
    "INT64": partial(raw_number, Struct("<q")),
    "BOOL": {b"\0": False, b"\1": True}.__getitem__,
    "BYTES": raw_word,
}
"""Datatype -> what reads the only element of a raw tensor."""
