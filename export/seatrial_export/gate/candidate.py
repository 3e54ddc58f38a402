"""What is on trial: a pipeline, the arguments it is traced with, and the graphs as they come to be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import onnx
from torch import Tensor, nn

from seatrial_contracts.front import EncodedRow, places_by, shape_key
from seatrial_contracts.golden import Golden, Refused, wire_row
from seatrial_contracts.kinds.kind import TensorSpec
from seatrial_contracts.manifest import prepared_name
from seatrial_contracts.receipt import Trial
from seatrial_contracts.sample import Sample
from seatrial_export.pipeline import Pipeline

TRACE_ROWS = 3
"""Not 1, which exporters take for a constant, and no size that anything else is likely to have."""
BATCH = "batch"
MOST_SIZE = 2**16
"""Of a batch, and of a size that only `prepare` knows."""


@dataclass
class Graph:
    """One module on its way to ONNX: its arguments, what they are, and the model once it is there."""

    module: nn.Module
    feeds: dict[str, Tensor]
    specs: tuple[TensorSpec, ...]
    """In the order in which the module takes them."""
    outputs: list[str]
    batched: bool
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Name of a size that varies -> the least and the most that the contract takes, where it says so."""
    program: Any = None
    exported: Any = None
    """The traced program that `proto` was made of: its nodes' names are those of the graph's values."""
    proto: onnx.ModelProto | None = None

    @property
    def onnx(self) -> onnx.ModelProto:
        """The exported model; the steps before made it."""
        assert self.proto is not None, "exported in an earlier step of the gate"
        return self.proto

    @property
    def arguments(self) -> tuple[Tensor, ...]:
        """What to call the module with."""
        return tuple(self.feeds[spec.name] for spec in self.specs)

    def dim_names(self, spec: TensorSpec) -> dict[int, str]:
        """Axis -> name of each size that varies, the batch included."""
        named = {axis + self.batched: dim for axis, dim in enumerate(spec.dims) if isinstance(dim, str)}
        return {0: BATCH, **named} if self.batched else named

    def bounds(self, size: str) -> tuple[int, int]:
        """Least and most of a size that varies."""
        return self.sizes.get(size, (1, MOST_SIZE))


@dataclass
class Candidate:
    """A pipeline on trial."""

    pipeline: Pipeline
    """Its temperatures are fitted by an early step."""
    batchable: bool = True
    """Set to False by the last step where a row's answer in the graph depends on its mates."""
    trials: list[Trial] = field(default_factory=list)

    @cached_property
    def trace_rows(self) -> list[EncodedRow]:
        """Golden rows of one shape, as unlike in length as there are, repeated up to `TRACE_ROWS`."""
        rows = self.pipeline.encoded_golden
        groups = places_by(shape_key(self.pipeline.specs, self.pipeline.prepared(row)) for row in rows)
        places = max(groups.values(), key=len)
        return [rows[places[i * len(places) // TRACE_ROWS % len(places)]] for i in range(TRACE_ROWS)]

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
        answer = pipeline.sealed_model(*(self.feeds[name] for name in pipeline.arguments))
        outputs = list(answer) if isinstance(answer, dict) else [spec.name for spec in pipeline.contract.outputs]
        return Graph(
            pipeline.sealed_model, self.feeds, ordered, outputs, batched=True, sizes=dict(pipeline.contract.sizes)
        )

    @cached_property
    def golden(self) -> Golden:
        """The golden rows as a client sends them, what the training side answers to each alone (the reference), and the refusals."""
        refusals = tuple(Refused(wire_row(refused.row), refused.code) for refused in self.pipeline.refused)
        return self._answered(self.pipeline.golden_samples, self.pipeline.encoded_golden, refusals)

    @cached_property
    def held_out(self) -> Golden | None:
        """The held-out rows and answers, where there are any."""
        if not self.pipeline.held_out:
            return None
        return self._answered(self.pipeline.held_out_samples, self.pipeline.encoded_held_out)

    def _answered(
        self, samples: Sequence[Sample], encoded: Sequence[EncodedRow], refusals: tuple[Refused, ...] = ()
    ) -> Golden:
        return Golden(
            tuple(wire_row(sample.row) for sample in samples), tuple(self.pipeline.answer_encoded(row) for row in encoded), refusals,
            tuple(sample.truth for sample in samples), tuple(tuple(sample.slices) for sample in samples),
        )  # fmt: skip

    @cached_property
    def prepare(self) -> Graph | None:
        """The per-row graph, where there is a prepare."""
        if self.pipeline.prepare is None:
            return None
        known = {spec.name: spec for spec in self.pipeline.contract.tensors}
        specs = tuple(known[name] for name in self.pipeline.prepare_inputs)
        outputs = [prepared_name(spec.name) for spec in self.pipeline.prepared_specs]
        sizes = dict(self.pipeline.contract.sizes)
        return Graph(self.pipeline.prepare, self.prepare_feeds, specs, outputs, batched=False, sizes=sizes)

    @property
    def calls(self) -> list[tuple[str, Callable[[Mapping[str, Tensor]], dict[str, Tensor]], Graph]]:
        """Each module: the name the user gave it, how to call it, and its graph."""
        model = "model", self.pipeline.call, self.model
        return [model] if self.prepare is None else [model, ("prepare", self.pipeline.call_prepare, self.prepare)]

    @property
    def graphs(self) -> list[Graph]:
        """The graphs of the bundle."""
        return [graph for graph in (self.model, self.prepare) if graph is not None]
