"""A sealed graph in onnxruntime with every one of its values as an output."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper

from seatrial_contracts.errors import ModelError
from seatrial_contracts.kinds.kind import Array
from seatrial_export.graphs.session import options_for
from seatrial_export.graphs.weights import array_of, brought_inside, sealed_form

Level = ort.GraphOptimizationLevel
LEVELS = {
    "basic": Level.ORT_ENABLE_BASIC,
    "extended": Level.ORT_ENABLE_EXTENDED,
    "all": Level.ORT_ENABLE_ALL,
}
"""onnxruntime's optimisations, each with those before it."""


class Probed:
    """One ONNX graph. What onnxruntime raises comes as `ModelError`."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.nodes: Sequence[onnx.NodeProto] = list(self.model.graph.node)
        """In the order in which they may run, as ONNX demands."""
        self.node_of = {name: node for node in self.nodes for name in node.output if name}

    @cached_property
    def weights(self) -> dict[str, Array]:
        """What is sealed in the graph, by name."""
        return {tensor.name: array_of(tensor) for tensor in self.model.graph.initializer}

    def values(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Compute every value of the graph but for its inputs and weights.

        onnxruntime computes the values without optimising.
        """
        return run(self.cut(list(self.node_of)), feeds, Level.ORT_DISABLE_ALL)

    def answer(
        self, feeds: Mapping[str, Array], level: Any, wanted: Sequence[str] = ()
    ) -> dict[str, Array]:
        """Compute the graph's answer, or other values of it, at a level of optimisation.

        Nodes that these values do not need are left out.
        """
        return run(self.cut(wanted) if wanted else self.model, feeds, level)

    def cut(self, wanted: Sequence[str]) -> onnx.ModelProto:
        """The model with other outputs."""
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        del model.graph.output[:]
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
        return model

    def alone(self, node: onnx.NodeProto, inputs: Mapping[str, Array]) -> onnx.ModelProto:
        """A model of this node and its weights alone, that takes what else the node reads."""
        graph, taken = self.model.graph, set(read_by(node))
        given = [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
            )
            for name, array in inputs.items()
        ]
        kept = [tensor for tensor in graph.initializer if tensor.name in taken]
        made = [onnx.ValueInfoProto(name=name) for name in node.output if name]
        model = helper.make_model(
            helper.make_graph([node], "node", given, made, kept),
            opset_imports=self.model.opset_import,
        )
        model.ir_version = self.model.ir_version
        model.functions.extend(self.model.functions)
        return brought_inside(model)


def read_by(node: onnx.NodeProto) -> Iterator[str]:
    """Names that a node reads, those that graphs inside it take from outside included."""
    yield from (name for name in node.input if name)
    for attribute in node.attribute:
        graphs: list[onnx.GraphProto] = [attribute.g, *attribute.graphs]
        for graph in graphs:
            own = {value.name for value in graph.input} | {
                tensor.name for tensor in graph.initializer
            }
            own |= {name for inner in graph.node for name in inner.output}
            yield from (name for inner in graph.node for name in read_by(inner) if name not in own)


def run(
    model: onnx.ModelProto, feeds: Mapping[str, Array], level: Any = Level.ORT_DISABLE_ALL
) -> dict[str, Array]:
    """A model's outputs on one CPU thread; sequences and what else is no array are left out."""
    graph, folder = sealed_form(model)
    options = options_for(folder)
    options.graph_optimization_level = level
    try:
        session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        taken = {value.name for value in session.get_inputs()}
        names = [value.name for value in session.get_outputs()]
        made = session.run(names, {name: array for name, array in feeds.items() if name in taken})
    except Exception as error:  # onnxruntime raises kinds of its own, all of which mean this
        raise ModelError(
            "E_MODEL", f"onnxruntime fails on the graph: {str(error)[:300]}"
        ) from error
    return {
        name: array
        for name, array in zip(names, made, strict=True)
        if isinstance(array, np.ndarray)
    }
