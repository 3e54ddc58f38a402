"""A candidate for sealing: its declaration, its graphs, and the training side's answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

import onnx

from seatrial_contracts.contract import Contract
from seatrial_contracts.drawn_rows import DrawnRow, draw_rows
from seatrial_contracts.gate_steps import GateStep
from seatrial_contracts.golden import Golden, Refused, wire_row
from seatrial_contracts.host_stage import EncodedRow
from seatrial_contracts.kinds.kind import Array, TensorSpec
from seatrial_contracts.manifest import data_name
from seatrial_contracts.receipt import Trial
from seatrial_contracts.sample import RawRow, Sample
from seatrial_export.declaration import ModelDeclaration
from seatrial_export.graphs.scratch import Scratch
from seatrial_export.graphs.session import Session

BATCH = "batch"
ROWS_ALONE = (
    "say batchable=False in the pipeline (seatrial adopt: --rows-alone; of a folder, hf:FOLDER: in "
    "the file that --write makes)"
)
"""What says that rows never run together, for mends."""
GRAPH, PREPARE_GRAPH = "graphs/fp32.onnx", "graphs/prepare.onnx"
MOST_REFERENCE = 2000
"""Reference rows that are answered: what drift and sealed ranges need."""


@dataclass(kw_only=True)
class OnnxGraph:
    """A graph of the bundle, and what it takes."""

    specs: tuple[TensorSpec, ...]
    batched: bool
    file: str = GRAPH
    """Its name in the bundle."""
    proto: onnx.ModelProto | None = None

    @property
    def onnx(self) -> onnx.ModelProto:
        """The graph itself; the steps before made it."""
        assert self.proto is not None, "made in an earlier step of the gate"
        return self.proto

    @cached_property
    def session(self) -> Session:
        """The graph in onnxruntime, loaded once: the steps that run it do not change it.

        Raises `GateError` if onnxruntime does not load it.
        """
        return Session(self.onnx, in_place=True)

    def dim_names(self, spec: TensorSpec) -> dict[int, str]:
        """Axis -> name of each size that varies, the batch included."""
        named = {
            axis + self.batched: dim for axis, dim in enumerate(spec.dims) if isinstance(dim, str)
        }
        return {0: BATCH, **named} if self.batched else named


class Candidate(ABC):
    """A model on trial, however its graphs come to be."""

    batchable: bool
    """Whether rows may run together.

    False where a row's answer in the graph depends on its mates, or the graph takes one row at a
    time.
    """
    trials: list[Trial]
    gate: list[GateStep]
    """The steps that it passed so far, or that were waived."""
    scratch: Scratch
    """Where weights lie that are too many for their graph."""
    probes: list[EncodedRow]
    """Prepared rows, golden and drawn, to stand beside others in a batch.

    An early step of the gate collects them.
    """

    @property
    @abstractmethod
    def declared(self) -> ModelDeclaration:
        """What the user said of it."""

    @property
    @abstractmethod
    def model(self) -> OnnxGraph:
        """The batched graph."""

    @property
    @abstractmethod
    def prepare(self) -> OnnxGraph | None:
        """The per-row graph, where there is one."""

    @abstractmethod
    def answer(self, rows: Sequence[RawRow]) -> list[dict[str, Array]]:
        """The reference's answers to any raw rows, each row alone, without the batch."""

    def answer_as_traced(self, row: RawRow) -> dict[str, Array] | None:  # noqa: ARG002  (a hook)
        """What the training side answers in the graph's own precision; None where that is one."""
        return None

    @cached_property
    def golden(self) -> Golden:
        """The golden rows in a client's form, with answers and refusals.

        The answers are the reference's, to each row alone.
        """
        refusals = tuple(
            Refused(wire_row(refused.row), refused.code) for refused in self.declared.refused
        )
        return self._answered(self.declared.golden_samples, refusals)

    @cached_property
    def held_out(self) -> Golden | None:
        """The held-out rows and answers, where there are any."""
        samples = self.declared.held_out_samples
        return self._answered(samples) if samples else None

    @cached_property
    def reference(self) -> tuple[Sequence[RawRow], Sequence[Mapping[str, Array]]]:
        """Reference rows and the answers to them.

        Where there are very many rows, those taken are spread over all of them.
        """
        declared = self.declared.reference_rows
        rows = declared[:: max(1, -(-len(declared) // MOST_REFERENCE))]
        return rows, self.answer(rows) if rows else []

    @cached_property
    def sealed_contract(self) -> Contract:
        """The contract as the bundle holds it, with what its kinds take from the answers.

        Raises `DeclarationError` where rows are missing, or a kind's promise is broken.
        """
        proof = self.held_out or self.golden
        return self.declared.contract.sealed(self.reference[1], proof.answers)

    @cached_property
    def drawn_rows(self) -> tuple[DrawnRow, ...]:
        """Rows drawn from the contract."""
        return draw_rows(self.declared.front, self.golden.rows)

    def _answered(self, samples: Sequence[Sample], refusals: tuple[Refused, ...] = ()) -> Golden:
        return Golden(
            tuple(wire_row(sample.row) for sample in samples),
            tuple(self.answer([sample.row for sample in samples])),
            refusals,
            tuple(sample.truth for sample in samples),
            tuple(tuple(sample.slices) for sample in samples),
            lambda: self.declared.front,
        )

    def data_path(self, graph: OnnxGraph) -> Path:
        """Where a graph's weights lie until it is sealed, if they lie outside of it."""
        return self.scratch.file(PurePosixPath(data_name(graph.file)).name)

    @property
    def graphs(self) -> list[OnnxGraph]:
        """The graphs of the bundle."""
        return [graph for graph in (self.model, self.prepare) if graph is not None]
