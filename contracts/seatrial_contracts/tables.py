"""Data frames of pandas and polars, by column. Neither library is imported with this module."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from seatrial_contracts.contract import Contract
from seatrial_contracts.errors import DeclarationError, Refusal
from seatrial_contracts.frames import names_of
from seatrial_contracts.input_field import InputField
from seatrial_contracts.kinds.category import Category
from seatrial_contracts.kinds.columns import Columns
from seatrial_contracts.kinds.kind import Array, Column
from seatrial_contracts.kinds.number import Number
from seatrial_contracts.own_values import own_value
from seatrial_contracts.records import SEPARATOR

NUMBERS = frozenset("fiu")
"""numpy's kinds of element types that a column of numbers may have."""
MOST_NAMED = 8


class Values(NamedTuple):
    """A column: numbers or flags as an array of their type, anything else as the objects there are.

    Whole numbers of which some are missing are float64, with NaN.
    """

    array: Array
    has_missing: bool = False
    """Of numbers: is there a NaN?"""


class Table(ABC):
    """A data frame as columns, and a maker of frames like it."""

    def __init__(self, frame: Any) -> None:
        self.frame = frame

    def __len__(self) -> int:
        return len(self.frame)

    @abstractmethod
    def values(self, column: Any) -> Values:
        """A column by its label."""

    @abstractmethod
    def floats(self, labels: Sequence[Any]) -> Array | None:
        """Columns as one array, `(rows, columns)`; None where one is not of numpy's floats."""

    @abstractmethod
    def like(self, columns: Mapping[str, Any], words: Mapping[str, Sequence[str]]) -> Any:
        """A frame of the same library and, in pandas, the same index.

        A column that stands in `words` holds places in that list of words.
        """

    def labels(self, known: Collection[str]) -> dict[str, Any]:
        """Name of a field -> the label of its column.

        A label that is a field's name stands for it; any other as `names_of` has it.
        """
        own = {label: label for label in self.frame.columns if label in known}
        rest = [label for label in self.frame.columns if label not in own]
        return own | names_of(rest) if rest else own


class PandasTable(Table):
    """A `pandas.DataFrame`."""

    def floats(self, labels: Sequence[Any]) -> Array | None:
        """See `Table`."""
        part = self.frame[list(labels)]
        if not all(isinstance(dtype, np.dtype) and dtype.kind == "f" for dtype in part.dtypes):
            return None
        made: Array = part.to_numpy()
        return made

    def values(self, column: Any) -> Values:
        """See `Table`."""
        series = self.frame[column]
        kind = getattr(series.dtype, "kind", "O")
        if kind in NUMBERS or kind == "b":
            if isinstance(series.dtype, np.dtype):
                array = series.to_numpy()
                return Values(array, kind == "f" and bool(np.isnan(array).any()))
            has_missing = bool(series.isna().any())
            if not has_missing:
                return Values(series.to_numpy(dtype=series.dtype.numpy_dtype), False)
            if kind != "b":
                return Values(series.to_numpy(dtype=np.float64, na_value=np.nan), True)
        return Values(series.to_numpy(dtype=object))

    def like(self, columns: Mapping[str, Any], words: Mapping[str, Sequence[str]]) -> Any:
        """See `Table`."""
        import pandas as pd

        made = {
            name: pd.Categorical.from_codes(values, list(words[name])) if name in words else values
            for name, values in columns.items()
        }
        return pd.DataFrame(made, index=self.frame.index, copy=False)


class PolarsTable(Table):
    """A `polars.DataFrame`."""

    def floats(self, labels: Sequence[Any]) -> Array | None:
        """See `Table`."""
        part = self.frame.select(labels)
        if not all(dtype.is_float() for dtype in part.dtypes):
            return None
        made: Array = part.to_numpy()
        return made

    def values(self, column: Any) -> Values:
        """See `Table`."""
        series = self.frame.get_column(column)
        array = series.to_numpy() if series.dtype.is_numeric() else None
        if array is not None and array.dtype.kind in NUMBERS:
            return Values(array, array.dtype.kind == "f" and bool(np.isnan(array).any()))
        if series.dtype.base_type().__name__ == "Boolean" and not series.null_count():
            return Values(series.to_numpy())
        objects = np.empty(len(series), object)
        objects[:] = series.to_list()
        return Values(objects)

    def like(self, columns: Mapping[str, Any], words: Mapping[str, Sequence[str]]) -> Any:
        """See `Table`."""
        import polars as pl

        made = {
            name: pl.Series(np.array([*words[name]], object)[values].tolist(), dtype=pl.String)
            if name in words
            else values
            for name, values in columns.items()
        }
        return pl.DataFrame(made)


LIBRARIES: dict[str, type[Table]] = {"pandas": PandasTable, "polars": PolarsTable}


def empty_table(rows: int) -> Table:
    """A pandas frame without columns, for answers whose rows came otherwise.

    Raises `DeclarationError` where pandas is not installed.
    """
    try:
        pandas = importlib.import_module("pandas")
    except ModuleNotFoundError:
        raise DeclarationError(
            "to='frame'", "no pandas", "pandas, which makes the frame", "pip install pandas"
        ) from None
    return PandasTable(pandas.DataFrame(index=range(rows)))


def table_of(value: Any) -> Table | None:
    """A data frame as a table; None of anything else."""
    made = LIBRARIES.get(type(value).__module__.partition(".")[0])
    return made(value) if made is not None and type(value).__name__ == "DataFrame" else None


