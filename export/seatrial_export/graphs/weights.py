"""The weights of a graph: inside of it, or in a data file beside it where they are many.

In memory, the location of a tensor in a data file is that file's absolute path: a graph is whole
without another word on where its weights lie. `sealed_form` gives the graph as a bundle holds it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from seatrial_export.graphs.data_file import PIECE_BYTES, DataFile

OUTSIDE_FROM_BYTES = 2**28
"""A graph with so many bytes of weights has them in a data file; the only place that decides it.

Below, one file is as quick to seal, and onnxruntime's optimised form of it is cached.
"""
LEAST_BYTES = 2**14
"""Smaller tensors stay in the graph, where checks of constants and shapes read them."""


class Place(NamedTuple):
    """Where a tensor lies."""

    path: Path
    offset: int
    length: int


def is_outside(tensor: TensorProto) -> bool:
    """Does the tensor lie in a data file?"""
    return tensor.data_location == TensorProto.EXTERNAL


def is_settled(tensor: TensorProto) -> bool:
    """Does a tensor outside say all of where it lies, with the path of its file?"""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    whole = {"location", "offset", "length"} <= entries.keys()
    return whole and Path(entries["location"]).is_absolute()


def outside_of(model: onnx.ModelProto) -> list[TensorProto]:
    """The weights in data files."""
    return [tensor for tensor in model.graph.initializer if is_outside(tensor)]


def place_of(tensor: TensorProto) -> Place:
    """Where a tensor outside of its graph lies."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    return Place(Path(entries["location"]), int(entries["offset"]), int(entries["length"]))


def put_outside(tensor: TensorProto, place: Place) -> None:
    """Let a tensor, which keeps its name, type and sizes, lie in a data file."""
    for field in ("raw_data", "float_data", "int32_data", "int64_data", "double_data"):
        tensor.ClearField(field)
    tensor.ClearField("uint64_data")
    del tensor.external_data[:]
    tensor.data_location = TensorProto.EXTERNAL
    entries = {"location": place.path, "offset": place.offset, "length": place.length}
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=str(value))


def outside_tensor(name: str, data_type: int, dims: tuple[int, ...], place: Place) -> TensorProto:
    """A tensor that lies in a data file."""
    tensor = TensorProto(name=name, data_type=data_type, dims=dims)
    put_outside(tensor, place)
    return tensor


