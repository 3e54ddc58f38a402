"""Weight-only int4: matrices of 4 bits, with one scale for each block of a column.

Other weights are of 8 bits, and all arithmetic is fp32. Blocked `DequantizeLinear` and the int4
type are of opset 21, so the graph is raised to it.
"""

from __future__ import annotations

from typing import Any, ClassVar

import ml_dtypes
import numpy as np
import onnx
from numpy.typing import NDArray
from pydantic import Field

from seatrial_export.variants.graph_edit import GraphEdit
from seatrial_export.variants.int8_weights import put_weight, weight_axes
from seatrial_export.variants.linear import Linear
from seatrial_export.variants.original import Original, pieces_along
from seatrial_export.variants.recipe import Recipe

OPSET = 21
CUTS = (0.95, 0.9, 0.85, 0.8, 0.75, 0.7)
"""Shares of a block's largest number that are tried as its range."""


class Int4Weights(Recipe):
    """The smallest; for models whose answers bear it."""

    KIND: ClassVar[str] = "int4_weights"
    COSINE: ClassVar[float] = 0.95
    AGREEMENT: ClassVar[float] = 0.9
    RELATIVE: ClassVar[float] = 0.1
    LEAVES: ClassVar[str] = (
        "MatMul or Gemm whose constant weights divide into blocks (outside loops)"
    )

    block: int = Field(
        default=16,
        ge=16,
        le=256,
        description="Numbers of a column that share a scale; a power of two.",
    )

    def nodes(self, original: Original) -> list[str]:
        """See `Recipe.nodes`."""
        return [
            name
            for name, linear in original.linears.items()
            if linear.matrix.shape[0] % self.block == 0
        ]

    def transform(self, original: Original) -> onnx.ModelProto:
        """See `Recipe.transform`."""
        raised = original.raised(OPSET)
        edit = GraphEdit(raised)
        nodes = self.nodes(raised)
        blocked = {raised.linears[name].weight for name in nodes}
        kept = {
            name
            for node in raised.model.graph.node
            if node.name in self.keep
            for name in node.input
        }
        for weight, axis in weight_axes(raised).items():
            if weight not in blocked | kept:
                put_weight(edit, raised, weight, axis)
        for name in nodes:
            if name not in self.keep:
                put_blocks(edit, name, raised.linears[name], self.block)
        return edit.done()


def put_blocks(edit: GraphEdit, place: str, linear: Linear, block: int) -> None:
    """Put the linear node with its matrix of 4 bits, as MatMul and Add.

    onnxruntime fuses these two.
    """
    matrix = linear.matrix
    inputs, outputs = matrix.shape
    values = np.empty((inputs, outputs), ml_dtypes.int4)
    scales = np.empty((inputs // block, outputs), np.float32)
    for some in pieces_along(matrix, 1):
        found, scale = least_error(matrix[some].reshape(inputs // block, block, -1))
        values[some] = found.reshape(inputs, -1).astype(ml_dtypes.int4)
        scales[some] = scale[:, 0]
    made = f"_{linear.weight}.int4"
    whole = edit.constant(f"{made}_weight", values)
    unpacked = edit.put(
        place,
        "DequantizeLinear",
        [whole, edit.constant(f"{made}_scales", scales)],
        f"_{linear.output}.int4_matrix",
        axis=0,
        block_size=block,
    )
    product = f"_{linear.output}.int4_product" if linear.bias else linear.output
    edit.put(place, "MatMul", [linear.x, unpacked], product)
    if linear.bias:
        edit.put(place, "Add", [product, linear.bias], linear.output)
    edit.take_out(place)


def least_error(blocks: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """Find whole numbers from -7 to 7 and scales, `(blocks, 1, outputs)`.

    Of several scales, the one is taken that brings each block nearest to its original. The largest
    number of a block may be cut off, where the many small ones gain more by a finer step.
    """
    widest = np.abs(blocks).max(axis=1, keepdims=True) / 7
    widest = np.maximum(widest, np.finfo(np.float32).tiny).astype(np.float32)
    scales, least = widest, np.full_like(widest, np.inf)
    for cut in (1.0, *CUTS):
        tried = widest * np.float32(cut)
        error = np.square(np.clip(np.rint(blocks / tried), -7, 7) * tried - blocks).sum(
            axis=1, keepdims=True
        )
        scales, least = np.where(error < least, tried, scales), np.minimum(error, least)
    return np.clip(np.rint(blocks / scales), -7, 7), scales


RECIPE = Int4Weights
