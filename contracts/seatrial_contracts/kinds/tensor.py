"""A tensor: numbers of a declared type and shape, as they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NoReturn, Self, cast

import annotated_types
import numpy as np
from pydantic import (
    Field,
    PlainValidator,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from seatrial_contracts.bins import Bins, split_numbers
from seatrial_contracts.declared import is_none
from seatrial_contracts.element_types import DECLARED_DATATYPES
from seatrial_contracts.errors import DeclarationError, Refusal
from seatrial_contracts.kinds.floats import held_in, near_bfloat16, rounded
from seatrial_contracts.kinds.kind import (
    MAX_SIDE,
    SHORT_BYTES,
    Array,
    Column,
    Edge,
    Features,
    JsonSchema,
    Stage,
    TensorSpec,
    refuse,
    refuse_rows,
)
from seatrial_contracts.kinds.number import Number
from seatrial_contracts.kinds.output_kind import Arrays, OptionValues, OutputKind
from seatrial_contracts.kinds.row_mark import mark_specs, marks
from seatrial_contracts.kinds.tensor_size import (
    Side,
    Size,
    completed,
    describe_side,
    ends_of,
    holding,
    side_of,
    with_null,
)

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

Dtype = Literal[
    "bool",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "int8",
    "int16",
    "int32",
    "int64",
    "bfloat16",
    "float16",
    "float32",
    "float64",
]
FEW_DRAWN, MOST_DRAWN, MOST_SIDE_DRAWN = 12, 4096, 64
"""A drawn tensor of up to the first number of values has each of them drawn.

