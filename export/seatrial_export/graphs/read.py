"""What an ONNX graph says of itself."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import numpy_helper

SMALL = 64
"""Values; no operator has more axes."""
Shapes = dict[str, list[int | str]]
"""Name of a value -> its sizes: numbers and names."""


def nodes_of(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Every node: the graph's, those of its subgraphs, and those of functions."""
    waiting = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    while waiting:
        node = waiting.pop(0)
        yield node
        waiting += [
            inner
            for attribute in node.attribute
            for graph in (attribute.g, *attribute.graphs)
            for inner in graph.node
        ]


def opset_of(model: onnx.ModelProto) -> int:
    """The version of the standard operators that the graph asks for; 0 where it asks for none."""
    return next(
        (entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0
    )


def constants_of(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """Name -> value of what is constant and small: flags and axes, not weights."""
    small = [
        (tensor.name, tensor) for tensor in model.graph.initializer if np.prod(tensor.dims) <= SMALL
    ]
    small += [
        (node.output[0], attribute.t)
        for node in nodes_of(model)
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.name == "value" and np.prod(attribute.t.dims) <= SMALL
    ]
    return {name: numpy_helper.to_array(tensor) for name, tensor in small}


def shapes_of(graph: onnx.GraphProto) -> Shapes:
    """Inferred sizes of every value that has them."""
    return {value.name: dims(value) for value in (*graph.value_info, *graph.input, *graph.output)}


def dims(value: onnx.ValueInfoProto) -> list[int | str]:
    """Sizes of a value: numbers and names."""
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
