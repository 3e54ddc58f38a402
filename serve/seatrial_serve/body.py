"""Reading a request's body and the headers that say what it is, within limits."""

from __future__ import annotations

import asyncio
import random
import re
import zlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import nullcontext
from typing import Any

from seatrial_contracts.errors import Refusal

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

REQUEST_ID_HEADER = b"x-request-id"
REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
WINDOW_BITS = {b"identity": 0, b"gzip": 31, b"x-gzip": 31, b"deflate": 15}
"""Content encoding -> zlib's window bits; "deflate" is the zlib format (RFC 9110, 8.4.1.2)."""
CHARSET = re.compile(rb"(?i:charset)\s*=\s*\"?([^\s;\"]*)")
UTF8 = (b"utf-8", b"utf8")
"""The name that IANA has, and the one that many clients send."""
JSON_TYPES = frozenset({b"", b"application/json", b"application/octet-stream"})


class ClientLeft(Exception):
    """The client closed its connection before its request was whole; there is nobody to answer."""


def expected_bytes(headers: Mapping[bytes, bytes], most: int) -> int:
    """How large a body will be: what it declares, or as large as it may."""
    declared = headers.get(b"content-length", b"")
    plain = declared.isdigit() and b"content-encoding" not in headers and len(declared) < 18
    return min(int(declared), most) if plain else most


async def read_body(
    headers: Mapping[bytes, bytes], receive: Receive, max_bytes: int, timeout_s: float, *, whole: bool = False
) -> bytes:
    """The whole body, decompressed. One that is declared too large is refused unread. Raises `Refusal` or `ClientLeft`.

    Where it is here as a `whole` already nothing is waited for, nor a timer set, which takes longer than parsing a small body.
    """
    encoding = headers.get(b"content-encoding", b"identity").lower()
    if encoding not in WINDOW_BITS:
        raise Refusal("E_CONTENT_ENCODING", "header Content-Encoding", "another encoding", "gzip, deflate or none")
    try:
        async with nullcontext() if whole else asyncio.timeout(timeout_s):
            body = await _read(headers, receive, max_bytes)
    except TimeoutError:
        want = "the whole of it"
        raise Refusal("E_SLOW_BODY", "request body", f"no end of it within {timeout_s:g} s", want) from None
    return body if encoding == b"identity" else await asyncio.to_thread(inflate, body, WINDOW_BITS[encoding], max_bytes)


async def _read(headers: Mapping[bytes, bytes], receive: Receive, max_bytes: int) -> bytes:
    declared = headers.get(b"content-length")
    if declared is not None and (len(declared) > 18 or int(declared) > max_bytes):
        raise _too_large(max_bytes)
    message: Message = await receive() if declared != b"0" else {"type": "http.request"}
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        return _whole(message, body, max_bytes)
    parts, size = [body], len(body)
    while message.get("more_body"):
        message = await receive()
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > max_bytes:
            raise _too_large(max_bytes)
    return _whole(message, b"".join(parts), max_bytes)


def _whole(message: Message, body: bytes, max_bytes: int) -> bytes:
    if message["type"] == "http.disconnect":
        raise ClientLeft
    if len(body) > max_bytes:
        raise _too_large(max_bytes)
    return body


def inflate(body: bytes, window_bits: int, max_bytes: int) -> bytes:
    """A gzip or zlib body, whole and a single stream, never more than `max_bytes` of it. Raises `Refusal`."""
    unpacker = zlib.decompressobj(window_bits)
    try:
        data = unpacker.decompress(body, max_bytes + 1)
    except zlib.error:
        raise Refusal("E_COMPRESSION", "request body", "a damaged compressed stream", "a whole one") from None
    if len(data) > max_bytes:
        raise _too_large(max_bytes)
    if not unpacker.eof or unpacker.unused_data:
        raise Refusal(
            "E_COMPRESSION", "request body", "a compressed stream that is cut, or more than one", "one whole stream"
        )
    return data


def _too_large(max_bytes: int) -> Refusal:
    return Refusal("E_BODY_BYTES", "request body", "a larger one", f"at most {max_bytes} bytes")


def is_file(headers: Mapping[bytes, bytes], media_types: tuple[str, ...] | None) -> bool:
    """Is the body a raw file (True) or JSON (False)? `media_types`: those of a contract that takes files, None for others.

    Raises `Refusal` for what is neither.
    """
    media, _, parameters = headers.get(b"content-type", b"").partition(b";")
    media = media.strip().lower()
    charset = CHARSET.search(parameters) if parameters else None
    if charset is not None and charset[1].lower() not in UTF8:
        raise Refusal("E_CONTENT_TYPE", "header Content-Type", "another charset", "utf-8")
    if media_types is not None and (media == b"application/octet-stream" or media.startswith(b"image/")):
        return True
    if media not in JSON_TYPES:
        files = f" or {', '.join(media_types)}" if media_types else ""
        raise Refusal("E_CONTENT_TYPE", "header Content-Type", "another type", f"application/json{files}")
    return False


def request_id_of(headers: Mapping[bytes, bytes]) -> str:
    """The client's own request id, where it sent a plain one; else a new one."""
    value = headers.get(REQUEST_ID_HEADER)
    return value.decode() if value and REQUEST_ID.fullmatch(value) else new_request_id()


def new_request_id() -> str:
    """One that no other request has; no secret, so the system's own randomness, which takes six times as long, is not asked."""
    return f"{random.getrandbits(128):032x}"
