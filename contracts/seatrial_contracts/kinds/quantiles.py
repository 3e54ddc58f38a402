"""Quantiles: what a number is at most with each of several probabilities, by name and in order."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field

from seatrial_contracts.compare import Comparison, Tolerance, compare_arrays, largest
from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.kinds.kind import Array, Column, Features, JsonSchema, Stage, closed_object
from seatrial_contracts.kinds.mapped_kind import MappedKind
from seatrial_contracts.kinds.output_kind import AnswerTensor, Arrays, OptionValues

MOST_QUANTILES = 1024


class Quantiles(MappedKind):
    """`Annotated[dict[str, float], Quantiles(0.1, 0.5, 0.9)]`.

    The model answers float32 numbers, shape `(batch, quantiles)`, in the order of the quantiles. A
    client sees `{"0.1": number, "0.5": number, "0.9": number}` over V1, and the tensor over V2.

    A row whose numbers fall from one quantile to the next has no answer (`E_OUTPUT_RANGE`). With
    `rearrange` its numbers are sorted instead, over V2 too: Chernozhukov, Fernandez-Val and
    Galichon, Quantile and Probability Curves Without Crossing (2010). `ge` and `le` bound every
    number.
    """

    kind: Literal["quantiles"] = "quantiles"
    quantiles: Annotated[
        tuple[Annotated[float, Field(gt=0, lt=1)], ...],
        Field(strict=False, max_length=MOST_QUANTILES),
    ] = ()
    rearrange: bool = False
    ge: float | None = None
    le: float | None = None
    unit: Annotated[str, Field(max_length=64)] | None = None

    def __init__(self, *quantiles: float, **options: Any) -> None:
        super().__init__(**({"quantiles": quantiles} | options if quantiles else options))

    def declared(self, annotation: Any, nullable: bool) -> Self:
        if annotation != self.annotation():
            want = str(self.annotation()).replace("<class 'float'>", "float")
            raise DeclarationError(self._where, str(annotation), want)
        return self.completed(nullable=nullable)

    def check(self) -> None:
        names, want = self.names, "one or more quantiles between 0 and 1, each above the last"
        if self.nullable or not names or list(self.quantiles) != sorted(set(self.quantiles)):
            raise DeclarationError(self._where, f"quantiles {self.quantiles!r}"[:100], want)
        if len(set(names)) < len(names):
            raise DeclarationError(self._where, "quantiles of equal names", "names of 12 digits")
        if self.ge is not None and self.le is not None and self.ge > self.le:
            raise DeclarationError(self._where, f"ge {self.ge:g}, le {self.le:g}", "ge below le")

    @property
    def _where(self) -> str:
        return f"st.{type(self).__name__}"

    @cached_property
    def names(self) -> tuple[str, ...]:
        """What the quantiles are called, in the fewest digits: "0.1"."""
        return tuple(f"{each:.12g}" for each in self.quantiles)

    def annotation(self) -> Any:
        return dict[str, float]

    def want(self) -> str:
        return f"numbers at the quantiles {', '.join(self.names[:8])}" + self._more

    @property
    def _more(self) -> str:
        return f" and {len(self.names) - 8} more" if len(self.names) > 8 else ""

    @property
    def datatype(self) -> str:
        return "FP32"

    @property
    def shape(self) -> tuple[int | None, ...]:
        return (len(self.quantiles),)

    @property
    def is_bounded(self) -> bool:
        return not self.rearrange or self.ge is not None or self.le is not None

    @property
    def breach(self) -> str:
        if self.ge is None and self.le is None:
            return "quantiles that cross, want each at least the one before it"
        return super().breach if self.rearrange else f"quantiles that cross, or {super().breach}"

    def outside(self, array: Array) -> Array:
        bad = np.zeros(array.shape, bool)
        if not self.rearrange:
            bad[..., 1:] = array[..., 1:] < array[..., :-1]
        if self.ge is not None:
            bad |= array < np.float32(self.ge)
        if self.le is not None:
            bad |= array > np.float32(self.le)
        return bad

    def client_tensors(self, name: str) -> tuple[AnswerTensor, ...]:
        return self.answer_tensors(name)

    def client(self, arrays: Arrays, note: Any, options: OptionValues) -> tuple[Array, ...]:
        return (np.sort(arrays[0], axis=-1) if self.rearrange else arrays[0],)

    def written(self, values: Arrays) -> Any:
        return dict(zip(self.names, np.ascontiguousarray(values[0].T), strict=True))

    def recover(self, value: Any) -> tuple[Array, ...]:
        return (np.ascontiguousarray(np.array([value[name] for name in self.names], np.float32).T),)

    def match(self, want: Arrays, got: Arrays, tolerance: Tolerance) -> Comparison:
        return compare_arrays(want[0], got[0], tolerance, largest(want[0]))

    def json_schema(self) -> JsonSchema:
        limits = {"minimum": self.ge, "maximum": self.le, "x-unit": self.unit}
        number = {"type": "number"} | {k: v for k, v in limits.items() if v is not None}
        return closed_object({name: self._schema_of(number) for name in self.names})

    def _schema_of(self, number: JsonSchema) -> JsonSchema:
        """JSON Schema of what one quantile is."""
        return number

    def example(self) -> Any:
        low = 0.0 if self.ge is None else self.ge
        high = low + 1 if self.le is None else self.le
        low = min(low, high)
        return {
            name: round(low + (high - low) * each, 6)
            for name, each in zip(self.names, self.quantiles, strict=True)
        }

    def features(self, name: str, files: Mapping[str, bytes], stage: Stage | None) -> Features:
        """The middle quantile, and how far the outer ones lie apart, as means over the row."""
        middle = len(self.quantiles) // 2

        def features(values: Column) -> Mapping[str, Column]:
            array = np.asarray(values, np.float64)
            if self.rearrange:
                array = np.sort(array, axis=-1)
            rows = array.reshape(len(array), -1, len(self.quantiles))
            found = {"middle": rows[..., middle].mean(1)}
            if len(self.quantiles) > 1:
                found["width"] = (rows[..., -1] - rows[..., 0]).mean(1)
            return found

        return features
