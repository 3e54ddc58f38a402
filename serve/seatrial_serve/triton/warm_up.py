"""Warm-up of Triton's models by a golden row.

The first client does not pay for first runs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from struct import pack
from typing import Any

import numpy as np

from seatrial_contracts.bundle import Bundle
from seatrial_contracts.element_types import DTYPES, V2_DATATYPES
from seatrial_contracts.kinds.kind import Array
from seatrial_contracts.kinds.raw_tensor import TOKEN_IDS
from seatrial_serve.inference.engine import Engine
from seatrial_serve.runtimes.triton_types import wide
from seatrial_serve.triton.config import data_type
from seatrial_serve.v2.elements import to_bytes

FOLDER = "warmup"
Tensors = dict[str, tuple[str, Array]]
"""Name -> datatype and values of one row."""


def raw_tensors(bundle: Bundle) -> Tensors:
    """Return the first golden row that is nowhere empty as the contract's V2 tensors.

    They are without the batch.
    """
    return first_whole(partial(tensors_of_row, bundle), bundle)


def first_whole(read: Callable[[Any], Tensors], bundle: Bundle) -> Tensors:
    """What `read` makes of the first golden row of which no tensor is empty.

    Triton warms up with no empty tensor. Without such a row there are none.
    """
    found = map(read, bundle.golden.rows)
    whole = (each for each in found if all(array.size for _, array in each.values()))
    return next(whole, {})


def tensors_of_row(bundle: Bundle, raw: Any) -> Tensors:
    """A row as the contract's V2 tensors, without the batch."""
    row = bundle.contract.validate_row(raw)
    tensors = {}
    for field in bundle.contract.inputs:
        value = row[field.name]
        if value is None and field.kind.marked:
            continue
        if field.kind.takes_token_ids and isinstance(value, list):
            tensors[f"{field.name}_{TOKEN_IDS}"] = "INT64", np.array(value, np.int64)
            continue
        if value is None:
            value = "" if field.kind.datatype == "BYTES" else np.nan
        else:
            value = field.kind.wire(field.kind.json_value(value))
        shape = field.kind.row_shape if None not in field.kind.row_shape else np.shape(value)
        datatype = wide(field.kind.datatype)
        tensors[field.name] = datatype, one(datatype, value).reshape([int(n or 0) for n in shape])
    return tensors


def graph_tensors(engine: Engine) -> Tensors:
    """Such a row as the graph takes it."""
    return first_whole(partial(graph_tensors_of_row, engine), engine.bundle)


def graph_tensors_of_row(engine: Engine, raw: Any) -> Tensors:
    """A row as the graph takes it, without the batch."""
    encoded = engine.encode(engine.contract.validate_row(raw))
    return {
        spec.name: (V2_DATATYPES[spec.dtype], np.atleast_1d(one(V2_DATATYPES[spec.dtype], value)))
        for spec, value in zip(engine.specs, encoded, strict=False)
    }


def one(datatype: str, value: Any) -> Array:
    """One row's value as an array of its type."""
    return np.array(value, object if datatype == "BYTES" else DTYPES[datatype])


def add_warm_up(config: Any, tensors: Tensors) -> dict[str, bytes]:
    """Name the row's files in the configuration; return the files.

    The files are by their names in the model's folder. Without tensors there is no warm-up.
    """
    if not tensors:
        return {}
    sample = config.model_warmup.add(name="golden", batch_size=1, count=1)
    files = {}
    for place, (name, (datatype, array)) in enumerate(tensors.items()):
        given = sample.inputs[name]
        given.data_type = data_type(datatype)
        given.dims.extend(array.shape)
        given.input_data_file = f"golden.{place}"
        files[f"{FOLDER}/golden.{place}"] = (
            words(array) if datatype == "BYTES" else to_bytes(array, datatype)
        )
    return files


def words(array: Array) -> bytes:
    """BYTES: each element after its length."""
    encoded = [
        value.encode() if isinstance(value, str) else bytes(value)
        for value in array.ravel().tolist()
    ]
    return b"".join(pack("<I", len(word)) + word for word in encoded)
