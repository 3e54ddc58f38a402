"""Reading a request's body and the headers that say what it is, within limits."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from seatrial_contracts.errors import Refusal

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
JSON_TYPES = frozenset({b"", b"application/json", b"application/octet-stream"})


class ClientLeft(Exception):
    """The client closed its connection before its request was whole; there is nobody to answer."""


async def read_body(headers: Mapping[bytes, bytes], receive: Receive, max_bytes: int, timeout_s: float) -> bytes:
    """The whole body. One that is declared too large is refused unread. Raises `Refusal` or `ClientLeft`."""
    declared = headers.get(b"content-length")
    if declared is not None and (len(declared) > 18 or int(declared) > max_bytes):
        raise _too_large(max_bytes)
    message: Message = await _receive(receive, timeout_s) if declared != b"0" else {"type": "http.request"}
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        return _whole(message, body, max_bytes)
    parts, size = [body], len(body)
    while message.get("more_body"):
        message = await _receive(receive, timeout_s)
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > max_bytes:
            raise _too_large(max_bytes)
    return _whole(message, b"".join(parts), max_bytes)


async def _receive(receive: Receive, timeout_s: float) -> Message:
    try:
        async with asyncio.timeout(timeout_s):
            return await receive()
    except TimeoutError:
        raise Refusal(
            "E_SLOW_BODY", "request body", f"no more of it within {timeout_s:g} s", "the whole of it"
        ) from None


def _whole(message: Message, body: bytes, max_bytes: int) -> bytes:
    if message["type"] == "http.disconnect":
        raise ClientLeft
    if len(body) > max_bytes:
        raise _too_large(max_bytes)
    return body


def _too_large(max_bytes: int) -> Refusal:
    return Refusal("E_BODY_BYTES", "request body", "a larger one", f"at most {max_bytes} bytes")


def is_file(headers: Mapping[bytes, bytes], media_types: tuple[str, ...] | None) -> bool:
    """Is the body a raw file (True) or JSON (False)? `media_types`: those of a contract that takes files, None for others.

    Raises `Refusal` for what is neither.
    """
    if headers.get(b"content-encoding", b"identity") != b"identity":
        raise Refusal("E_CONTENT_ENCODING", "header Content-Encoding", "a compressed body", "an uncompressed one")
    media, _, parameters = headers.get(b"content-type", b"").partition(b";")
    media = media.strip().lower()
    if parameters and b"charset" in parameters and b"utf-8" not in parameters.lower():
        raise Refusal("E_CONTENT_TYPE", "header Content-Type", "another charset", "utf-8")
    if media_types is not None and (media == b"application/octet-stream" or media.startswith(b"image/")):
        return True
    if media not in JSON_TYPES:
        files = f" or {', '.join(media_types)}" if media_types else ""
        raise Refusal("E_CONTENT_TYPE", "header Content-Type", "another type", f"application/json{files}")
    return False


def request_id_of(headers: Mapping[bytes, bytes]) -> str | None:
    """The client's own request id, where it sent a plain one."""
    value = headers.get(b"x-request-id")
    return value.decode() if value and REQUEST_ID.fullmatch(value) else None
