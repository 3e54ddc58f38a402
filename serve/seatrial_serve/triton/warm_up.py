"""Warm-up of Triton's models by a golden row.

The first client does not pay for first runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from struct import pack
from typing import Any

import numpy as np

from seatrial_contracts.bundle import Bundle
from seatrial_contracts.element_types import DTYPES, V2_DATATYPES
from seatrial_contracts.kinds.kind import Array
from seatrial_serve.inference.engine import Engine
from seatrial_serve.runtimes.triton_types import wide
from seatrial_serve.triton.config import data_type
from seatrial_serve.v2.elements import to_bytes

FOLDER = "warmup"


def raw_tensors(bundle: Bundle) -> dict[str, tuple[str, Array]]:
    """Return the first golden row as the contract's V2 tensors.

    They are name -> datatype and values, without the batch.
    """
    row = bundle.contract.validate_row(bundle.golden.rows[0])
    tensors = {}
    for field in bundle.contract.inputs:
        value = row[field.name]
        if value is None and field.kind.marked:
            continue
        if value is None:
            value = "" if field.kind.datatype == "BYTES" else np.nan
        else:
            value = field.kind.wire(field.kind.json_value(value))
        shape = field.kind.row_shape if None not in field.kind.row_shape else np.shape(value)
        datatype = wide(field.kind.datatype)
        tensors[field.name] = datatype, one(datatype, value).reshape([int(n) for n in shape if n])
    return tensors


def graph_tensors(engine: Engine) -> dict[str, tuple[str, Array]]:
    """The same row as the graph takes it."""
    encoded = engine.encode(engine.contract.validate_row(engine.bundle.golden.rows[0]))
    return {
        spec.name: (V2_DATATYPES[spec.dtype], np.atleast_1d(one(V2_DATATYPES[spec.dtype], value)))
        for spec, value in zip(engine.specs, encoded, strict=False)
    }


def one(datatype: str, value: Any) -> Array:
    """One row's value as an array of its type."""
    return np.array(value, object if datatype == "BYTES" else DTYPES[datatype])


def add_warm_up(config: Any, tensors: Mapping[str, tuple[str, Array]]) -> dict[str, bytes]:
    """Name the row's files in the configuration; return the files.

    The files are by their names in the model's folder.
    """
    sample = config.model_warmup.add(name="golden", batch_size=1, count=1)
    files = {}
    for place, (name, (datatype, array)) in enumerate(tensors.items()):
        given = sample.inputs[name]
        given.data_type = data_type(datatype)
        given.dims.extend(array.shape)
        given.input_data_file = f"golden.{place}"
        files[f"{FOLDER}/golden.{place}"] = words(array) if datatype == "BYTES" else to_bytes(array)
    return files


def words(array: Array) -> bytes:
    """BYTES: each element after its length."""
    encoded = [
        value.encode() if isinstance(value, str) else bytes(value)
        for value in array.ravel().tolist()
    ]
    return b"".join(pack("<I", len(word)) + word for word in encoded)
