"""fp16: weights and arithmetic of 16 bits, by onnxruntime's converter; inputs and outputs stay as they are."""

from __future__ import annotations

import sys
from typing import ClassVar

import onnx

from seatrial_contracts.compare import Tolerance
from seatrial_export.variants.original import Original
from seatrial_export.variants.recipe import Recipe

FLOATS = (onnx.TensorProto.FLOAT,)


class Fp16(Recipe):
    """Half the size. For graphics cards; on most processors onnxruntime computes it in fp32 and is no faster."""

    KIND: ClassVar[str] = "fp16"
    COSINE: ClassVar[float] = 0.9999
    AGREEMENT: ClassVar[float] = 0.99
    RELATIVE: ClassVar[float] = 0.005
    APART: ClassVar[Tolerance] = Tolerance(relative_to_max=2e-3, relative=0)
    """Two steps of fp16 (2**-10 each): where the last bit of an fp32 sum moves with the batch, a rounding after it may move a step."""
    LEAVES: ClassVar[str] = "float weights"

    def nodes(self, original: Original) -> list[str]:
        """See `Recipe.nodes`."""
        weights = {name for name, tensor in original.weights.items() if tensor.data_type in FLOATS}
        return [node.name for node in original.model.graph.node if weights.intersection(node.input)]

    def transform(self, original: Original) -> onnx.ModelProto:
        """See `Recipe.transform`."""
        path = list(sys.path)
        from onnxruntime.transformers.float16 import convert_float_to_float16

        sys.path[:] = path  # that package puts its own folder there, full of common names
        model = onnx.ModelProto()
        model.CopyFrom(original.model)
        made: onnx.ModelProto = convert_float_to_float16(model, keep_io_types=True, node_block_list=list(self.keep))
        return made


RECIPE = Fp16
