"""Per-token int8: activations with a scale and an offset for each token.

The graph computes scale and offset; weights have one scale a column. A token's numbers depend on
that token alone, so a row's answer does not depend on its mates, as it does where one scale is
taken of the whole batch. All of it is standard ONNX, of opset 18 (ReduceMin's axes), so an older
graph is raised to it. MatMulInteger runs on VNNI where the processor has it.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import onnx

from seatrial_export.variants.graph_edit import GraphEdit
from seatrial_export.variants.linear import Linear
from seatrial_export.variants.original import Original, quantised
from seatrial_export.variants.recipe import Recipe

OPSET = 18
LEVELS, MOST = 204, 80
"""The largest activation and weight.

x86 without VNNI adds two products in 16 bits (VPMADDUBSW): 2 * 204 * 80 = 32640 is below 32768, so
sums are exact on every processor. Of the pairs that are exact, this one and its neighbours lose
least on MiniLM (255 * 64 loses more).
"""


class Int8PerToken(Recipe):
    """For transformers, and other models that are mostly matrices: `x @ w` as whole numbers.

    With `x = low + scale * q` for each token and `w = s * v` for each column,
    `x @ w = scale * s * (q @ v) + low * s * sum(v)`; q is of 0 to `LEVELS` and v of -`MOST` to
    `MOST`.
    """

    KIND: ClassVar[str] = "int8_per_token"
    COSINE: ClassVar[float] = 0.99
    AGREEMENT: ClassVar[float] = 0.95
    RELATIVE: ClassVar[float] = 0.05
    LEAVES: ClassVar[str] = "MatMul or Gemm with constant weights (outside loops)"

    def nodes(self, original: Original) -> list[str]:
        """See `Recipe.nodes`."""
        return list(original.linears)

    def transform(self, original: Original) -> onnx.ModelProto:
        """See `Recipe.transform`."""
        original = original.raised(OPSET)
        edit = GraphEdit(original)
        tokens: dict[str, tuple[str, str, str]] = {}
        for name, linear in original.linears.items():
            if name in self.keep:
                continue
            if linear.x not in tokens:  # query, key and value take the same tokens
                tokens[linear.x] = put_tokens(edit, name, linear.x)
            put_product(edit, name, linear, *tokens[linear.x])
            edit.take_out(name)
        return edit.done()


def put_tokens(edit: GraphEdit, place: str, x: str) -> tuple[str, str, str]:
    """`x` as u8 `q`, and its scale and lowest value for each token, `(..., 1)`."""
    axes = edit.constant("_token_axes", np.array([-1], np.int64))
    made = f"_{x}.token"
    low = edit.put(place, "ReduceMin", [x, axes], f"{made}_low", keepdims=1)
    high = edit.put(place, "ReduceMax", [x, axes], f"{made}_high", keepdims=1)
    span = edit.put(place, "Sub", [high, low], f"{made}_span")
    # A token of equal numbers spans nothing.
    least = edit.constant("_token_least", np.array(1e-12, np.float32))
    wide = edit.put(place, "Max", [span, least], f"{made}_wide")
    levels = edit.constant("_token_levels", np.array(LEVELS, np.float32))
    scale = edit.put(place, "Div", [wide, levels], f"{made}_scale")
    above = edit.put(place, "Sub", [x, low], f"{made}_above")
    steps = edit.put(place, "Div", [above, scale], f"{made}_steps")
    one = edit.constant("_token_one", np.array(1, np.float32))
    zero = edit.constant("_token_zero", np.array(0, np.uint8))
    return edit.put(place, "QuantizeLinear", [steps, one, zero], f"{made}_q"), scale, low


def put_product(edit: GraphEdit, place: str, linear: Linear, q: str, scale: str, low: str) -> None:
    """What the linear node answers, by way of whole numbers."""
    values, scales = quantised(linear.matrix, axis=1, most=MOST)
    columns = (values.sum(axis=0, dtype=np.int64) * scales[0]).astype(np.float32)
    made = f"_{linear.output}.int8"
    whole = edit.put(
        place,
        "MatMulInteger",
        [q, edit.constant(f"{made}_weight", values)],
        f"{made}_sums",
    )
    sums = edit.put(place, "Cast", [whole], f"{made}_float", to=onnx.TensorProto.FLOAT)
    scaled = edit.put(
        place, "Mul", [sums, edit.constant(f"{made}_scales", scales[0])], f"{made}_scaled"
    )
    product = edit.put(place, "Mul", [scaled, scale], f"{made}_product")
    offset = edit.put(
        place, "Mul", [low, edit.constant(f"{made}_columns", columns)], f"{made}_offset"
    )
    if linear.bias:
        offset = edit.put(place, "Add", [offset, linear.bias], f"{made}_biased")
    edit.put(place, "Add", [product, offset], linear.output)


RECIPE = Int8PerToken
