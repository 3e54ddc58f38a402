"""The candidate on trial: a pipeline, its traced arguments, and its graphs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from seatrial_contracts.gate_steps import GateStep
from seatrial_contracts.host_stage import EncodedRow, group_places, shape_key
from seatrial_contracts.kinds.kind import Array, TensorSpec
from seatrial_contracts.manifest import prepared_name
from seatrial_contracts.receipt import Trial
from seatrial_contracts.sample import RawRow
from seatrial_export.declaration import ModelDeclaration
from seatrial_export.gate.candidate import BATCH, PREPARE_GRAPH, Candidate, OnnxGraph
from seatrial_export.graphs import weights
from seatrial_export.graphs.scratch import Scratch
from seatrial_export.pipeline import Pipeline

if TYPE_CHECKING:
    from seatrial_export.gate.fresh import FreshProcess

TRACE_ROWS = 3
"""Not 1, which exporters take for a constant, and no size that anything else is likely to have."""
MOST_SIZE = 2**16
"""Of a batch, and of a size that only `prepare` knows."""
FURTHER = 64
"""A size that only `prepare` knows may be so many times the traced one.

The larger bound counts: sound has 16,000 samples a second.
"""


@dataclass(kw_only=True)
class Graph(OnnxGraph):
    """One module on its way to ONNX.

    The module has its arguments, in the order of `specs`, and the graph once it is there.
    """

    module: nn.Module
    feeds: dict[str, Tensor]
    outputs: list[str]
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Name of a size that varies -> the contract's least and most, where the contract has them."""
    program: Any = None
    proven: bool = True
    """Has torch proven the program for all sizes? Else its conditions were tried."""
    exported: Any = None
    """The traced program that `proto` was made of.

    The names of its nodes are those of the graph's values.
    """

    @property
    def arguments(self) -> tuple[Tensor, ...]:
        """What to call the module with."""
        return tuple(self.feeds[spec.name] for spec in self.specs)

    def bounds(self, size: str) -> tuple[int, int]:
        """Least and most of a size that varies.

        A size that only `prepare` knows goes far beyond what was traced.
        """
        if size in self.sizes:
            return self.sizes[size]
        traced = (
            tensor.shape[axis]
            for spec in self.specs
            for axis, name in self.dim_names(spec).items()
            for tensor in [self.feeds[spec.name]]
            if name == size and size != BATCH
        )
        return 1, max(MOST_SIZE, FURTHER * max(traced, default=1))


