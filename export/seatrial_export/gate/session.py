"""onnxruntime over the graphs on trial, from rows after the host stage, as a server will run them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from seatrial_contracts.errors import GateError
from seatrial_contracts.front import EncodedRow, collate, shape_key
from seatrial_contracts.kinds.kind import Array
from seatrial_export.gate.sealable import Sealable

Outputs = dict[str, Array]


class Session:
    """One ONNX model in onnxruntime, on one CPU thread."""

    def __init__(self, model: onnx.ModelProto) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            self._session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises kinds of its own, all of which mean this
            raise GateError(
                "onnxruntime",
                f"it does not load the graph: {str(error)[:300]}",
                "use operations that onnxruntime has at this opset",
            ) from error
        self.outputs = [node.name for node in self._session.get_outputs()]

    def run(self, feeds: Mapping[str, Array]) -> Outputs:
        """Arrays in, arrays out, by name; what onnxruntime raises passes."""
        return dict(zip(self.outputs, self._session.run(self.outputs, dict(feeds)), strict=True))


class Chain:
    """Prepare graph and model graph, one after the other."""

    def __init__(self, candidate: Sealable) -> None:
        self._declared = candidate.declared
        self._candidate = candidate
        self.model = Session(candidate.model.onnx)

    @cached_property
    def prepare(self) -> Session | None:
        """The prepare graph's session."""
        graph = self._candidate.prepare
        return None if graph is None else Session(graph.onnx)

    def prepared(self, row: EncodedRow) -> EncodedRow:
        """A row after the host stage to a row for the model graph."""
        raw = {spec.name: value for spec, value in zip(self._declared.contract.tensors, row, strict=True)}
        made: dict[str, Any] = {}
        if self.prepare is not None:
            arrays = self.prepare.run({name: np.asarray(raw[name]) for name in self._declared.prepare_inputs})
            made = dict(zip((spec.name for spec in self._declared.prepared_specs), arrays.values(), strict=True))
        return tuple(made[spec.name] if spec.name in made else raw[spec.name] for spec in self._declared.specs)

    def shape(self, row: EncodedRow) -> Any:
        """What prepared rows must share to run together."""
        return shape_key(self._declared.specs, row)

    def run(self, rows: Sequence[EncodedRow]) -> list[Outputs]:
        """Prepared rows of like shape in one batch; one mapping for each row."""
        outputs = self.model.run(collate(self._declared.specs, rows))
        for name, array in outputs.items():
            if array.shape[:1] != (len(rows),):
                cause = f"output '{name}' has shape {list(array.shape)} for {len(rows)} rows"
                raise GateError("sizes", cause, "return one answer for each row, rows first")
        return [{name: array[i] for name, array in outputs.items()} for i in range(len(rows))]
