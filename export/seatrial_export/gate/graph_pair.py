"""The graphs on trial, one after the other."""

from __future__ import annotations

from seatrial_export.gate.candidate import Candidate
from seatrial_export.graphs.session import Model, PrepareStage


class Chain(Model):
    """Prepare graph and model graph of a candidate, one after the other."""

    def __init__(self, candidate: Candidate) -> None:
        declared, graph = candidate.declared, candidate.prepare
        super().__init__(candidate.model.session, declared.specs)
        self.prepared = PrepareStage(
            declared.contract.tensors,
            declared.specs,
            declared.prepare_inputs,
            declared.prepared_specs,
            None if graph is None else graph.session,
        )
