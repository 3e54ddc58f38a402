"""The graphs on trial, one after the other."""

from __future__ import annotations

from seatrial_export.gate.candidate import Candidate
from seatrial_export.gate.session import Model, PrepareStage


class Chain(Model):
    """Prepare graph and model graph of a candidate, one after the other."""

    def __init__(self, candidate: Candidate) -> None:
        pipeline, graph = candidate.pipeline, candidate.prepare
        super().__init__(candidate.model.onnx, pipeline.specs)
        self.prepared = PrepareStage(
            pipeline.contract.tensors, pipeline.specs, pipeline.prepare_inputs, pipeline.prepared_specs,
            None if graph is None else graph.onnx,
        )  # fmt: skip
