"""A message's fields, told apart before it is unpacked.

Unpacking holds the interpreter, and a message of many empty parts takes 40 times its own size:
counting first bounds both. The encoding is protobuf's (protobuf.dev/programming-guides/encoding);
groups, which proto3 does not have, are refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from seatrial_contracts.errors import Refusal
from seatrial_serve.v2.elements import MAX_RANK
from seatrial_serve.v2.message import MAX_NAMED

LISTS = 5
"""Parameters, inputs, outputs and raw contents, and what there is once."""
MOST_FIELDS = LISTS * MAX_NAMED
"""Fields of one input, and of a message to a model of at most `MAX_NAMED` inputs or outputs."""
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
FIXED = {FIXED64: 8, FIXED32: 4}
MODEL_NAME, MODEL_VERSION, INPUTS, OUTPUTS = 1, 2, 5, 6
SHAPE, CONTENTS = 3, 5
"""Of an input."""
WORD_TAG = b"\x42"
"""How each element of `bytes_contents` begins."""


class Field(NamedTuple):
    """A field's number, how its value is written, and where that begins and ends."""

    number: int
    kind: int
    start: int
    end: int


def malformed() -> Refusal:
    """What is said of bytes that are no message."""
    return Refusal("E_MESSAGE", "message", "no valid protobuf", "one of the service's messages")


def read_varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """The number that begins there, and where it ends. Raises `Refusal`."""
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
    raise malformed()


def fields(data: bytes, at: int, end: int, most: int = MOST_FIELDS) -> Iterator[Field]:
    """The fields between two places. Raises `Refusal` where there are none, or more than `most`."""
    count = 0
    while at < end:
        count += 1
        if count > most:
            raise Refusal(
                "E_LIMIT", "message", f"more than {most} fields in one part", f"at most {most}"
            )
        tag, at = read_varint(data, at, end)
        kind, start = tag & 7, at
        if kind == BYTES:
            size, start = read_varint(data, at, end)
            at = start + size
        elif kind == VARINT:
            _, at = read_varint(data, at, end)
        elif kind in FIXED:
            at += FIXED[kind]
        else:
            raise malformed()
        if at > end:
            raise malformed()
        yield Field(tag >> 3, kind, start, at)


def model_of(data: bytes) -> tuple[str, str]:
    """The model and the version that a `ModelInferRequest` is for. Raises `Refusal`.

    Both stand before the fields of which there may be many, as protobuf writes messages: only the
    first fields are looked at.
    """
    names = {MODEL_NAME: "", MODEL_VERSION: ""}
    try:
        for count, field in enumerate(fields(data, 0, len(data), len(data))):
            if count == MOST_FIELDS:
                break
            if field.number in names and field.kind == BYTES:
                names[field.number] = data[field.start : field.end].decode()
    except UnicodeDecodeError:
        raise malformed() from None
    return names[MODEL_NAME], names[MODEL_VERSION]


def check_parts(data: bytes, most_values: int, most_named: int = MAX_NAMED) -> None:
    """Raise `Refusal` for a `ModelInferRequest` with more parts than any that is answered.

    `most_values` and `most_named` are the contract's.
    """
    for field in fields(data, 0, len(data), LISTS * most_named):
        if field.number not in (INPUTS, OUTPUTS) or field.kind != BYTES:
            continue
        for part in fields(data, field.start, field.end):
            if field.number == OUTPUTS:
                continue
            if part.number == SHAPE and part.end - part.start > 10 * MAX_RANK:
                raise Refusal(
                    "E_LIMIT", "message", "a shape of more dimensions", f"at most {MAX_RANK}"
                )
            if part.number == CONTENTS and data.count(WORD_TAG, part.start, part.end) > most_values:
                for _ in fields(data, part.start, part.end, most_values + MOST_FIELDS):
                    pass
