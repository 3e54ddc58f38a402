"""What a graph needs of whoever opens it, read off the graph."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
import onnxruntime as ort

from seatrial_contracts.needs import STANDARD, Needs, least_onnxruntime
from seatrial_export.adopt.foreign import inner_tensors_of
from seatrial_export.graphs.read import nodes_of

USUAL = frozenset(
    {
        "UNDEFINED", "FLOAT", "DOUBLE", "STRING", "BOOL",
        "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64",
    }
)  # fmt: skip
"""Element types that every release of onnxruntime has had kernels for."""
TYPE_ATTRIBUTES = frozenset({"to", "dtype", "output_dtype"})
"""Attributes of standard operators that name the element type of what they make."""


def needs_of(model: onnx.ModelProto) -> Needs:
    """Read the needs of a graph that the installed onnxruntime has opened."""
    opsets = {entry.domain or STANDARD: entry.version for entry in model.opset_import}
    found = {onnx.TensorProto.DataType.Name(number) for number in type_numbers(model)} - USUAL
    narrow = tuple(sorted(name.lower() for name in found))
    return Needs(
        ir=model.ir_version,
        opsets=dict(sorted(opsets.items())),
        element_types=narrow,
        onnxruntime=least_onnxruntime(model.ir_version, opsets, ort.__version__),
    )


def type_numbers(model: onnx.ModelProto) -> Iterator[int]:
    """Yield the element types that enter the graph: of its ports, tensors, and casts."""
    for value in (*model.graph.input, *model.graph.output):
        yield value.type.tensor_type.elem_type
    for tensor in (*model.graph.initializer, *inner_tensors_of(model)):
        yield tensor.data_type
    for node in nodes_of(model):
        for attribute in node.attribute:
            if attribute.name in TYPE_ATTRIBUTES:
                yield attribute.i
