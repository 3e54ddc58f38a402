"""Requests that go from their connection to whoever answers them without ASGI: no scope, no task, no coroutine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

if TYPE_CHECKING:
    from seatrial_serve.http.connection import StrictProtocol

MOST_BYTES = 64 * 1024
"""A longer body is read by ASGI: it comes in pieces, and its parsing takes a thread."""
PIECES_S = 0.05
"""How long a body of a direct request may come in pieces; after that ASGI reads it, whose rules for slow bodies hold."""
Headers = Mapping[bytes, bytes]


class DirectHandler(Protocol):
    """Answers requests without ASGI."""

    def route(self, url: bytes) -> Any | None:
        """What a POST to this URL asks for; None where ASGI answers it."""
        ...

    def ask(self, request: DirectRequest) -> None:
        """A request is here as a whole. It is answered by its `reply`, now or later."""
        ...


class Nobody:
    """Stands where ASGI's cycles have an event that somebody may await."""

    def set(self) -> None:
        """Nobody awaits it."""


NOBODY = Nobody()


class DirectRequest:
    """One request on its way. Its connection treats it as one of uvicorn's cycles, whose attributes it has."""

    __slots__ = (
        "body",
        "connection",
        "disconnected",
        "headers",
        "keep_alive",
        "more_body",
        "response_complete",
        "route",
        "when_left",
    )
    message_event = NOBODY

    def __init__(self, connection: StrictProtocol, route: Any, headers: Headers, *, keep_alive: bool) -> None:
        """`route`: what the handler made of its URL."""
        self.connection, self.route, self.headers, self.keep_alive = connection, route, headers, keep_alive
        self.body = b""
        self.more_body, self.response_complete, self.disconnected = True, False, False
        self.when_left: Callable[[], None] | None = None
        """Called once where the client leaves before the answer."""

    @property
    def client(self) -> str | None:
        """The client's address."""
        client = self.connection.client
        return client[0] if client else None

    def left(self) -> None:
        """Its client has left: nobody reads the answer."""
        self.disconnected = True
        call, self.when_left = self.when_left, None
        if call is not None:
            call()

    def reply(self, status: int, headers: bytes, body: bytes, *, close: bool) -> None:
        """Write the whole answer, where somebody reads it. `headers` are lines, without the length."""
        if self.disconnected:
            return
        self.response_complete = True
        if close or not self.keep_alive:
            self.keep_alive, headers = False, headers + b"connection: close\r\n"
        self.connection.answer(
            self, b"%bcontent-length: %d\r\n%b\r\n%b" % (STATUS_LINE[status], len(body), headers, body)
        )
