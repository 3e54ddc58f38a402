"""Edits to a foreign graph.

All values inside the graph get names of their own, and operators are put before and behind the
graph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from seatrial_contracts.errors import GateError
from seatrial_contracts.kinds.kind import Dim
from seatrial_export.adopt.port import classes_of, platt_scores, ports
from seatrial_export.gate.lookup import ML_DOMAIN, ML_VERSION
from seatrial_export.graphs.read import nodes_of, opset_of

INSIDE, ADDED = "_graph.", "_fit."
"""Names inside begin with `_`, which no field's does."""
AXES_AS_INPUT = 13
"""From this opset on, Squeeze and Unsqueeze take their axes as an input."""
LOOKUPS_FROM = 2
"""The version of ai.onnx.ml whose LabelEncoder looks words up for numbers."""
PLAIN_OPSET, LEAST_IR = 13, 8
"""The opset of graphs of ai.onnx.ml operators alone, which need none; and the least IR version.

From this IR version on, weights are no inputs.
"""


Value = tuple[str, int, Sequence[Dim] | None]
"""An input or output: its name, element type and sizes."""


class Editor:
    """A copy of a foreign model, on its way into a bundle."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = onnx.ModelProto()
        self.model.CopyFrom(model)
        self._before: list[onnx.NodeProto] = []
        self._behind: list[onnx.NodeProto] = []
        self._fed: dict[str, str] = {}
        self.tree_labels = tree_labels(self.graph)
        """Outputs that are labels of a classifier of trees with two classes."""
        self.platt_scores = platt_scores(self.graph)
        classes = classes_of(self.graph)
        tidy(self.model)
        drop_maps(self.model.graph)
        self.takes, self.gives = ports(self.graph.input), ports(self.graph.output, classes)
        """As the graph's author declared them."""
        rename_inside(self.model.graph)

    @property
    def graph(self) -> onnx.GraphProto:
        """The graph that is edited."""
        return self.model.graph

    def before(
        self,
        operator: str,
        values: Sequence[str],
        output: str = "",
        domain: str = "",
        **attributes: Any,
    ) -> str:
        """An operator between the contract and the graph; gives the name of what it makes."""
        return self._add(self._before, operator, values, output, domain, attributes)

    def feed(self, port: str, value: str) -> None:
        """Let the graph read a value in the place of its input.

        Nothing stands between the two, so that whatever must read its input does.
        """
        self._fed[inside(port)] = value

    def behind(
        self, operator: str, values: Sequence[str], output: str = "", **attributes: Any
    ) -> str:
        """An operator between the graph and the contract."""
        return self._add(self._behind, operator, values, output, "", attributes)

    def _add(
        self,
        nodes: list[onnx.NodeProto],
        operator: str,
        values: Sequence[str],
        output: str,
        domain: str,
        attributes: dict[str, Any],
    ) -> str:
        name = output or f"{ADDED}{len(self._before) + len(self._behind)}"
        values = list(values)
        if operator in ("Squeeze", "Unsqueeze") and opset_of(self.model) >= AXES_AS_INPUT:
            values.append(self._constant(np.array(attributes.pop("axes"), np.int64)))
        nodes.append(
            helper.make_node(
                operator,
                values,
                [name],
                name=f"{ADDED}{operator}.{name}",
                domain=domain,
                **attributes,
            )
        )
        return name

    def _constant(self, value: np.ndarray) -> str:
        name = f"{ADDED}constant.{len(self.graph.initializer)}"
        self.graph.initializer.append(numpy_helper.from_array(value, name))
        return name

    def use_lookups(self) -> None:
        """Let the graph look words up.

        Raises `GateError` where the graph's own operators are of a version that looks words up
        otherwise.
        """
        entry = next(
            (entry for entry in self.model.opset_import if entry.domain == ML_DOMAIN), None
        )
        if entry is None:
            self.model.opset_import.append(helper.make_opsetid(ML_DOMAIN, ML_VERSION))
        elif entry.version < LOOKUPS_FROM:
            if any(node.op_type == "LabelEncoder" for node in nodes_of(self.model)):
                cause = (
                    f"the graph looks words up by {ML_DOMAIN} {entry.version}, "
                    "which cannot stand beside the contract's lookups"
                )
                raise GateError(
                    "contract", cause, f"export the model with {ML_DOMAIN} {LOOKUPS_FROM} or later"
                )
            entry.version = ML_VERSION

    def close(self, inputs: Sequence[Value], outputs: Sequence[Value]) -> onnx.ModelProto:
        """Close the model with these inputs and outputs.

        The operators are in order, and the sizes are inferred anew.
        """
        nodes = [*self._before, *self.graph.node, *self._behind]
        for node in nodes:
            read_instead(node, self._fed)
        for field in ("node", "input", "output", "value_info"):
            self.graph.ClearField(field)
        self.graph.node.extend(nodes)
        self.graph.input.extend(helper.make_tensor_value_info(*value) for value in inputs)
        self.graph.output.extend(helper.make_tensor_value_info(*value) for value in outputs)
        return onnx.shape_inference.infer_shapes(self.model)


