"""Static int8: QuantizeLinear and DequantizeLinear pairs (QDQ).

Activations are u8 by ranges measured on real rows, weights s8 by channel. Weights are of 7 bits,
-64 to 64. x86 without VNNI adds two products of u8 and s8 in 16 bits, and saturates (VPMADDUBSW):
2 * 255 * 64 fits, so the sums are the same on every processor. u8 weights would be exact too, but
onnxruntime runs them slower, and without VNNI (its pull request 27671).
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationMethod, QDQQuantizer, QuantType, TensorsData
from pydantic import Field

from seatrial_export.graphs.exporter_messages import quiet
from seatrial_export.variants.original import Original
from seatrial_export.variants.ranges import RangeRule
from seatrial_export.variants.recipe import Recipe

CONVOLUTIONS = ("Conv", "ConvTranspose")
MATRICES = ("MatMul", "Gemm")
AROUND = (
    "Add",
    "Relu",
    "Clip",
    "LeakyRelu",
    "MaxPool",
    "AveragePool",
    "GlobalAveragePool",
    "Concat",
    "Reshape",
    "Flatten",
    "Squeeze",
    "Unsqueeze",
    "Transpose",
    "Resize",
)
"""What stands between convolutions and can pass int8 on without going back to fp32."""


CHANNELS_FROM = 13
"""From this opset on, QuantizeLinear has a scale for each channel."""


class Int8(Recipe):
    """For convolutional networks.

    Transformers' activations have outliers that one range for all tokens does not bear: see
    `int8_per_token`.
    """

    KIND: ClassVar[str] = "int8"
    COSINE: ClassVar[float] = 0.99
    AGREEMENT: ClassVar[float] = 0.95
    RELATIVE: ClassVar[float] = 0.05
    CALIBRATED: ClassVar[bool] = True
    WHOLE: ClassVar[bool] = True
    LEAVES: ClassVar[str] = "Conv, MatMul or Gemm with constant weights (outside loops)"

    calibration: Literal["minmax", "percentile", "entropy"] = "minmax"
    percentile: float = Field(default=99.99, gt=50, le=100)
    operators: tuple[str, ...] = ()
    """Operators to quantise; none: what is usual for the graph, by whether it has convolutions."""

    def chosen(self, original: Original) -> tuple[str, ...]:
        """The operators that are quantised."""
        return self.operators or (
            *MATRICES,
            *((*CONVOLUTIONS, *AROUND) if original.has(*CONVOLUTIONS) else ()),
        )

    def nodes(self, original: Original) -> list[str]:
        """See `Recipe.nodes`: those with weights; what stands around them follows."""
        weighted = [
            operator for operator in self.chosen(original) if operator in (*CONVOLUTIONS, *MATRICES)
        ]
        return [
            node.name
            for node in original.model.graph.node
            if node.op_type in weighted
            and len(node.input) > 1
            and node.input[1] in original.weights
        ]

    def transform(self, original: Original) -> onnx.ModelProto:
        """See `Recipe.transform`."""
        original = original.raised(CHANNELS_FROM)
        operators = self.chosen(original)
        ranges = original.ranges(
            RangeRule(method=self.calibration, percentile=self.percentile), operators
        )
        model = onnx.ModelProto()
        model.CopyFrom(original.model)
        with quiet():
            quantizer = QDQQuantizer(
                model,
                True,
                True,
                QuantType.QInt8,
                QuantType.QUInt8,
                TensorsData(
                    CalibrationMethod.MinMax,
                    {name: tuple(map(np.asarray, found)) for name, found in ranges.items()},
                ),
                [],
                list(self.keep),
                list(operators),
                {"MatMulConstBOnly": True},
            )
            quantizer.quantize_model()
        made: onnx.ModelProto = quantizer.model.model
        for node in made.graph.node:
            if node.name in self.keep:
                set_apart(made.graph, node)
        quantizer.model.topological_sort()  # as ONNX asks, and the quantizer does not
        return made


def set_apart(graph: onnx.GraphProto, node: onnx.NodeProto) -> None:
    """Part a kept node from the values around it by a `Sum` of one.

    onnxruntime rounds the float weights of a Conv or Gemm between a DequantizeLinear and a
    QuantizeLinear while it loads the graph
    (`findings/onnxruntime-rounds-excluded-convolutions.sh`).
    """
    apart = f"_{node.output[0]}.kept"
    graph.node.append(onnx.helper.make_node("Sum", [node.input[0]], [apart], name=f"node{apart}"))
    node.input[0] = apart


RECIPE = Int8
