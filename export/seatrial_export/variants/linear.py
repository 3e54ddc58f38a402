"""Nodes that multiply by a constant matrix: what most of a transformer's time and weights are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from seatrial_export.graphs.weights import array_of


@dataclass(frozen=True)
class Linear:
    """`output = x @ matrix (+ bias)`, as MatMul or Gemm write it."""

    x: str
    weight: str
    """Name of the initializer; `matrix` is it with shape `(inputs, outputs)`."""
    transposed: bool
    bias: str
    """Empty where there is none."""
    output: str
    tensor: onnx.TensorProto

    @property
    def matrix(self) -> NDArray[Any]:
        """The weights, `(inputs, outputs)`."""
        values = array_of(self.tensor)
        return np.ascontiguousarray(values.T) if self.transposed else values


def linear_of(node: onnx.NodeProto, weights: Mapping[str, onnx.TensorProto]) -> Linear | None:
    """The matrix that a node multiplies by, where the node adds no more than a bias; else None.

    The matrix must be a constant of float32.
    """
    if node.op_type not in ("MatMul", "Gemm") or node.input[1] not in weights:
        return None
    tensor = weights[node.input[1]]
    if len(tensor.dims) != 2 or tensor.data_type != onnx.TensorProto.FLOAT:
        return None
    options = {
        attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute
    }
    if (
        options.get("transA", 0)
        or options.get("alpha", 1.0) != 1.0
        or options.get("beta", 1.0) != 1.0
    ):
        return None
    bias = node.input[2] if len(node.input) > 2 else ""
    return Linear(
        node.input[0], node.input[1], bool(options.get("transB", 0)), bias, node.output[0], tensor
    )
