"""The protocol over HTTP.

A body is of JSON, of JSON with binary tensors behind it, or of one raw tensor.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

import orjson

from seatrial_contracts.contract import Contract
from seatrial_contracts.element_types import NOT_IN_JSON
from seatrial_contracts.errors import Refusal
from seatrial_contracts.json_values import check_values
from seatrial_serve.process.json_pieces import write_json
from seatrial_serve.v2.elements import (
    LENGTH,
    LITTLE,
    MAX_RANK,
    checked_datatype,
    checked_shape,
    from_bytes,
    from_json,
    not_in_json,
    to_bytes,
)
from seatrial_serve.v2.faults import with_others
from seatrial_serve.v2.message import (
    MAX_NAMED,
    InferRequest,
    InferResponse,
    Tensor,
    checked_flag,
    checked_id,
    checked_parameters,
    checked_wanted,
    most_named,
    place_of_input,
)
from seatrial_serve.v2.plain_row import PlainRow

HEADER = b"inference-header-content-length"
NAMED_VALUES = 3 * (MAX_NAMED + MAX_RANK)
"""Values beside the data of one input or output: its parameters and its shape."""
REQUEST_KEYS, OUTPUT_KEYS = {"id", "parameters", "inputs", "outputs"}, {"name", "parameters"}
INPUT_KEYS = {"name", "shape", "datatype", "parameters", "data"}
PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
"""A key that may stand in a message: what else a client sends as one is its own."""
MOST_TOLD = 3
"""Ignored keys in a message."""


def header_length(headers: Mapping[bytes, bytes], body_bytes: int) -> int | None:
    """Return the bytes of JSON before the binary tensors.

    They are None if all of the body is JSON, 0 if none is. Raises `Refusal`.
    """
    value = headers.get(HEADER)
    if value is None:
        return None
    if not value.isdigit() or len(value) > 18 or int(value) > body_bytes:
        raise Refusal(
            "E_HEADER",
            "header Inference-Header-Content-Length",
            "another value",
            f"a whole number from 0 to {body_bytes}, the body's bytes",
        )
    return int(value)


def read_request(
    body: bytes, json_bytes: int | None, contract: Contract, plain: PlainRow | None = None
) -> InferRequest:
    """Return the request in a body.

    Keys that the protocol does not have are ignored, as the protocol says. Raises `Refusal`,
    which names the ignored keys.

    `plain` reads a request of one plain row, where that is wanted.
    """
    if json_bytes == 0:
        return raw_request(body, contract)
    text = body if json_bytes is None else body[:json_bytes]
    most = most_named(contract)
    check_values(text, contract.most_values + most * NAMED_VALUES)
    head = _object(text)
    row = plain.read(head) if plain is not None and json_bytes is None else None
    if row is not None:
        return InferRequest((), id=checked_id(head.get("id")), row=row)
    try:
        return _request(
            head, contract, memoryview(body)[len(body) if json_bytes is None else json_bytes :]
        )
    except Refusal as refusal:
        ignored = ignored_keys(head)
        raise refusal.adding(ignored) if ignored else refusal from None


def _request(head: dict[str, Any], contract: Contract, rest: memoryview) -> InferRequest:
    most = most_named(contract)
    parameters = checked_parameters(head.get("parameters"), "request parameters")
    inputs, used = _inputs(contract, _listed(head, "inputs", most), rest)
    if used != len(rest):
        raise Refusal(
            "E_SHAPE",
            "request body",
            f"{len(rest) - used} bytes behind the last tensor",
            "as many as the inputs' binary_data_size add up to",
        )
    outputs = _listed(head, "outputs", most) if "outputs" in head else None
    return InferRequest(
        inputs,
        [checked_wanted(contract, item["name"], item.get("parameters")) for item in outputs]
        if outputs
        else None,
        parameters,
        checked_id(head.get("id")),
        checked_flag(parameters, "binary_data_output", "request parameters") or False,
    )


def _object(data: bytes) -> dict[str, Any]:
    want = 'an object: {"inputs": [{"name": ..., "shape": [...], "datatype": ..., "data": [...]}]}'
    if not data:
        raise Refusal("E_EMPTY", "request body", "nothing", want)
    try:
        head = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise Refusal(
            "E_JSON", "request body", "no valid JSON", f"{want} in UTF-8; NaN is null, or binary"
        ) from None
    if not isinstance(head, dict):
        raise Refusal("E_SCHEMA", "request body", "something else", want)
    if len(head) > MAX_NAMED:
        raise Refusal("E_LIMIT", "request body", f"{len(head)} keys", f"at most {MAX_NAMED}")
    return head


def ignored_keys(head: dict[str, Any]) -> str:
    """Return the message about the keys of a request that the protocol does not have.

    It is empty if there are none.
    """
    found = head.keys() - REQUEST_KEYS
    for name, known in (("inputs", INPUT_KEYS), ("outputs", OUTPUT_KEYS)):
        items = head.get(name)
        for item in items[:MAX_NAMED] if isinstance(items, list) else ():
            found |= item.keys() - known if isinstance(item, dict) else set()
    told = ", ".join([f"'{key}'" for key in sorted(found) if PLAIN_KEY.fullmatch(key)][:MOST_TOLD])
    if len(found) == 1:
        return f"unknown key {told} was ignored" if told else "an unknown key was ignored"
    return f"{len(found)} unknown keys were ignored{told and f': {told}'}" if found else ""


def _listed(head: dict[str, Any], name: str, most: int) -> list[dict[str, Any]]:
    items = head.get(name)
    if not isinstance(items, list) or not all(
        isinstance(item, dict) and isinstance(item.get("name"), str) for item in items
    ):
        got, mend = "something else", None
        if name == "inputs" and "instances" in head:
            got, mend = "'instances'", "they are V1's: send them to /v1/models/NAME:predict"
        raise Refusal("E_SCHEMA", name, got, "a list of objects with names", mend)
    if not items and name == "inputs":
        raise Refusal("E_SCHEMA", name, "an empty list", "at least one")
    if len(items) > most:
        raise Refusal("E_LIMIT", name, f"{len(items)} of them", f"at most {most}")
    return items


def _inputs(
    contract: Contract, items: list[dict[str, Any]], rest: memoryview
) -> tuple[list[Tensor], int]:
    tensors, used = [], 0
    try:
        for item in items:
            tensor, size = _input(contract, item, rest[used:])
            tensors.append(tensor)
            used += size
    except Refusal as refusal:
        if rest:  # where the next tensor begins is not known
            raise
        read = [partial(_lone_input, contract, item) for item in items]
        raise with_others(refusal, contract, read) from None
    return tensors, used


def _lone_input(contract: Contract, item: dict[str, Any]) -> Tensor:
    """An input of a body without binary tensors. Raises `Refusal`."""
    return _input(contract, item, memoryview(b""))[0]


def _input(contract: Contract, item: dict[str, Any], rest: memoryview) -> tuple[Tensor, int]:
    """One input, and how many bytes of the `rest` of the body are its own. Raises `Refusal`."""
    name = item["name"]
    where = place_of_input(contract, name)
    datatype = checked_datatype(item.get("datatype"), where)
    shape = checked_shape(item.get("shape"), where)
    size = checked_parameters(item.get("parameters"), where).get("binary_data_size")
    if (size is None) == ("data" not in item):
        raise Refusal(
            "E_SCHEMA", where, "'data' and 'binary_data_size' both, or neither", "one of them"
        )
    if size is None:
        return Tensor(name, datatype, shape, from_json(datatype, shape, item["data"], where)), 0
    if type(size) is not int or not 0 <= size <= len(rest):
        got, want = "a binary_data_size that the body does not have", f"0 to {len(rest)} bytes"
        raise Refusal("E_SHAPE", where, got, want)
    return Tensor(name, datatype, shape, from_bytes(datatype, shape, rest[:size], where)), size


def raw_request(body: bytes, contract: Contract) -> InferRequest:
    """Return the request of a body that is the only input of one row, and nothing else.

    Every output comes back in binary. Raises `Refusal`.
    """
    field = contract.inputs[0]
    shape = field.kind.row_shape
    if len(contract.inputs) != 1 or shape.count(None) > 1:
        raise Refusal(
            "E_UNSUPPORTED",
            "header Inference-Header-Content-Length",
            "0",
            "a length: a raw request is for models of one input with one open size at most",
        )
    if field.kind.datatype == "BYTES":
        data: Any = from_bytes(
            "BYTES", (1,), memoryview(LENGTH.pack(len(body)) + body), f"input '{field.name}'"
        )
        return InferRequest([Tensor(field.name, "BYTES", (1, 1), data)], binary=True)
    row = 1
    for side in shape:
        row *= side or 1
    item = LITTLE[field.kind.datatype].itemsize
    whole = tuple(side if side is not None else len(body) // (item * row) for side in shape)
    return InferRequest(
        [
            Tensor(
                field.name,
                field.kind.datatype,
                (1, *whole),
                from_bytes(
                    field.kind.datatype, (1, *whole), memoryview(body), f"input '{field.name}'"
                ),
            )
        ],
        binary=True,
    )


def write_response(response: InferResponse) -> tuple[bytes, int | None]:
    """The body, and how many bytes of it are JSON where binary tensors follow.

    Raises `Refusal` for FP16 and BF16 in JSON, in which the protocol has no form for them.
    """
    outputs, blobs = [], []
    for wanted, datatype, array in response.outputs:
        output: dict[str, Any] = {"name": wanted.name, "datatype": datatype, "shape": array.shape}
        if wanted.binary:
            blobs.append(to_bytes(array, datatype))
            output["parameters"] = {"binary_data_size": len(blobs[-1])}
        elif datatype in NOT_IN_JSON:
            raise not_in_json(datatype, f"output '{wanted.name}'", "binary_data: true")
        else:
            output["data"] = array.ravel().tolist() if array.dtype.kind == "O" else array.ravel()
        outputs.append(output)
    head = {
        "model_name": response.model,
        "model_version": response.version,
        "parameters": response.parameters,
        "outputs": outputs,
    }
    if response.id:
        head["id"] = response.id
    text = write_json(
        head, sum(array.nbytes for wanted, _, array in response.outputs if not wanted.binary)
    )
    return (b"".join([text, *blobs]), len(text)) if blobs else (text, None)
