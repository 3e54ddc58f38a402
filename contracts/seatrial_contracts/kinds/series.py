"""A series: numbers by time, of one channel or several, with holes where they are allowed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NoReturn, Self, cast

import numpy as np
from pydantic import Field, PlainValidator, TypeAdapter, ValidationError

from seatrial_contracts.bins import Bins, split_numbers
from seatrial_contracts.element_types import V2_DATATYPES
from seatrial_contracts.errors import DeclarationError, Refusal
from seatrial_contracts.kinds.kind import (
    Array,
    Column,
    Edge,
    Features,
    JsonSchema,
    Kind,
    Stage,
    TensorSpec,
    Word,
    refuse,
)
from seatrial_contracts.kinds.number import Number
from seatrial_contracts.kinds.tensor import CODES, ELEMENT_BYTES, describe_element

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

MOST_STEPS, MOST_CHANNELS = 2**22, 2**16
FEW_DRAWN, MANY_DRAWN = 8, 512
"""Steps of most drawn series, and of any drawn one at most, unless the contract wants more."""
Steps = Annotated[int, Field(ge=1, le=MOST_STEPS)]


class Series(Kind):
    """`Annotated[list[float], Series(length=(16, 512), missing=True)]`: numbers, oldest first.

    With `channels=3` it is a `list[list[float]]`, three numbers for each step of time. `length` is
    the number of steps, or their least and most. `missing=True` lets null stand for a number that
    was not measured (NaN over V2).

    It enters the graph as `dtype`, `(batch, steps)` or `(batch, steps, channels)`, with 0 where a
    number is missing and where shorter series are filled up, after their own steps or before them
    (`padding_side="left"`). If numbers may be missing or lengths differ, `<field>_mask`, bool, of
    the same shape, is True where a number is. `frequency` ("D", "H") is told to clients.
    """

    staged: ClassVar[bool] = True

    kind: Literal["series"] = "series"
    length: Annotated[tuple[Steps, Steps], Field(strict=False)] | Steps | None = None
    channels: Annotated[int, Field(ge=1, le=MOST_CHANNELS)] | None = None
    missing: bool = False
    padding_side: Literal["left", "right"] = "right"
    dtype: Literal["float32", "float64"] = "float32"
    frequency: Word | None = None
    ge: float | None = None
    le: float | None = None
    unit: Annotated[str, Field(max_length=64)] | None = None

    def declared(self, annotation: Any, nullable: bool) -> Self:
        want = list[float] if self.channels is None else list[list[float]]
        if annotation != want:
            raise DeclarationError(
                "st.Series", str(annotation), f"{want}, of which missing=True lets numbers be null"
            )
        return self.completed(nullable=nullable)

    def check(self) -> None:
        if self.length is None or self.least > self.most:
            got = "no length" if self.length is None else f"length {self.length}"
            raise DeclarationError("st.Series", got, "st.Series(length=(16, 512)), least and most")
        self.element.check()

    @property
    def least(self) -> int:
        """Steps of a series at least."""
        return self.length[0] if isinstance(self.length, tuple) else self.length or 1

    @property
    def most(self) -> int:
        """Steps of a series at most."""
        return self.length[1] if isinstance(self.length, tuple) else self.length or 1

    @property
    def ragged(self) -> bool:
        return self.least < self.most

    @property
    def _inner(self) -> tuple[int, ...]:
        """The sides of one step."""
        return () if self.channels is None else (self.channels,)

    @cached_property
    def element(self) -> Number:
        """One number of it."""
        return Number(dtype=cast("Any", self.dtype), ge=self.ge, le=self.le, unit=self.unit)

    def breaks(self, option: str, old: Self) -> bool:
        if option == "length":
            return self.least > old.least or self.most < old.most
        if option == "missing":
            return old.missing
        if option in ("ge", "le"):
            return self.element.breaks(option, old.element)
        if option in ("padding_side", "frequency"):
            return False
        return super().breaks(option, old)

    def annotation(self) -> Any:
        number: Any = self.element.annotation()
        step: Any = number | None if self.missing else number
        if self.channels is not None:
            step = Annotated[list[step], Field(min_length=self.channels, max_length=self.channels)]
        whole: Any = Annotated[list[step], Field(min_length=self.least, max_length=self.most)]
        adapter = TypeAdapter(whole)

        def validate(value: Any) -> Array:
            if isinstance(value, np.ndarray):
                value = value.tolist()
            try:
                values = adapter.validate_python(value)
            except ValidationError as error:
                self._refuse(error)
            return np.array(values, self.dtype)

        return Annotated[Any, PlainValidator(validate)]

    def _refuse(self, error: ValidationError) -> NoReturn:
        first = error.errors(include_url=False, include_context=False)[0]
        if first["type"] in ("too_long", "too_short"):
            refuse("E_SHAPE", f"a list of {len(first['input'])}", self.want())
        place = "".join(f"[{part}]" for part in first["loc"]) or "the top"
        missing = first["input"] is None and len(first["loc"]) > 0
        code = "E_MISSING" if missing else CODES.get(first["type"], "E_TYPE")
        refuse(code, f"{describe_element(first['input'])} at {place}", self.want())

    def want(self) -> str:
        steps = f"{self.least} to {self.most}" if self.ragged else str(self.most)
        of = "" if self.channels is None else f" of {self.channels} numbers each"
        bounds = self.element.range_text()
        holes = " or null" if self.missing else ""
        each = " ".join(filter(None, ("each a number", bounds, self.unit)))
        return f"a list of {steps} steps{of}, {each}{holes}"

    @property
    def datatype(self) -> str:
        return V2_DATATYPES[self.dtype]

    @property
    def row_shape(self) -> tuple[int | None, ...]:
        return (None if self.ragged else self.most, *self._inner)

    @property
    def most_values(self) -> int:
        return self.most * (self.channels or 1)

    @property
    def most_bytes(self) -> int:
        return self.most_values * ELEMENT_BYTES[self.dtype]

    def column(self, values: Column) -> Column:
        return [self._checked(np.asarray(row), place) for place, row in enumerate(values)]

    def _checked(self, row: Array, place: int) -> Array:
        where = f"row {place}"
        if not self.least <= len(row) <= self.most:
            raise Refusal("E_SHAPE", where, f"{len(row)} steps", self.want())
        holes = np.isnan(row)
        bad = np.isinf(row) if self.missing else ~np.isfinite(row)
        if bad.any():
            got = "NaN" if np.isnan(row[bad][0]) else "an infinity"
            raise Refusal("E_NONFINITE", where, f"{got} at {at(bad)}", self.want())
        out = self.element.outside(row) & ~holes
        if out.any():
            got = f"{self.element.shown(row[out][0])} at {at(out)}"
            raise Refusal("E_RANGE", where, got, self.want())
        return row

    def wire(self, value: Any) -> Any:
        array = np.array(value, float)
        if array.shape[1:] != self._inner:
            raise ValueError("another shape")
        return np.where(np.isnan(array), np.nan, array).tolist()

    def json_schema(self) -> JsonSchema:
        number = self.element.json_schema()
        step: JsonSchema = {"anyOf": [number, {"type": "null"}]} if self.missing else number
        if self.channels is not None:
            step = {
                "type": "array", "items": step, "minItems": self.channels,
                "maxItems": self.channels,
            }  # fmt: skip
        told = {"x-frequency": self.frequency} if self.frequency else {}
        return {
            "type": "array", "items": step, "minItems": self.least, "maxItems": self.most, **told,
        }  # fmt: skip

    def example(self) -> Any:
        number = self.element.example()
        step = number if self.channels is None else [number] * self.channels
        return [step] * min(max(self.least, FEW_DRAWN), self.most)

    def strategy(self) -> SearchStrategy[Any]:
        from hypothesis import strategies as some

        number = self.element.strategy()
        step: SearchStrategy[Any] = number | some.none() if self.missing else number
        if self.channels is not None:
            step = some.lists(step, min_size=1, max_size=FEW_DRAWN).map(
                lambda values: np.resize(np.array(values, object), self.channels or 1).tolist()
            )
        most = max(self.least, min(self.most, MANY_DRAWN))
        lengths = some.sampled_from(sorted({self.least, min(self.least + 1, most), most}))
        pattern = some.lists(step, min_size=1, max_size=FEW_DRAWN)
        return some.builds(
            lambda steps, count: [steps[place % len(steps)] for place in range(count)],
            pattern,
            lengths | some.integers(self.least, most),
        )

    def edges(self, stage: Stage) -> Iterator[Edge]:
        """The shortest and the longest, each edge of a number, holes at the ends and throughout."""
        numbers = list(self.element.edges(lambda value: (value,)))
        named = [edge.value for edge in numbers if edge.named]
        most = max(self.least, min(self.most, MANY_DRAWN))
        small = min(max(self.least, FEW_DRAWN), most)
        for count in dict.fromkeys((small, self.least, min(self.least + 1, most), most)):
            yield Edge(self._drawn(named, count), what=f"{count} steps")
        if self.missing:
            whole = self._drawn(named, small)
            nothing = self._drawn([None], small)
            yield Edge([*nothing[:1], *whole[1:]], what="a hole at the beginning")
            yield Edge([*whole[:-1], *nothing[:1]], what="a hole at the end")
            yield Edge(nothing, what="holes alone")
            yield Edge(self._drawn([None, *named], small), what="holes and numbers")
        for edge in numbers:
            yield Edge(self._drawn([edge.value], small), edge.named, f"{edge.value} throughout")

    def _drawn(self, values: list[Any], count: int) -> Any:
        """So many steps: these values, again and again."""
        flat = [values[place % len(values)] for place in range(count * (self.channels or 1))]
        return np.array(flat, object).reshape(count, *self._inner).tolist()

    def tensors(self, name: str) -> tuple[TensorSpec, ...]:
        dims = (f"{name}_steps" if self.ragged else self.most, *self._inner)
        pad, left = (0 if self.ragged else None), self.padding_side == "left"
        values = TensorSpec(name=name, dtype=self.dtype, dims=dims, pad=pad, pad_left=left)
        if not self.ragged and not self.missing:
            return (values,)
        return (
            values,
            TensorSpec(name=f"{name}_mask", dtype="bool", dims=dims, pad=pad, pad_left=left),
        )

    def sizes(self, name: str) -> Mapping[str, tuple[int, int]]:
        return {f"{name}_steps": (self.least, self.most)} if self.ragged else {}

    def stage(self, name: str, files: Mapping[str, bytes]) -> Stage:
        if not self.ragged and not self.missing:
            return lambda value: (value,)

        def stage(value: Any) -> tuple[Any, ...]:
            there = ~np.isnan(value)
            return (np.where(there, value, np.zeros((), self.dtype)), there)

        return stage

    def filler(self, stage: Stage) -> tuple[Any, ...]:
        """The shortest series, in which every number is missing."""
        blank = np.zeros((self.least, *self._inner), self.dtype)
        return (blank, np.zeros(blank.shape, bool)) if self.ragged or self.missing else (blank,)

    def features(self, name: str, files: Mapping[str, bytes], stage: Stage | None) -> Features:
        """Steps, the mean and the spread of the numbers, the last one, and the share of holes."""

        def features(values: Column) -> Mapping[str, Column]:
            there = [row[~np.isnan(row)] for row in map(np.asarray, values)]
            found: dict[str, Column] = {
                "mean": [float(row.mean()) if len(row) else np.nan for row in there],
                "spread": [float(row.std()) if len(row) else np.nan for row in there],
                "last": [float(row[-1]) if len(row) else np.nan for row in there],
            }
            if self.ragged:
                found["steps"] = [len(row) for row in values]
            if self.missing:
                pairs = zip(values, there, strict=True)
                found["holes"] = [1 - len(row) / np.size(value) for value, row in pairs]
            return found

        return features

    def split(self, feature: str, values: Column) -> Bins:
        of_numbers = feature in ("mean", "spread", "last") and self.missing
        return split_numbers(values, missing=self.nullable or of_numbers)


def at(bad: Array) -> str:
    """The place of the first element that is bad."""
    place = np.unravel_index(int(bad.argmax()), bad.shape)
    return "".join(f"[{index}]" for index in place)