def rows_of_table(table: Table, contract: Contract) -> list[dict[str, Any]]:
    """The rows of a frame as raw rows of the contract; a value that is missing is None.

    Raises `Refusal` where the frame has a column that the contract does not know.
    """
    labels = _checked_labels(table, contract)
    whole = {
        field.name
        for field in contract.inputs
        if isinstance(field.kind, Number) and field.kind.whole and field.kind.nullable
    }
    columns = [_listed(table.values(label), whole=name in whole) for name, label in labels.items()]
    flat = [dict(zip(labels, row, strict=True)) for row in zip(*columns, strict=True)]
    if not contract.is_nested or not any(SEPARATOR in name for name in labels):
        return flat
    return [contract.record.nested(row) for row in flat]


def _listed(values: Values, *, whole: bool) -> list[Any]:
    """The values one by one; `whole` numbers that stand as floats beside missing ones as `int`."""
    found = [own_value(value) for value in values.array.tolist()]
    if whole and values.array.dtype.kind == "f":
        return [int(v) if type(v) is float and v.is_integer() else v for v in found]
    return found


def columns_of_table(table: Table, contract: Contract) -> dict[str, Column] | None:
    """The frame's columns as `Contract.validate_columns` gives them, which V2 takes too.

    None where a column has to be read value by value, or holds what is refused: `rows_of_table`
    then shows the row. Raises `Refusal` as that one does.
    """
    labels = _checked_labels(table, contract)
    try:
        columns = {field.name: _checked(table, labels, field) for field in contract.inputs}
    except Refusal:
        return None
    return None if any(column is None for column in columns.values()) else columns  # type: ignore[return-value]


def _checked(table: Table, labels: Mapping[str, Any], field: InputField) -> Column | None:
    """A column that the contract takes; None where it has to be read value by value."""
    kind = field.kind
    if isinstance(kind, Columns):
        packed = _packed(table, labels, kind)
        return None if packed is None else kind.column(packed)
    if field.name not in labels:
        return field.column({}, len(table)) if field.optional else None
    values = table.values(labels[field.name])
    if isinstance(kind, Category) and not kind.whole:
        return kind.own_column(values.array) if values.array.dtype.kind == "O" else None
    column = _column(values, field)
    return None if column is None else kind.column(column)


def _checked_labels(table: Table, contract: Contract) -> dict[str, Any]:
    known = {field.name for field in contract.inputs} | {*contract.record.names}
    labels = table.labels(known)
    odd = [str(label) for name, label in labels.items() if name not in known]
    if odd:
        names = ", ".join(map(repr, odd[:MOST_NAMED]))
        mend = f"frame.drop(columns=[{names}])" if len(odd) <= MOST_NAMED else None
        raise Refusal(
            "E_UNKNOWN_FIELD",
            "frame",
            f"columns that the contract does not have: {names}",
            ", ".join(contract.record.names),
            mend,
        )
    return labels


def _column(values: Values, field: InputField) -> Column | None:
    """A column as V2 has it; None where its values have to be looked at one by one."""
    kind, array = field.kind, values.array
    if values.has_missing and not kind.nullable:
        return None
    if array.dtype.kind == "O" and kind.nullable and _is_empty(array):
        array, values = np.full(len(array), np.nan), Values(np.empty(0), True)
    raw = field.raw_tensors[0]
    if len(field.raw_tensors) > 1 or raw.row_shape != (1,) or array.dtype.kind == "O":
        return None
    if raw.datatype == "BOOL":
        return array if array.dtype.kind == "b" else None
    if array.dtype.kind == "b" or not isinstance(kind, Number | Category):
        return None
    if kind.whole and array.dtype.kind == "f" and not kind.nullable:
        return None
    dtype = np.dtype(kind.graph_dtype) if isinstance(kind, Number) else np.dtype(np.int64)
    if isinstance(kind, Category) and values.has_missing:
        array = np.where(np.isnan(array), kind.missing_element, array)
    return _cast(array, dtype, exact=kind.whole)


def _is_empty(array: Array) -> bool:
    """Is every value missing?"""
    return all(own_value(value) is None for value in array.tolist())


def _packed(table: Table, labels: Mapping[str, Any], kind: Columns) -> Column | None:
    """Packed columns, `(rows, columns)`; None where a value has to be looked at by itself."""
    if any(name not in labels for name in kind.column_names):
        return None
    dtype = np.dtype(kind.dtype)
    if all(column.type == "float" for column in kind.columns):
        floats = table.floats([labels[name] for name in kind.column_names])
        if floats is not None:
            return _cast(floats, dtype, exact=False)
    made = np.empty((len(table), len(kind.columns)), dtype)
    for place, column in enumerate(kind.columns):
        values = table.values(labels[column.name])
        flag = column.type == "bool"
        if values.array.dtype.kind not in ("b" if flag else NUMBERS):
            return None
        if values.has_missing and not column.nullable:
            return None
        if column.type == "int" and values.array.dtype.kind == "f":
            return None
        cast = _cast(values.array, dtype, exact=column.type == "int")
        if cast is None:
            return None
        made[:, place] = cast
    return made


def _cast(array: Array, dtype: np.dtype[Any], *, exact: bool) -> Array | None:
    """The array in another element type; None where one of `exact` numbers would be another."""
    if array.dtype == dtype:
        return array
    with np.errstate(over="ignore", invalid="ignore"):
        cast = array.astype(dtype)
        if exact and not ((cast == array) | np.isnan(array)).all():
            return None
    return cast
