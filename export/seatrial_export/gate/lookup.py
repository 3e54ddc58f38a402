"""String categories are looked up inside the graph: a LabelEncoder stands before each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import onnx
from onnx import TensorProto, helper

from seatrial_contracts.kinds.category import Category

if TYPE_CHECKING:
    from seatrial_export.gate.torch_candidate import TorchCandidate

ML_DOMAIN, ML_VERSION = "ai.onnx.ml", 3


def look_up_categories(candidate: TorchCandidate) -> None:
    """Give the model graph string inputs for its categories, in place of int64 codes.

    The step comes after the export, before the lint.
    """
    model = candidate.model.onnx
    categories = candidate.pipeline.categories
    if not categories:
        return
    for name, kind in categories.items():
        value = next(value for value in model.graph.input if value.name == name)
        code = code_name(name)
        rename_input(model.graph, name, code)
        value.type.tensor_type.elem_type = TensorProto.STRING
        node = helper.make_node(
            "LabelEncoder",
            [name],
            [code],
            name=f"look_up_{name}",
            domain=ML_DOMAIN,
            **lookup_attributes(kind),
        )
        model.graph.node.insert(0, node)
    model.opset_import.append(helper.make_opsetid(ML_DOMAIN, ML_VERSION))


def lookup_attributes(kind: Category) -> dict[str, Any]:
    """The table of a category's LabelEncoder: word -> code."""
    table = kind.lookup()
    return {
        "keys_strings": list(table),
        "values_int64s": list(table.values()),
        "default_int64": kind.unknown_code,
    }


def code_name(name: str) -> str:
    """What the graph calls the codes of a category."""
    return f"_{name}.code"


def rename_input(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Let every node, those of subgraphs too, read `new` where it read `old`."""
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name == old:
                node.input[place] = new
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                rename_input(inner, old, new)
