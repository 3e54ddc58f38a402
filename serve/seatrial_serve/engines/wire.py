"""Frames between a front and the engine process, over a stream socket of this machine.

A frame is a head (`HEAD`: bytes behind it, kind, count) and what the kind says. Numbers lie in the
machine's own order and sizes, since both ends are one build on one machine. Words travel as JSON.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cache, lru_cache
from pathlib import Path
from struct import Struct
from typing import Any, NamedTuple

import numpy as np

import seatrial_contracts
import seatrial_serve
from seatrial_contracts.answer_faults import NO_ROWS, OutputFault
from seatrial_contracts.errors import (
    BundleError,
    ModelError,
    OutOfMemory,
    Refusal,
    TooLate,
    Unavailable,
)
from seatrial_contracts.host_stage import ColumnBlock, EncodedRow, Part
from seatrial_contracts.kinds.kind import Array, TensorSpec

HEAD = Struct("=QII")
"""Bytes behind the head, `Kind`, and how many tickets the frame is about."""
MOST_BYTES = 2**40
"""In a frame. A head that says more is no head."""
ASKED = Struct("=QddQQiI?7x")
"""A ticket on its way to the engine process: number, when it came, its deadline (times of `now_s`),
flow, bytes of its rows, rows (below zero: they are a `ColumnBlock`), priority, and whether it is a
further part of a request that was let in."""
BATCH = Struct("=ddIIQ")
"""A batch that ran: when it started and ended, its tickets, whether this front counts it, and the
bytes of its faults as JSON."""
JOINED_BYTES = 2**18
"""A frame up to this size is sent in one piece: a copy costs less than many small pieces do."""
UNIT = 8
"""Arrays begin at multiples of so many bytes."""


Piece = bytes | memoryview


class Kind(IntEnum):
    """What a frame says."""

    LOAD = 1
    """To the engine process, first of all: which version the connection is for. JSON."""
    LOADED = 2
    """The answer: the version is loaded and proven. JSON."""
    NOT_LOADED = 3
    """The answer: it is not, and why. JSON."""
    RUN = 4
    """To the engine process: rows of tickets."""
    RAN = 5
    """The answers of a batch to this front's tickets."""
    FAILED = 6
    """Why tickets have no answer. JSON and their numbers."""
    LEFT = 7
    """To the engine process: nobody waits for these tickets any more."""
    SHRUNK = 8
    """A batch was too large for the memory: batches are smaller from here on. JSON."""
    DONE = 9
    """To the engine process: the front serves the version no more."""


class Frame(NamedTuple):
    """A frame as it came."""

    kind: int
    tickets: int
    body: memoryview


class BrokenFrame(Exception):
    """What came is no frame of this build."""


class Frames:
    """Frames out of what a stream brings, in pieces of any size."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._held, self._wanted = 0, HEAD.size

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are whole now. Their bodies lie in what came. Raises `BrokenFrame`."""
        self._pieces.append(data)
        self._held += len(data)
        if self._held < self._wanted:
            return
        whole = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        view, at = memoryview(whole), 0
        while len(whole) - at >= HEAD.size:
            size, kind, count = HEAD.unpack_from(whole, at)
            if size > MOST_BYTES:
                raise BrokenFrame(f"a frame of {size} bytes")
            end = at + HEAD.size + size
            if end > len(whole):
                break
            yield Frame(kind, count, view[at + HEAD.size : end])
            at = end
        rest = len(whole) - at
        self._wanted = HEAD.size
        if rest >= HEAD.size:
            self._wanted += HEAD.unpack_from(whole, at)[0]
        self._pieces, self._held = ([whole[at:]] if rest else []), rest


def frame_of(kind: Kind, tickets: int, pieces: Sequence[Piece]) -> list[Piece]:
    """A frame whose body these pieces are, in few pieces."""
    size = sum(map(len, pieces))
    head = HEAD.pack(size, kind, tickets)
    if size <= JOINED_BYTES:
        return [b"".join([head, *pieces])]
    return [head, *pieces]


def json_frame(kind: Kind, told: Mapping[str, Any]) -> bytes:
    """A frame that says something in JSON."""
    body = json.dumps(told).encode()
    return HEAD.pack(len(body), kind, 0) + body


