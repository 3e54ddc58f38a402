"""HTTP/1 connections: uvicorn's protocol with deadlines, caps and strict framing, which it lacks.

A request whose end is in doubt is never answered as if it were not: where two readers could disagree about where it ends (RFC 9112,
6.3), it is refused and its connection closed.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from seatrial_contracts.errors import sentence
from seatrial_serve.body import new_request_id
from seatrial_serve.scope import IN_FLIGHT, REPLY, WHEN_LEFT, WHOLE, Scope
from seatrial_serve.status import error_body

HEADER_S = 10.0
"""From the connection, or from a request's first byte, to the end of its headers."""
SEND_S = 30.0
"""How long a client may leave a reply unread that does not fit its connection."""
RESOLUTION_S = 0.002
"""Of the event loop's clock and timers."""
MAX_HEADERS, MAX_HEADER_BYTES, MAX_URL_BYTES = 100, 32 * 1024, 8 * 1024
MAX_CHUNKS = 65_536
VERSIONS = ("1.0", "1.1")
FRAMING = (b"host", b"content-length", b"transfer-encoding", b"expect")


class Unframed(Exception):
    """This request is refused before it reaches the application, and its connection closed."""

    def __init__(self, status: int, code: str, where: str, got: str, want: str) -> None:
        super().__init__(sentence(where, got, want))
        self.status, self.code = status, code


class StrictProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._timer: asyncio.TimerHandle | None = None
        self._due_s = self._rings_s = math.inf
        self._unread: asyncio.TimerHandle | None = None
        self._in_headers = self._ended = False
        self._header_bytes = self._chunks = 0
        self._refused: Unframed | None = None
        self._when_left: Callable[[], None] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Await the first request, but not for ever."""
        super().connection_made(transport)
        self._await(HEADER_S)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing to wait for any more."""
        self._stop_waiting()
        if self._unread is not None:
            self._unread.cancel()
        super().connection_lost(exc)
        self._tell_left()

    def data_received(self, data: bytes) -> None:
        """Feed the parser, until this connection is refused; headers that did not end with this are waited for, but not for ever."""
        if self._ended:
            return
        super().data_received(data)
        if self._in_headers and self._due_s < self._rings_s and not self._ended:
            self._set_timer()

    def eof_received(self) -> None:
        """The client has closed, which ends the connection: nobody reads the answer to what it asked last, so that is not run."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._tell_left()

    def when_left(self, call: Callable[[], None] | None) -> None:
        """See `scope.WHEN_LEFT`. A task of its own that awaits it would take a seventh of the time that a short text's request takes."""
        self._when_left = call
        if self.transport.is_closing():
            self._tell_left()

    def _tell_left(self) -> None:
        call, self._when_left = self._when_left, None
        if call is not None:
            call()

    def on_message_begin(self) -> None:
        """A request's first byte."""
        super().on_message_begin()
        self._due_s = min(self._due_s, self.loop.time() + HEADER_S)
        self._in_headers, self._header_bytes, self._chunks = True, 0, 0

    def on_url(self, url: bytes) -> None:
        """Cap it."""
        super().on_url(url)
        if len(self.url) > MAX_URL_BYTES:
            self._refuse(414, "E_URL", "URL", f"more than {MAX_URL_BYTES} bytes", f"at most {MAX_URL_BYTES} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Cap them, in number and in bytes."""
        super().on_header(name, value)
        self._header_bytes += len(name) + len(value)
        if len(self.headers) > MAX_HEADERS or self._header_bytes > MAX_HEADER_BYTES:
            self._refuse(
                431, "E_HEADERS", "headers", "more", f"at most {MAX_HEADERS}, {MAX_HEADER_BYTES} bytes together"
            )

    def on_headers_complete(self) -> None:
        """Start the request, where its framing is beyond doubt."""
        self._in_headers, self._due_s = False, math.inf
        self._check()
        super().on_headers_complete()
        scope: Scope = self.cycle.scope  # type: ignore[assignment]
        scope[REPLY], scope[IN_FLIGHT], scope[WHEN_LEFT] = partial(reply, self.cycle), self.tasks, self.when_left

    def _check(self) -> None:
        version = self.parser.get_http_version()
        if version not in VERSIONS:
            self._refuse(505, "E_HTTP", "HTTP version", "another", " or ".join(VERSIONS))
        named: dict[bytes, list[bytes]] = {}
        for name, value in self.headers:
            if name in FRAMING:
                named.setdefault(name, []).append(value)
        hosts, lengths, codings, expects = [named.get(name, ()) for name in FRAMING]
        if len(hosts) > 1 or (not hosts and version == "1.1"):
            self._refuse(400, "E_HTTP", "header Host", f"{len(hosts)} of them", "one")
        if len(lengths) > 1 or any(not value.isdigit() or len(value) > 18 for value in lengths):
            self._refuse(400, "E_HTTP", "header Content-Length", "another value", "one whole number")
        if codings and (lengths or version != "1.1" or [value.lower() for value in codings] != [b"chunked"]):
            self._refuse(
                400,
                "E_HTTP",
                "header Transfer-Encoding",
                "one that leaves the body's end in doubt",
                "'chunked' alone, without Content-Length",
            )
        if any(value.lower() != b"100-continue" for value in expects):
            self._refuse(417, "E_HTTP", "header Expect", "another value", "100-continue")

    def on_chunk_header(self) -> None:
        """Cap the chunks of a body."""
        self._chunks += 1
        if self._chunks > MAX_CHUNKS:
            self._refuse(413, "E_CHUNKS", "request body", f"more than {MAX_CHUNKS} chunks", "larger chunks")

    def on_message_complete(self) -> None:
        """A request is here as a whole."""
        super().on_message_complete()
        scope: Scope = self.cycle.scope  # type: ignore[assignment]
        scope[WHOLE] = True

    def on_response_complete(self) -> None:
        """Begin with the next of several requests that came at once, or wait for one."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif not self._in_headers:
            self._await(self.timeout_keep_alive)

    def pause_writing(self) -> None:
        """The client does not read its reply."""
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(SEND_S, self.transport.abort)

    def resume_writing(self) -> None:
        """It does."""
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
        super().resume_writing()

    def _refuse(self, status: int, code: str, where: str, got: str, want: str) -> None:
        self._refused = Unframed(status, code, where, got, want)
        raise self._refused

    def _await(self, within_s: float) -> None:
        """Something must come of the client within that time. There is one timer, which looks when it rings: to set and cancel two for each request takes nearly as long as to parse its body."""
        self._due_s = self.loop.time() + within_s
        if self._due_s < self._rings_s:
            self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rings_s = self._due_s
        self._timer = self.loop.call_at(self._rings_s, self._ring)

    def _ring(self) -> None:
        self._timer, self._rings_s = None, math.inf
        if self._due_s < self.loop.time() + RESOLUTION_S:
            self._too_slow()
        elif self._due_s < math.inf:
            self._set_timer()

    def _stop_waiting(self) -> None:
        self._due_s = math.inf
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self._rings_s = None, math.inf

    def _too_slow(self) -> None:
        if self._in_headers:
            self._refused = Unframed(
                408, "E_SLOW_HEADERS", "request", f"no end of its headers within {HEADER_S:g} s", "the whole of them"
            )
            self.send_400_response("")
        else:
            self._ended = True
            self.transport.close()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  (uvicorn's own words)
        """Say what was wrong, in the one shape of every error, and close; where an answer is still on its way, close after that."""
        self._ended = True
        self._stop_waiting()
        if self.cycle is not None and not self.cycle.response_complete:
            if not self.cycle.more_body:
                self.cycle.keep_alive = False
                return
            self.cycle.disconnected = True  # its own body broke off: the application hears that nobody waits
            self.cycle.message_event.set()
        error = self._refused or Unframed(400, "E_HTTP", "request", "no valid HTTP", "HTTP/1.1")
        request_id = new_request_id()
        body = error_body(str(error), error.code, request_id)
        named = b"content-type: application/json\r\nx-request-id: %b\r\n" % request_id.encode()
        head = named + b"content-length: %d\r\nconnection: close\r\n\r\n" % len(body)
        self.transport.write(b"".join((STATUS_LINE[error.status], head, body)))
        self.transport.close()


async def reply(
    cycle: RequestResponseCycle, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes, *, close: bool
) -> None:
    """Write a whole answer in one piece: ASGI's two messages take twice as long. Its headers, at which nobody looks again, are lower case and hold its length."""
    if cycle.flow.write_paused and not cycle.disconnected:
        await cycle.flow.drain()
    if cycle.disconnected:
        return
    cycle.response_started = cycle.response_complete = True
    cycle.keep_alive = cycle.keep_alive and not close
    lines = [STATUS_LINE[status]]
    for name, value in headers:
        lines += (name, b": ", value, b"\r\n")
    if not cycle.keep_alive:
        lines.append(b"connection: close\r\n")
    lines += (b"\r\n", b"" if cycle.scope["method"] == "HEAD" else body)
    cycle.transport.write(b"".join(lines))
    cycle.message_event.set()
    if not cycle.keep_alive:
        cycle.transport.close()
    cycle.on_response()
