"""fp16: weights and arithmetic of 16 bits, by onnxruntime's converter.

Inputs and outputs stay as they are.
"""

from __future__ import annotations

import sys
from typing import ClassVar

import onnx

from seatrial_contracts.compare import Tolerance
from seatrial_contracts.errors import DeclarationError
from seatrial_export.variants.original import Original
from seatrial_export.variants.ranges import names_beyond
from seatrial_export.variants.recipe import Recipe

FLOATS = (onnx.TensorProto.FLOAT,)
MOST = 65504.0
"""The largest number of 16 bits (IEEE 754)."""


class Fp16(Recipe):
    """Half the size, for graphics cards.

    On most processors onnxruntime computes fp16 in fp32 and is no faster.
    """

    KIND: ClassVar[str] = "fp16"
    COSINE: ClassVar[float] = 0.9999
    AGREEMENT: ClassVar[float] = 0.99
    RELATIVE: ClassVar[float] = 0.005
    APART: ClassVar[Tolerance] = Tolerance(relative_to_max=2e-3, relative=0)
    """Two steps of fp16 (2**-10 each).

    Where the last bit of an fp32 sum moves with the batch, a rounding after it may move a step.
    """
    EDGES: ClassVar[Tolerance] = Tolerance(relative_to_max=2e-2, relative=2e-2)
    """Some ten roundings of 2**-11 at a number near the end of the range.

    What overflows errs by far more.
    """
    LEAVES: ClassVar[str] = "float weights"

    def nodes(self, original: Original) -> list[str]:
        """See `Recipe.nodes`."""
        weights = {name for name, tensor in original.weights.items() if tensor.data_type in FLOATS}
        return [node.name for node in original.model.graph.node if weights.intersection(node.input)]

    def check(self, original: Original) -> None:
        """See `Recipe.check`. At least one node must bear 16 bits at the contract's bounds."""
        super().check(original)
        beyond = self.beyond(original)
        if beyond.issuperset(self.nodes(original)):
            raise DeclarationError(
                f"variant '{self.variant}'",
                f"numbers beyond {MOST:g} at every node with weights, at the bounds of the "
                "contract",
                "inputs whose bounds keep them below",
                "bound the fields, st.Number(ge=0, le=1000), or scale them before the first layer",
            )

    def beyond(self, original: Original) -> set[str]:
        """Names of the nodes that take or make a number beyond 16 bits at the contract's bounds."""
        wide = names_beyond(original.model, original.edges, MOST)
        nodes = original.model.graph.node
        return {node.name for node in nodes if wide.intersection([*node.input, *node.output])}

    def transform(self, original: Original) -> onnx.ModelProto:
        """See `Recipe.transform`."""
        path = list(sys.path)
        from onnxruntime.transformers.float16 import convert_float_to_float16

        sys.path[:] = path  # that package puts its own folder there, full of common names
        model = onnx.ModelProto()
        model.CopyFrom(original.model)
        kept = sorted({*self.keep, *self.beyond(original)})
        made: onnx.ModelProto = convert_float_to_float16(
            model, keep_io_types=True, node_block_list=kept
        )
        keep_wide(made.graph)
        return made


def keep_wide(graph: onnx.GraphProto) -> None:
    """Hand numbers on as they are between nodes in fp32.

    The converter narrows numbers between such nodes, and graph inputs before them.
    """
    casts = {node.output[0]: node for node in graph.node if node.op_type == "Cast"}
    narrowed = {
        name: node.input[0]
        for name, node in casts.items()
        if node.attribute[0].i == onnx.TensorProto.FLOAT16
    }
    for node in casts.values():
        if node.attribute[0].i == onnx.TensorProto.FLOAT and node.input[0] in narrowed:
            node.input[0] = narrowed[node.input[0]]


RECIPE = Fp16
