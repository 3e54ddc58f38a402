"""What an ONNX graph names outside itself, read off its bytes.

A runtime opens such files from below the working directory. The walk needs no onnx and no protobuf,
copies nothing, and skips weights by their length, so it costs the graph's nodes and not its size.
Where an encoding leaves room for two readings, the graph is refused: another parser may read it the
other way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

MAX_GRAPH_BYTES = 2**31 - 1
"""What one protobuf message can hold (Protocol Buffers, "Proto Limits")."""
MAX_DEPTH = 100
"""How deep messages may nest: the limit of protobuf's C++ parser, which onnxruntime uses."""
MAX_DIGITS = 18
"""Of a place in a file: it is below 2**63."""
ORT_FORMAT = b"ORTM"
"""The mark at byte 4 of onnxruntime's own format (flatbuffers' file identifier).

onnxruntime takes a file with this mark for its own format, whatever else the file holds.
"""
TENSOR_NAME, EXTERNAL_DATA, DATA_LOCATION, OP_TYPE = 8, 13, 14, 4
CONTEXT_OPERATOR = b"EPContext"
"""The operator whose attributes hold, or name, an execution provider's compiled context.

Source: onnxruntime, "EP context design".
"""
INSIDE: dict[str, dict[int, str]] = {
    "Model": {7: "Graph", 20: "Training", 25: "Function"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Node": {OP_TYPE: "OperatorType", 5: "Attribute"},
    "Attribute": {
        5: "Tensor",
        6: "Graph",
        10: "Tensor",
        11: "Graph",
        22: "SparseTensor",
        23: "SparseTensor",
    },
    "Function": {7: "Node", 11: "Attribute"},
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
    "Training": {1: "Graph", 2: "Graph"},
}
"""Message -> field number -> the message in it: every way to a tensor or a node.

Source: onnx.proto (ONNX 1.19, IR version 12).
"""


class MalformedGraph(ValueError):
    """Bytes that are no ONNX graph, or one whose encoding can be read in two ways."""


class Reference(NamedTuple):
    """One thing that a graph names outside itself."""

    location: str
    """Of an external tensor: the file; "" where the tensor gives none."""
    tensor: str = ""
    """The tensor's name."""
    offset: int = 0
    length: int = -1
    """In bytes; -1 where the tensor gives none."""


def graph_references(graph: bytes) -> Iterator[Reference]:
    """Yield everything outside itself that the graph names.

    A node with an execution provider's compiled context counts as one: it may name a file too.
    Raises `MalformedGraph`.
    """
    if graph[4:8] == ORT_FORMAT:
        raise MalformedGraph("onnxruntime's own format")
    view = memoryview(graph)
    parts: list[tuple[str, int, int, int]] = [("Model", 0, len(graph), 0)]
    while parts:
        message, start, end, depth = parts.pop()
        if message == "OperatorType":
            if view[start:end] == CONTEXT_OPERATOR:
                yield Reference("a compiled context")
            continue
        if depth > MAX_DEPTH:
            raise MalformedGraph(f"messages nested deeper than {MAX_DEPTH}")
        if message == "Tensor":
            yield from _tensor_references(view, start, end)
            continue
        inside = INSIDE[message]
        for field, wire, first, last in _fields(view, start, end):
            if field in inside:
                if wire != 2:
                    raise MalformedGraph(f"field {field} of {message} in another encoding")
                parts.append((inside[field], first, last, depth + 1))


def check_ranges(references: Sequence[Reference], size: int) -> None:
    """Check where tensors lie in their one file of `size` bytes.

    Raises `MalformedGraph` for a tensor without an end, one past the end of the file, and two that
    share some of their bytes. Two tensors may share all of them.
    """
    last = Reference("")
    for each in sorted(set(references), key=lambda each: (each.offset, each.length)):
        place = f"bytes {each.offset} to {each.offset + each.length}"
        if each.length < 0:
            raise MalformedGraph(f"weights '{each.tensor[:64]}' without a length")
        if each.offset + each.length > size:
            raise MalformedGraph(
                f"weights '{each.tensor[:64]}' at {place}, past the end of a file of {size}"
            )
        same = (each.offset, each.length) == (last.offset, last.length)
        if each.offset < last.offset + last.length and not same:
            raise MalformedGraph(
                f"weights '{each.tensor[:64]}' at {place}, "
                f"which overlap weights '{last.tensor[:64]}'"
            )
        last = each


def _tensor_references(view: memoryview, start: int, end: int) -> Iterator[Reference]:
    entries: dict[bytes, bytes] = {}
    name, external = b"", False
    for field, wire, first, last in _fields(view, start, end):
        if field == DATA_LOCATION:
            external |= wire != 0 or first != 0
        elif field == TENSOR_NAME and wire == 2:
            name = bytes(view[first:last])
        elif field == EXTERNAL_DATA:
            external = True
            if wire != 2:
                raise MalformedGraph(f"field {field} of Tensor in another encoding")
            key, value = _entry(view, first, last)
            if key in entries:
                raise MalformedGraph("a tensor that says twice where it lies")
            entries[key] = value
    if external:
        yield Reference(
            entries.get(b"location", b"").decode(errors="replace"),
            name.decode(errors="replace"),
            _number(entries.get(b"offset", b"0")),
            _number(entries[b"length"]) if b"length" in entries else -1,
        )


def _entry(view: memoryview, start: int, end: int) -> tuple[bytes, bytes]:
    """Key and value of a StringStringEntryProto."""
    parts = {
        number: bytes(view[first:last])
        for number, wire, first, last in _fields(view, start, end)
        if wire == 2
    }
    return parts.get(1, b""), parts.get(2, b"")


def _number(text: bytes) -> int:
    """A place in a file, as ONNX writes it."""
    if not text.isdigit() or len(text) > MAX_DIGITS:
        raise MalformedGraph("a place in a file that is no number")
    return int(text)


def _fields(view: memoryview, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield each field of a message: number, wire type, and the start and end of its bytes.

    A varint yields its value twice in place of start and end.
    """
    place = start
    while place < end:
        tag = view[place]
        tag, place = (tag, place + 1) if tag < 128 else _varint(view, place, end)
        wire = tag & 7
        if tag < 8 or tag >= 2**32:
            raise MalformedGraph("a field number that there is not")
        if wire == 0:
            value, place = _varint(view, place, end)
            yield tag >> 3, wire, value, value
            continue
        if wire == 2:
            size = view[place] if place < end else 128
            size, place = (size, place + 1) if size < 128 else _varint(view, place, end)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:  # groups, which ONNX never had, and what is no wire type
            raise MalformedGraph("an encoding that ONNX does not use")
        if size > end - place:
            raise MalformedGraph("a field longer than what holds it")
        yield tag >> 3, wire, place, place + size
        place += size


def _varint(view: memoryview, place: int, end: int) -> tuple[int, int]:
    """A base-128 number and where it ends (Protocol Buffers, "Encoding")."""
    value = shift = 0
    while place < end and shift < 70:
        byte = view[place]
        value |= (byte & 127) << shift
        place += 1
        if byte < 128:
            return value, place
        shift += 7
    raise MalformedGraph("a number cut short")
