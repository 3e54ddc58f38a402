"""The files that an ONNX graph names outside itself, read off its bytes.

A runtime opens such files from below the working directory. The walk needs no onnx and no protobuf,
copies nothing, and skips weights by their length, so it costs the graph's nodes and not its size.
Where an encoding leaves room for two readings, the graph is refused: another parser may read it the
other way.
"""

from __future__ import annotations

from collections.abc import Iterator

MAX_GRAPH_BYTES = 2**31 - 1
"""What one protobuf message can hold (Protocol Buffers, "Proto Limits")."""
MAX_DEPTH = 100
"""How deep messages may nest: the limit of protobuf's C++ parser, which onnxruntime uses."""
ORT_FORMAT = b"ORTM"
"""The mark at byte 4 of onnxruntime's own format (flatbuffers' file identifier).

onnxruntime takes a file with this mark for its own format, whatever else the file holds.
"""
EXTERNAL_DATA, DATA_LOCATION, OP_TYPE = 13, 14, 4
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


def graph_references(graph: bytes) -> Iterator[str]:
    """Yield every place outside itself that the graph names.

    A place is the location of an external tensor, "" where the tensor gives none. A node with an
    execution provider's compiled context counts as one: it may name a file too. Raises
    `MalformedGraph`.
    """
    if graph[4:8] == ORT_FORMAT:
        raise MalformedGraph("onnxruntime's own format")
    view = memoryview(graph)
    parts: list[tuple[str, int, int, int]] = [("Model", 0, len(graph), 0)]
    while parts:
        message, start, end, depth = parts.pop()
        if message == "OperatorType":
            if view[start:end] == CONTEXT_OPERATOR:
                yield "a compiled context"
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


def _tensor_references(view: memoryview, start: int, end: int) -> Iterator[str]:
    locations: list[str] = []
    external = False
    for field, wire, first, last in _fields(view, start, end):
        if field == DATA_LOCATION:
            external |= wire != 0 or first != 0
        elif field == EXTERNAL_DATA:
            external = True
            if wire == 2:
                entry = {
                    number: bytes(view[a:b])
                    for number, kind, a, b in _fields(view, first, last)
                    if kind == 2
                }
                if entry.get(1) == b"location":
                    locations.append(entry.get(2, b"").decode(errors="replace"))
    if external:
        yield from locations or [""]


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
