"""Categories are looked up inside the graph: a LabelEncoder stands before each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from seatrial_contracts.kinds.category import Category

if TYPE_CHECKING:
    from seatrial_export.gate.torch_candidate import TorchCandidate

ML_DOMAIN, ML_VERSION = "ai.onnx.ml", 3
ML_TENSORS = 4
"""The version of the operators in which a LabelEncoder's table may be tensors.

A tensor's numbers lie side by side, so that a table of a million is read at once.
"""


def look_up_categories(candidate: TorchCandidate) -> None:
    """Give the model graph the entries of its categories for inputs, in place of int64 codes.

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
        value.type.tensor_type.elem_type = TensorProto.INT64 if kind.whole else TensorProto.STRING
        node = helper.make_node(
            "LabelEncoder",
            [name],
            [code],
            name=f"look_up_{name}",
            domain=ML_DOMAIN,
            **lookup_attributes(kind),
        )
        model.graph.node.insert(0, node)
    version = max(ML_TENSORS if kind.whole else ML_VERSION for kind in categories.values())
    model.opset_import.append(helper.make_opsetid(ML_DOMAIN, version))


def lookup_attributes(kind: Category) -> dict[str, Any]:
    """The table of a category's LabelEncoder: entry -> code."""
    table = kind.lookup()
    if kind.whole:
        keys, codes = list(table), list(table.values())
        parts = {"keys": keys, "values": codes, "default": [kind.unknown_code]}
        return {
            f"{part}_tensor": numpy_helper.from_array(np.array(values, np.int64), part)
            for part, values in parts.items()
        }
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
