"""One HTTP/1.1 connection that carries prepared bytes, one request at a time."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, Self
from urllib.parse import urlsplit

import httptools

LOST = 0
"""The status of a request whose connection broke."""
TIMED_OUT = -1
"""The status of a request that was not answered in time."""


class Connection(asyncio.Protocol):
    """A connection. httptools reads the replies; nothing but their status is kept."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._parser: Any = httptools.HttpResponseParser(self)
        self._reply: asyncio.Future[int] | None = None
        self._keeps = True
        self._loop = asyncio.get_running_loop()

    @classmethod
    async def to(cls, url: str) -> Self:
        """Connect to http:// or https://. Raises `OSError`."""
        parts = urlsplit(url)
        secure = ssl.create_default_context() if parts.scheme == "https" else None
        port = parts.port or (443 if secure else 80)
        loop = asyncio.get_running_loop()
        _, made = await loop.create_connection(cls, parts.hostname or "", port, ssl=secure)
        return made

    @property
    def is_open(self) -> bool:
        """Can it carry another request?"""
        return self._transport is not None and self._keeps

    async def exchange(self, request: bytes, until_s: float) -> int:
        """The status of the reply to a whole request; `LOST`, or `TIMED_OUT` at `until_s`.

        `until_s` is a time of the event loop. After both the connection is closed.
        """
        assert self._transport is not None
        self._reply = self._loop.create_future()
        patience = self._loop.call_at(until_s, self._give_up)
        self._transport.write(request)
        try:
            return await self._reply
        finally:
            patience.cancel()

    def close(self) -> None:
        """Let go of it."""
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def _give_up(self) -> None:
        self._end(TIMED_OUT)
        self.close()

    def _end(self, status: int) -> None:
        if self._reply is not None and not self._reply.done():
            self._reply.set_result(status)

    def connection_made(self, transport: Any) -> None:
        """See `asyncio.Protocol`."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._end(LOST)
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  (asyncio's signature)
        """See `asyncio.Protocol`."""
        self._transport = None
        self._end(LOST)

    def on_message_complete(self) -> None:
        """A reply is whole; httptools calls this."""
        self._keeps = bool(self._parser.should_keep_alive())
        self._end(self._parser.get_status_code())