A larger tensor repeats as many values, up to the second number.
"""
DEFAULT_VALUES, MOST_VALUES = 1_000_000, 2**30
"""Of one row: where the sizes are open and nothing is said, and in any case."""
ELEMENT_BYTES = {
    "bool": 6,
    "uint8": 4,
    "uint16": 6,
    "uint32": 11,
    "uint64": 21,
    "int8": 5,
    "int16": 7,
    "int32": 12,
    "int64": 21,
    "bfloat16": 16,
    "float16": 15,
    "float32": 16,
    "float64": 25,
}
"""An element in JSON at most, in its shortest form, with the comma after it."""
BOUNDS = ("ge", "le", "gt", "lt")
Fill = Annotated[int, Field(ge=-(2**31), lt=2**31)]
FOUR_BITS: Mapping[str, tuple[str, int, int]] = {
    "int4": ("int8", -8, 7),
    "uint4": ("uint8", 0, 15),
}
"""Element types that no array holds -> the type that holds them, and their bounds."""


class Tensor(OutputKind):
    """`Tensor[np.float32, 3, None]`: shape `(batch, 3, any)`.

    `Tensor[np.int64, 4, Interval(ge=0, le=99)]` bounds every element, in `annotated_types`' words:
    `Interval`, `Ge`, `Le`, `Gt` or `Lt`. A client sends a nested list of that shape, or a flat one
    in row-major order where every size is fixed. Rows that differ in an open size never share a
    batch. `max_values` of None is what the fixed sizes need, and 1,000,000 where one is open. In
    place of the brackets: `Annotated[np.ndarray, Tensor(dtype="float32", dims=(3, None), ge=0)]`.

    `0:5` is a side that may be empty, and `st.Size("t", 1, 512)` one that is the same wherever the
    name stands in a row. `missing="nan"` lets null, in JSON, stand for an element, which is NaN in
    the graph. With `pad=0`, rows of unlike first size share a batch: shorter ones are filled up
    with that number, and `<field>_mask`, bool, `(batch, size)`, is True where a row's own stand;
    with `mark="length"`, `<field>_length`, int64, `(batch,)`, counts them. `fill` is the number of
    which a missing tensor (`| None`) is made. `int4` and `uint4` are bounds of int8 and uint8.
    bfloat16 is float32 in the graph, rounded to numbers that bfloat16 holds.
    """

    roles: ClassVar[frozenset[str]] = frozenset({"input", "output"})

    rules_go: ClassVar[str] = (
        "write bounds between the brackets: st.Tensor[np.int64, 4, Interval(ge=0, le=99)]"
    )

    kind: Literal["tensor"] = "tensor"
    dtype: Dtype = "float32"
    dims: Annotated[tuple[Side, ...], Field(strict=False, max_length=16)] = ()
    max_values: Annotated[int, Field(ge=1, le=MOST_VALUES)] | None = None
    ge: float | None = None
    le: float | None = None
    gt: float | None = None
    lt: float | None = None
    missing: Annotated[Literal["nan"] | None, Field(exclude_if=is_none)] = None
    pad: Annotated[Fill | None, Field(exclude_if=is_none)] = None
    mark: Annotated[Literal["mask", "length"], Field(exclude_if="mask".__eq__)] = "mask"
    fill: Annotated[Fill, Field(exclude_if=(0).__eq__)] = 0

    @model_validator(mode="before")
    @classmethod
    def _four_bits(cls, options: Any) -> Any:
        """A type of 4 bits is bounds of a type of 8."""
        if not isinstance(options, Mapping) or options.get("dtype") not in FOUR_BITS:
            return options
        dtype, least, most = FOUR_BITS[options["dtype"]]
        given = dict(options)
        if given.get("ge") is None and given.get("gt") is None:
            given["ge"] = float(least)
        if given.get("le") is None and given.get("lt") is None:
            given["le"] = float(most)
        return {**given, "dtype": dtype}

    def __class_getitem__(cls, parts: Any) -> Any:
        """The annotation itself: `embedding: Tensor[np.float32, 384]`.

        The type is numpy's, torch's, or its name.
        """
        dtype, *rest = parts if isinstance(parts, tuple) else (parts,)
        stated = [bound for part in rest for bound in constraints(part)]
        dims = [part for part in rest if not constraints(part)]
        bounds = {
            option: getattr(bound, option)
            for bound in stated
            for option in ("ge", "le", "gt", "lt")
            if hasattr(bound, option)
        }
        if len(bounds) < len(stated):
            raise DeclarationError(
                "st.Tensor", f"{stated}"[:80], "Interval, Ge, Le, Gt or Lt, each once"
            )
        try:
            name = (
                np.dtype(dtype).name
                if isinstance(dtype, type)
                else str(dtype).removeprefix("torch.")
            )
        except TypeError:
            name = str(dtype)
        return Annotated[
            np.ndarray, cls(dtype=cast("Dtype", name), dims=tuple(map(side_of, dims)), **bounds)
        ]

    def declared(self, annotation: Any, nullable: bool) -> Self:
        if annotation is not np.ndarray:
            raise DeclarationError(
                "st.Tensor", str(annotation), "np.ndarray: st.Tensor[np.float32, 3, None, 8:512]"
            )
        return self.completed(nullable=nullable)

    def check(self) -> None:
        if any(not 0 <= least <= most <= MAX_SIDE or most == 0 for least, most in self.ranges):
            raise DeclarationError(
                "st.Tensor",
                f"{self.dims}",
                "a shape of sizes above 0, None or least:most: "
                "st.Tensor[np.float32, 3, None, 8:512]",
            )
        fewest = self._fewest
        if fewest > self.values_limit:
            raise DeclarationError(
                "st.Tensor", f"{fewest} values or more", f"at most {self.values_limit} values"
            )
        if self.is_bounded and self.dtype == "bool":
            raise DeclarationError("st.Tensor", "bounds of booleans", "none")
        if self.dtype != "bool":
            self.element.check()
        self._check_fill()

    def _check_fill(self) -> None:
        """Raise `DeclarationError` where what fills up or is missing does not fit the elements."""
        low, high = (0, 1) if self.dtype == "bool" else self._element_range
        named = any(isinstance(side, Size) for side in self.dims)
        faults = (
            (
                self.missing and "float" not in self.dtype,
                f"missing='nan' of {self.dtype}",
                "a float type, which has NaN",
            ),
            (
                self.pad is not None and (not self.dims or isinstance(self.dims[0], int)),
                "a pad of a first side that is fixed",
                "a first side that varies, as 1:512",
            ),
            (self.mark != "mask" and self.pad is None, f"mark={self.mark!r}", "one beside a pad"),
            (
                any(
                    not low <= number <= high or self.held(number) != number
                    for number in (self.fill, self.pad or 0)
                ),
                f"fill={self.fill}, pad={self.pad}",
                f"numbers of {self.dtype}",
            ),
            (
                self.nullable and named,
                "a named size of a tensor that may be missing",
                "a tensor that is always there",
            ),
        )
        for is_fault, got, want in faults:
            if is_fault:
                raise DeclarationError("st.Tensor", got, want)

    @property
    def _element_range(self) -> tuple[float, float]:
        return Number(dtype=cast("Any", self.dtype)).range

    @property
    def input_only(self) -> str | None:
        if self.missing:
            return "missing='nan'"
        if self.pad is not None:
            return "a pad"
        named = any(isinstance(side, Size) for side in self.dims)
        return "a named size" if named else None

    @property
    def ragged(self) -> bool:
        return self.pad is not None

    def breaks(self, option: str, old: Self) -> bool:
        if option == "dims":
            if self._names != old._names and any(self._names):
                return True
            pairs = zip(self.ranges, old.ranges, strict=False)
            return len(self.dims) != len(old.dims) or any(
                new[0] > was[0] or new[1] < was[1] for new, was in pairs
            )
        if option == "missing":
            return old.missing is not None
        if option in ("mark", "fill"):
            return False
        if option == "pad":  # over V2 a length stands beside a padded tensor, which may be left out
            return self.pad is None
        if option == "max_values":
            return self.values_limit < old.values_limit
        if option in BOUNDS:
            return (
                self.dtype == old.dtype
                and self.dtype != "bool"
                and self.element.breaks(option, old.element)
            )
        return super().breaks(option, old)

    @cached_property
    def values_limit(self) -> int:
        """The most values of one row: `max_values`, or the default.

        Where the least sizes need more values than the default, the limit is what they need.
        """
        if self.max_values is not None:
            return self.max_values
        fewest = prod(ends_of(side)[0] for side in self.dims)
        return min(max(DEFAULT_VALUES, fewest), MOST_VALUES)

    @property
    def held_dtype(self) -> str:
        """Numpy's name of the element type of the arrays, here and in the graph."""
        return held_in(self.dtype)

    def held(self, values: Any) -> Array:
        """Numbers as an array of the element type, rounded to it."""
        return rounded(values, self.dtype)

    @cached_property
    def element(self) -> Number:
        """One element of a tensor of numbers, with the tensor's bounds."""
        return Number(dtype=cast("Any", self.dtype), ge=self.ge, le=self.le, gt=self.gt, lt=self.lt)

    @property
    def is_bounded(self) -> bool:
        return any(getattr(self, option) is not None for option in BOUNDS)

    def outside(self, array: Array) -> Array:
        return self.element.outside(array) if self.is_bounded else super().outside(array)

    @property
    def ranges(self) -> tuple[tuple[int, int], ...]:
        """Least and most of each side."""
        pairs = map(ends_of, self.dims)
        return tuple((least, self.values_limit if most is None else most) for least, most in pairs)

    @property
    def _names(self) -> tuple[str | None, ...]:
        """The name of each side that has one."""
        return tuple(side.name if isinstance(side, Size) else None for side in self.dims)

    @property
    def _fewest(self) -> int:
        """The values of the smallest row, which may have none."""
        return prod(least for least, _ in self.ranges)

    @property
    def fixed_shape(self) -> tuple[int, ...] | None:
        """The shape, where every size is given."""
        sizes = tuple(size for size in self.dims if isinstance(size, int))
        return sizes if len(sizes) == len(self.dims) else None

    def annotation(self) -> Any:
        element: Any = (
            Annotated[bool, Field(strict=True)]
            if self.dtype == "bool"
            else self.element.number_of_json()
        )
        one: Any = element | None if self.missing else element
        nested: Any = one
        for _ in self.dims:
            nested = list[nested]
        shaped, flat_shape = TypeAdapter(nested), self.fixed_shape if len(self.dims) > 1 else None
        flat = TypeAdapter(list[one]) if flat_shape else None

        def validate(value: Any) -> Array:
            if isinstance(value, np.ndarray):
                return self._checked(value)
            is_flat = (
                flat is not None
                and isinstance(value, list)
                and bool(value)
                and not isinstance(value[0], list)
            )
            try:
                values = (flat if is_flat and flat else shaped).validate_python(value)
            except ValidationError as error:
                self._refuse(error)
            try:
                array = completed(self.held(values), self.dims)
            except ValueError:
                refuse("E_SHAPE", "lists of unlike length", self.want())
            return self._checked(
                array.reshape(flat_shape)
                if is_flat and flat_shape and array.size == prod(flat_shape)
                else array
            )

        return Annotated[Any, PlainValidator(validate)]

    def _refuse(self, error: ValidationError) -> NoReturn:
        first = error.errors(include_url=False, include_context=False)[0]
        place = "".join(f"[{part}]" for part in first["loc"]) or "the top"
        refuse(
            CODES.get(first["type"], "E_TYPE"),
            f"{describe_element(first['input'])} at {place}",
            self.want(),
        )

    def _checked(self, array: Array) -> Array:
        if array.dtype != np.dtype(self.held_dtype):
            refuse("E_TYPE", f"elements of type {array.dtype.name}", self.want())
        array = self.held(array)
        if array.ndim != len(self.dims) or any(
            not least <= size <= most
            for (least, most), size in zip(self.ranges, array.shape, strict=True)
        ):
            refuse("E_SHAPE", f"shape {list(array.shape)}", self.want())
        if array.size > self.values_limit:
            refuse("E_LIMIT", f"{array.size} values", self._values_want)
        if array.dtype.kind == "f" and self._odd(array).any():
            refuse("E_NONFINITE", self._odd_got, self.want())
        if self.is_bounded and (bad := self.element.outside(array)).any():
            refuse("E_RANGE", self._first(array, bad), self.want())
        return array

    @property
    def _values_want(self) -> str:
        return f"{min(self._fewest, 1)} to {self.values_limit} values"

    def _odd(self, array: Array) -> Array:
        """Which elements are no numbers that the field takes."""
        return np.isinf(array) if self.missing else ~np.isfinite(array)

    @property
    def _odd_got(self) -> str:
        return "an infinity" if self.missing else "NaN or an infinity"

    def _first(self, array: Array, bad: Array) -> str:
        """The first element of a row that is bad, and its place."""
        place = np.unravel_index(int(bad.argmax()), array.shape)
        where = "".join(f"[{index}]" for index in place) or "the top"
        return f"{self.element.shown(array[place])} at {where}"

    def want(self) -> str:
        noun = "booleans" if self.dtype == "bool" else f"{self.dtype} numbers"
        bounds = f" {self.element.range_text()}" if self.is_bounded else ""
        bounds += " or null" if self.missing else ""
        return f"{noun}{bounds} of shape [{', '.join(map(describe_side, self.dims))}]"

    @property
    def datatype(self) -> str:
        return DECLARED_DATATYPES[self.dtype]

    @property
    def most_values(self) -> int:
        return max(1, min(self.values_limit, prod(most for _, most in self.ranges)))

    @property
    def most_bytes(self) -> int:
        return ELEMENT_BYTES[self.dtype] * prod(self.fixed_shape or ()) + SHORT_BYTES

    @property
    def row_shape(self) -> tuple[int | None, ...]:
        return self.shape or (1,)

    def column(self, values: Column) -> Column:
        if self.ragged:
            return [self._row(self.held(row), place) for place, row in enumerate(values)]
        array = self.held(values)
        self._check_shape(array.shape[1:], "", " for a row")
        if array.dtype.kind == "f" and (odd := self._odd(array)).any():
            of_rows = np.asarray(odd.reshape(len(array), -1).any(1))
            refuse_rows(of_rows, "E_NONFINITE", self._odd_got, self.want())
        if self.is_bounded and (bad := self.element.outside(array)).any():
            row = int(bad.reshape(len(array), -1).any(1).argmax())
            raise Refusal("E_RANGE", f"row {row}", self._first(array[row], bad[row]), self.want())
        return array

    def _row(self, array: Array, place: int) -> Array:
        """One row of a V2 tensor whose rows are of unlike size. Raises `Refusal`."""
        where = f"row {place}"
        self._check_shape(array.shape, where, "")
        if array.dtype.kind == "f" and self._odd(array).any():
            raise Refusal("E_NONFINITE", where, self._odd_got, self.want())
        if self.is_bounded and (bad := self.element.outside(array)).any():
            raise Refusal("E_RANGE", where, self._first(array, bad), self.want())
        return array

    def _check_shape(self, shape: tuple[int, ...], where: str, what: str) -> None:
        """Raises `Refusal`."""
        if any(
            not least <= size <= most
            for (least, most), size in zip(self.ranges, shape, strict=True)
        ):
            raise Refusal("E_SHAPE", where, f"shape {list(shape)}{what}", self.want())
        if prod(shape) > self.values_limit:
            raise Refusal("E_LIMIT", where, f"{prod(shape)} values{what}", self._values_want)

    def wire(self, value: Any) -> Any:
        if not np.size(value):
            return completed(np.array(value, self.held_dtype), self.dims)
        return np.array(value, float).tolist() if self.missing else value

    def json_schema(self) -> JsonSchema:
        schema: JsonSchema = (
            {"type": "boolean"} if self.dtype == "bool" else self.element.json_schema()
        )
        if self.missing:
            schema = {"anyOf": [schema, {"type": "null"}]}
        for least, most in reversed(self.ranges):
            schema = {"type": "array", "items": schema, "minItems": least, "maxItems": most}
        return schema

    def example(self) -> Any:
        shape = [min(max(least, 2), most) for least, most in self.ranges]
        if prod(shape) > self.values_limit:
            shape = [least for least, _ in self.ranges]
        value = self.element.example() if self.is_bounded else 0
        return np.full(shape, value, self.held_dtype).tolist()

    def strategy(self) -> SearchStrategy[Any]:
        from hypothesis import strategies as some

        element: SearchStrategy[Any] = (
            some.booleans() if self.dtype == "bool" else self.element.strategy()
        )
        if self.missing:
            element |= some.none()
        fewest = self._fewest
        pattern = some.lists(element, min_size=1, max_size=FEW_DRAWN)
        repeated = some.builds(
            self._filled, pattern, self._shapes(max(fewest, min(self.values_limit, MOST_DRAWN)))
        )
        if fewest > FEW_DRAWN:
            return repeated
        each = self._shapes(FEW_DRAWN).flatmap(
            lambda shape: some.builds(
                self._filled,
                some.lists(element, min_size=prod(shape), max_size=prod(shape)),
                some.just(shape),
            )
        )
        return each | repeated

    def _shapes(self, most_values: int) -> SearchStrategy[tuple[int, ...]]:
        """Shapes of so many values: small, middling and large sides mixed."""
        from hypothesis import strategies as some

        limits = [(least, min(most, max(least, MOST_SIDE_DRAWN))) for least, most in self.ranges]
        sides = [
            some.integers(least, min(most, least + 3))
            | some.integers(least, most)
            | some.just(most)
            for least, most in limits
        ]
        return some.tuples(*sides).filter(lambda shape: prod(shape) <= most_values)

    def _filled(self, values: list[Any], shape: tuple[int, ...]) -> Any:
        """Nested lists of that shape; values that do not suffice are repeated."""
        array = holding(values, tuple(shape), self.held_dtype)
        return (with_null(array) if self.missing else array).tolist()

    def edges(self, stage: Stage) -> Iterator[Edge]:
        """Each edge of an element all over a small tensor, all of them mixed, and shapes.

        The shapes have each side at its ends.
        """
        elements = (
            [Edge(False), Edge(True)]
            if self.dtype == "bool"
            else list(self.element.edges(lambda value: (value,)))
        )
        fewest = self._fewest
        most = max(fewest, min(self.values_limit, MOST_DRAWN))
        small = [min(max(least, 2), upper) for least, upper in self.ranges]
        small = small if prod(small) <= self.values_limit else [least for least, _ in self.ranges]
        named = [edge.value for edge in elements if edge.named]
        for shape in (small, *self._edge_shapes(small, most)):
            yield Edge(self._rising(min(named), max(named), shape))
        yield Edge(self._filled(named, tuple(small)))
        if self.missing:
            yield Edge(self._filled([None], tuple(small)), what="NaN alone")
            yield Edge(self._filled([None, *named], tuple(small)), what="NaN among numbers")
        yield from (Edge(self._filled([edge.value], tuple(small)), edge.named) for edge in elements)

    def _rising(self, low: Any, high: Any, shape: list[int]) -> Any:
        """Nested lists from the least to the largest value.

        No two places of a small tensor are alike, and the last place tells.
        """
        values = np.linspace(low, high, prod(shape))
        return self.held(values).reshape(shape).tolist()

    def _edge_shapes(self, small: list[int], most_values: int) -> Iterator[list[int]]:
        """Each side that varies, alone at its least, next to it, at an odd size and at its most.

        A shape holds at most `most_values` values.
        """
        for axis, (least, most) in enumerate(self.ranges):
            for size in dict.fromkeys((least, least + 1, 7, MOST_SIDE_DRAWN - 1, most)):
                shape = [*small[:axis], size, *small[axis + 1 :]]
                if least < most and least <= size <= most and prod(shape) <= most_values:
                    yield shape

    def tensors(self, name: str) -> tuple[TensorSpec, ...]:
        dims = tuple(
            side if isinstance(side, int) else self._dim(name, axis)
            for axis, side in enumerate(self.dims)
        )
        values = TensorSpec(name=name, dtype=self.held_dtype, dims=dims, pad=self.pad)
        if not self.ragged:
            return (values,)
        return (values, *mark_specs(self.mark, name, dims[0]))

    def _dim(self, name: str, axis: int) -> str:
        """What a side that varies is called in the graph."""
        return self._names[axis] or f"{name}_{axis}"

    def sizes(self, name: str) -> Mapping[str, tuple[int, int]]:
        return {
            self._dim(name, axis): self.ranges[axis]
            for axis, side in enumerate(self.dims)
            if not isinstance(side, int)
        }

    def stage(self, name: str, files: Mapping[str, bytes]) -> Stage:
        return self._marked if self.ragged else lambda value: (value,)

    def _marked(self, value: Array) -> tuple[Any, ...]:
        """A row of unlike size and what says which of it counts."""
        return (value, *marks(self.mark, len(value), len(value)))

    def filler(self, stage: Stage) -> tuple[Any, ...]:
        """`fill` all over, of the least size, of which nothing counts."""
        least = tuple(least for least, _ in self.ranges)
        blank = np.full(least, self.fill, self.held_dtype)
        return (blank, *marks(self.mark, len(blank), 0)) if self.ragged else (blank,)

    @property
    def shape(self) -> tuple[int | None, ...]:
        return tuple(size if isinstance(size, int) else None for size in self.dims)

    def describe(self, arrays: Arrays, note: Any, options: OptionValues) -> Any:
        return np.ascontiguousarray(self.held(arrays[0]))

    def recover(self, value: Any) -> tuple[Array, ...]:
        return (self.held(value),)

    def arranged(self, want: Arrays, got: Arrays) -> Arrays:
        return near_bfloat16(want, got) if self.dtype == "bfloat16" else got

    def features(self, name: str, files: Mapping[str, bytes], stage: Stage | None) -> Features:
        """Mean and spread of the elements that are there, and the share of those that are not."""

        def features(values: Column) -> Mapping[str, Column]:
            there = list(map(self._there, values))
            found: dict[str, Column] = {
                "mean": [float(np.mean(row)) if row.size else np.nan for row in there],
                "spread": [float(np.std(row)) if row.size else np.nan for row in there],
            }
            if self.missing:
                pairs = zip(there, values, strict=True)
                found["holes"] = [
                    (np.size(value) - row.size) / max(1, np.size(value)) for row, value in pairs
                ]
            return found

        return features

    def _there(self, value: Array) -> Array:
        array = np.asarray(value)
        return array[~np.isnan(array)] if self.missing else array

    def split(self, feature: str, values: Column) -> Bins:
        may_lack = feature != "holes" and (bool(self.missing) or not self._fewest)
        return split_numbers(values, missing=self.nullable or may_lack)


CODES = {
    "finite_number": "E_NONFINITE",
    "less_than_equal": "E_RANGE",
    "greater_than_equal": "E_RANGE",
}


def describe_element(value: Any) -> str:
    """What stood where a number should: its type, never its text."""
    names = {
        bool: "a boolean",
        str: "a string",
        type(None): "null",
        list: "a list",
        dict: "an object",
    }
    return names.get(type(value), str(value)[:24])


def constraints(part: Any) -> list[Any]:
    """The single bounds of what `annotated_types` has for them; none of anything else."""
    if isinstance(part, annotated_types.GroupedMetadata):
        return list(part)
    return [part] if isinstance(part, annotated_types.BaseMetadata) else []
