"""Columns as a V2 request with binary tensors, and the tensors of its answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from seatrial_client.plan import Reply
from seatrial_client.reply import object_in, odd_answer
from seatrial_contracts.contract import Contract
from seatrial_contracts.errors import Refusal
from seatrial_contracts.kinds.kind import Array, Column
from seatrial_serve.v2.elements import from_bytes, to_bytes

HEADER = "Inference-Header-Content-Length"


def v2_body(
    columns: Mapping[str, Column], rows: int, contract: Contract, options: Mapping[str, Any]
) -> tuple[bytes, int]:
    """The body, and how many bytes of it are JSON."""
    inputs, blobs = [], []
    for name, column in columns.items():
        raw, array = contract.raw_tensors[name], np.asarray(column)
        shape = array.shape if array.ndim > 1 else (rows, 1)
        blobs.append(to_bytes(array, raw.datatype))
        inputs.append(
            {
                "name": name,
                "datatype": raw.datatype,
                "shape": shape,
                "parameters": {"binary_data_size": len(blobs[-1])},
            }
        )
    head = {"inputs": inputs, "parameters": {"binary_data_output": True, **options}}
    text = orjson.dumps(head)
    return b"".join([text, *blobs]), len(text)


def v2_arrays(reply: Reply, contract: Contract, rows: int) -> tuple[dict[str, Array], Any]:
    """The tensors of the answer by name, in the shapes that the graph gives them, and the version.

    Raises what `object_in` raises, and `Unavailable` where they are not those of the contract.
    """
    length = reply.headers.get(HEADER.lower())
    if length is None or not length.isdecimal():
        object_in(reply)
        raise odd_answer("no binary tensors", "those of every output")
    size = int(length)
    head = object_in(reply._replace(content=reply.content[:size]))
    rest, found = memoryview(reply.content)[size:], {}
    shapes = {tensor.name: tensor for tensor in contract.answer_tensors}
    try:
        for output in head["outputs"]:
            own = shapes[output["name"]]
            used = output["parameters"]["binary_data_size"]
            flat = from_bytes(own.datatype, tuple(output["shape"]), rest[:used], "output")
            found[own.name] = np.asarray(flat).reshape((rows, *_sides(own.shape)))
            rest = rest[used:]
    except (KeyError, TypeError, ValueError, Refusal) as error:
        raise odd_answer("tensors that are not the contract's", "those of every output") from error
    if found.keys() != shapes.keys():
        raise odd_answer("some of the outputs", "every one")
    return found, head.get("model_version")


def _sides(shape: Sequence[int | None]) -> tuple[int, ...]:
    return tuple(-1 if side is None else side for side in shape)
