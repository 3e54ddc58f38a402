"""A number: `float` or `int`, with bounds and a unit; missing values enter the graph as NaN."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, get_args

import annotated_types
import numpy as np
from pydantic import Field

from seatrial_contracts.element_types import V2_DATATYPES
from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.kinds.kind import (
    Array,
    Column,
    Features,
    JsonSchema,
    OutputKind,
    Stage,
    TensorSpec,
    refuse_rows,
)

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

Dtype = Literal["float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
EXACT_IN_FLOAT32 = 2**24
"""float32 holds every whole number up to here exactly (IEEE 754: 24 bits of significand)."""


class Number(OutputKind):
    """`Annotated[float, Number(ge=0, le=100, unit="mm")]`; a plain `float` or `int` is a number without bounds.

    `dtype` is float32 for `float` and int64 for `int` unless named. It enters the graph as `dtype`, shape `(batch,)`; an
    `int | None` enters as float32, since only a float can be NaN, and is therefore bounded by +-2**24.
    """

    roles: ClassVar[frozenset[str]] = frozenset({"input", "output"})

    kind: Literal["number"] = "number"
    dtype: Dtype | None = None
    ge: float | None = None
    le: float | None = None
    gt: float | None = None
    lt: float | None = None
    unit: Annotated[str, Field(max_length=64)] | None = None

    @classmethod
    def from_type(cls, annotation: Any, metadata: Sequence[Any]) -> Self | None:
        if annotation not in (float, int):
            return None
        bounds: dict[str, Any] = {
            name: float(getattr(item, name))
            for item in metadata
            for name, kind in (
                ("ge", annotated_types.Ge),
                ("le", annotated_types.Le),
                ("gt", annotated_types.Gt),
                ("lt", annotated_types.Lt),
            )
            if isinstance(item, kind)
        }
        return cls(**bounds)

    def declared(self, annotation: Any, nullable: bool) -> Self:
        if annotation not in (float, int):
            raise DeclarationError(
                "st.Number", getattr(annotation, "__name__", str(annotation)), "float or int (or either with | None)"
            )
        dtype = self.dtype or ("float32" if annotation is float else "int64")
        if (annotation is int) != ("int" in dtype):
            raise DeclarationError(
                "st.Number",
                f"{annotation.__name__} with dtype {dtype}",
                "a float dtype for float, an int dtype for int",
            )
        return self.completed(nullable=nullable, dtype=dtype)

    def check(self) -> None:
        if self.dtype is None:
            raise DeclarationError("st.Number", "no element type", f"one of {', '.join(get_args(Dtype))}")
        bounds = [bound for bound in (self.ge, self.le, self.gt, self.lt) if bound is not None]
        broken = next((bound for bound in bounds if self.whole and not bound.is_integer()), None)
        if broken is not None:
            raise DeclarationError("st.Number", f"an int with the bound {broken:g}", "whole bounds for an int")
        if not self._takes(self.example()):
            raise DeclarationError("st.Number", self.want(), f"bounds that leave a number of type {self.dtype}")

    @property
    def whole(self) -> bool:
        """Is it an integer?"""
        return "int" in (self.dtype or "")

    @property
    def graph_dtype(self) -> str:
        """Numpy name of the element type in the graph."""
        return "float32" if self.whole and self.nullable else self.dtype or "float32"

    @property
    def range(self) -> tuple[float, float]:
        """Lowest and highest value by bound and element type, both inclusive (an open bound is checked apart)."""
        info: Any = np.iinfo(self.dtype) if self.whole else np.finfo(self.dtype or "float32")
        kind = int if self.whole else float
        low, high = kind(info.min), kind(info.max)
        if self.whole and self.nullable:
            low, high = max(low, -EXACT_IN_FLOAT32), min(high, EXACT_IN_FLOAT32)
        return (low if self.ge is None else max(low, kind(self.ge))), (
            high if self.le is None else min(high, kind(self.le))
        )

    def annotation(self) -> Any:
        low, high = self.range
        options: dict[str, Any] = {} if self.whole else {"allow_inf_nan": False}
        limits: Any = Field(ge=low, le=high, gt=self.gt, lt=self.lt, strict=True, **options)
        return Annotated[int, limits] if self.whole else Annotated[float, limits]

    def breaks(self, option: str, old: Self) -> bool:
        if option in ("ge", "gt"):
            return self._lower > old._lower
        if option in ("le", "lt"):
            return self._upper < old._upper
        return super().breaks(option, old)

    @property
    def _lower(self) -> tuple[float, bool]:
        """The least value, and whether it is itself left out."""
        return max((-inf if self.ge is None else self.ge, False), (-inf if self.gt is None else self.gt, True))

    @property
    def _upper(self) -> tuple[float, bool]:
        """The largest value, and whether it is itself in."""
        return min((inf if self.le is None else self.le, True), (inf if self.lt is None else self.lt, False))

    def want(self) -> str:
        noun = "a whole number" if self.whole else "a number"
        unit = f" {self.unit}" if self.unit else ""
        low = f"at least {self.ge:g}" if self.ge is not None else f"above {self.gt:g}" if self.gt is not None else ""
        high = f"at most {self.le:g}" if self.le is not None else f"below {self.lt:g}" if self.lt is not None else ""
        if self.ge is not None and self.le is not None:
            return f"{noun} from {self.ge:g} to {self.le:g}{unit}"
        if low or high:
            return f"{noun} {' and '.join(filter(None, (low, high)))}{unit}"
        return f"{noun} that fits {self.dtype}{unit and f' ({self.unit})'}"

    @property
    def datatype(self) -> str:
        return V2_DATATYPES[self.graph_dtype]

    def column(self, values: Column) -> Column:
        array = np.asarray(values)
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            refuse_rows(np.isinf(array), "E_NONFINITE", "an infinity", self.want())
            if not self.nullable:
                refuse_rows(np.isnan(array), "E_NONFINITE", "NaN", self.want())
        if self.whole and array.dtype.kind == "f":
            refuse_rows(array % 1 > 0, "E_TYPE", "a number with a fraction", self.want())
        low, high = self.range
        bad = (array < low) | (array > high)
        if self.gt is not None:
            bad |= array <= self.gt
        if self.lt is not None:
            bad |= array >= self.lt
        if bad.any():
            refuse_rows(bad, "E_RANGE", f"{array[bad.argmax()]:g}", self.want())
        return array

    def json_schema(self) -> JsonSchema:
        names = {
            "minimum": self.ge,
            "maximum": self.le,
            "exclusiveMinimum": self.gt,
            "exclusiveMaximum": self.lt,
            "x-unit": self.unit,
        }
        return {"type": "integer" if self.whole else "number", **{k: v for k, v in names.items() if v is not None}}

    def example(self) -> Any:
        low, high = self.range
        if all(bound is None for bound in (self.ge, self.le, self.gt, self.lt)):
            return 1 if self.whole else 1.0
        low = max(low, self.gt if self.gt is not None else low)
        high = min(high, self.lt if self.lt is not None else high)
        if self.whole:
            low, high = int(low), int(high)
        # where one side is open, near the bound that is there; else the middle; else what the bounds leave
        tried = (
            [low + 1, high - 1] if high - low > 1e6 else [(low + high) // 2 if self.whole else low + (high - low) / 2]
        )
        tried += [low, high, low + 1, high - 1]
        if not self.whole:
            with np.errstate(over="ignore"):
                short = [float(np.float32(value)) for value in tried]
            tried = [*short, *tried, np.nextafter(low, inf), np.nextafter(high, -inf)]
        fitting = [value for value in tried if self._takes(value)]
        return (int if self.whole else float)(fitting[0] if fitting else tried[0])

    def _takes(self, value: float) -> bool:
        """Is it within every bound?"""
        low, high = self.range
        return (
            low <= value <= high
            and (self.ge is None or value >= self.ge)
            and (self.le is None or value <= self.le)
            and (self.gt is None or value > self.gt)
            and (self.lt is None or value < self.lt)
        )

    def strategy(self) -> SearchStrategy[Any]:
        from hypothesis import strategies as some

        low, high = self.range
        if self.whole:
            return some.integers(int(low), int(high)).filter(self._takes)
        return some.floats(low, high, allow_nan=False, allow_infinity=False).filter(self._takes)

    def tensors(self, name: str) -> tuple[TensorSpec, ...]:
        return (TensorSpec(name=name, dtype=self.graph_dtype),)

    def stage(self, name: str, files: Mapping[str, bytes]) -> Stage:
        missing = float("nan")
        return lambda value: (missing if value is None else value,)

    @property
    def shape(self) -> tuple[int | None, ...]:
        return ()

    def describe(self, answer: Array) -> Any:
        return answer[()]

    def recover(self, value: Any) -> Array:
        return np.asarray(value, self.dtype)

    def features(self, name: str, files: Mapping[str, bytes], stage: Stage | None) -> Features:
        return lambda values: {"": np.asarray(values, np.float64)}
