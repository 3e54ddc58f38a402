"""A tensor: numbers of a declared type and shape, as they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NoReturn, Self, cast

import annotated_types
import numpy as np
from pydantic import Field, PlainValidator, TypeAdapter, ValidationError, field_validator

from seatrial_contracts.element_types import V2_DATATYPES, refuse_bfloat16
from seatrial_contracts.errors import DeclarationError, Refusal
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
    "float16": 15,
    "float32": 16,
    "float64": 25,
}
"""An element in JSON at most, in its shortest form, with the comma after it."""
BOUNDS = ("ge", "le", "gt", "lt")
Size = int | Annotated[tuple[int, int | None], Field(strict=False)] | None
"""One side of a tensor: a number, or (least, most) where the side varies.

None is any size, and so is a `most` of None.
"""


class Tensor(OutputKind):
    """`Tensor[np.float32, 3, None]`: shape `(batch, 3, any)`.

    `Tensor[np.int64, 4, Interval(ge=0, le=99)]` bounds every element, in `annotated_types`' words:
    `Interval`, `Ge`, `Le`, `Gt` or `Lt`. A client sends a nested list of that shape, or a flat one
    in row-major order where every size is fixed. Rows that differ in an open size never share a
    batch. `max_values` of None is what the fixed sizes need, and 1,000,000 where one is open. In
    place of the brackets: `Annotated[np.ndarray, Tensor(dtype="float32", dims=(3, None), ge=0)]`.
    """

    roles: ClassVar[frozenset[str]] = frozenset({"input", "output"})

    rules_go: ClassVar[str] = (
        "write bounds between the brackets: st.Tensor[np.int64, 4, Interval(ge=0, le=99)]"
    )

    kind: Literal["tensor"] = "tensor"
    dtype: Dtype = "float32"
    dims: Annotated[tuple[Size, ...], Field(strict=False, max_length=16)] = ()
    max_values: Annotated[int, Field(ge=1, le=MOST_VALUES)] | None = None
    ge: float | None = None
    le: float | None = None
    gt: float | None = None
    lt: float | None = None

    _no_bfloat16 = field_validator("dtype", mode="before")(refuse_bfloat16)

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
        if any(not 0 < least <= most <= MAX_SIDE for least, most in self.ranges):
            raise DeclarationError(
                "st.Tensor",
                f"{self.dims}",
                "a shape of sizes above 0, None or least:most: "
                "st.Tensor[np.float32, 3, None, 8:512]",
            )
        fewest = prod(least for least, _ in self.ranges)
        if fewest > self.values_limit:
            raise DeclarationError(
                "st.Tensor", f"{fewest} values or more", f"at most {self.values_limit} values"
            )
        if self.is_bounded and self.dtype == "bool":
            raise DeclarationError("st.Tensor", "bounds of booleans", "none")
        if self.dtype != "bool":
            self.element.check()

    def breaks(self, option: str, old: Self) -> bool:
        if option == "dims":
            pairs = zip(self.ranges, old.ranges, strict=False)
            return len(self.dims) != len(old.dims) or any(
                new[0] > was[0] or new[1] < was[1] for new, was in pairs
            )
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
        fewest = prod(side[0] if isinstance(side, tuple) else side or 1 for side in self.dims)
        return min(max(DEFAULT_VALUES, fewest), MOST_VALUES)

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
        pairs = [side if isinstance(side, tuple) else (side or 1, side) for side in self.dims]
        return tuple((least, self.values_limit if most is None else most) for least, most in pairs)

    @property
    def fixed_shape(self) -> tuple[int, ...] | None:
        """The shape, where every size is given."""
        sizes = tuple(size for size in self.dims if isinstance(size, int))
        return sizes if len(sizes) == len(self.dims) else None

    def annotation(self) -> Any:
        element: Any = (
            Annotated[bool, Field(strict=True)]
            if self.dtype == "bool"
            else self.element.annotation()
        )
        nested: Any = element
        for _ in self.dims:
            nested = list[nested]
        shaped, flat_shape = TypeAdapter(nested), self.fixed_shape if len(self.dims) > 1 else None
        flat = TypeAdapter(list[element]) if flat_shape else None

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
                array = np.array(values, self.dtype)
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
        if array.dtype != np.dtype(self.dtype):
            refuse("E_TYPE", f"elements of type {array.dtype.name}", self.want())
        if array.ndim != len(self.dims) or any(
            not least <= size <= most
            for (least, most), size in zip(self.ranges, array.shape, strict=True)
        ):
            refuse("E_SHAPE", f"shape {list(array.shape)}", self.want())
        if not 0 < array.size <= self.values_limit:
            refuse("E_LIMIT", f"{array.size} values", f"1 to {self.values_limit} values")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            refuse("E_NONFINITE", "NaN or an infinity", self.want())
        if self.is_bounded and (bad := self.element.outside(array)).any():
            refuse("E_RANGE", self._first(array, bad), self.want())
        return array

    def _first(self, array: Array, bad: Array) -> str:
        """The first element of a row that is bad, and its place."""
        place = np.unravel_index(int(bad.argmax()), array.shape)
        where = "".join(f"[{index}]" for index in place) or "the top"
        return f"{self.element.shown(array[place])} at {where}"

    def want(self) -> str:
        noun = "booleans" if self.dtype == "bool" else f"{self.dtype} numbers"
        bounds = f" {self.element.range_text()}" if self.is_bounded else ""
        return f"{noun}{bounds} of shape [{', '.join(map(describe_side, self.dims))}]"

    @property
    def datatype(self) -> str:
        return V2_DATATYPES[self.dtype]

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
        array = np.asarray(values)
        shape = array.shape[1:]
        if any(
            not least <= size <= most
            for (least, most), size in zip(self.ranges, shape, strict=True)
        ):
            raise Refusal("E_SHAPE", "", f"shape {list(shape)} for a row", self.want())
        if not 0 < prod(shape) <= self.values_limit:
            raise Refusal(
                "E_LIMIT", "", f"{prod(shape)} values for a row", f"1 to {self.values_limit} values"
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            refuse_rows(
                ~np.isfinite(array).reshape(len(array), -1).all(1),
                "E_NONFINITE",
                "NaN or an infinity",
                self.want(),
            )
        if self.is_bounded and (bad := self.element.outside(array)).any():
            row = int(bad.reshape(len(array), -1).any(1).argmax())
            raise Refusal("E_RANGE", f"row {row}", self._first(array[row], bad[row]), self.want())
        return array

    def json_schema(self) -> JsonSchema:
        schema: JsonSchema = (
            {"type": "boolean"} if self.dtype == "bool" else self.element.json_schema()
        )
        for least, most in reversed(self.ranges):
            schema = {"type": "array", "items": schema, "minItems": least, "maxItems": most}
        return schema

    def example(self) -> Any:
        shape = [min(max(least, 2), most) for least, most in self.ranges]
        if prod(shape) > self.values_limit:
            shape = [least for least, _ in self.ranges]
        value = self.element.example() if self.is_bounded else 0
        return np.full(shape, value, self.dtype).tolist()

    def strategy(self) -> SearchStrategy[Any]:
        from hypothesis import strategies as some

        element: SearchStrategy[Any] = (
            some.booleans() if self.dtype == "bool" else self.element.strategy()
        )
        fewest = prod(least for least, _ in self.ranges)
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
        return np.resize(np.array(values, self.dtype), shape).tolist()

    def edges(self, stage: Stage) -> Iterator[Edge]:
        """Each edge of an element all over a small tensor, all of them mixed, and shapes.

        The shapes have each side at its ends.
        """
        elements = (
            [Edge(False), Edge(True)]
            if self.dtype == "bool"
            else list(self.element.edges(lambda value: (value,)))
        )
        fewest = prod(least for least, _ in self.ranges)
        most = max(fewest, min(self.values_limit, MOST_DRAWN))
        small = [min(max(least, 2), upper) for least, upper in self.ranges]
        small = small if prod(small) <= self.values_limit else [least for least, _ in self.ranges]
        named = [edge.value for edge in elements if edge.named]
        for shape in (small, *self._edge_shapes(small, most)):
            yield Edge(self._rising(min(named), max(named), shape))
        yield Edge(self._filled(named, tuple(small)))
        yield from (Edge(self._filled([edge.value], tuple(small)), edge.named) for edge in elements)

    def _rising(self, low: Any, high: Any, shape: list[int]) -> Any:
        """Nested lists from the least to the largest value.

        No two places of a small tensor are alike, and the last place tells.
        """
        values = np.linspace(low, high, prod(shape))
        return np.asarray(values, self.dtype).reshape(shape).tolist()

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
            size if isinstance(size, int) else f"{name}_{axis}"
            for axis, size in enumerate(self.dims)
        )
        return (TensorSpec(name=name, dtype=self.dtype, dims=dims),)

    def sizes(self, name: str) -> Mapping[str, tuple[int, int]]:
        return {
            f"{name}_{axis}": self.ranges[axis]
            for axis, size in enumerate(self.dims)
            if not isinstance(size, int)
        }

    def stage(self, name: str, files: Mapping[str, bytes]) -> Stage:
        return lambda value: (value,)

    def filler(self, stage: Stage) -> tuple[Any, ...]:
        """Zeros of the least size."""
        return (np.zeros([least for least, _ in self.ranges], self.dtype),)

    @property
    def shape(self) -> tuple[int | None, ...]:
        return tuple(size if isinstance(size, int) else None for size in self.dims)

    def describe(self, arrays: Arrays, note: Any, options: OptionValues) -> Any:
        return np.ascontiguousarray(arrays[0])

    def recover(self, value: Any) -> tuple[Array, ...]:
        return (np.array(value, self.dtype),)

    def features(self, name: str, files: Mapping[str, bytes], stage: Stage | None) -> Features:
        return lambda values: {
            "mean": [float(np.mean(value)) for value in values],
            "spread": [float(np.std(value)) for value in values],
        }


CODES = {
    "finite_number": "E_NONFINITE",
    "less_than_equal": "E_RANGE",
    "greater_than_equal": "E_RANGE",
}


def describe_side(side: Size) -> str:
    """`3`, `any`, `8 to 512`, `at least 8`."""
    if isinstance(side, tuple):
        return f"at least {side[0]}" if side[1] is None else f"{side[0]} to {side[1]}"
    return "any" if side is None else str(side)


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


def side_of(part: Any) -> Any:
    """A side as it stands between the brackets: `8:512` is (8, 512), `:512` is (1, 512)."""
    if not isinstance(part, slice):
        return part
    if part.step is not None:
        raise DeclarationError(
            "st.Tensor",
            f"a side with the step {part.step!r}"[:80],
            "least:most, every size between them",
        )
    return (1 if part.start is None else part.start, part.stop)


def constraints(part: Any) -> list[Any]:
    """The single bounds of what `annotated_types` has for them; none of anything else."""
    if isinstance(part, annotated_types.GroupedMetadata):
        return list(part)
    return [part] if isinstance(part, annotated_types.BaseMetadata) else []