def size_of(tensor: TensorProto) -> int:
    """Bytes of a tensor's numbers, as a data file holds them; 0 for texts."""
    if tensor.data_type in (TensorProto.STRING, TensorProto.UNDEFINED):
        return 0
    return -(-math.prod(tensor.dims) * bits_of(tensor.data_type) // 8)


def bits_of(data_type: int) -> int:
    """Bits of one number of an ONNX type."""
    if data_type in (TensorProto.INT4, TensorProto.UINT4, TensorProto.FLOAT4E2M1):
        return 4
    return int(helper.tensor_dtype_to_np_dtype(data_type).itemsize * 8)


def array_of(tensor: TensorProto) -> NDArray[Any]:
    """A tensor's numbers: where they lie outside, a view that reads its data file when used."""
    if not is_outside(tensor):
        return numpy_helper.to_array(tensor)
    place, dims = place_of(tensor), tuple(tensor.dims)
    if bits_of(tensor.data_type) < 8:
        held = np.fromfile(place.path, np.uint8, place.length, offset=place.offset)
        inside = TensorProto(data_type=tensor.data_type, dims=dims, raw_data=held.tobytes())
        return numpy_helper.to_array(inside)
    dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    return np.memmap(place.path, dtype, "r", place.offset, dims)


def weight_bytes(model: onnx.ModelProto) -> int:
    """Bytes of the weights, inside and outside."""
    return sum(map(size_of, model.graph.initializer))


def stored(model: onnx.ModelProto, path: Callable[[], Path]) -> onnx.ModelProto:
    """The graph with its weights where the rule wants them.

    Where they are few, that is inside. Where they are many, all but small ones lie in a new data
    file at `path`, written tensor by tensor, and the graph is a light copy. A graph that is so
    already is returned as it is. Raises `OSError`.
    """
    outside = outside_of(model)
    if weight_bytes(model) < OUTSIDE_FROM_BYTES:
        return brought_inside(model) if outside else model
    target = path()
    if {place_of(tensor).path for tensor in outside} == {target}:
        return model
    made = without_weights(model)
    with DataFile(target) as file:
        for tensor in model.graph.initializer:
            kept = made.graph.initializer.add()
            if size_of(tensor) < LEAST_BYTES and not is_outside(tensor):
                kept.CopyFrom(tensor)
                continue
            kept.name, kept.data_type = tensor.name, tensor.data_type
            kept.dims.extend(tensor.dims)
            put_outside(kept, Place(target, *file.add(pieces_of(tensor))))
    return made


def brought_inside(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with all weights inside. Raises `OSError`."""
    made = without_weights(model)
    for tensor in model.graph.initializer:
        kept = made.graph.initializer.add()
        kept.CopyFrom(tensor)
        if is_outside(tensor):
            bring_inside(kept)
    return made


def bring_inside(tensor: TensorProto) -> None:
    """Let a tensor that lies in a data file lie in its graph. Raises `OSError`."""
    tensor.raw_data = b"".join(pieces_of(tensor))
    tensor.data_location = TensorProto.DEFAULT
    del tensor.external_data[:]


def pieces_of(tensor: TensorProto) -> Iterator[Any]:
    """Yield a tensor's bytes in pieces."""
    if is_outside(tensor):
        place = place_of(tensor)
        with place.path.open("rb") as file:
            for start in range(0, place.length, PIECE_BYTES):
                file.seek(place.offset + start)
                yield file.read(min(PIECE_BYTES, place.length - start))
    elif tensor.HasField("raw_data"):
        yield tensor.raw_data
    else:
        yield numpy_helper.from_array(numpy_helper.to_array(tensor)).raw_data


def without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy without initializers, which are never copied on the way."""
    made = onnx.ModelProto()
    _copy_but(model, made, "graph")
    _copy_but(model.graph, made.graph, "initializer")
    return made


def _copy_but(source: Any, target: Any, left_out: str) -> None:
    for field, value in source.ListFields():
        if field.name == left_out:
            continue
        if field.is_repeated:
            getattr(target, field.name).extend(value)
        elif field.message_type is not None:
            getattr(target, field.name).CopyFrom(value)
        else:
            setattr(target, field.name, value)


def weights_as_inputs(model: onnx.ModelProto) -> tuple[onnx.ModelProto, list[TensorProto]]:
    """The graph with the weights in data files as inputs of their types and sizes, and these.

    For onnx's own checks and conversions, which look for data files below the working directory.
    """
    outside = outside_of(model)
    if not outside:
        return model, []
    made = without_weights(model)
    made.graph.initializer.extend(
        tensor for tensor in model.graph.initializer if not is_outside(tensor)
    )
    made.graph.input.extend(
        helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
        for tensor in outside
    )
    return made, outside


def inputs_as_weights(model: onnx.ModelProto, outside: list[TensorProto]) -> onnx.ModelProto:
    """The graph with these inputs as the weights in data files that they are."""
    names = {tensor.name for tensor in outside}
    kept = [value for value in model.graph.input if value.name not in names]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    model.graph.initializer.extend(outside)
    return model


def sealed_form(model: onnx.ModelProto) -> tuple[bytes, Path | None]:
    """The graph's bytes, and the folder of its data files; None where it has none.

    Data files go by their names in that folder. The same graph gives the same bytes.
    """
    folders = {place_of(tensor).path.parent for tensor in outside_of(model)}
    if not folders:
        return model.SerializeToString(deterministic=True), None
    folder = Path(os.path.commonpath(folders))
    named = onnx.ModelProto()
    named.CopyFrom(model)
    for tensor in outside_of(named):
        place = place_of(tensor)
        put_outside(tensor, place._replace(path=place.path.relative_to(folder)))
    return named.SerializeToString(deterministic=True), folder