def read_instead(node: onnx.NodeProto, names: Mapping[str, str]) -> None:
    """Let a node, and its subgraphs, read other values."""
    for place, name in enumerate(node.input):
        node.input[place] = names.get(name, name)
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                read_instead(inner, names)
            for value in graph.output:
                value.name = names.get(value.name, value.name)


def tree_labels(graph: onnx.GraphProto) -> frozenset[str]:
    """Outputs that come of the label of a TreeEnsembleClassifier of two classes.

    In onnxruntime 1.32 that label contradicts the scores where all weights of the leaves are
    positive.
    """
    makers = {name: node for node in graph.node for name in node.output}
    found = set()
    for value in graph.output:
        seen, left = set[str](), [value.name]
        while left:
            name = left.pop()
            node = makers.get(name)
            if node is None or name in seen:
                continue
            seen.add(name)
            if node.op_type == "TreeEnsembleClassifier":
                words = {each.name: [*each.strings, *each.ints] for each in node.attribute}
                labels = words.get("classlabels_strings") or words.get("classlabels_int64s") or []
                if name == node.output[0] and len(labels) == 2:
                    found.add(value.name)
            else:
                left += node.input
    return frozenset(found)


def inside(name: str) -> str:
    """The name in the bundle's graph of a value of the foreign graph.

    The name holds no `/`, so that nothing that looks like a path is one of this machine.
    """
    return f"{INSIDE}{name.replace('/', '.')}" if name else name


def tidy(model: onnx.ModelProto) -> None:
    """Give each domain one version, and the standard operators a version that edits need.

    Weights are no inputs afterwards.
    """
    versions: dict[str, int] = {}
    for entry in model.opset_import:
        domain = "" if entry.domain == "ai.onnx" else entry.domain
        versions[domain] = max(versions.get(domain, 0), entry.version)
    versions.setdefault("", PLAIN_OPSET)
    del model.opset_import[:]
    model.opset_import.extend(
        helper.make_opsetid(domain, number) for domain, number in sorted(versions.items())
    )
    model.ir_version = max(model.ir_version, LEAST_IR)
    weights = {tensor.name for tensor in model.graph.initializer}
    kept = [value for value in model.graph.input if value.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(kept)


def drop_maps(graph: onnx.GraphProto) -> None:
    """Replace each output that is a list of maps from class to score (ZipMap).

    The new output is the matrix that the maps are made of.
    """
    outputs = {value.name: value for value in graph.output}
    for node in graph.node:
        if node.op_type == "ZipMap" and node.output[0] in outputs:
            value = helper.make_tensor_value_info(
                node.output[0], onnx.TensorProto.FLOAT, [None, None]
            )
            outputs[node.output[0]].CopyFrom(value)
            node.CopyFrom(
                helper.make_node("Identity", list(node.input), list(node.output), name=node.name)
            )


def rename_inside(graph: onnx.GraphProto) -> None:
    """Put `_graph.` before every value's name, those of subgraphs too.

    One rule for all names keeps every reference.
    """
    for values in (graph.input, graph.output, graph.value_info, graph.initializer):
        for value in values:
            value.name = inside(value.name)
    for sparse in graph.sparse_initializer:
        sparse.values.name = inside(sparse.values.name)
    graph.ClearField("quantization_annotation")
    for node in graph.node:
        node.name = inside(node.name)
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                names[place] = inside(name)
        for attribute in node.attribute:
            if attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS):
                for inner in (attribute.g, *attribute.graphs):
                    rename_inside(inner)
