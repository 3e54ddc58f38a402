"""The fp32 graph that variants are made of, with the rows that ranges are measured on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper, version_converter

from seatrial_contracts.kinds.kind import Array
from seatrial_export.variants.linear import Linear, linear_of
from seatrial_export.variants.ranges import RangeRule, Ranges, measure_ranges

Feeds = Mapping[str, Array]


class Original:
    """Read by every recipe, changed by none.

    `feeds` are prepared calibration rows, and `edges` rows at the bounds of the contract, each
    alone as a batch of one.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        feeds: Sequence[Feeds] = (),
        *,
        edges: Sequence[Feeds] = (),
        batchable: bool = True,
    ) -> None:
        self.model, self.feeds, self.edges, self.batchable = model, feeds, edges, batchable
        self._ranges: dict[tuple[RangeRule, tuple[str, ...]], Ranges] = {}
        name_nodes(model.graph)

    def raised(self, opset: int) -> Original:
        """The same graph in this opset at least."""
        if (
            next(
                entry.version
                for entry in self.model.opset_import
                if entry.domain in ("", "ai.onnx")
            )
            >= opset
        ):
            return self
        model = version_converter.convert_version(self.model, opset)
        return Original(model, self.feeds, edges=self.edges, batchable=self.batchable)

    @cached_property
    def weights(self) -> dict[str, onnx.TensorProto]:
        """The initializers by name."""
        return {tensor.name: tensor for tensor in self.model.graph.initializer}

    def weight(self, name: str) -> NDArray[Any]:
        """An initializer's values."""
        return numpy_helper.to_array(self.weights[name])

    @cached_property
    def linears(self) -> dict[str, Linear]:
        """Node name -> its linear operation, in order.

        The nodes are those of the graph itself that multiply by a constant matrix.
        """
        found = {node.name: linear_of(node, self.weights) for node in self.model.graph.node}
        return {name: linear for name, linear in found.items() if linear is not None}

    def has(self, *operators: str) -> bool:
        """Is one of these operators in the graph itself?"""
        return any(node.op_type in operators for node in self.model.graph.node)

    def ranges(self, rule: RangeRule, operators: tuple[str, ...]) -> Ranges:
        """Ranges of these operators' inputs and outputs on the calibration rows; measured once."""
        key = rule, operators
        if key not in self._ranges:
            self._ranges[key] = measure_ranges(self.model, self.feeds, rule, operators)
        return self._ranges[key]


def name_nodes(graph: onnx.GraphProto) -> None:
    """Give every node of a graph a name that no other has: foreign graphs may leave them out."""
    taken: set[str] = set()
    for place, node in enumerate(graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_{place}"
        taken.add(node.name)


def nodes_of(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Every node, those of subgraphs too."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from nodes_of(inner)


def quantised(
    values: NDArray[Any], axis: int | tuple[int, ...], most: int
) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """Quantise to symmetric whole numbers from -most to most, with their scales.

    The scales have `axis` reduced to 1; 0 stays 0.
    """
    scale = np.maximum(
        np.abs(values).max(axis=axis, keepdims=True) / most, np.finfo(np.float32).tiny
    )
    scale = scale.astype(np.float32)
    return np.clip(np.rint(values / scale), -most, most), scale
