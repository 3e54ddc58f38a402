"""The foreign file as it was made, in onnxruntime, before it is fitted to its contract.

Rows enter through the file's own inputs by numpy alone: no operator that the fitting adds, drops or
renames takes part.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx

from seatrial_contracts.errors import GateError
from seatrial_contracts.host_stage import EncodedRow, collate
from seatrial_contracts.kinds.kind import Array, TensorSpec
from seatrial_export.adopt.activation import Activations, activated
from seatrial_export.adopt.fit import Fitted
from seatrial_export.adopt.label_rule import FileLabel
from seatrial_export.adopt.match import Fed
from seatrial_export.adopt.port import Port
from seatrial_export.adopt.prepare import Prepared
from seatrial_export.adopt.promised import Promised
from seatrial_export.declaration import ModelDeclaration
from seatrial_export.graphs.session import Session


class AsMade:
    """A foreign file, and its per-row step where there is one, as their authors wrote them."""

    def __init__(
        self,
        graph: onnx.ModelProto,
        fitted: Fitted,
        declared: ModelDeclaration,
        prepared: Prepared | None,
        activations: Activations,
    ) -> None:
        """Take the file, and which of its inputs and outputs stand for which fields.

        What the file answers goes through the activations by numpy.

        Raises `GateError` where onnxruntime does not load the file.
        """
        self._fitted, self._declared, self._prepared = fitted, declared, prepared
        self._activations = activations
        self.has_labels = bool(fitted.labels)
        """Has the file outputs that may be the label of its scores?"""
        self._session = Session(graph, in_place=True)
        self._step = None if prepared is None else Session(prepared.foreign)

    def answer(self, row: EncodedRow) -> dict[str, Array]:
        """The file's own answer to one row after the host stage, without the batch.

        Raises `GateError` where it holds no answer for each row. What onnxruntime raises passes.
        """
        return self._answer(self._run(row))

    def labels(self, row: EncodedRow) -> list[FileLabel]:
        """The labels that the file gives one row beside its scores; raises as `answer` does."""
        made = self._run(row)
        answer = self._answer(made)
        return [
            FileLabel(str(np.ravel(made[port.name])[0]), answer[field.name], field)
            for port, field in self._fitted.labels
        ]

    def _run(self, row: EncodedRow) -> Mapping[str, Any]:
        given = collate(self._declared.specs, [self._made_ready(row)])
        return self._session.run(
            {fed.port.name: self._fed(fed, given) for fed in self._fitted.inputs}
        )

    def _answer(self, made: Mapping[str, Any]) -> dict[str, Array]:
        return {
            field.name: activated(
                answered(made[port.name], port, field), self._activations.get(field.name, "")
            )
            for port, field in self._fitted.outputs
        }

    def _made_ready(self, row: EncodedRow) -> EncodedRow:
        """The row as the file takes it, after the step's own file."""
        tensors = self._declared.contract.tensors
        values = {spec.name: value for spec, value in zip(tensors, row, strict=True)}
        if self._step is not None and self._prepared is not None:
            pairs = zip(self._prepared.ports, self._prepared.takes, strict=True)
            made = self._step.run(
                {port: np.asarray(values[spec.name], spec.array_dtype) for port, spec in pairs}
            )
            values |= {
                spec.name: array
                for spec, array in zip(self._prepared.makes, made.values(), strict=True)
            }
        return tuple(values[spec.name] for spec in self._declared.specs)

    def _fed(self, fed: Fed, given: Mapping[str, Array]) -> Array:
        """What one input of the file takes, in its own type and number of sizes."""
        columns = [self._typed(given[spec.name], spec, fed.port) for spec in fed.specs]
        if len(columns) > 1:
            return np.stack(columns, axis=1)
        value = np.zeros_like(columns[0]) if fed.zeros else columns[0]
        sizes = value.ndim if fed.port.dims is None else len(fed.port.dims)
        if sizes > value.ndim:
            return value[:, None]
        return np.asarray(value[0]) if sizes < value.ndim else value

    def _typed(self, value: Array, spec: TensorSpec, port: Port) -> Array:
        if port.dtype == "string":
            return value
        if spec.dtype == "string":
            value = self._declared.categories[spec.name].codes(value)
        return value.astype(port.dtype)


def answered(made: Any, port: Port, field: Promised) -> Array:
    """One output of the file as a field of the answer, without the batch.

    The output is an array, or the list of maps from class to score that a ZipMap makes. Raises
    `GateError` where it holds no answer for each row.
    """
    if isinstance(made, list):
        scores = [{str(name): score for name, score in row.items()} for row in made]
        made = np.array([[row[name] for name in port.classes] for row in scores])
    value, shape = np.asarray(made), field.shape
    if value.ndim > len(shape):
        if len(value) != 1:
            cause = f"output '{port.name}' has shape {list(value.shape)} for 1 row"
            raise GateError("sizes", cause, "return one answer for each row, rows first")
        value = value[0]
    if not shape and value.shape == (1,):
        value = value[0]
    return np.asarray(value, field.dtype)
