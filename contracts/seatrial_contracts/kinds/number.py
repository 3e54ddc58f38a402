"""A number: `float` or `int`, with bounds and a unit; missing values enter the graph as NaN."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from math import ceil, floor, inf
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, get_args

import annotated_types
import numpy as np
from pydantic import AfterValidator, Field, field_validator

from seatrial_contracts.element_types import V2_DATATYPES
from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.kinds.floats import (
    held_in,
    largest_float,
    near_bfloat16,
    next_float,
    rounded,
    rounded_up_to,
)
from seatrial_contracts.kinds.kind import (
    Array,
    Column,
    Edge,
    Features,
    JsonSchema,
    Stage,
    TensorSpec,
    refuse_rows,
)
from seatrial_contracts.kinds.output_kind import Arrays, FlatColumn, OptionValues, OutputKind

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

Dtype = Literal[
    "bfloat16", "float16", "float32", "float64",
    "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
]  # fmt: skip
SHORTER = frozenset({"bfloat16", "float16", "float32"})
"""Element types that round a number of JSON, which is a float64."""
EXACT_IN_FLOAT32 = 2**24
"""float32 holds every whole number up to here exactly (IEEE 754: 24 bits of significand)."""
FAR = 1e6
"""Bounds further apart than this are taken for one open side where an example is chosen."""
MOST_DIGITS = 1e16
"""Whole numbers up to here are shown with all their digits (float64 holds each exactly)."""
SHARES = (0.5, 0.95, 0.05, 0.25, 0.75)
"""Where between its bounds a number is drawn, beside the bounds themselves."""
WIDE_FLOATS = (1e6, -1e6, 1e30, -1e30)
WIDE_INTS = (2**24 + 1, -(2**24) - 1, 2**31, -(2**31) - 1, 2**53 + 1, -(2**53) - 1)
"""Drawn where no bound is declared: beyond what float32, int32 and float64 hold exactly."""


class Number(OutputKind):
    """`Annotated[float, Number(ge=0, le=100, unit="mm")]`; a plain `float` or `int` has no bounds.

    `dtype` is float32 for `float` and int64 for `int` unless named. It enters the graph as `dtype`,
    shape `(batch,)`; an `int | None` enters as float32, since only a float can be NaN, and is
    therefore bounded by +-2**24. A bfloat16 number is float32 in the graph, rounded to one that
    bfloat16 holds.
    """

    marks_missing: ClassVar[bool] = False
    roles: ClassVar[frozenset[str]] = frozenset({"input", "output"})
    keeps: ClassVar[Mapping[type, str]] = {
        annotated_types.Ge: "ge",
        annotated_types.Le: "le",
        annotated_types.Gt: "gt",
        annotated_types.Lt: "lt",
        annotated_types.Unit: "unit",
    }

    kind: Literal["number"] = "number"
    dtype: Dtype | None = None
    ge: float | None = None
    le: float | None = None
    gt: float | None = None
    lt: float | None = None
    unit: Annotated[str, Field(max_length=64)] | None = None

    @classmethod
    def from_type(cls, annotation: Any) -> Self | None:
        return cls() if annotation in (float, int) else None

    @field_validator("ge", "le", "gt", "lt", mode="before")
    @classmethod
    def _exact(cls, bound: Any) -> Any:
        """Refuse a whole number that float64 does not hold.

        A bound is kept as float64, and such a number would become another bound.
        """
        if isinstance(bound, int) and (
            abs(bound) > sys.float_info.max or int(float(bound)) != bound
        ):
            raise ValueError(
                "a bound that float64 holds exactly: whole numbers up to 2**53, or none for the "
                "type's own"
            )
        return bound

    def declared(self, annotation: Any, nullable: bool) -> Self:
        if annotation not in (float, int):
            raise DeclarationError(
                "st.Number",
                getattr(annotation, "__name__", str(annotation)),
                "float or int (or either with | None)",
            )
        dtype = self.dtype or ("float32" if annotation is float else "int64")
        if (annotation is int) != ("int" in dtype):
            raise DeclarationError(
                "st.Number",
                f"{annotation.__name__} with dtype {dtype}",
                "a float dtype for float, an int dtype for int",
            )
        return self.completed(nullable=nullable, dtype=dtype)

    @property
    def truth_want(self) -> str:
        return "a number"

    def truth_schema(self) -> JsonSchema:
        return {"type": "number"}

    def truth_example(self) -> Any:
        return self.example()

    def is_truth(self, value: Any) -> bool:
        return isinstance(value, (int, float)) and not isinstance(value, bool)

    def check(self) -> None:
        if self.dtype is None:
            raise DeclarationError(
                "st.Number", "no element type", f"one of {', '.join(get_args(Dtype))}"
            )
        bounds = [bound for bound in (self.ge, self.le, self.gt, self.lt) if bound is not None]
        broken = next((bound for bound in bounds if self.whole and not bound.is_integer()), None)
        if broken is not None:
            raise DeclarationError(
                "st.Number", f"an int with the bound {broken:g}", "whole bounds for an int"
            )
        low, high = self.range
        if not low <= high:
            swapped = self.ge is not None and self.le is not None and self.le < self.ge
            raise DeclarationError(
                "st.Number",
                self.want(),
                f"bounds that leave a number of type {self.dtype}",
                f"ge is the least and le the most: ge={self.le:g}, le={self.ge:g}"
                if swapped
                else None,
            )

    @property
    def whole(self) -> bool:
        """Is it an integer?"""
        return "int" in (self.dtype or "")

    @property
    def graph_dtype(self) -> str:
        """Numpy name of the element type in the graph."""
        dtype = self.dtype or "float32"
        return "float32" if self.whole and self.nullable else held_in(dtype)

    @property
    def is_bfloat16(self) -> bool:
        """Are the numbers rounded to those of bfloat16, which no array of numpy's can be?"""
        return self.dtype == "bfloat16"

    @cached_property
    def range(self) -> tuple[float, float]:
        """Lowest and highest value by bounds and element type.

        Both are inclusive, and both are numbers of the element type.
        """
        low, high = self._type_range
        if self.ge is not None:
            low = max(low, self._nearest(self.ge))
        if self.gt is not None:
            low = max(low, self._next(self.gt, inf))
        if self.le is not None:
            high = min(high, self._nearest(self.le))
        if self.lt is not None:
            high = min(high, self._next(self.lt, -inf))
        return low, high

    def _nearest(self, bound: float) -> float:
        """A bound as a number of the element type."""
        return int(bound) if self.whole else float(rounded(bound, self.dtype or "float32"))

    def _next(self, bound: float, towards: float) -> float:
        """The number of the element type next to a bound, in that direction."""
        near = self._nearest(bound)
        if self.whole:
            return near + (1 if towards > 0 else -1)
        return next_float(near, towards, self.dtype or "float32")

    @property
    def _type_range(self) -> tuple[float, float]:
        """Of the element type alone; of float32's whole numbers where an integer may be missing."""
        if self.whole and self.nullable:
            info = np.iinfo(self.dtype or "int64")
            return max(int(info.min), -EXACT_IN_FLOAT32), min(int(info.max), EXACT_IN_FLOAT32)
        if self.whole:
            limits = np.iinfo(self.dtype or "int64")
            return int(limits.min), int(limits.max)
        most = largest_float(self.dtype or "float32")
        return -most, most

    @property
    def is_bounded(self) -> bool:
        """Is there a bound beyond the element type's own?"""
        return any(bound is not None for bound in (self.ge, self.le, self.gt, self.lt))

    def outside(self, array: Array) -> Array:
        """Which elements break a bound: bool, of the array's shape. NaN breaks none."""
        low, high = self.range
        if self.is_bfloat16:
            array = rounded(array, "bfloat16")
        return (array < low) | (array > high)

    @property
    def json_range(self) -> tuple[float, float]:
        """The range of JSON's numbers, which are float64.

        They are compared as the element type rounds them, as a tensor's are.
        """
        low, high = self.range
        return (
            (rounded_up_to(low, self.dtype), -rounded_up_to(-high, self.dtype))
            if self.dtype in SHORTER
            else (low, high)
        )

    def annotation(self) -> Any:
        number = self.number_of_json()
        if self.is_bfloat16:
            return Annotated[
                number, AfterValidator(lambda value: float(rounded(value, "bfloat16")))
            ]
        return number

    def number_of_json(self) -> Any:
        """The strict Pydantic type of a value as it comes, before it is rounded."""
        low, high = self.json_range
        if self.whole:
            return Annotated[int, Field(ge=low, le=high, strict=True)]
        return Annotated[float, Field(ge=low, le=high, strict=True, allow_inf_nan=False)]

    def breaks(self, option: str, old: Self) -> bool:
        if option in ("ge", "gt"):
            return self._lower > old._lower
        if option in ("le", "lt"):
            return self._upper < old._upper
        return super().breaks(option, old)

    @property
    def _lower(self) -> tuple[float, bool]:
        """The least value, and whether it is itself left out."""
        return max(
            (-inf if self.ge is None else self.ge, False),
            (-inf if self.gt is None else self.gt, True),
        )

    @property
    def _upper(self) -> tuple[float, bool]:
        """The largest value, and whether it is itself in."""
        return min(
            (inf if self.le is None else self.le, True),
            (inf if self.lt is None else self.lt, False),
        )

    def want(self) -> str:
        noun = "a whole number" if self.whole else "a number"
        bounds = self.range_text()
        if bounds:
            return " ".join(filter(None, (noun, bounds, self.unit)))
        return f"{noun} that fits {self.dtype}" + (f" ({self.unit})" if self.unit else "")

    def range_text(self) -> str:
        """The bounds in words: "from 0 to 9", "above 0".

        The text is empty where the element type alone bounds the number.
        """
        (low, low_is_open), (high, high_is_in) = self._lower, self._upper
        least, most = self._type_range
        # The element type's own end, which is told where it is not the type's name that says it.
        if low < least:
            low, low_is_open = (least if self.whole and self.nullable else -inf), False
        if high > most:
            high, high_is_in = (most if self.whole and self.nullable else inf), True
        if -inf < low and high < inf and not low_is_open and high_is_in:
            return f"from {self.shown(low)} to {self.shown(high)}"
        parts = (
            [f"{'above' if low_is_open else 'at least'} {self.shown(low)}"] if low > -inf else []
        )
        parts += (
            [f"{'at most' if high_is_in else 'below'} {self.shown(high)}"] if high < inf else []
        )
        return " and ".join(parts)

    def shown(self, value: float) -> str:
        """A number in the fewest digits that its element type reads back as itself."""
        value = float(value)
        if value.is_integer() and abs(value) < MOST_DIGITS:
            return str(int(value))
        if self.dtype in SHORTER:
            short = rounded(value, self.dtype)[()]
            if np.isfinite(short):
                return str(short)
        return str(value)

    @property
    def datatype(self) -> str:
        return "BF16" if self.is_bfloat16 else V2_DATATYPES[self.graph_dtype]

    def column(self, values: Column) -> Column:
        array = rounded(values, "bfloat16") if self.is_bfloat16 else np.asarray(values)
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            refuse_rows(np.isinf(array), "E_NONFINITE", "an infinity", self.want())
            if not self.nullable:
                refuse_rows(np.isnan(array), "E_NONFINITE", "NaN", self.want())
        if self.whole and array.dtype.kind == "f":
            refuse_rows(array % 1 > 0, "E_TYPE", "a number with a fraction", self.want())
        bad = self.outside(array)
        if bad.any():
            refuse_rows(bad, "E_RANGE", self.shown(array[bad.argmax()]), self.want())
        return array

    def json_schema(self) -> JsonSchema:
        names = {
            "minimum": self.ge,
            "maximum": self.le,
            "exclusiveMinimum": self.gt,
            "exclusiveMaximum": self.lt,
            "x-unit": self.unit,
        }
        if self.dtype in SHORTER:  # numbers that the type rounds to an open end are refused
            low, high = self.json_range
            names["minimum"] = low if self.gt is not None else self.ge
            names["maximum"] = high if self.lt is not None else self.le
        return {
            "type": "integer" if self.whole else "number",
            **{k: v for k, v in names.items() if v is not None},
        }

    def example(self) -> Any:
        low, high = self.range
        if not self.is_bounded:
            return 1 if self.whole else 1.0
        # where one side is open, near the bound that is there; else the middle; else what the
        # bounds leave
        if self.whole:
            least, most = int(low), int(high)
            return (
                next(n for n in (least + 1, most - 1, least) if n <= most)
                if most - least > FAR
                else (least + most) // 2
            )
        tried = [low + 1, high - 1] if high - low > FAR else [low + (high - low) / 2]
        with np.errstate(over="ignore"):
            short = [float(np.float32(value)) for value in tried]
        return next(value for value in (*short, *tried, low) if low <= value <= high)

    def strategy(self) -> SearchStrategy[Any]:
        from hypothesis import strategies as some

        low, high = self.range
        if self.whole:
            return some.integers(int(low), int(high))
        number = some.floats(low, high, allow_nan=False, allow_infinity=False)
        if self.is_bfloat16:
            return number.map(lambda value: float(rounded(value, "bfloat16")))
        return number

    def edges(self, stage: Stage) -> Iterator[Edge]:
        """Both bounds and their neighbours in the element type, zero and one, and some between.

        Where there is no bound, wide values stand in its place.
        """
        low, high = self.range
        below, above = self._lower[0] > -inf, self._upper[0] < inf
        named = [
            *(self._neighbours(low, up=True) if below else ()),
            *(self._neighbours(high, up=False) if above else ()),
        ]
        if below and above:
            named += [low + (high - low) * share for share in SHARES]
        named += [0, 1, -1] if self.is_bounded else [0, 1]
        wide = [
            -1,
            *(WIDE_INTS if self.whole else WIDE_FLOATS),
            *((low, high) if self.whole else ()),
        ]
        seen = set[float]()
        for values, is_named in ((named, True), (wide, False)):
            for value in map(int if self.whole else float, values):
                if value not in seen and low <= value <= high:
                    seen.add(value)
                    yield Edge(value, is_named)

    def _neighbours(self, bound: float, *, up: bool) -> list[float]:
        """A bound and the next two values inside, in the element type."""
        towards = inf if up else -inf
        first = self._next(bound, towards)
        return [bound, first, self._next(first, towards)]

    @property
    def padding_item(self) -> int | str:
        """0, or the bound that is nearest to it."""
        low, high = self.range
        return 0 if low <= 0 <= high else ceil(low) if low > 0 else floor(high)

    def tensors(self, name: str) -> tuple[TensorSpec, ...]:
        return (TensorSpec(name=name, dtype=self.graph_dtype),)

    def stage(self, name: str, files: Mapping[str, bytes]) -> Stage:
        missing = float("nan")
        return lambda value: (missing if value is None else value,)

    @property
    def shape(self) -> tuple[int | None, ...]:
        return ()

    def describe(self, arrays: Arrays, note: Any, options: OptionValues) -> Any:
        return (rounded(arrays[0], "bfloat16") if self.is_bfloat16 else arrays[0])[()]

    def flat_columns(self, arrays: Arrays) -> Sequence[FlatColumn]:
        return [FlatColumn("", rounded(arrays[0], "bfloat16") if self.is_bfloat16 else arrays[0])]

    def recover(self, value: Any) -> tuple[Array, ...]:
        return (rounded(value, self.dtype or "float32"),)

    def arranged(self, want: Arrays, got: Arrays) -> Arrays:
        return near_bfloat16(want, got) if self.is_bfloat16 else got

    def features(self, name: str, files: Mapping[str, bytes], stage: Stage | None) -> Features:
        return lambda values: {"": np.asarray(values, np.float64)}
