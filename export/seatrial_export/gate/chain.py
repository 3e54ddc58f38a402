"""The graphs on trial, one after the other."""

from __future__ import annotations

from seatrial_export.gate.sealable import Sealable
from seatrial_export.gate.session import Model, PrepareStage


class Chain(Model):
    """Prepare graph and model graph of a candidate, one after the other."""

    def __init__(self, candidate: Sealable) -> None:
        declared, graph = candidate.declared, candidate.prepare
        super().__init__(candidate.model.onnx, declared.specs)
        self.prepared = PrepareStage(
            declared.contract.tensors, declared.specs, declared.prepare_inputs, declared.prepared_specs,
            None if graph is None else graph.onnx,
        )  # fmt: skip
