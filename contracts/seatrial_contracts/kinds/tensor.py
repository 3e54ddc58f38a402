"""A tensor: numbers of a declared type and shape, as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, PlainValidator, TypeAdapter, ValidationError

from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.kinds.kind import (
    V2_DATATYPES,
    Array,
    JsonSchema,
    OutputKind,
    Stage,
    TensorSpec,
    histogram,
    refuse,
)
from seatrial_contracts.kinds.number import Number

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

Dtype = Literal["bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float32", "float64"]


class Tensor(OutputKind):
    """`Tensor["float32", 3, None]`: shape `(batch, 3, any)`. Rows that differ in an open size never share a batch.

    A client sends a nested list of that shape, or a flat one in row-major order where every size is fixed.
    """

    roles: ClassVar[frozenset[str]] = frozenset({"input", "output"})

    kind: Literal["tensor"] = "tensor"
    dtype: Dtype = "float32"
    dims: Annotated[tuple[int | None, ...], Field(strict=False)] = ()
    max_values: int = 1_000_000

    def __class_getitem__(cls, parts: Any) -> Any:
        """The annotation itself: `embedding: Tensor["float32", 384]`."""
        dtype, *dims = parts if isinstance(parts, tuple) else (parts,)
        return Annotated[np.ndarray, cls(dtype=np.dtype(dtype).name, dims=tuple(dims))]  # type: ignore[arg-type]

    def declared(self, annotation: Any, nullable: bool) -> Self:
        if nullable or annotation is not np.ndarray or any(size is not None and size < 1 for size in self.dims):
            raise DeclarationError(
                "st.Tensor",
                f"{annotation} {self.dims}",
                'a shape of sizes above 0 or None, never missing: st.Tensor["float32", 3, None]',
            )
        return self

    def annotation(self) -> Any:
        element = (
            Number(dtype=None if self.dtype == "bool" else self.dtype).annotation()
            if self.dtype != "bool"
            else Annotated[bool, Field(strict=True)]
        )
        nested: Any = element
        for _ in self.dims:
            nested = list[nested]
        shaped = TypeAdapter(nested)
        flat = TypeAdapter(list[element]) if len(self.dims) > 1 and self.fixed else None

        def validate(value: Any) -> Array:
            if isinstance(value, np.ndarray):
                return self._checked(value)
            adapter = flat if flat and isinstance(value, list) and value and not isinstance(value[0], list) else shaped
            try:
                values = adapter.validate_python(value)
            except ValidationError as error:
                first = error.errors(include_url=False, include_context=False)[0]
                code = {
                    "finite_number": "E_NONFINITE",
                    "less_than_equal": "E_RANGE",
                    "greater_than_equal": "E_RANGE",
                }.get(first["type"], "E_TYPE")
                place = "".join(f"[{part}]" for part in first["loc"])
                refuse(code, f"{describe_element(first['input'])} at {place or 'the top'}", self.want())
            try:
                array = np.array(values, self.dtype)
            except ValueError:
                refuse("E_SHAPE", "lists of unlike length", self.want())
            return self._checked(
                array.reshape(self.dims) if adapter is flat and array.size == prod(self.dims) else array
            )  # type: ignore[arg-type]

        return Annotated[Any, PlainValidator(validate)]

    @property
    def fixed(self) -> bool:
        """Is every size given?"""
        return None not in self.dims

    def _checked(self, array: Array) -> Array:
        if array.dtype != np.dtype(self.dtype):
            refuse("E_TYPE", f"elements of type {array.dtype.name}", self.want())
        if array.ndim != len(self.dims) or any(
            want not in (None, got) for want, got in zip(self.dims, array.shape, strict=True)
        ):
            refuse("E_SHAPE", f"shape {list(array.shape)}", self.want())
        if not 0 < array.size <= self.max_values:
            refuse("E_LIMIT", f"{array.size} values", f"1 to {self.max_values} values")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            refuse("E_NONFINITE", "NaN or an infinity", self.want())
        return array

    def want(self) -> str:
        sizes = ", ".join("any" if size is None else str(size) for size in self.dims)
        return f"{self.dtype} numbers of shape [{sizes}]"

    @property
    def datatype(self) -> str:
        return V2_DATATYPES[self.dtype]

    def json_schema(self) -> JsonSchema:
        schema: JsonSchema = {"type": {"b": "boolean", "f": "number"}.get(np.dtype(self.dtype).kind, "integer")}
        for size in reversed(self.dims):
            schema = {
                "type": "array",
                "items": schema,
                **({} if size is None else {"minItems": size, "maxItems": size}),
            }
        return schema

    def example(self) -> Any:
        return np.zeros([size or 2 for size in self.dims], self.dtype).tolist()

    def strategy(self) -> SearchStrategy[Any]:
        from hypothesis import strategies as some

        element = some.booleans() if self.dtype == "bool" else Number(dtype=self.dtype).strategy()
        if self.dtype == "float32":
            element = some.floats(width=32, allow_nan=False, allow_infinity=False)
        return some.tuples(*(some.integers(1, 4) if size is None else some.just(size) for size in self.dims)).flatmap(
            lambda shape: some.lists(element, min_size=prod(shape), max_size=prod(shape)).map(
                lambda values: np.array(values, self.dtype).reshape(shape).tolist()
            )
        )

    def tensors(self, name: str) -> tuple[TensorSpec, ...]:
        dims = tuple(f"{name}_{i}" if size is None else size for i, size in enumerate(self.dims))
        return (TensorSpec(name=name, dtype=self.dtype, dims=dims),)

    def stage(self, name: str, files: Mapping[str, bytes]) -> Stage:  # noqa: ARG002
        return lambda value: (value,)

    @property
    def shape(self) -> tuple[int | None, ...]:
        return self.dims

    def describe(self, answer: Array) -> Any:
        return np.ascontiguousarray(answer)

    def recover(self, value: Any) -> Array:
        return np.array(value, self.dtype)

    def distribution(self, values: Sequence[Any]) -> dict[str, Any]:
        return {
            "mean": histogram([float(np.mean(value)) for value in values]),
            "spread": histogram([float(np.std(value)) for value in values]),
        }


def describe_element(value: Any) -> str:
    """What stood where a number should: its type, never its text."""
    names = {bool: "a boolean", str: "a string", type(None): "null", list: "a list", dict: "an object"}
    return names.get(type(value), str(value)[:24])
