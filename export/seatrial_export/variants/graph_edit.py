"""Changing a copy of a graph: nodes in the place of others, and new constants.

Weights that no node reads any more are left out.
"""

from __future__ import annotations

from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from seatrial_export.graphs import weights
from seatrial_export.graphs.data_file import DataFile
from seatrial_export.graphs.weights import Place, outside_tensor
from seatrial_export.variants.original import Original, nodes_of


class GraphEdit:
    """A copy of a graph that is changed.

    Nodes are put before the node whose place they take, in the order in which they are added; each
    is named after its output.
    """

    def __init__(self, original: Original) -> None:
        self._original = original
        self._new: dict[str, list[onnx.NodeProto]] = {}
        self._first: list[onnx.NodeProto] = []
        self._gone: set[str] = set()
        self._replaced: set[str] = set()
        self._constants: dict[str, onnx.TensorProto] = {}
        self._file = DataFile(original.new_data()) if original.is_large else None

    def constant(self, name: str, values: NDArray[Any]) -> str:
        """A constant of this name, made once; returns the name."""
        if name not in self._constants:
            self._constants[name] = self._stored(name, values)
        return name

    def _stored(self, name: str, values: NDArray[Any]) -> onnx.TensorProto:
        if self._file is None or values.nbytes < weights.LEAST_BYTES:
            return numpy_helper.from_array(values, name)
        data_type = helper.np_dtype_to_tensor_dtype(values.dtype)
        if weights.bits_of(data_type) < 8:
            place = self._file.add([numpy_helper.from_array(values).raw_data])
        else:
            place = self._file.add_array(values)
        return outside_tensor(name, data_type, values.shape, Place(self._file.path, *place))

    def put(
        self, place: str, operator: str, inputs: list[str], output: str, **attributes: Any
    ) -> str:
        """Add a node before the one named `place`, or before all where `place` is empty.

        Returns the node's output.
        """
        node = helper.make_node(operator, inputs, [output], name=f"node{output}", **attributes)
        (self._new.setdefault(place, []) if place else self._first).append(node)
        return output

    def take_out(self, place: str) -> None:
        """Leave the node of this name out: what was put before it makes its output."""
        self._gone.add(place)

    def replace_weight(self, name: str) -> None:
        """Leave an initializer out: the output of a new node has its name."""
        self._replaced.add(name)

    def done(self) -> onnx.ModelProto:
        """The changed graph."""
        graph = self._original.model.graph
        nodes = list(self._first)
        for node in graph.node:
            nodes += self._new.get(node.name, [])
            if node.name not in self._gone:
                nodes.append(node)
        made = helper.make_graph(nodes, graph.name, graph.input, graph.output)
        read = {name for node in nodes_of(made) for name in node.input} | {
            value.name for value in made.output
        }
        tensors = [tensor for tensor in graph.initializer if tensor.name not in self._replaced]
        made.initializer.extend(
            tensor for tensor in (*tensors, *self._constants.values()) if tensor.name in read
        )
        original = self._original.model
        return helper.make_model(
            made,
            opset_imports=original.opset_import,
            ir_version=original.ir_version,
            functions=original.functions,
        )
