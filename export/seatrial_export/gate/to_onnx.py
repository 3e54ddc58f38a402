"""From PyTorch to ONNX, with named sizes and names that clash with no field."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx_ir as ir
import torch

from seatrial_contracts.errors import GateError
from seatrial_export.gate.recurrent import open_time
from seatrial_export.gate.torch_candidate import TorchCandidate
from seatrial_export.gate.torch_export import named_sizes
from seatrial_export.graphs.exporter_messages import first_lines, quiet
from seatrial_export.graphs.read import opset_of


def export_onnx(candidate: TorchCandidate) -> None:
    """`torch.onnx.export(dynamo=True)` with named sizes, at the pipeline's opset."""
    for graph in candidate.traced:
        source: Any = graph.program if graph.program is not None else graph.module
        try:
            with quiet(), torch.no_grad(), open_time(graph):
                program = torch.onnx.export(
                    source, graph.arguments, dynamo=True, dynamic_shapes=named_sizes(graph),
                    opset_version=candidate.pipeline.opset, verbose=False, external_data=False,
                )  # fmt: skip
        except Exception as error:  # as above
            raise GateError(
                "torch.onnx.export",
                first_lines(error),
                "an operation of the model has no ONNX form; the message names it",
            ) from error
        assert program is not None, "dynamo=True returns a program"
        name_values(program.model.graph, [spec.name for spec in graph.specs], graph.outputs)
        graph.proto, graph.exported = program.model_proto, program.exported_program


def inner_name(name: str) -> str:
    """What a value inside a graph is called; no field's name begins so."""
    return f"_{name}"


def check_opset(candidate: TorchCandidate) -> None:
    """The exporter raises a low opset silently: 13 asked gives 18."""
    wanted = candidate.pipeline.opset
    for graph in candidate.graphs:
        got = opset_of(graph.onnx)
        if got != wanted:
            raise GateError(
                "opset",
                f"opset {wanted} was asked for, the exporter wrote {got}",
                f"ask for {got}: Pipeline(opset={got}); or for another from 18 up",
            )


def name_values(graph: ir.Graph, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Give inputs and outputs their names.

    Every name inside begins with `_`, which no field's name does, so nothing clashes with a field.
    """
    for value in tuple(graph.initializers.values()):
        value.name = inner_name(str(value.name))
    for node in ir.traversal.RecursiveGraphIterator(graph):
        inner = [
            value
            for attribute in node.attributes.values()
            if attribute.type == ir.AttributeType.GRAPH
            for value in attribute.as_graph().inputs
        ]
        for value in (*node.outputs, *inner):
            value.name = inner_name(str(value.name))
    for value, name in (
        *zip(graph.inputs, inputs, strict=True),
        *zip(graph.outputs, outputs, strict=True),
    ):
        value.name = name
