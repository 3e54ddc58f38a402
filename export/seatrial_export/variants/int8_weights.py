"""Weight-only int8: weights of 8 bits; arithmetic is fp32.

Each output channel or table row has one scale.

A `DequantizeLinear` stands where the weight stood, so every operator that takes weights can have
it; onnxruntime fuses it with MatMul, and then rounds activations to 8 bits a block. A table that
rows are looked up in is scaled by row, after the look-up.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import onnx

from seatrial_export.variants.graph_edit import GraphEdit
from seatrial_export.variants.original import Original, nodes_of, quantised
from seatrial_export.variants.recipe import Recipe

LEAST_VALUES = 256
"""Smaller weights are not worth a scale."""
PLACES = {
    "MatMul": {1: 1},
    "Gemm": {1: 1},
    "Conv": {1: 0},
    "ConvTranspose": {1: 1},
    "LSTM": {1: 1, 2: 1},
    "GRU": {1: 1, 2: 1},
    "RNN": {1: 1, 2: 1},
    "Gather": {0: 0},
}
"""Operator -> the places of its weights among its inputs, and the axis with a scale of its own.

A Gemm's axis is 0 where it is transposed.
"""


class Int8Weights(Recipe):
    """A quarter of the size at nearly fp32's answers.

    The variant is faster where reading weights takes most of the time.
    """

    KIND: ClassVar[str] = "int8_weights"
    COSINE: ClassVar[float] = 0.995
    AGREEMENT: ClassVar[float] = 0.97
    RELATIVE: ClassVar[float] = 0.03
    LEAVES: ClassVar[str] = "constant weights of 256 numbers or more"

    def nodes(self, original: Original) -> list[str]:
        """See `Recipe.nodes`."""
        places = weight_axes(original)
        return [
            node.name
            for node in original.model.graph.node
            if any(name in places for name in node.input)
        ] or list(places)

    def transform(self, original: Original) -> onnx.ModelProto:
        """See `Recipe.transform`."""
        edit = GraphEdit(original)
        kept = {
            name
            for node in original.model.graph.node
            if node.name in self.keep
            for name in node.input
        }
        for weight, axis in weight_axes(original).items():
            if weight not in kept and weight not in self.keep:
                put_weight(edit, original, weight, axis)
        return edit.done()


def weight_axes(original: Original) -> dict[str, int]:
    """Initializer -> axis of its scales, for those that are read as weights alone, in loops too."""
    axes: dict[str, int] = {}
    spoiled: set[str] = set()
    for node in nodes_of(original.model.graph):
        places = PLACES.get(node.op_type, {})
        transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
        for place, name in enumerate(node.input):
            tensor = original.weights.get(name)
            if tensor is None or tensor.data_type != onnx.TensorProto.FLOAT:
                continue
            axis = 0 if transposed else places.get(place, -1)
            fits = (
                place in places
                and len(tensor.dims) >= 2
                and int(np.prod(tensor.dims)) >= LEAST_VALUES
            )
            if not fits or axes.setdefault(name, axis) != axis:
                spoiled.add(name)
    return {name: axis for name, axis in axes.items() if name not in spoiled}


def put_weight(edit: GraphEdit, original: Original, weight: str, axis: int) -> None:
    """The weight as int8 and scales, in the place of the fp32 one."""
    values, scales = quantised(original.weight(weight), axis, most=127)
    whole = edit.constant(f"{weight}.int8", values)
    readers = [node for node in original.model.graph.node if weight in node.input]
    looked_up = [node for node in readers if node.op_type == "Gather"]
    if looked_up and len(looked_up) == len(readers) and values.ndim == 2:
        rows = edit.constant(f"{weight}.scales", scales)
        for node in looked_up:
            put_look_up(edit, node, whole, rows)
        return
    edit.replace_weight(weight)
    edit.put(
        "",
        "DequantizeLinear",
        [whole, edit.constant(f"{weight}.scales", scales.ravel())],
        weight,
        axis=axis,
    )


def put_look_up(edit: GraphEdit, node: onnx.NodeProto, whole: str, scales: str) -> None:
    """Rows of a table looked up as int8, then scaled, each by its own."""
    output, place = node.output[0], node.name
    picked = edit.put(place, "Gather", [whole, node.input[1]], f"_{output}.int8_picked")
    numbers = edit.put(place, "Cast", [picked], f"_{output}.int8_float", to=onnx.TensorProto.FLOAT)
    edit.put(
        place,
        "Mul",
        [numbers, edit.put(place, "Gather", [scales, node.input[1]], f"_{output}.int8_scale")],
        output,
    )
    edit.take_out(place)


RECIPE = Int8Weights