@lru_cache(maxsize=4096)
def flow_number(flow: object) -> int:
    """A client, as every process numbers it."""
    return int.from_bytes(hashlib.blake2b(repr(flow).encode(), digest_size=8).digest(), "little")


@cache
def build() -> str:
    """What both ends must share: the digest of the code of this package and of the contracts."""
    digest = hashlib.sha256()
    for package in (seatrial_contracts, seatrial_serve):
        folder = Path(str(package.__file__)).parent
        for file in sorted(folder.rglob("*.py")):
            digest.update(str(file.relative_to(folder)).encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()


class RowCodec:
    """Encoded rows to bytes and back, as the tensors of a graph have them.

    Notes behind a row's tensors stay where they are.
    """

    def __init__(self, specs: Sequence[TensorSpec]) -> None:
        self._specs = specs
        self._record = (
            None
            if any(spec.dims or spec.dtype == "string" for spec in specs)
            else np.dtype([(str(place), spec.array_dtype) for place, spec in enumerate(specs)])
        )
        """Of rows that are plain numbers: their tensors beside each other."""

    def pack(self, part: Part) -> list[Piece]:
        """The rows as pieces of bytes."""
        if isinstance(part, ColumnBlock):
            pieces: list[Piece] = []
            for spec, column in zip(self._specs, part.columns, strict=True):
                pieces += packed_array(np.asarray(column, spec.array_dtype))
            return pieces
        if self._record is not None:
            width = len(self._specs)
            return [np.array([row[:width] for row in part], self._record).tobytes()]
        pieces = []
        for row in part:
            for spec, value in zip(self._specs, row, strict=False):
                pieces += packed_array(np.asarray(value, spec.array_dtype))
        return pieces

    def unpack(self, body: memoryview, rows: int, *, columns: bool) -> Part:
        """The rows of such bytes; their arrays lie in `body`."""
        if columns:
            at, made = 0, []
            for spec in self._specs:
                array, at = unpacked_array(body, at, spec.array_dtype)
                made.append(array)
            return ColumnBlock(tuple(made))
        if self._record is not None:
            plain: list[EncodedRow] = np.frombuffer(body, self._record, rows).tolist()
            return plain
        at, found = 0, list[EncodedRow]()
        for _ in range(rows):
            row = []
            for spec in self._specs:
                array, at = unpacked_array(body, at, spec.array_dtype)
                row.append(array)
            found.append(tuple(row))
        return found


UNIT_NUMBER = Struct("=Q")
SIDES = Struct("=QQ")
"""Number of an array's sides, and the bytes of its elements."""


@lru_cache(maxsize=64)
def array_head(sides: int) -> Struct:
    """What stands before an array of so many sides: their number, its bytes, and the sides."""
    return Struct(f"={2 + sides}Q")


FILLINGS = [bytes(size) for size in range(UNIT)]


def packed_array(array: Array) -> list[Piece]:
    """An array as pieces of bytes, of `UNIT` bytes' multiples together."""
    if array.dtype.hasobject:
        data: Piece = json.dumps(array.ravel().tolist()).encode()
    elif array.nbytes <= JOINED_BYTES:
        data = array.tobytes()
    else:
        data = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    size, sides = len(data), array.ndim
    told = array_head(sides).pack(sides, size, *array.shape)
    return [told, data, FILLINGS[-size % UNIT]] if size % UNIT else [told, data]


def unpacked_array(body: memoryview, at: int, dtype: np.dtype[Any]) -> tuple[Array, int]:
    """The array at a place of `body`, and where the next one begins."""
    sides, size = SIDES.unpack_from(body, at)
    _, _, *shape = array_head(sides).unpack_from(body, at)
    at += SIDES.size + UNIT * sides
    end = at + size + -size % UNIT
    if dtype.hasobject:
        words = json.loads(bytes(body[at : at + size]))
        array = np.empty(len(words), object)
        array[:] = words
    else:
        array = np.frombuffer(body[at : at + size], dtype)
    return (array if sides == 1 else array.reshape(shape)), end


class Ran(NamedTuple):
    """A batch that ran, as one of its fronts is told."""

    started_s: float
    ended_s: float
    mates: tuple[tuple[int, int], ...]
    """Rows and padded length of each ticket in it."""
    counted_here: bool
    """Is this the front that counts the batch in its metrics?"""
    numbers: Sequence[int]
    """Of this front's tickets in it."""
    counts: Sequence[int]
    """Their rows."""
    outputs: dict[str, Array]
    """Of their rows, in order."""
    faults: Mapping[int, OutputFault]


def packed_ran(ran: Ran) -> list[Piece]:
    """A `RAN` frame, in pieces."""
    told = [[row, *fault] for row, fault in ran.faults.items()]
    faults = json.dumps(told).encode() if told else b""
    body: list[Piece] = [
        BATCH.pack(
            ran.started_s, ran.ended_s, len(ran.mates), ran.counted_here, len(faults)
        ),
        np.array(ran.numbers, np.uint64).tobytes(),
        np.array(ran.counts, np.uint64).tobytes(),
        np.array(ran.mates, np.uint64).tobytes(),
        faults,
        bytes(-len(faults) % UNIT),
    ]  # fmt: skip
    for name, array in ran.outputs.items():
        word = f"{array.dtype.str} {name}".encode()
        body += [UNIT_NUMBER.pack(len(word)), word, bytes(-len(word) % UNIT), *packed_array(array)]
    return frame_of(Kind.RAN, len(ran.numbers), body)


def unpacked_ran(frame: Frame) -> Ran:
    """What a `RAN` frame says; the outputs are copies, so that nothing holds what came."""
    body, count = frame.body, frame.tickets
    started_s, ended_s, tickets, counted, size = BATCH.unpack_from(body)
    at = BATCH.size

    def numbers(many: int) -> list[int]:
        nonlocal at
        found: list[int] = np.frombuffer(body, np.uint64, many, at).tolist()
        at += UNIT * many
        return found

    asked, counts, mates = numbers(count), numbers(count), numbers(2 * tickets)
    faults: Mapping[int, OutputFault] = NO_ROWS
    if size:
        told = json.loads(bytes(body[at : at + size]))
        faults = {row: OutputFault(output, breach) for row, output, breach in told}
        at += size + -size % UNIT
    outputs: dict[str, Array] = {}
    while at < len(body):
        (size,) = UNIT_NUMBER.unpack_from(body, at)
        at += UNIT
        dtype, _, name = bytes(body[at : at + size]).decode().partition(" ")
        at += size + -size % UNIT
        array, at = unpacked_array(body, at, np.dtype(dtype))
        outputs[name] = array if array.dtype.hasobject else array.copy()
    pairs = tuple(zip(mates[::2], mates[1::2], strict=True))
    return Ran(started_s, ended_s, pairs, bool(counted), asked, counts, outputs, faults)


@dataclass(frozen=True)
class ToldError:
    """An error as it travels: what is raised for it at the other end."""

    kind: str
    code: str = ""
    text: str = ""
    said: tuple[str, ...] = ()
    """Of a refusal: where, what it got, what it wants."""
    mend: str | None = None
    retry_after_s: float = 1.0


def told_error(error: BaseException) -> ToldError:
    """An error, to be told; what is none of ours is told in the log of its own process alone."""
    if isinstance(error, Refusal):
        got, want, mend = error.said
        return ToldError("Refusal", error.code, said=(error.where, got, want), mend=mend)
    if isinstance(error, TooLate):
        return ToldError("TooLate")
    if isinstance(error, OutOfMemory):
        return ToldError("OutOfMemory", text=str(error))
    if isinstance(error, Unavailable):
        return ToldError("Unavailable", error.code, str(error), retry_after_s=error.retry_after_s)
    if isinstance(error, ModelError):
        return ToldError("ModelError", error.code, str(error))
    if isinstance(error, BundleError):
        return ToldError("BundleError", error.code, str(error))
    return ToldError("Bug", text="the engine process failed; its log says why")


def error_of(told: ToldError) -> Exception:
    """What is raised for an error that was told."""
    match told.kind:
        case "Refusal":
            where, got, want = told.said
            return Refusal(told.code, where, got, want, told.mend)
        case "TooLate":
            return TooLate()
        case "OutOfMemory":
            return OutOfMemory(told.text)
        case "Unavailable":
            return Unavailable(told.code, told.text, told.retry_after_s)
        case "ModelError":
            return ModelError(told.code, told.text)
        case "BundleError":
            return BundleError(told.code, told.text)
        case _:
            return RuntimeError(told.text)
