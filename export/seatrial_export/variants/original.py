"""The fp32 graph that variants are made of, with the rows that ranges are measured on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import version_converter

from seatrial_contracts.kinds.kind import Array
from seatrial_export.graphs.scratch import Scratch
from seatrial_export.graphs.weights import (
    array_of,
    inputs_as_weights,
    outside_of,
    weights_as_inputs,
)
from seatrial_export.variants.linear import Linear, linear_of
from seatrial_export.variants.ranges import RangeRule, Ranges, measure_ranges

PIECE_NUMBERS = 2**22
"""Numbers of a tensor that are worked on at a time, as near as its sizes allow."""
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
        scratch: Scratch | None = None,
    ) -> None:
        self.scratch = scratch or Scratch()
        """Where a variant's weights lie while it is made, if they are many."""
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
        light, outside = weights_as_inputs(self.model)
        model = inputs_as_weights(version_converter.convert_version(light, opset), outside)
        return Original(
            model, self.feeds, edges=self.edges, batchable=self.batchable, scratch=self.scratch
        )

    @cached_property
    def is_large(self) -> bool:
        """Do weights lie in a data file?"""
        return bool(outside_of(self.model))

    def new_data(self) -> Path:
        """Where new weights of a large graph are written to, one by one, until the next call."""
        path = self.scratch.file("made.data")
        path.unlink(missing_ok=True)
        return path

    @cached_property
    def weights(self) -> dict[str, onnx.TensorProto]:
        """The initializers by name."""
        return {tensor.name: tensor for tensor in self.model.graph.initializer}

    def weight(self, name: str) -> NDArray[Any]:
        """An initializer's values."""
        return array_of(self.weights[name])

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
    values: NDArray[Any], axis: int, most: int
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Quantise to symmetric whole numbers from -most to most.

    Each place of `axis` has a scale. The scales have the other axes reduced to 1; 0 stays 0. A
    piece of the values is worked on at a time.
    """
    others = tuple(place for place in range(values.ndim) if place != axis % values.ndim)
    found = np.empty(values.shape, np.int8)
    kept = [size if place == axis else 1 for place, size in enumerate(values.shape)]
    scales = np.empty(kept, np.float32)
    for some in pieces_along(values, axis):
        piece = np.asarray(values[some])
        scale = np.abs(piece).max(axis=others, keepdims=True) / most
        scales[some] = np.maximum(scale, np.finfo(np.float32).tiny).astype(np.float32)
        found[some] = np.clip(np.rint(piece / scales[some]), -most, most)
    return found, scales


def pieces_along(values: NDArray[Any], axis: int) -> Iterator[tuple[slice, ...]]:
    """Yield the places of pieces of an array, which together are all of it, along one axis."""
    size = values.shape[axis]
    step = max(1, PIECE_NUMBERS * size // max(values.size, 1))
    for start in range(0, size, step):
        yield (*[slice(None)] * axis, slice(start, start + step))
