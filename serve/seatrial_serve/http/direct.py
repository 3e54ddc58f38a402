"""Requests that go from their connection to whoever answers them without ASGI.

Such a request takes no scope, no task and no coroutine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

if TYPE_CHECKING:
    from seatrial_serve.access.caller import Caller
    from seatrial_serve.http.connection import StrictProtocol

MOST_BYTES = 64 * 1024
"""A longer body is read by ASGI: it comes in pieces, and its parsing takes a thread."""
PIECES_S = 0.05
"""How long a body of a direct request may come in pieces.

After that time ASGI reads the body, and its rules for slow bodies hold.
"""
Headers = Mapping[bytes, bytes]


END = b"\r\n\r\n"
UNLIKE = frozenset((b"x-request-id", b"traceparent"))
"""Headers that differ from request to request: a head with one of them is not kept."""


class Head(NamedTuple):
    """What the parser and the checks made of a head, from its first byte to the empty line."""

    route: Any
    headers: Headers
    body_bytes: int
    caller: Caller | None = None
    """Whose key the head has."""


class Heads:
    """Heads that came before, which are not parsed and checked again.

    A client sends the same head with each of its requests.
    """

    MOST, MOST_BYTES = 256, 2048

    def __init__(self) -> None:
        self._heads: dict[bytes, Head] = {}
        self.get = self._heads.get
        """A head by its bytes; None where it is not known."""

    def keep(self, text: bytes, head: Head) -> None:
        """Keep a text and the head that the parser took it for.

        Nothing in the text says that its request is the connection's last.
        """
        if len(text) > self.MOST_BYTES or not UNLIKE.isdisjoint(head.headers):
            return
        if len(self._heads) >= self.MOST:
            del self._heads[next(iter(self._heads))]
        self._heads[text] = head


class DirectHandler(Protocol):
    """Answers requests without ASGI."""

    heads: Heads

    def route(self, url: bytes) -> Any | None:
        """What a POST to this URL asks for; None where ASGI answers it."""
        ...

    def may(self, caller: Caller, route: Any) -> bool:
        """May this caller ask that now?"""
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
    """One request on its way.

    Its connection treats the request as one of uvicorn's cycles, whose attributes it has.
    """

    __slots__ = (
        "body",
        "caller",
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

    def __init__(
        self,
        connection: StrictProtocol,
        route: Any,
        headers: Headers,
        caller: Caller | None,
        *,
        keep_alive: bool,
    ) -> None:
        """`route`: what the handler made of its URL. `caller`: who asks, if that is known."""
        self.connection, self.caller = connection, caller
        self.route = route
        self.headers = headers
        self.keep_alive = keep_alive
        self.body = b""
        self.more_body, self.response_complete, self.disconnected = True, False, False
        self.when_left: Callable[[], object] | None = None
        """Called once where the client leaves before the answer."""

    def left(self) -> None:
        """Its client has left: nobody reads the answer."""
        self.disconnected = True
        call, self.when_left = self.when_left, None
        if call is not None:
            call()

    def reply(self, status: int, headers: bytes, body: bytes, *, close: bool) -> None:
        """Write the whole answer, if somebody reads it.

        `headers` are lines, without the length.
        """
        if self.disconnected:
            return
        self.response_complete = True
        if close or not self.keep_alive:
            self.keep_alive, headers = False, headers + b"connection: close\r\n"
        self.connection.answer(
            self,
            b"%bcontent-length: %d\r\n%b\r\n%b" % (STATUS_LINE[status], len(body), headers, body),
        )
