"""The protocol over gRPC: messages to our own values and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache, partial
from math import prod
from typing import Any

import numpy as np

from seatrial_contracts.contract import Contract
from seatrial_contracts.errors import Refusal
from seatrial_serve.v2.elements import (
    CONTENTS,
    LITTLE,
    checked_datatype,
    checked_shape,
    from_bytes,
    to_bytes,
)
from seatrial_serve.v2.faults import with_others
from seatrial_serve.v2.message import (
    InferRequest,
    InferResponse,
    Parameters,
    Tensor,
    checked_id,
    checked_parameters,
    checked_wanted,
    most_named,
    place_of_input,
)
from seatrial_serve.v2.plain_row import PlainRow
from seatrial_serve.v2.proto import inference_pb2 as pb


def read_message(
    message: pb.ModelInferRequest, contract: Contract, plain: PlainRow | None = None
) -> InferRequest:
    """The request in a message to a model of this contract. Raises `Refusal`.

    `plain` reads a request of one plain row, where that is wanted.
    """
    row = plain.read_message(message) if plain is not None else None
    if row is not None:
        return InferRequest((), id=checked_id(message.id), binary=True, row=row)
    raw = message.raw_input_contents
    most = most_named(contract)
    if len(message.inputs) > most or len(message.outputs) > most:
        raise Refusal("E_LIMIT", "inputs and outputs", "more", f"at most {most} of each")
    if not message.inputs:
        raise Refusal("E_SCHEMA", "inputs", "none", "at least one")
    if raw and len(raw) != len(message.inputs):
        raise Refusal(
            "E_SHAPE",
            "raw_input_contents",
            f"{len(raw)} of them",
            f"{len(message.inputs)}, one for each input",
        )
    read = [partial(_input, message, place, contract) for place in range(len(message.inputs))]
    try:
        inputs = [each() for each in read]
    except Refusal as refusal:
        raise with_others(refusal, contract, read) from None
    outputs = [
        checked_wanted(contract, each.name, parameters_of(each.parameters))
        for each in message.outputs
    ]
    return InferRequest(
        inputs,
        [replace(each, binary=True) for each in outputs] or None,
        checked_parameters(parameters_of(message.parameters), "request parameters"),
        checked_id(message.id),
        True,
    )


def _input(message: pb.ModelInferRequest, place: int, contract: Contract) -> Tensor:
    """One input of a message. Raises `Refusal`."""
    given, raw = message.inputs[place], message.raw_input_contents
    where = place_of_input(contract, given.name)
    checked_parameters(parameters_of(given.parameters), where)
    datatype = checked_datatype(given.datatype, where)
    shape = checked_shape(list(given.shape), where)
    if not raw:
        return Tensor(given.name, datatype, shape, _typed(datatype, shape, given.contents, where))
    if given.HasField("contents"):
        raise Refusal("E_SCHEMA", where, "contents and raw contents both", "one of them")
    data = from_bytes(datatype, shape, memoryview(raw[place]), where)
    return Tensor(given.name, datatype, shape, data)


def parameters_of(given: Mapping[str, pb.InferParameter]) -> Parameters:
    """Plain values of parameters."""
    return {
        name: getattr(value, value.WhichOneof("parameter_choice") or "bool_param")
        for name, value in given.items()
    }


def _typed(
    datatype: str, shape: tuple[int, ...], contents: pb.InferTensorContents, where: str
) -> Any:
    field = CONTENTS.get(datatype)
    if field is None:
        raise Refusal(
            "E_DTYPE",
            where,
            f"{datatype} as typed contents",
            "raw_input_contents: the protocol has no other place for it",
        )
    values = getattr(contents, field)
    count = prod(shape)
    if len(values) != count:
        raise Refusal(
            "E_SHAPE",
            where,
            f"{len(values)} elements in {field}",
            f"{count} for shape {list(shape)}",
        )
    if datatype == "BYTES":
        return list(values)
    try:
        return np.array(values, LITTLE[datatype])
    except OverflowError:
        raise Refusal(
            "E_RANGE", where, "a number that does not fit", f"{datatype} elements"
        ) from None


def write_message(response: InferResponse) -> bytes:
    """The response as a message, its outputs raw: the one form that every client reads.

    A message's encodings one behind another are the encoding of one message that has the fields of
    all (protobuf.dev/programming-guides/encoding, "Last One Wins").
    """
    outputs = response.outputs
    rest = pb.ModelInferResponse(
        id=response.id,
        raw_output_contents=[to_bytes(array, datatype) for _, datatype, array in outputs],
    )
    described = tuple([(wanted.name, datatype, array.shape) for wanted, datatype, array in outputs])
    parameters = tuple(response.parameters.items())
    write = _write_head if response.errors is None else _write_head.__wrapped__
    head = write(response.model, response.version, parameters, described)
    return head + rest.SerializeToString()


@lru_cache(maxsize=256)
def _write_head(
    model: str,
    version: str,
    parameters: tuple[tuple[str, str], ...],
    outputs: tuple[tuple[str, str, tuple[int, ...]], ...],
) -> bytes:
    """What many responses of a model have in common."""
    return pb.ModelInferResponse(
        model_name=model,
        model_version=version,
        parameters={name: pb.InferParameter(string_param=value) for name, value in parameters},
        outputs=[
            pb.ModelInferResponse.InferOutputTensor(name=name, datatype=datatype, shape=shape)
            for name, datatype, shape in outputs
        ],
    ).SerializeToString()
