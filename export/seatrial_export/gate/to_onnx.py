"""From PyTorch to ONNX, with named sizes and names that clash with no field."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import Any

import onnx_ir as ir
import torch

from seatrial_contracts.errors import GateError
from seatrial_export.gate.mend import modules_of, named_unlike
from seatrial_export.gate.model_lines import lines_of
from seatrial_export.gate.recurrent import open_time
from seatrial_export.gate.torch_candidate import Graph, TorchCandidate
from seatrial_export.gate.torch_export import named_sizes
from seatrial_export.gate.translations import TRANSLATIONS
from seatrial_export.graphs.exporter_messages import first_lines, quiet
from seatrial_export.graphs.from_ir import proto_of
from seatrial_export.graphs.read import opset_of

NO_FORM = re.compile(r"No ONNX function found for <OpOverload\(op='([^']+)'")
PLAIN = (torch.Tensor, torch.nn.Parameter, torch.nn.Buffer)
MEND_FORM = "write it with other operations of torch, or take it out of forward into a prepare"
MEND_CLASS = (
    "seal the model as it was before its weights were quantised, and ask for a quantised variant "
    "of it: variants=['int8_per_token']"
)
MEND_EXPORTER = "the exporter does not take the model; the message names the operation"


def export_onnx(candidate: TorchCandidate) -> None:
    """`torch.onnx.export(dynamo=True)` with named sizes, at the pipeline's opset.

    A large model is not exported while the fresh process holds it too.
    """
    if candidate.fresh is not None and candidate.is_large:
        candidate.fresh.wait("first")
    for graph in candidate.traced:
        source: Any = graph.program if graph.program is not None else graph.module
        try:
            with quiet(), torch.no_grad(), open_time(graph):
                program = torch.onnx.export(
                    source, graph.arguments, dynamo=True, dynamic_shapes=named_sizes(graph),
                    opset_version=candidate.pipeline.opset, verbose=False, external_data=False,
                    custom_translation_table=dict(TRANSLATIONS),
                )  # fmt: skip
        except Exception as error:  # torch raises many kinds, of several modules
            raise without_form(candidate, graph, error) from error
        assert program is not None, "dynamo=True returns a program"
        name_values(program.model.graph, [spec.name for spec in graph.specs], graph.outputs)
        graph.proto = proto_of(program.model, partial(candidate.data_path, graph))
        graph.exported = program.exported_program


def without_form(candidate: TorchCandidate, graph: Graph, error: Exception) -> GateError:
    """What the exporter could not write: the operation, its lines, and weights of a odd class."""
    missing = NO_FORM.search(str(error))
    if missing is None:
        return GateError("torch.onnx.export", first_lines(error), MEND_EXPORTER)
    operation = missing[1].rpartition(".")[2]
    lines = lines_of([graph.program], lambda target, _: operation in target)
    cause = f"{missing[1]} has no ONNX form" + (f": {lines}" if lines else "")
    odd = named_unlike(
        modules_of(candidate),
        lambda tensor: type(tensor) not in PLAIN,
        lambda tensor: (
            f"of the class {type(tensor).__module__.partition('.')[0]}.{type(tensor).__name__}"
        ),
    )
    if odd:
        return GateError("torch.onnx.export", f"{cause}; {odd}", MEND_CLASS)
    return GateError("torch.onnx.export", cause, MEND_FORM)


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
