"""fp16: weights and arithmetic of 16 bits, by onnxruntime's converter.

Inputs and outputs stay as they are.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import ClassVar

import numpy as np
import onnx

from seatrial_contracts.compare import Tolerance
from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.kinds.kind import Array
from seatrial_export.graphs.data_file import DataFile
from seatrial_export.graphs.weights import Place, array_of, outside_of, put_outside
from seatrial_export.variants.original import Original, pieces_along
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
        from onnxruntime.transformers import float16

        sys.path[:] = path  # that package puts its own folder there, full of common names
        model = onnx.shape_inference.infer_shapes(original.model)
        outside = take_out(model)
        kept = sorted({*self.keep, *self.beyond(original)})
        made: onnx.ModelProto = float16.convert_float_to_float16(
            model, keep_io_types=True, disable_shape_infer=True, node_block_list=kept
        )
        keep_wide(made.graph)
        if outside:
            with DataFile(original.new_data()) as file:
                put_back(made, outside, file, float16.convert_np_to_float16)
        return made


def take_out(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    """Let one number stand for each weight in a data file, which the converter would read.

    Returns the weights by name.
    """
    outside = {}
    for tensor in outside_of(model):
        kept = outside[tensor.name] = onnx.TensorProto()
        kept.CopyFrom(tensor)
        tensor.CopyFrom(onnx.helper.make_tensor(tensor.name, tensor.data_type, [1], [0]))
    return outside


def put_back(
    model: onnx.ModelProto,
    outside: Mapping[str, onnx.TensorProto],
    file: DataFile,
    narrow: Callable[[Array], Array],
) -> None:
    """Put the weights back, those that the converter made 16 bits wide narrowed in pieces."""
    for tensor in model.graph.initializer:
        wide = outside.get(tensor.name)
        if wide is None:
            continue
        narrowed = tensor.data_type == onnx.TensorProto.FLOAT16 != wide.data_type
        tensor.CopyFrom(wide)
        if narrowed:
            values = array_of(wide)
            pieces = (np.asarray(narrow(values[some])) for some in pieces_along(values, 0))
            tensor.data_type = onnx.TensorProto.FLOAT16
            put_outside(tensor, Place(file.path, *file.add(pieces)))


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
