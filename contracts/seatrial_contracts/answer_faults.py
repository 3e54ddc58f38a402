"""Answers that nobody may be given: of another shape, not finite, or against the contract."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from seatrial_contracts.compare import Array
from seatrial_contracts.contract_fields import ContractFields
from seatrial_contracts.errors import ModelError
from seatrial_contracts.kinds.output_kind import (
    Arrays,
    OutputKind,
)

FEW = 32
NO_ROWS: Mapping[int, Any] = MappingProxyType({})


class OutputFault(NamedTuple):
    """Why nobody may be given the answer to a row."""

    output: str
    breach: str = ""
    """Which promise of the contract it breaks, in words; else it holds NaN or an infinity."""

    @property
    def cause(self) -> str:
        """What the model answered, and what was wanted."""
        if self.breach:
            return f"the model answered {self.breach}"
        return "the model answered NaN or an infinity, want finite numbers"

    def error(self, row: int) -> ModelError:
        """It as the error of the row at this place."""
        code = "E_OUTPUT_RANGE" if self.breach else "E_OUTPUT_CONTRACT"
        return ModelError(code, f"output '{self.output}', row {row}: {self.cause}")


class AnswerFaults(ContractFields):
    """The part of a contract that says which answers break it."""

    def check_outputs(self, outputs: Mapping[str, Array], rows: int) -> None:
        """Raise `ModelError` where batched outputs break their declaration.

        An output breaks it if it is missing, has another shape, or holds NaN, an infinity or a
        number out of bounds.
        """
        for row, fault in self.faulty_rows(outputs, rows).items():
            raise fault.error(row)

    def faulty_rows(self, outputs: Mapping[str, Array], rows: int) -> Mapping[int, OutputFault]:
        """The rows of batched outputs that nobody may be given, each with its first fault.

        A fault is NaN, an infinity, or a number out of bounds.

        Each row stands with the first output that has one. Raises `ModelError` where outputs as a
        whole break their declaration: missing, or another shape.
        """
        found: Mapping[int, OutputFault] = NO_ROWS
        for name, shape, whole in self._output_shapes:
            got = outputs.get(name)
            if got is None or (
                got.shape != (rows, *shape) and not _fits(got.shape, (rows, *shape))
            ):
                raise ModelError(
                    "E_OUTPUT_CONTRACT",
                    f"output '{name}': the model's answer does not have the shape it was "
                    "sealed with",
                )
            if not whole and not all_finite(got):
                bad = ~np.isfinite(got).reshape(rows, -1).all(1)
                found = {**dict.fromkeys(np.flatnonzero(bad).tolist(), OutputFault(name)), **found}
        for name, outside, breach in self._output_bounds:
            bad = outside(outputs[name]).reshape(rows, -1).any(1)
            if bad.any():
                range_fault = OutputFault(name, breach)
                found = {**dict.fromkeys(np.flatnonzero(bad).tolist(), range_fault), **found}
        for name, names, faults in self._row_faults:
            for row, what in faults([outputs[each] for each in names]).items():
                found = {row: OutputFault(name, what), **found}
        return dict(sorted(found.items())) if found else NO_ROWS

    def fault_of(self, answer: Mapping[str, Array]) -> OutputFault | None:
        """Why nobody may be given this answer to one row; None where all may.

        Some outputs may be absent from the answer.
        """
        for tensor in self.answer_tensors:
            array = answer.get(tensor.name)
            if array is not None and array.dtype.kind == "f" and not all_finite(array):
                return OutputFault(tensor.name)
        for name, outside, breach in self._output_bounds:
            array = answer.get(name)
            if array is not None and outside(array).any():
                return OutputFault(name, breach)
        for name, names, faults in self._row_faults:
            if all(each in answer for each in names):
                for what in faults([answer[each][None] for each in names]).values():
                    return OutputFault(name, what)
        return None

    @cached_property
    def _row_faults(
        self,
    ) -> list[tuple[str, tuple[str, ...], Callable[[Arrays], Mapping[int, str]]]]:
        """Of the kinds that know faults of a row beside bounds: name, tensors, and which rows."""
        kinds = {field.name: field.kind for field in self.inputs}
        return [
            (
                field.name,
                self.tensor_names[field.name],
                partial(field.kind.faults, about=kinds.get(field.kind.about or "")),
            )
            for field in self.outputs
            if type(field.kind).faults is not OutputKind.faults
        ]

    @cached_property
    def _output_shapes(self) -> list[tuple[str, tuple[int | None, ...], bool]]:
        return [
            (each.name, each.shape, "INT" in each.datatype or each.datatype == "BOOL")
            for each in self.answer_tensors
        ]

    @cached_property
    def _output_bounds(self) -> list[tuple[str, Callable[[Array], Array], str]]:
        return [
            (field.name, field.kind.outside, field.kind.breach)
            for field in self.outputs
            if field.kind.is_bounded
        ]

    @cached_property
    def answer_row_bytes(self) -> int | None:
        """The size of one row's answer, in bytes; None where the outputs' sizes are open."""
        shapes = [shape for _, shape, _ in self._output_shapes]
        if any(size is None for shape in shapes for size in shape):
            return None
        return 8 * sum(math.prod(size or 0 for size in shape) for shape in shapes)


def all_finite(array: Array) -> bool:
    """Whether an array holds neither NaN nor an infinity.

    For few numbers, Python itself takes a fifth of numpy's time.
    """
    return (
        all(map(math.isfinite, array.ravel().tolist()))
        if array.size <= FEW
        else bool(np.isfinite(array).all())
    )


def _fits(got: tuple[int, ...], want: tuple[int | None, ...]) -> bool:
    return len(got) == len(want) and all(
        size in (None, have) for size, have in zip(want, got, strict=True)
    )
