"""Operators that the exporter has no ONNX form for: our own, and one of torch's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import onnx
import torch
from onnxscript import opset18

import seatrial_export.suppress  # noqa: F401  (registers the operators)

op: Any = opset18


def stays(boxes: Any, scores: Any, iou: float, score: float) -> Any:
    """`suppress.stays` by NonMaxSuppression: the places that it lists, in a mask.

    The number of boxes that may stay has no bound of its own: it is the number of boxes.
    """
    most = op.Shape(scores, start=2, end=3)
    chosen = op.NonMaxSuppression(
        boxes,
        scores,
        most,
        op.Constant(value_floats=[iou]),
        op.Constant(value_floats=[score]),
    )
    nothing = op.ConstantOfShape(op.Shape(scores), value=filled(0.0))
    ones = op.ConstantOfShape(op.Shape(chosen, start=0, end=1), value=filled(1.0))
    return op.Cast(op.ScatterND(nothing, chosen, ones), to=onnx.TensorProto.BOOL)


def filled(value: float) -> onnx.TensorProto:
    """One float32, as ConstantOfShape has it."""
    return onnx.helper.make_tensor("value", onnx.TensorProto.FLOAT, [1], [value])


def all_true(values: Any) -> Any:
    """`torch._check_tensor_all` asks so. The exporter drops its assertion and keeps the question.

    Source: torch 2.13, `torch/onnx/_internal/exporter/_fx_passes.py`.
    """
    numbers = op.Cast(values, to=onnx.TensorProto.INT32)
    return op.Cast(op.ReduceMin(numbers, keepdims=0), to=onnx.TensorProto.BOOL)


TRANSLATIONS: Mapping[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.seatrial.stays.default: stays,
    torch.ops.aten._is_all_true.default: all_true,  # noqa: SLF001  (the name of an operator)
}
"""For `torch.onnx.export(custom_translation_table=...)`."""
