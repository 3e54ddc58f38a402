"""The adoption: what a user declares of a model that others made, and what is tried of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, Self

import onnx

from seatrial_contracts.contract import Contract
from seatrial_contracts.gate_steps import GateStep
from seatrial_contracts.host_stage import EncodedRow
from seatrial_contracts.kinds.kind import Array, Kind, TensorSpec
from seatrial_contracts.manifest import Origin
from seatrial_contracts.receipt import Trial
from seatrial_contracts.row import Answer, Row
from seatrial_contracts.sample import RawRow
from seatrial_export.adopt.activation import Activations
from seatrial_export.adopt.as_made import AsMade
from seatrial_export.adopt.boosters import library_of
from seatrial_export.adopt.estimator import TOOLS, Estimator, SupportsFit, is_estimator, with_kinds
from seatrial_export.adopt.foreign import read_onnx
from seatrial_export.adopt.parts import last_of
from seatrial_export.adopt.prepare import Prepared, fit_prepare
from seatrial_export.adopt.training_side import TrainingSide, check_answers, split
from seatrial_export.declaration import ModelDeclaration
from seatrial_export.gate.candidate import PREPARE_GRAPH, Candidate, OnnxGraph
from seatrial_export.graphs.scratch import Scratch
from seatrial_export.graphs.weights import outside_of, stored


@dataclass(frozen=True, eq=False, kw_only=True)
class Adoption(ModelDeclaration):
    """A foreign graph with its contract.

    `renamed` maps the graph's names to the contract's where they differ. `activations` says what
    stands behind the graph's answer, by the contract's name. `training_side` gives the
    golden answers; it is a function or a fitted estimator. Without one the answers are those of the
    graph as it was made, before it is fitted, and the receipt notes it.
    """

    graph: onnx.ModelProto
    prepare: onnx.ModelProto | None = None
    renamed: Mapping[str, str] = field(default_factory=dict)
    training_side: TrainingSide | SupportsFit | None = None
    activations: Activations = field(default_factory=dict)
    made_by: tuple[str, ...] = ()
    """Packages that made the graph here, whose versions the manifest keeps."""
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    """Inputs whose kind an estimator adds to: how its texts are cut, what its thresholds part."""

    @classmethod
    def of_onnx(cls, path: Path | str, **declared: Any) -> Self:
        """Declare the model in an ONNX file; `declared` are the other fields.

        Raises `DeclarationError` and `GateError`.
        """
        return cls(graph=read_onnx(Path(path)), **declared)

    @classmethod
    def of_estimator(
        cls, estimator: Any, *, inputs: type[Row], outputs: type[Answer], **declared: Any
    ) -> Self:
        """Declare a fitted scikit-learn estimator, which is its own reference.

        So is a booster from its library's own file, `read_native`.

        Raises `DeclarationError` and `GateError`.
        """
        made = Estimator(estimator, inputs, outputs)
        library = library_of(last_of(estimator))
        declared["renamed"] = {**made.renamed, **declared.get("renamed", {})}
        tools = (*TOOLS, *filter(None, [library]))
        return cls(
            graph=made.graph(),
            made_by=tools,
            kinds=made.kinds,
            inputs=inputs,
            outputs=outputs,
            **{"training_side": estimator, **declared},
        )

    @cached_property
    def contract(self) -> Contract:
        """Read off the row and answer classes, with what an estimator adds to its inputs."""
        declared = super().contract
        return with_kinds(declared, self.kinds.get) if self.kinds else declared

    @property
    def origin(self) -> Origin:
        """The tool that the graph names, and the reference."""
        said = f"{self.graph.producer_name} {self.graph.producer_version}".strip()
        producer = re.sub(r"[^\w .+()-]", "", said)  # no path, whatever the tool wrote there
        side = self.training_side
        reference: Literal["none", "scikit-learn", "callable"] = (
            "none" if side is None else "scikit-learn" if is_estimator(side) else "callable"
        )
        return Origin(source="adopted", producer=producer[:200], reference=reference)

    @cached_property
    def answers_of(self) -> TrainingSide | None:
        """The reference's answers to validated rows; None where there is no reference.

        Raises `DeclarationError` and `GateError` for an estimator that does not fit the contract.
        """
        if is_estimator(self.training_side):
            return Estimator(self.training_side, self.inputs, self.outputs).answer
        return self.training_side

    @cached_property
    def prepared(self) -> Prepared | None:
        """The per-row step, fitted to the contract. Raises `GateError` where it does not fit."""
        return (
            None
            if self.prepare is None
            else fit_prepare(self.prepare, self.contract, self.encoded_golden)
        )

    @property
    def prepare_inputs(self) -> tuple[str, ...]:
        """Names of the tensors that the per-row step takes; none where there is no such step."""
        return () if self.prepared is None else tuple(spec.name for spec in self.prepared.takes)

    @property
    def prepared_specs(self) -> tuple[TensorSpec, ...]:
        """What the per-row step makes."""
        return () if self.prepared is None else self.prepared.makes


class AdoptedCandidate(Candidate):
    """An adoption on trial."""

    def __init__(self, adoption: Adoption, scratch: Scratch | None = None) -> None:
        self.adoption, self.batchable = adoption, adoption.batchable
        self.scratch = scratch or Scratch()
        self.trials: list[Trial] = []
        self.gate: list[GateStep] = []
        self.probes: list[EncodedRow] = []
        self.as_made: AsMade | None = None
        """The graph before it was fitted, from an early step of the gate on."""

    @property
    def declared(self) -> ModelDeclaration:
        """The adoption."""
        return self.adoption

    @cached_property
    def graph(self) -> onnx.ModelProto:
        """The foreign graph; many weights inside of it are moved to a data file."""
        graph = self.adoption.graph
        return graph if outside_of(graph) else stored(graph, partial(self.data_path, self.model))

    @cached_property
    def model(self) -> OnnxGraph:
        """The graph, which an early step of the gate fits to the contract."""
        return OnnxGraph(specs=self.adoption.specs, batched=True)

    @cached_property
    def prepare(self) -> OnnxGraph | None:
        """The per-row step, where there is one."""
        made = self.adoption.prepared
        if made is None:
            return None
        graph = OnnxGraph(specs=made.takes, batched=False, file=PREPARE_GRAPH)
        graph.proto = stored(made.model, partial(self.data_path, graph))
        return graph

    def answer(self, rows: Sequence[RawRow]) -> list[dict[str, Array]]:
        """The answers of the training side, or else of the file as it was made.

        Raises `DeclarationError` and `GateError` where those are no answers.
        """
        contract, ask = self.adoption.contract, self.adoption.answers_of
        if ask is not None:
            return split(
                contract, ask([dict(contract.validate_row(row)) for row in rows]), len(rows)
            )
        assert self.as_made is not None, "made in an earlier step of the gate"
        answers = [self.as_made.answer(self.adoption.encode_row(row)) for row in rows]
        check_answers(contract, answers)
        return answers
