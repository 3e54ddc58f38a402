"""A port: an input or output of a foreign graph, as the graph itself declares it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper

from seatrial_contracts.kinds.kind import Dim

OPEN = "?"
CARRIES_CLASSES = frozenset({"Identity", "Normalizer", "Cast", "Softmax", "ZipMap"})
"""Operators after a classifier that keep the order of its classes."""


@dataclass(frozen=True)
class Port:
    """An input or output of a foreign graph.

    `dims` holds a number, or a name for a size that is open; None where the graph does not give
    their number.
    """

    name: str
    dtype: str
    """numpy's name, "string", or what else the graph makes ("sequence")."""
    dims: tuple[Dim, ...] | None
    classes: tuple[str, ...] = ()
    """For scores: the classes that the graph itself names, in order."""

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} {shown(self.dims)}"

    def width(self) -> int | None:
        """How many columns a matrix has; None where that is open, or this is none."""
        return (
            self.dims[1]
            if self.dims is not None and len(self.dims) == 2 and isinstance(self.dims[1], int)
            else None
        )


def shown(dims: Sequence[Dim] | None) -> str:
    """Sizes as messages hold them."""
    return "of unknown shape" if dims is None else f"[{', '.join(map(str, dims))}]"


def agree(ours: Sequence[Dim], theirs: Sequence[Dim]) -> bool:
    """Does the graph take every size that the contract gives?"""
    return len(ours) == len(theirs) and all(
        isinstance(size, str) or size == own for own, size in zip(ours, theirs, strict=True)
    )


def ports(
    values: Sequence[onnx.ValueInfoProto], classes: Mapping[str, tuple[str, ...]] | None = None
) -> list[Port]:
    """The ports of graph inputs or outputs; `classes` by output name."""
    return [_port(value, (classes or {}).get(value.name, ())) for value in values]


def _port(value: onnx.ValueInfoProto, classes: tuple[str, ...]) -> Port:
    if value.type.WhichOneof("value") != "tensor_type":
        return Port(
            value.name, (value.type.WhichOneof("value") or "nothing").removesuffix("_type"), None
        )
    tensor = value.type.tensor_type
    sizes = None
    if tensor.HasField("shape"):
        sizes = tuple(
            dim.dim_value if dim.dim_value > 0 else _named(dim.dim_param)
            for dim in tensor.shape.dim
        )
    return Port(value.name, _dtype(tensor.elem_type), sizes, classes)


def _named(name: str) -> str:
    return name if re.search("[A-Za-z]", name) else OPEN


def _dtype(element: int) -> str:
    if element == onnx.TensorProto.STRING:
        return "string"
    try:
        return str(np.dtype(helper.tensor_dtype_to_np_dtype(element)).name)
    except KeyError:
        return "unknown"


def classes_of(graph: onnx.GraphProto) -> dict[str, tuple[str, ...]]:
    """Output -> the classes whose scores it holds, as far as the graph's classifiers name them."""
    makers = {name: node for node in graph.node for name in node.output}
    found = {}
    for value in graph.output:
        name, node = value.name, makers.get(value.name)
        while node is not None and node.op_type in CARRIES_CLASSES and not _labels(node):
            name, node = node.input[0], makers.get(node.input[0])
        if (
            node is not None
            and _labels(node)
            and (node.op_type == "ZipMap" or name != node.output[0])
        ):
            found[value.name] = _labels(node)
    return found


def platt_scores(graph: onnx.GraphProto) -> frozenset[str]:
    """Outputs that hold the scores of a support vector machine by Platt scaling."""
    makers = {name: node for node in graph.node for name in node.output}
    found = set()
    for value in graph.output:
        name, node = value.name, makers.get(value.name)
        while node is not None and node.op_type in CARRIES_CLASSES:
            name, node = node.input[0], makers.get(node.input[0])
        if node is not None and node.op_type == "SVMClassifier" and name != node.output[0]:
            found |= {value.name for each in node.attribute if each.name == "prob_a"}
    return frozenset(found)


def _labels(node: onnx.NodeProto) -> tuple[str, ...]:
    for attribute in node.attribute:
        if attribute.name in ("classlabels_strings", "classlabels_string"):
            return tuple(word.decode("utf-8", "replace") for word in attribute.strings)
        if attribute.name in ("classlabels_ints", "classlabels_int64s", "classlabels_int"):
            return tuple(map(str, attribute.ints))
    return ()
