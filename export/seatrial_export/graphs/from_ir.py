"""Graphs as PyTorch's exporter holds them, written without a second copy of their weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import onnx_ir as ir

from seatrial_export.graphs import weights
from seatrial_export.graphs.data_file import DataFile


def proto_of(model: ir.Model, path: Callable[[], Path]) -> onnx.ModelProto:
    """The graph with its weights where the rule wants them, see `weights.stored`.

    Weights for the data file at `path` go there from the tensors' own memory. Each is let go of
    once it is written, so that what the exporter turned or cast is in memory one by one.
    Raises `OSError`.
    """
    values = [value for value in model.graph.initializers.values() if value.const_value is not None]
    sizes = [0 if value.dtype is ir.DataType.STRING else size_of(value) for value in values]
    if sum(sizes) < weights.OUTSIDE_FROM_BYTES:
        return ir.serde.serialize_model(model)
    with DataFile(path()) as file:
        for value, size in zip(values, sizes, strict=True):
            if size >= weights.LEAST_BYTES:
                put_outside(value, file)
    return ir.serde.serialize_model(model)


def size_of(value: ir.Value) -> int:
    """Bytes of an initializer."""
    assert value.const_value is not None, "an initializer"
    return int(value.const_value.nbytes)


def put_outside(value: ir.Value, file: DataFile) -> None:
    """Write an initializer and let it lie in the file from then on."""
    tensor = value.const_value
    assert tensor is not None, "an initializer"
    if tensor.dtype.bitwidth < 8:
        place = file.add([tensor.tobytes()])
    else:
        place = file.add_array(tensor.numpy())
    value.const_value = ir.ExternalTensor(
        str(file.path),
        *place,
        tensor.dtype,
        shape=ir.Shape(tensor.shape.numpy()),
        name=str(value.name),
    )
