"""Columns: many numbers of a row, each with a name, that enter the graph as one tensor."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from math import isfinite, isnan
from operator import contains, is_, itemgetter
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, NoReturn, Self, cast

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PlainValidator
from pydantic_core import PydanticCustomError

from seatrial_contracts.bins import Bins, split_numbers
from seatrial_contracts.declared import is_none
from seatrial_contracts.element_types import V2_DATATYPES
from seatrial_contracts.errors import DeclarationError, Refusal
from seatrial_contracts.kinds.flag import Flag
from seatrial_contracts.kinds.kind import (
    ESCAPED_BYTES,
    SHORT_BYTES,
    Array,
    Column,
    Edge,
    Features,
    JsonSchema,
    Kind,
    Stage,
    TensorSpec,
    closed_object,
    described,
    finding_of,
    refuse,
    refuse_all,
)
from seatrial_contracts.kinds.number import EXACT_IN_FLOAT32, Number

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

MOST_COLUMNS = 2**16
EXACT = {"float32": EXACT_IN_FLOAT32, "float64": 2**53 - 1}
"""Whole numbers up to here are told apart in a float type: float64 rounds the next but one."""
MOST_WATCHED = 64
"""Up to so many columns, drift watches each; of more, those that the declaration names."""
FEW_DRAWN = 8
"""Columns of a drawn row that do not stand as in the example."""
ROWS_AT_ONCE = 256
"""Rows of a block of which the least and the largest of each column are found in one look."""
TYPES = {"float": (float, int), "int": (int,), "bool": (bool,)}
"""What may stand for a column's value in JSON. `bool` is no `int` here: types are compared."""
ABSENT = object()
"""In the place of a value that a row in JSON has to have, and does not have."""
MISSING = float("nan")
"""In the place of a null, which a client's own NaN is not."""
is_empty = partial(is_, ())


class Fault(NamedTuple):
    """What is wrong with a row of a tensor, and in which column."""

    row: int
    place: int
    code: str
    got: str
    want: str


class PackedColumn(BaseModel):
    """One column: its name, the type of its values, and their bounds."""

    model_config = ConfigDict(frozen=True, extra="forbid", ignored_types=(cached_property,))

    name: Annotated[str, Field(max_length=128)]
    type: Annotated[Literal["float", "int", "bool"], Field(exclude_if="float".__eq__)] = "float"
    nullable: Annotated[bool, Field(exclude_if=partial(is_, False))] = False
    ge: Annotated[float | None, Field(exclude_if=is_none)] = None
    le: Annotated[float | None, Field(exclude_if=is_none)] = None
    gt: Annotated[float | None, Field(exclude_if=is_none)] = None
    lt: Annotated[float | None, Field(exclude_if=is_none)] = None
    unit: Annotated[str | None, Field(max_length=64, exclude_if=is_none)] = None
    description: Annotated[str | None, Field(max_length=4096, exclude_if=is_none)] = None

    def number(self, dtype: str) -> Number:
        """The same as a number of its own, of which `dtype` is the packed element type."""
        if self.type == "bool":
            return Number(dtype=cast("Any", dtype), ge=0, le=1, nullable=self.nullable)
        own = {option: getattr(self, option) for option in ("ge", "le", "gt", "lt", "unit")}
        if self.type == "float":
            return Number(dtype=cast("Any", dtype), nullable=self.nullable, **own)
        if dtype in EXACT:
            most = EXACT[dtype]
            own["ge"] = max(-most, -most if own["ge"] is None else own["ge"])
            own["le"] = min(most, most if own["le"] is None else own["le"])
        return Number(dtype="int64", **own)

    def want(self, dtype: str) -> str:
        """What a right value is, for messages."""
        right = "true or false" if self.type == "bool" else self.number(dtype).want()
        return f"{right} or null" if self.nullable else right

    def value_schema(self, dtype: str) -> JsonSchema:
        """JSON Schema of a value that is there, and of null where it may be missing."""
        schema: JsonSchema = (
            {"type": "boolean"} if self.type == "bool" else self.number(dtype).json_schema()
        )
        if self.nullable:
            schema = {"anyOf": [schema, {"type": "null"}]}
        return {**schema, "description": self.description} if self.description else schema

    @classmethod
    def of(cls, name: str, kind: Kind, dtype: str) -> Self | None:
        """The column of a field of a row class; None for one that a pack of `dtype` cannot hold."""
        told = {"name": name, "nullable": kind.nullable, "description": kind.description}
        if isinstance(kind, Flag) and dtype in EXACT:
            return cls(type="bool", **told)
        if not isinstance(kind, Number):
            return None
        own = {option: getattr(kind, option) for option in ("ge", "le", "gt", "lt", "unit")}
        if kind.whole:
            fits = dtype in EXACT or (dtype == kind.dtype and not kind.nullable)
            return cls(type="int", **told, **own) if fits else None
        return cls(**told, **own) if kind.dtype == dtype else None


