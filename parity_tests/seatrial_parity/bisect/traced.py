"""The training side, value by value.

A graph's module is traced again, and run node by node in PyTorch, with the graph's names for its
values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind

from seatrial_contracts.kinds.kind import Array
from seatrial_export.gate.lookup import code_name, look_up_categories
from seatrial_export.gate.strip import strip_model
from seatrial_export.gate.to_onnx import export_onnx, inner_name
from seatrial_export.gate.torch_candidate import Graph, TorchCandidate
from seatrial_export.gate.torch_export import check_torch_export
from seatrial_export.graphs.scratch import Scratch
from seatrial_export.pipeline import Pipeline
from seatrial_parity.bisect.origin import Origin, origins_of


@dataclass(frozen=True)
class Traced:
    """One graph as this pipeline exports it today.

    With it stands the program that PyTorch runs in its place.
    """

    role: str
    """What the user calls the module: "model" or "prepare"."""
    graph: Graph
    fresh: onnx.ModelProto
    scratch: Scratch
    """Where the weights of `fresh` lie, if they are many."""
    names: Mapping[str, str]
    """Name of a traced node -> what the graph calls its value."""
    origins: Mapping[str, Origin]
    """Value -> where it comes from; those that the exporter made without a note are left out."""

    def values(self, feeds: Mapping[str, Tensor]) -> dict[str, Array]:
        """PyTorch's own values, by the graph's names for them.

        A value of the graph is left out where it is none of the traced program's.
        """
        program: ExportedProgram = self.graph.exported
        recorder = Recorder(program.graph_module)
        with torch.no_grad():
            recorder.run(*arguments_of(program, [feeds[spec.name] for spec in self.graph.specs]))
        pairs = ((value, recorder.recorded.get(node)) for node, value in self.names.items())
        return {
            value: as_array(made)
            for value, made in pairs
            if isinstance(made, (Tensor, int, float, bool))
        }


class Recorder(fx.Interpreter):
    """Runs a traced program and keeps what every node made."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.recorded: dict[str, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        """One node, as torch runs it."""
        made = super().run_node(n)
        self.recorded[n.name] = made
        return made


def trace(pipeline: Pipeline) -> dict[str, Traced]:
    """Export a calibrated pipeline's modules again, prepare first, as the gate does.

    Raises `GateError` where the modules no longer export.
    """
    candidate = TorchCandidate(pipeline)
    if "torch.export" not in pipeline.waive:
        check_torch_export(candidate)
    export_onnx(candidate)
    noted = {id(graph): noted_names(graph) for graph in candidate.traced}
    origins = {
        role: origins_of(
            "" if role == "model" and pipeline.calibrations else role,
            graph.onnx,
            {node.name: node for node in graph.exported.graph.nodes},
        )
        for role, _, graph in candidate.calls
    }
    look_up_categories(candidate)
    origins["model"] |= {
        code_name(name): Origin((f"the lookup of category '{name}'",))
        for name in pipeline.categories
    }
    traced = {}
    for role, _, graph in reversed(candidate.calls):
        strip_model(graph.onnx)
        inputs = {spec.name: spec.name for spec in graph.specs}
        if role == "model":
            inputs |= {name: code_name(name) for name in pipeline.categories}
        placeholders = dict(
            zip(
                user_inputs(graph.exported),
                (inputs[spec.name] for spec in graph.specs),
                strict=True,
            )
        )
        traced[role] = Traced(
            role,
            graph,
            graph.onnx,
            candidate.scratch,
            noted[id(graph)] | placeholders,
            origins[role],
        )
    return traced


def noted_names(graph: Graph) -> dict[str, str]:
    """Traced node -> the name of its value, for those that are values of the exported graph."""
    values = {name for node in graph.onnx.graph.node for name in node.output}
    names = {node.name: inner_name(node.name) for node in graph.exported.graph.nodes}
    kept = {node: value for node, value in names.items() if value in values}
    return kept | dict(zip(user_outputs(graph.exported), graph.outputs, strict=True))


def user_inputs(program: ExportedProgram) -> list[str]:
    """Traced nodes that stand for the module's arguments, in order."""
    specs = program.graph_signature.input_specs
    return [str(spec.arg.name) for spec in specs if spec.kind is InputKind.USER_INPUT]


def user_outputs(program: ExportedProgram) -> list[str]:
    """List the traced nodes that the module returns, in order.

    Buffers that a run would change stand apart.
    """
    specs = program.graph_signature.output_specs
    return [str(spec.arg.name) for spec in specs if spec.kind is OutputKind.USER_OUTPUT]


def arguments_of(program: ExportedProgram, given: list[Tensor]) -> list[Any]:
    """List the traced program's arguments.

    Weights, buffers and constants come first, each by its own name, then the module's arguments.
    """
    state: dict[str, Any] = {**program.state_dict, **program.constants}
    waiting = iter(given)
    return [
        next(waiting) if spec.kind is InputKind.USER_INPUT else state[str(spec.target)]
        for spec in program.graph_signature.input_specs
    ]


def as_array(made: Tensor | float) -> Array:
    """A tensor's numbers, or those of a size that is a plain number in the trace."""
    if not isinstance(made, Tensor):
        return np.array(made)
    kept = made.detach().clone()
    return (kept.to(torch.float32) if kept.dtype is torch.bfloat16 else kept).numpy()
