"""Reading a request's body and the headers that say what it is, within limits."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from seatrial_contracts.errors import Refusal
from seatrial_serve.process.budget import Hold

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

WINDOW_BITS = {b"identity": 0, b"gzip": 31, b"x-gzip": 31, b"deflate": 15}
"""Content encoding -> zlib's window bits; "deflate" is the zlib format (RFC 9110, 8.4.1.2)."""
UTF8 = (b"utf-8", b"utf8")
"""The name that IANA has, and the one that many clients send."""


NOTHING: Message = {"type": "http.request"}
LARGE_BODY = 2**20
"""Bytes from which a body is put together in a thread: a megabyte takes some 0.3 ms."""
LARGE_PART = 2**14
"""Bytes of a part from which what it takes beside them says nothing."""
GRACE_S = 5.0
"""How long a body may come more slowly than it must."""
MOST_INFLATED = 1032
"""Bytes that deflate makes of one at most (zlib's technical details)."""


class ClientLeft(Exception):
    """The client closed its connection before its request was whole; there is nobody to answer."""


@dataclass(frozen=True)
class Pace:
    """How fast a body must come.

    It must be whole within `timeout_s`, and come on average at `bytes_per_s` after `GRACE_S`.

    `bytes_per_s` of 0 is any rate.
    """

    timeout_s: float
    bytes_per_s: int = 0

    def later(self, until_s: float, size: int, now_s: float) -> float:
        """Return until when to wait for more after `size` more bytes.

        Each byte buys its time, `GRACE_S` ahead at most.
        """
        return min(until_s + size / self.bytes_per_s, now_s + GRACE_S)


async def read_body(
    headers: Mapping[bytes, bytes],
    receive: Receive,
    max_bytes: int,
    pace: Pace,
    hold: Hold | None = None,
) -> bytes:
    """The whole body, decompressed; `hold` holds memory for what has come of it.

    A body that is declared too large is refused unread.

    Raises `Refusal`, `Unavailable` or `ClientLeft`.
    """
    encoding = headers.get(b"content-encoding", b"identity").lower()
    if encoding not in WINDOW_BITS:
        raise Refusal(
            "E_CONTENT_ENCODING",
            "header Content-Encoding",
            "another encoding",
            "gzip, deflate or none",
        )
    declared = headers.get(b"content-length")
    if declared is not None and (len(declared) > 18 or int(declared) > max_bytes):
        raise too_large(max_bytes)
    body = await _arriving(receive, max_bytes, pace, hold)
    if encoding == b"identity":
        return body
    if hold is not None:
        hold.arrived(len(body) + min(max_bytes, len(body) * MOST_INFLATED))
    return await asyncio.to_thread(inflate, body, WINDOW_BITS[encoding], max_bytes)


async def _arriving(receive: Receive, max_bytes: int, pace: Pace, hold: Hold | None) -> bytes:
    loop = asyncio.get_running_loop()
    start_s = loop.time()
    last_s = start_s + pace.timeout_s
    until_s = start_s + (GRACE_S if pace.bytes_per_s else pace.timeout_s)
    body, more, message = Pieces(), True, NOTHING
    try:
        async with asyncio.timeout_at(min(until_s, last_s)) as patience:
            while more:
                message = await receive()
                part = message.get("body", b"")
                body.add(part)
                more = message.get("more_body", False)
                if body.size > max_bytes:
                    raise too_large(max_bytes)
                if hold is not None:
                    hold.arrived(body.size)
                if more and pace.bytes_per_s:
                    until_s = pace.later(until_s, len(part), loop.time())
                    patience.reschedule(min(until_s, last_s))
    except TimeoutError:
        slow = until_s < last_s
        want = f"at least {pace.bytes_per_s} bytes a second" if slow else "the whole of it"
        got = "fewer" if slow else f"no end of it within {pace.timeout_s:g} s"
        raise Refusal("E_SLOW_BODY", "request body", got, want) from None
    if message["type"] == "http.disconnect":
        raise ClientLeft
    return body.joined() if body.size < LARGE_BODY else await asyncio.to_thread(body.joined)


class Pieces:
    """The parts of a body. Small ones are put together: each by itself takes many times its bytes.

    Large ones are copied once, when the whole is there.
    """

    def __init__(self) -> None:
        self.size = 0
        self._large: list[bytes] = []
        self._small = bytearray()

    def add(self, part: bytes) -> None:
        """Take the next part."""
        self.size += len(part)
        if len(part) >= LARGE_PART:
            self._put_together()
            self._large.append(part)
            return
        self._small += part
        if len(self._small) >= LARGE_PART:
            self._put_together()

    def joined(self) -> bytes:
        """The whole."""
        self._put_together()
        return b"".join(self._large)

    def _put_together(self) -> None:
        if self._small:
            self._large.append(bytes(self._small))
            self._small.clear()


def inflate(body: bytes, window_bits: int, max_bytes: int) -> bytes:
    """Return a gzip or zlib body inflated, never more than `max_bytes` of it.

    The body must be whole and a single stream. Raises `Refusal`.
    """
    unpacker = zlib.decompressobj(window_bits)
    try:
        data = unpacker.decompress(body, max_bytes + 1)
    except zlib.error:
        raise Refusal(
            "E_COMPRESSION", "request body", "a damaged compressed stream", "a whole one"
        ) from None
    if len(data) > max_bytes:
        raise too_large(max_bytes)
    if not unpacker.eof or unpacker.unused_data:
        raise Refusal(
            "E_COMPRESSION",
            "request body",
            "a compressed stream that is cut, or more than one",
            "one whole stream",
        )
    return data


def too_large(max_bytes: int) -> Refusal:
    """What is said of a body that is longer than it may be."""
    return Refusal("E_BODY_BYTES", "request body", "a larger one", f"at most {max_bytes} bytes")