class Columns(Kind):
    """`class Readings(st.Row, packed="readings")`: the row's numbers in one tensor.

    In `packed={"readings": st.Columns(dtype="float64")}` a name stands for each tensor. The columns
    are the fields of the row class that the element type holds: numbers of that type and, in a
    float type, whole numbers up to 2**24 (float32) or 2**53 and flags, as 0 and 1; `int64` takes
    whole numbers that are always there. A row in JSON has a name for each column. V2 and the graph
    have one tensor, `(batch, columns)`, in the order of the class; NaN is what is missing.

    Drift watches the columns that `watched` names; without names, each of up to 64. Of more columns
    it watches each row's mean, spread (standard deviation) and share of missing values.
    """

    kind: Literal["columns"] = "columns"
    dtype: Literal["float32", "float64", "int64"] = "float32"
    columns: Annotated[tuple[PackedColumn, ...], Field(strict=False, max_length=MOST_COLUMNS)] = ()
    watched: Annotated[tuple[str, ...], Field(strict=False, exclude_if=is_empty)] = ()

    def declared(self, annotation: Any, nullable: bool) -> Self:
        want = 'class Readings(st.Row, packed={"readings": st.Columns()})'
        raise DeclarationError("st.Columns", "a field of this kind", want)

    def check(self) -> None:
        if not self.columns:
            raise DeclarationError("st.Columns", "no column", "fields that its type holds")
        unknown = sorted(set(self.watched) - set(self.column_names))
        if unknown:
            raise DeclarationError("st.Columns", f"watched: '{unknown[0]}'", "names of its columns")
        for number in self._numbers:
            number.check()

    @cached_property
    def column_names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @cached_property
    def _numbers(self) -> list[Number]:
        return [column.number(self.dtype) for column in self.columns]

    @cached_property
    def _nullable(self) -> Array:
        return np.array([column.nullable for column in self.columns])

    @cached_property
    def _whole(self) -> Array:
        """Places of the columns of whole numbers that the element type would let be broken."""
        whole = [column.type != "float" and self.dtype in EXACT for column in self.columns]
        return np.flatnonzero(whole)

    @cached_property
    def _ranges(self) -> tuple[Array, Array]:
        """Least and largest of each column, as the tensor has it."""
        low, high = zip(*(number.range for number in self._numbers), strict=True)
        return np.array(low, self.dtype), np.array(high, self.dtype)

    @cached_property
    def _json_ranges(self) -> tuple[Array, Array]:
        """The same as JSON has it, before it is rounded to the tensor's element type."""
        low, high = zip(*(number.json_range for number in self._numbers), strict=True)
        return np.array(low, self._json_dtype), np.array(high, self._json_dtype)

    @property
    def _json_dtype(self) -> str:
        return "int64" if self.dtype == "int64" else "float64"

    @cached_property
    def _allowed(self) -> list[frozenset[type]]:
        """What may stand for a value of each column in JSON."""
        return [
            frozenset((*TYPES[column.type], *((type(None),) if column.nullable else ())))
            for column in self.columns
        ]

    @cached_property
    def _allowed_everywhere(self) -> frozenset[type]:
        return frozenset.intersection(*self._allowed)

    @cached_property
    def _read(self) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
        """The values of a row that has every column."""
        if len(self.columns) == 1:
            name = self.column_names[0]
            return lambda row: (row[name],)
        return itemgetter(*self.column_names)

    def taken(self, row: Mapping[str, Any]) -> tuple[Any, ...]:
        """The values of a row in JSON, in order. What is not there is missing, or `ABSENT`."""
        return self.counted(row)[0]

    def counted(self, row: Mapping[str, Any]) -> tuple[tuple[Any, ...], int]:
        """The same, and how many of the columns the row has."""
        try:
            return self._read(row), len(self.columns)
        except KeyError:
            values = tuple(
                row.get(column.name, None if column.nullable else ABSENT) for column in self.columns
            )
            return values, sum(map(row.__contains__, self.column_names))

    def annotation(self) -> Any:
        return Annotated[Any, PlainValidator(self._validated)]

    def _validated(self, value: Any) -> Array:
        """The array of a row's values, of which `taken` made a tuple."""
        if isinstance(value, np.ndarray):
            return self._checked(value)
        if isinstance(value, Mapping):
            value = self.taken(value)
        if not isinstance(value, (tuple, list)) or len(value) != len(self.columns):
            refuse("E_TYPE", "no object", self.want())
        types = set(map(type, value))
        if not types <= self._allowed_everywhere and not all(
            map(contains, self._allowed, map(type, value))
        ):
            self._refuse_columns(value)
        missing = 0
        if type(None) in types:
            missing = sum(each is None for each in value)
        try:
            array = np.array(
                [MISSING if each is None else each for each in value] if missing else value,
                self._json_dtype,
            )
        except OverflowError:
            self._refuse_columns(value)
        low, high = self._json_ranges
        if (
            (array < low).any()
            or (array > high).any()
            or (array.dtype.kind == "f" and np.count_nonzero(np.isnan(array)) > missing)
        ):
            self._refuse_columns(value)
        return array.astype(self.dtype)

    def _refuse_columns(self, values: Sequence[Any]) -> NoReturn:
        """Refuse every column whose value is none that it takes."""
        ends = (end.tolist() for end in self._json_ranges)
        found = map(self._finding, self.columns, self._allowed, values, *ends)
        refuse_all([each for each in found if each is not None])

    def _finding(
        self, column: PackedColumn, allowed: frozenset[type], value: Any, low: Any, high: Any
    ) -> PydanticCustomError | None:
        """What is wrong with the value of a column."""
        code, got = "", described(value)
        if type(value) not in allowed:
            code = "E_TYPE"
            if value is ABSENT or value is None:
                code, got = "E_MISSING", "nothing" if value is ABSENT else "null"
        elif value is None:
            return None
        elif isinstance(value, float) and not isfinite(value):
            code, got = "E_NONFINITE", "NaN" if isnan(value) else "an infinity"
        elif not low <= value <= high:
            code = "E_RANGE"
        return finding_of(code, got, column.want(self.dtype), column.name) if code else None

    def _checked(self, array: Array) -> Array:
        if array.shape != (len(self.columns),) or array.dtype != np.dtype(self.dtype):
            got = f"{array.dtype.name} of shape {list(array.shape)}"
            refuse("E_SHAPE", got, f"{self.dtype} of shape [{len(self.columns)}]")
        fault = self._fault(array[None])
        if fault is not None:
            refuse(fault.code, fault.got, fault.want, field=self.column_names[fault.place])
        return array

    def column(self, values: Column) -> Column:
        array = np.asarray(values)
        for start in range(0, len(array), ROWS_AT_ONCE):
            block = array[start : start + ROWS_AT_ONCE]
            fault = self._fault(block)
            if fault is not None:
                where = f"column '{self.column_names[fault.place]}', row {start + fault.row}"
                raise Refusal(fault.code, where, fault.got, fault.want)
        return array

    def _fault(self, rows: Array) -> Fault | None:
        """The first fault of rows as tensors have them, `(rows, columns)`; None without any."""
        low, high = self._ranges
        outside = (np.fmin.reduce(rows, axis=0) < low) | (np.fmax.reduce(rows, axis=0) > high)
        holes = np.isnan(rows).any(axis=0) & ~self._nullable
        if not (outside.any() or holes.any() or (rows[:, self._whole] % 1 > 0).any()):
            return None
        return next(filter(None, map(self._first_fault, range(len(rows)), rows)), None)

    def _first_fault(self, row: int, values: Array) -> Fault | None:
        low, high = self._ranges
        broken = np.zeros(len(values), bool)
        broken[self._whole] = values[self._whole] % 1 > 0
        checks = [
            ("E_NONFINITE", np.isinf(values), "an infinity"),
            ("E_NONFINITE", np.isnan(values) & ~self._nullable, "NaN"),
            ("E_TYPE", broken, "a number with a fraction"),
            ("E_RANGE", (values < low) | (values > high), ""),
        ]
        for code, bad, what in checks:
            if bad.any():
                place = int(bad.argmax())
                got = what or self._numbers[place].shown(values[place])
                return Fault(row, place, code, got, self.columns[place].want(self.dtype))
        return None

    def want(self) -> str:
        names = ", ".join(self.column_names)
        return f"{len(self.columns)} numbers: {names}"[:200]

    @property
    def datatype(self) -> str:
        return V2_DATATYPES[self.dtype]

    @property
    def row_shape(self) -> tuple[int | None, ...]:
        return (len(self.columns),)

    @property
    def most_values(self) -> int:
        return len(self.columns)

    @property
    def most_bytes(self) -> int:
        return sum(len(name) * ESCAPED_BYTES + SHORT_BYTES for name in self.column_names)

    def wire(self, value: Any) -> Any:
        sent = self.taken(value)
        if any(type(each) not in types for each, types in zip(sent, self._allowed, strict=True)):
            raise TypeError("a value that its column does not take")
        return [
            MISSING if each is None else int(each) if type(each) is bool else each for each in sent
        ]

    def json_value(self, value: Any) -> Any:
        return {
            column.name: None if isnan(number) else json_number(column.type, number)
            for column, number in zip(self.columns, np.asarray(value).tolist(), strict=True)
        }

    def json_schema(self) -> JsonSchema:
        schemas = {column.name: column.value_schema(self.dtype) for column in self.columns}
        needed = [column.name for column in self.columns if not column.nullable]
        return {**closed_object(schemas), "required": needed}

    def example(self) -> Any:
        return {
            column.name: json_number(column.type, number.example())
            for column, number in zip(self.columns, self._numbers, strict=True)
        }

    def strategy(self) -> SearchStrategy[Any]:
        from hypothesis import strategies as some

        example = self.example()

        def drawn(draw: Any) -> Any:
            places = draw(
                some.lists(some.integers(0, len(self.columns) - 1), max_size=FEW_DRAWN, unique=True)
            )
            return example | {
                self.column_names[place]: draw(self._column_strategy(place)) for place in places
            }

        return some.composite(drawn)()

    def _column_strategy(self, place: int) -> SearchStrategy[Any]:
        from hypothesis import strategies as some

        column = self.columns[place]
        own = some.booleans() if column.type == "bool" else self._numbers[place].strategy()
        return own | some.none() if column.nullable else own

    def edges(self, stage: Stage) -> Iterator[Edge]:
        """Each edge of every column at once, then of columns in turns, and columns missing."""
        example = self.example()
        own = [list(number.edges(lambda value: (value,))) for number in self._numbers]
        named = [[edge.value for edge in edges if edge.named] for edges in own]
        wide = [[edge.value for edge in edges if not edge.named] for edges in own]
        for values, step, is_named, what in (
            (named, 0, True, "every column at its edge"),
            (named, 1, True, "columns at their edges in turns from"),
            (wide, 0, False, "every column at its wide value"),
        ):
            for turn in range(max(map(len, values))):
                row = example | self._drawn(values, turn, step)
                yield Edge(row, is_named, f"{what} {turn}")
        holes = [column.name for column in self.columns if column.nullable]
        for part, what in (
            (holes[::2], "every other"),
            (holes[1::2], "the others"),
            (holes, "all"),
        ):
            if part:
                yield Edge(example | dict.fromkeys(part), what=f"{what} missing that may be")

    def _drawn(self, values: Sequence[Sequence[Any]], turn: int, step: int) -> dict[str, Any]:
        """A value for each column that has some, `step` further on from column to column."""
        return {
            column.name: json_number(column.type, own[(turn + step * place) % len(own)])
            for place, (column, own) in enumerate(zip(self.columns, values, strict=True))
            if own
        }

    def tensors(self, name: str) -> tuple[TensorSpec, ...]:
        return (TensorSpec(name=name, dtype=self.dtype, dims=(len(self.columns),)),)

    def stage(self, name: str, files: Mapping[str, bytes]) -> Stage:
        return lambda value: (value,)

    def breaks(self, option: str, old: Self) -> bool:
        if option == "columns":
            return self.column_names != old.column_names or any(
                breaks_column(new, was, self.dtype)
                for new, was in zip(self.columns, old.columns, strict=True)
            )
        return option != "watched" and super().breaks(option, old)

    def told_change(self, option: str, old: Self) -> str | None:
        if option != "columns":
            return None
        before = {column.name: column for column in old.columns}
        after = {column.name: column for column in self.columns}
        parts = {
            "removed": [name for name in before if name not in after],
            "new": [name for name in after if name not in before],
            "changed": [name for name in after if name in before and after[name] != before[name]],
        }
        said = [
            f"{what}: {', '.join(names[:8])}{f' and {len(names) - 8} more' * (len(names) > 8)}"
            for what, names in parts.items()
            if names
        ]
        return "columns " + ("; ".join(said) or "in another order, which V2's tensor has")

    def features(self, name: str, files: Mapping[str, bytes], stage: Stage | None) -> Features:
        """Of each watched column its value; of a row of more, mean, spread and missing share."""
        watched = self.watched or (self.column_names if len(self.columns) <= MOST_WATCHED else ())
        places = {name: self.column_names.index(name) for name in watched}

        def traits(values: Column) -> Mapping[str, Column]:
            rows = np.asarray(values, np.float64)
            found: dict[str, Column] = {name: rows[:, place] for name, place in places.items()}
            if len(self.columns) > MOST_WATCHED:
                there = ~np.isnan(rows)
                count = np.maximum(there.sum(axis=1), 1)
                mean = np.where(there, rows, 0).sum(axis=1) / count
                apart = np.where(there, rows - mean[:, None], 0)
                found |= {
                    "(mean)": mean,
                    "(spread)": np.sqrt((apart**2).sum(axis=1) / count),
                    "(missing)": 1 - there.mean(axis=1),
                }
            return found

        return traits

    def split(self, feature: str, values: Column) -> Bins:
        return split_numbers(values, missing=not feature.startswith("("))


def breaks_column(new: PackedColumn, old: PackedColumn, dtype: str) -> bool:
    """Is a value refused that a column took before?"""
    if new.type != old.type:
        return True
    is_, was = new.number(dtype), old.number(dtype)
    narrower = any(is_.breaks(option, was) for option in ("ge", "le", "gt", "lt"))
    return narrower or (old.nullable and not new.nullable) or new.unit != old.unit


def json_number(type_: str, number: Any) -> Any:
    """A number as a column's type has it in JSON."""
    return bool(number) if type_ == "bool" else int(number) if type_ == "int" else float(number)
