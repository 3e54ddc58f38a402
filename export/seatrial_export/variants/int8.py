"""Static int8: u8 activations by ranges measured on real rows, s8 weights by channel, as QuantizeLinear and DequantizeLinear pairs (QDQ)."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationMethod, QDQQuantizer, QuantType, TensorsData
from pydantic import Field

from seatrial_export.gate.words import quiet
from seatrial_export.variants.original import Original
from seatrial_export.variants.ranges import RangeRule
from seatrial_export.variants.recipe import Recipe

CONVOLUTIONS = ("Conv", "ConvTranspose")
MATRICES = ("MatMul", "Gemm")
AROUND = (
    "Add", "Relu", "Clip", "LeakyRelu", "MaxPool", "AveragePool", "GlobalAveragePool", "Concat", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Resize",
)  # fmt: skip
"""What stands between convolutions and can pass int8 on without going back to fp32."""


class Int8(Recipe):
    """For convolutional networks. Transformers' activations have outliers that one range for all tokens does not bear: see `int8_per_token`."""

    KIND: ClassVar[str] = "int8"
    COSINE: ClassVar[float] = 0.99
    AGREEMENT: ClassVar[float] = 0.95
    RELATIVE: ClassVar[float] = 0.05
    CALIBRATED: ClassVar[bool] = True
    LEAVES: ClassVar[str] = "Conv, MatMul or Gemm with constant weights (outside loops)"

    calibration: Literal["minmax", "percentile", "entropy"] = "minmax"
    percentile: float = Field(default=99.99, gt=50, le=100)
    operators: tuple[str, ...] = ()
    """Operators to quantise; none: what is usual for the graph, by whether it has convolutions."""
    reduce_range: bool = False
    """Weights of 7 bits: slower to lose on processors without VNNI, where sums of u8 times s8 saturate."""

    def chosen(self, original: Original) -> tuple[str, ...]:
        """The operators that are quantised."""
        return self.operators or (*MATRICES, *((*CONVOLUTIONS, *AROUND) if original.has(*CONVOLUTIONS) else ()))

    def nodes(self, original: Original) -> list[str]:
        """See `Recipe.nodes`: those with weights; what stands around them follows."""
        weighted = [operator for operator in self.chosen(original) if operator in (*CONVOLUTIONS, *MATRICES)]
        return [
            node.name
            for node in original.model.graph.node
            if node.op_type in weighted and len(node.input) > 1 and node.input[1] in original.weights
        ]

    def transform(self, original: Original) -> onnx.ModelProto:
        """See `Recipe.transform`."""
        operators = self.chosen(original)
        ranges = original.ranges(RangeRule(method=self.calibration, percentile=self.percentile), operators)
        model = onnx.ModelProto()
        model.CopyFrom(original.model)
        with quiet():
            quantizer = QDQQuantizer(
                model, True, self.reduce_range, QuantType.QInt8, QuantType.QUInt8, TensorsData(CalibrationMethod.MinMax, {name: tuple(map(np.asarray, found)) for name, found in ranges.items()}),
                [], list(self.keep), list(operators), {"MatMulConstBOnly": True},
            )  # fmt: skip
            quantizer.quantize_model()
        made: onnx.ModelProto = quantizer.model.model
        return made


RECIPE = Int8