@dataclass
class TorchCandidate(Candidate):
    """A pipeline on trial."""

    pipeline: Pipeline
    """Its temperatures are fitted by an early step."""
    fresh: FreshProcess | None = None
    """The pipeline's file in a process of its own, where it has a file."""
    scratch: Scratch = field(default_factory=Scratch)
    batchable: bool = field(init=False)
    pristine: tuple[nn.Module, nn.Module | None] | None = field(init=False)
    """Copies of model and prepare, made before the gate first calls them.

    None where they cannot be copied.
    """
    trials: list[Trial] = field(default_factory=list)
    gate: list[GateStep] = field(default_factory=list)
    probes: list[EncodedRow] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.batchable = self.pipeline.batchable
        try:
            self.pristine = copied(self.pipeline.model), copied(self.pipeline.prepare)
        except Exception:  # some modules have no copy: locks, files, tensors with gradients
            self.pristine = None

    @property
    def declared(self) -> ModelDeclaration:
        """The pipeline."""
        return self.pipeline

    @property
    def is_large(self) -> bool:
        """Do the modules hold so much that their weights will lie outside of the graph?"""
        modules = [
            each for each in (self.pipeline.model, self.pipeline.prepare) if each is not None
        ]
        tensors = (each for module in modules for each in (*module.parameters(), *module.buffers()))
        return sum(tensor.nbytes for tensor in tensors) >= weights.OUTSIDE_FROM_BYTES

    @cached_property
    def trace_rows(self) -> list[EncodedRow]:
        """Golden rows of one shape, as unlike in length as there are, repeated up to `TRACE_ROWS`.

        Of the shapes, one whose open sides are all above 1, where there is such a one: exporters
        take a size of 1 for a constant. So, too, the first row has no short side that is padded, as
        far as there is such a row, and behind the rows stands the longest of each padded side that
        they all have short.
        """
        rows, specs = self.pipeline.encoded_golden, self.pipeline.specs
        prepared = [self.pipeline.prepared(row) for row in rows]
        groups = group_places(shape_key(specs, row) for row in prepared)
        places = max(
            groups.values(),
            key=lambda some: (least_open_side(specs, prepared[some[0]]) > 1, len(some)),
        )
        places = sorted(places, key=lambda place: least_padded_side(specs, prepared[place]) < 2)
        chosen = [places[i * len(places) // TRACE_ROWS % len(places)] for i in range(TRACE_ROWS)]
        for at, spec in enumerate(specs):
            if spec.pad is not None and all(len(prepared[place][at]) < 2 for place in chosen):
                chosen.append(max(places, key=lambda place: len(prepared[place][at])))
        return [rows[place] for place in chosen]

    @cached_property
    def feeds(self) -> dict[str, Tensor]:
        """The model's arguments to trace with."""
        return self.pipeline.batch(self.trace_rows)

    @cached_property
    def prepare_feeds(self) -> dict[str, Tensor]:
        """Prepare's arguments to trace with: one row."""
        return self.pipeline.prepare_feeds(self.trace_rows[0])

    @cached_property
    def model(self) -> Graph:
        """The batched graph."""
        pipeline = self.pipeline
        specs = {spec.name: spec for spec in pipeline.specs}
        ordered = tuple(specs[name] for name in pipeline.arguments)
        answer = pipeline.sealed_model(*(self.feeds[name].clone() for name in pipeline.arguments))
        outputs = (
            list(answer)
            if isinstance(answer, dict)
            else [tensor.name for tensor in pipeline.contract.answer_tensors]
        )
        return Graph(
            module=pipeline.traced_model,
            feeds=self.feeds,
            specs=ordered,
            outputs=[pipeline.contract.graph_answers.get(name, name) for name in outputs],
            batched=True,
            sizes=dict(pipeline.contract.sizes),
        )

    def answer(self, rows: Sequence[RawRow]) -> list[dict[str, Array]]:
        """What the training side answers, each row alone."""
        return self.pipeline.answer(rows)

    def answer_as_traced(self, row: RawRow) -> dict[str, Array] | None:
        """See `Candidate`: a model of float64 may be traced in float32."""
        pipeline = self.pipeline
        if not pipeline.is_lowered:
            return None
        made = pipeline.call(pipeline.batch([pipeline.encode_row(row)]), pipeline.traced_model)
        return {name: value[0].numpy() for name, value in made.items()}

    @cached_property
    def prepare(self) -> Graph | None:
        """The per-row graph, where there is a prepare."""
        if self.pipeline.prepare is None:
            return None
        known = {spec.name: spec for spec in self.pipeline.contract.tensors}
        specs = tuple(known[name] for name in self.pipeline.prepare_inputs)
        outputs = [prepared_name(spec.name) for spec in self.pipeline.prepared_specs]
        sizes = dict(self.pipeline.contract.sizes)
        return Graph(
            module=self.pipeline.prepare,
            feeds=self.prepare_feeds,
            specs=specs,
            outputs=outputs,
            batched=False,
            file=PREPARE_GRAPH,
            sizes=sizes,
        )

    @property
    def calls(self) -> list[tuple[str, Callable[[Mapping[str, Tensor]], dict[str, Tensor]], Graph]]:
        """Each module: the name the user gave it, how to call it, and its graph."""
        model = "model", self.pipeline.call, self.model
        return (
            [model]
            if self.prepare is None
            else [model, ("prepare", self.pipeline.call_prepare, self.prepare)]
        )

    @property
    def traced(self) -> list[Graph]:
        """The graphs that are traced."""
        return [graph for graph in (self.model, self.prepare) if graph is not None]


def least_open_side(specs: Sequence[TensorSpec], row: EncodedRow) -> int:
    """The least size of a prepared row that varies; large where none does."""
    sides = [
        size
        for spec, value in zip(specs, row, strict=True)
        if spec.pad is None and spec.dims
        for size, dim in zip(value.shape, spec.dims, strict=True)
        if isinstance(dim, str)
    ]
    return min(sides, default=MOST_SIZE)


def least_padded_side(specs: Sequence[TensorSpec], row: EncodedRow) -> int:
    """The least length of a prepared row that is padded in a batch; large where none is."""
    pairs = zip(specs, row, strict=True)
    return min((len(value) for spec, value in pairs if spec.pad is not None), default=MOST_SIZE)


def copied(module: Any) -> Any:
    """Make a deep copy that shares the parameters.

    Parameters are the bulk of a module, and a change in them is seen all the same.
    """
    shared = (
        {id(parameter): parameter for parameter in module.parameters()}
        if isinstance(module, nn.Module)
        else {}
    )
    return copy.deepcopy(module, shared)
