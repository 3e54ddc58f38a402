"""Dynamic int8, as onnxruntime has it: one activation scale for the whole batch.

With one scale, a row's answer depends on its mates. Weights are of 7 bits, for the reason that
`int8` gives.
"""

from __future__ import annotations

from typing import ClassVar

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic

from seatrial_contracts.errors import DeclarationError
from seatrial_export.graphs.exporter_messages import quiet
from seatrial_export.variants.original import Original
from seatrial_export.variants.recipe import Recipe
from seatrial_export.variants.saved import through_files


class Int8Dynamic(Recipe):
    """Only for models whose rows never run together; others have `int8_per_token`."""

    KIND: ClassVar[str] = "int8_dynamic"
    COSINE: ClassVar[float] = 0.98
    AGREEMENT: ClassVar[float] = 0.95
    RELATIVE: ClassVar[float] = 0.05
    WHOLE: ClassVar[bool] = True
    LEAVES: ClassVar[str] = "MatMul or Gemm with constant weights (outside loops)"

    def nodes(self, original: Original) -> list[str]:
        """See `Recipe.nodes`."""
        return list(original.linears)

    def check(self, original: Original) -> None:
        """Also refused where rows run together."""
        if original.batchable:
            raise DeclarationError(
                f"variant '{self.variant}'",
                "a model whose rows run together",
                "one sealed with batchable=False: one scale for the whole batch makes "
                "a row's answer depend on its mates",
                "int8_per_token is as small, as fast, and keeps rows apart",
            )
        super().check(original)

    def transform(self, original: Original) -> onnx.ModelProto:
        """See `Recipe.transform`."""
        with quiet():
            return through_files(
                original.model,
                lambda source, target: quantize_dynamic(
                    source,
                    target,
                    op_types_to_quantize=["MatMul"],
                    per_channel=True,
                    reduce_range=True,
                    weight_type=QuantType.QInt8,
                    nodes_to_exclude=list(self.keep),
                    extra_options={"MatMulConstBOnly": True},
                ),
            )


RECIPE = Int8Dynamic
