"""HTTP/1 connections: uvicorn's protocol with deadlines, caps and strict framing, which it lacks.

A request whose end is in doubt is never answered as if it were not: where two readers could
disagree about where it ends (RFC 9112, 6.3), it is refused and its connection closed. The parser
reads a request that asks for another protocol again without that wish, since it would take the
request's body for the other protocol's bytes (RFC 9110, 7.8: a server may ignore it). Trailers are
no headers.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Mapping
from heapq import nsmallest
from typing import Any, NamedTuple, NoReturn
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from seatrial_contracts.errors import Refusal, SeatrialError, Unavailable
from seatrial_serve.access.access import API_KEY, AUTHORIZATION, Access
from seatrial_serve.access.caller import Caller
from seatrial_serve.http.browsers import ERROR_HEADERS
from seatrial_serve.http.direct import (
    END,
    MOST_BYTES,
    PIECES_S,
    DirectHandler,
    DirectRequest,
    Head,
    Heads,
)
from seatrial_serve.http.framing import check_head
from seatrial_serve.http.headers import new_request_id
from seatrial_serve.http.hosts import AllowedHosts
from seatrial_serve.http.status import answer_to
from seatrial_serve.process.budget import Places
from seatrial_serve.process.token_bucket import TokenBucket

log = logging.getLogger("seatrial.edge")

HEADER_S = 10.0
"""From the connection, or from a request's first byte, to the end of its headers."""
SEND_S = 30.0
"""How long a client may leave a reply unread that does not fit its connection."""
LINGER_S, LINGER_BYTES = 10.0, 64 * 2**20
"""How long, and for how much, a connection that was refused is read on.

To close the connection while its client still sends would reset it, and the client would lose the
answer (RFC 9112, 9.6).
"""
PEER_NAMES = "seatrial.peer_names"
"""What transports and scopes call the names of a client's certificate, while it is valid."""
TLS_LINES = TokenBucket(1.0)
"""When a line may say that TLS came to a port without."""
CLIENT_HELLO = b"\x16\x03"
"""How TLS begins (RFC 8446, 5.1)."""
RESOLUTION_S = 0.002
"""Of the event loop's clock and timers."""
MAX_HEADERS, MAX_HEADER_BYTES, MAX_URL_BYTES = 100, 32 * 1024, 8 * 1024
MAX_CHUNKS = 65_536
MAX_FIELD_BYTES = MAX_HEADER_BYTES + MAX_URL_BYTES + 4 * MAX_HEADERS
"""Bytes of headers that do not end, and of what a body has between its chunks.

The parser keeps these bytes until the headers or the body end.
"""
LONGEST = str(MOST_BYTES)
CROWD = 16
"""Where there is no room for a connection, one of so many idle ones is closed."""
UNUSUAL = frozenset(
    (b"content-encoding", b"transfer-encoding", b"expect", b"sec-fetch-site", b"origin")
)
"""A request with one of these headers is looked at closely, and answered over ASGI."""


class Asked(NamedTuple):
    """What a request's head asked for, and from where."""

    method: str
    path: str
    """Percent-decoded."""
    address: str


Refused = Callable[[SeatrialError, str, Asked | None], None]
"""Takes what a request was refused for before it reached the application, and the request's id.

`Asked` is None if the request has no whole head.
"""


class StrictProtocol(HttpToolsProtocol):
    """One connection.

    A request that is refused here never reaches the application, and its connection is closed.

    A small request that `direct` answers goes there as a whole, if those before it are answered;
    every other request goes to the ASGI application.
    """

    def __init__(
        self,
        *args: Any,
        hosts: AllowedHosts | None = None,
        most: float = math.inf,
        places: Places | None = None,
        refused: Refused | None = None,
        direct: DirectHandler | None = None,
        access: Access | None = None,
        **options: Any,
    ) -> None:
        """Set the connection up with its caps.

        `most`: connections that there may be; beyond, idle ones make room. `places`: those that one
        address may have.

        `refused` is called with each request that is refused here. With `access`, a direct request
        is one whose key was verified before: the application finds out about the others.
        """
        super().__init__(*args, **options)
        self._hosts, self._most, self._tell_refused = hosts or AllowedHosts(), most, refused
        self._places, self._placed = places, False
        self._holder: str | None = None
        """The address that it counts for."""
        self._timer: asyncio.TimerHandle | None = None
        self._due_s = self._rings_s = math.inf
        self._unread: asyncio.TimerHandle | None = None
        self._in_message = self._in_headers = self._begins = self._chunked = self._upgrading = False
        self._header_bytes = self._field_bytes = self._chunks = self._dropped_bytes = 0
        self._ended = self._lingers = self._crowded = False
        self._refused: SeatrialError | None = None
        self._refused_id = ""
        self._refused_head: Asked | None = None
        self.address: str | None = None
        """The client's."""
        self._direct, self._access = direct, access
        self._certified: Caller | None = None
        """Whom the client's certificate was found to name."""
        self._asked: DirectRequest | None = None
        """The direct request on its way, or on its way here."""
        self._whole = False
        """Has it come as a whole just now?"""
        self._between = True
        """Has the parser surely read all of the last request, and nothing of the next?"""
        self._running: RequestResponseCycle | None = None
        """The request that the application answers; others may wait behind it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Await the first request, but not for ever."""
        super().connection_made(transport)
        self.address = self.client[0] if self.client else None
        self._socket = transport
        self.transport = ClosingTransport(transport, self)  # type: ignore[assignment]
        if len(self.connections) > self._most:
            self._crowded = not self._make_room()
        self._await(HEADER_S)
        if not self._take_place(self.address):
            self._refused = self._no_place()
            self._end_refused()

    def _take_place(self, address: str | None) -> bool:
        """Count this connection as one of an address, if that may have another."""
        if self._places is None:
            return True
        self._placed, self._holder = self._places.take(address), address
        return self._placed

    def _free_place(self) -> None:
        if self._places is not None and self._placed:
            self._places.give_back(self._holder)
        self._placed, self._holder = False, None

    def _no_place(self) -> Unavailable:
        assert self._places is not None
        most = self._places.most_of_client
        text = f"this address has the {most} connections that it may have"
        return Unavailable("E_CONNECTIONS", text)

    def _make_room(self) -> bool:
        """Close connections without a request on their way; return False if there are none.

        The connections that would be closed first are closed, those whose reply is unread last.
        """
        others = [
            each
            for each in self.connections
            if isinstance(each, StrictProtocol) and each is not self
        ]
        idle = [each for each in others if each.idle]
        for each in nsmallest(len(idle) // CROWD + 1, idle, key=StrictProtocol._closed_first):
            each.abort()
        return bool(idle)

    def abort(self) -> None:
        """Close at once, whatever is still to be sent."""
        self._socket.abort()

    def _closed_first(self) -> tuple[bool, float]:
        return (True, self._unread.when()) if self._unread is not None else (False, self._due_s)

    @property
    def idle(self) -> bool:
        """Is there no request on its way?"""
        answered = self.cycle is None or self.cycle.response_complete
        return answered and not self._socket.is_closing()

    @property
    def closing(self) -> bool:
        """Is nothing answered any more?"""
        return self._lingers or self._socket.is_closing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing to wait for any more."""
        self._by_asgi_if_unread()
        self._stop_waiting()
        self._free_place()
        if self._unread is not None:
            self._unread.cancel()
        super().connection_lost(exc)
        self._tell_left()

    def data_received(self, data: bytes) -> None:
        """Feed the parser, until this connection is refused.

        Headers that did not end with this data are waited for, but not for ever.
        """
        if self._ended:
            self._drop(len(data))
            return
        if self._between and self._knows(data):
            return
        fresh, self._between = not self._in_message, False
        in_headers = self._in_headers
        body = (self._chunks, len(self.cycle.body)) if self._chunked else None
        try:
            self._parse(data)
        except httptools.HttpParserError:
            if fresh and data.startswith(CLIENT_HELLO):
                self._refused = Refusal("E_HTTP", "request", "TLS", "plain HTTP, http://")
                if TLS_LINES.take():
                    log.warning("%s came with TLS: see --tls-cert", self.address or "a client")
            self._end_refused()
            self._ask_direct(None)
            return
        if self._in_headers:
            self._field_bytes += len(data) if in_headers else 0
            if self._begins:
                self._begins, self._due_s = False, min(self._due_s, self.loop.time() + HEADER_S)
            if self._due_s < self._rings_s:
                self._set_timer()
        elif self._chunked and body is not None:
            unchanged = body == (self._chunks, len(self.cycle.body))
            self._field_bytes = self._field_bytes + len(data) if unchanged else 0
        if self._field_bytes > MAX_FIELD_BYTES and (self._in_headers or self._chunked):
            self._refused = too_many_headers()
            self._end_refused()
        self._ask_direct(data if fresh else None)

    def _knows(self, data: bytes) -> bool:
        """Hand on `data` if it is a whole request whose head the parser has read before.

        Such a request never reaches the parser. Returns whether `data` was one.
        """
        if self._direct is None or self._crowded or not self.idle or self.flow.write_paused:
            return False
        end = data.find(END) + len(END)
        head = self._direct.heads.get(data[:end])
        if head is None or len(data) != end + head.body_bytes:
            return False
        caller = head.caller
        if self._access is not None:
            caller = caller or self._caller_by_certificate()
            if caller is None or not self._direct.may(caller, head.route):
                return False
        self._due_s = math.inf
        asked = DirectRequest(self, head.route, head.headers, caller, keep_alive=True)
        self._asked = asked
        self.cycle = asked  # type: ignore[assignment]
        asked.body, asked.more_body = data[end:], False
        self._direct.ask(asked)
        return True

    def _ask_direct(self, data: bytes | None) -> None:
        """Hand on a direct request that is whole, once all that came is parsed.

        A direct request that is not whole is awaited for a moment.

        `data`: what came, where it began with a request's first byte.
        """
        asked = self._asked
        if asked is None:
            return
        if asked.more_body:
            if self._due_s == math.inf:
                self._await(PIECES_S)
        elif self._whole:
            self._whole = False
            assert self._direct is not None
            if data is not None:
                self._learn(data, asked, self._direct.heads)
            self._direct.ask(asked)

    def _learn(self, data: bytes, asked: DirectRequest, heads: Heads) -> None:
        """Keep the head of a request that the parser has read, if that request is all that came.

        The head is known from then on, and the parser stands between two requests.
        """
        end = data.find(END) + len(END)
        if asked.keep_alive and data.startswith(b"POST ") and len(data) == end + len(asked.body):
            self._between = True
            # the certificate is the connection's, and no part of the head
            caller = None if asked.caller is self._certified else asked.caller
            heads.keep(data[:end], Head(asked.route, asked.headers, len(asked.body), caller))

    def _parse(self, data: bytes) -> None:
        rest: bytes | memoryview = data
        while rest:
            try:
                self.parser.feed_data(rest)
            except httptools.HttpParserUpgrade as paused:
                rest = memoryview(rest)[paused.args[0] :]
                self._parse_without_upgrade()
            else:
                return

    def _parse_without_upgrade(self) -> None:
        """Begin the request whose headers have ended once more, without its upgrade.

        The header that asks for another protocol is left out.
        """
        lines = [
            b"%b %b HTTP/%b"
            % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        ]
        lines += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        self._upgrading = False
        self.parser = httptools.HttpRequestParser(self)
        # As uvicorn does for its first one.
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.parser.feed_data(b"\r\n".join([*lines, b"", b""]))

    def eof_received(self) -> None:
        """End the connection, which the client has closed.

        Nobody reads the answer to the client's last request, so that request is not run.
        """
        self._by_asgi_if_unread()
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._tell_left()

    def _tell_left(self) -> None:
        """Tell whoever answers a request that its client has left.

        Other requests may have come behind that one; `cycle` is the last of them.
        """
        asked, self._asked = self._asked, None
        if asked is not None:
            asked.left()
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()

    def on_message_begin(self) -> None:
        """A request's first byte. What ASGI is told of it is made where ASGI answers it."""
        self.url, self.headers, self.expect_100_continue = b"", [], False
        self._in_message = self._in_headers = self._begins = True
        self._chunked = False
        self._header_bytes = self._field_bytes = self._chunks = 0

    def on_url(self, url: bytes) -> None:
        """Cap it."""
        super().on_url(url)
        if len(self.url) > MAX_URL_BYTES:
            self._refuse(
                "E_URL", "URL", f"more than {MAX_URL_BYTES} bytes", f"at most {MAX_URL_BYTES} bytes"
            )

    def on_header(self, name: bytes, value: bytes) -> None:
        """Cap headers in number and in bytes, trailers among them.

        Trailers are then forgotten: they come after all that headers decide.
        """
        self._header_bytes += len(name) + len(value)
        if self._in_headers:
            self.headers.append((name.lower(), value))
        if len(self.headers) > MAX_HEADERS or self._header_bytes > MAX_HEADER_BYTES:
            self._raise(too_many_headers())

    def on_headers_complete(self) -> None:
        """Start the request, where its framing is beyond doubt."""
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                self._refuse(
                    "E_HTTP", "method", "CONNECT", "a request to this server: it is no proxy"
                )
            self._upgrading = True
            return
        self._in_headers, self._due_s = False, math.inf
        headers = dict(self.headers)
        route, caller = self._direct_route(headers), None
        if route is not None and self._access is not None:
            caller = self._known_caller(headers, route)
            route = None if caller is None else route
        if route is None:
            self._check()
            self._begin_asgi()
        else:
            keep_alive = self.parser.should_keep_alive()
            asked = DirectRequest(self, route, headers, caller, keep_alive=keep_alive)
            self.cycle = self._asked = asked  # type: ignore[assignment]

    def _direct_route(self, headers: Mapping[bytes, bytes]) -> Any | None:
        """Return what this request asks `direct` for.

        None: the application answers the request, or something is unusual, which `_check` judges.
        """
        if (
            self._direct is None
            or len(headers) != len(self.headers)
            or not UNUSUAL.isdisjoint(headers)
        ):
            return None
        parser, length, host = self.parser, headers.get(b"content-length"), headers.get(b"host")
        if (
            length is None
            or not length.isdigit()
            or len(length) > len(LONGEST)
            or int(length) > MOST_BYTES
        ):
            return None
        if (
            host is None
            or not self._hosts.holds(host)
            or parser.get_http_version() != "1.1"
            or self._crowded
        ):
            return None
        if parser.get_method() != b"POST" or self.flow.write_paused or not self.idle:
            return None
        return self._direct.route(self.url)

    def _known_caller(self, headers: Mapping[bytes, bytes], route: Any) -> Caller | None:
        """Who asks for this route, if that is known and that one may."""
        assert self._access is not None
        assert self._direct is not None
        if AUTHORIZATION in headers or API_KEY in headers:
            caller = self._access.known(headers)
        else:
            caller = self._caller_by_certificate()
        return caller if caller is not None and self._direct.may(caller, route) else None

    @property
    def peer_names(self) -> tuple[str, ...]:
        """Those of the client's verified certificate, while it is valid: see `Peer.names_at`."""
        return self._socket.get_extra_info(PEER_NAMES) or ()

    def _caller_by_certificate(self) -> Caller | None:
        """Whom the client's certificate names now, where that one may ask anything."""
        names = self.peer_names
        if not names or self._access is None:
            return None
        if self._certified is None or self._certified.over:
            self._certified = self._access.by_certificate(names)
        return self._certified

    def _begin_asgi(self) -> None:
        """Start the request in the application, with the headers that have come."""
        url, headers, waits = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        names = self.peer_names
        if names:
            self.scope[PEER_NAMES] = names  # type: ignore[literal-required]
        self.url, self.expect_100_continue = url, waits
        self.headers += headers
        super().on_headers_complete()

    def _by_asgi_if_unread(self) -> None:
        """The body of a direct request is still to come: from here on the application reads it."""
        asked = self._asked
        if asked is None or not asked.more_body:
            return
        self._asked, self._due_s = None, math.inf
        self.cycle = None  # type: ignore[assignment]
        self._begin_asgi()
        if asked.body:
            super().on_body(asked.body)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def on_body(self, body: bytes) -> None:
        """Some of a body."""
        asked = self._asked
        if asked is not None and asked.more_body:
            asked.body += body
        else:
            super().on_body(body)

    def _check(self) -> None:
        method, version = self.parser.get_method(), self.parser.get_http_version()
        try:
            framing = check_head(method, self.url, version, self.headers, self._hosts)
        except Refusal as refusal:
            path = unquote(self.url.partition(b"?")[0].decode("latin-1"))
            self._refused_head = Asked(method.decode("latin-1"), path, self.address or "")
            self._raise(refusal)
        self._chunked, self.expect_100_continue = framing
        if self._crowded:
            text = (
                f"connections: got {self._most} with requests on their way, want fewer; "
                "try again soon"
            )
            self._raise(Unavailable("E_OVERLOADED", text))

    def on_chunk_header(self) -> None:
        """Cap the chunks of a body."""
        self._chunks += 1
        if self._chunks > MAX_CHUNKS:
            self._refuse(
                "E_CHUNKS", "request body", f"more than {MAX_CHUNKS} chunks", "larger chunks"
            )

    def on_message_complete(self) -> None:
        """A request is here as a whole."""
        if self._upgrading:
            return
        self._in_message = self._chunked = False
        asked = self._asked
        if asked is not None and asked.more_body:
            asked.more_body, self._whole, self._due_s = False, True, math.inf
        else:
            super().on_message_complete()

    def answer(self, request: DirectRequest, data: bytes) -> None:
        """Write the answer of a direct request."""
        self._asked = None
        self._socket.write(data)
        if request.keep_alive and not (self.pipeline or self._ended or self._in_headers):
            self.server_state.total_requests += 1
            self._due_s = self.loop.time() + self.timeout_keep_alive
            if self._due_s < self._rings_s:
                self._set_timer()
            return
        if not request.keep_alive:
            self.close()
        self.on_response_complete()

    def on_response_complete(self) -> None:
        """Begin with the next of several requests that came at once, or wait for one."""
        self.server_state.total_requests += 1
        if self.closing:
            return
        if self.pipeline:
            self.flow.resume_reading()
            self._start_asgi_task(*self.pipeline.pop())
        elif self._ended:
            self._say_refused()
        else:
            self.flow.resume_reading()
            if not self._in_headers:
                self._await(self.timeout_keep_alive)

    def pause_writing(self) -> None:
        """The client does not read its reply."""
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(SEND_S, self._socket.abort)

    def resume_writing(self) -> None:
        """It does."""
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
        super().resume_writing()

    def _refuse(
        self, code: str, where: str, got: str, want: str, mend: str | None = None
    ) -> NoReturn:
        self._raise(Refusal(code, where, got, want, mend))

    def _raise(self, error: SeatrialError) -> NoReturn:
        self._refused = error
        raise error

    def _await(self, within_s: float) -> None:
        """Demand that something comes of the client within that time.

        There is one timer, which checks the deadline when it rings: to set and cancel two for each
        request takes nearly as long as to parse its body.
        """
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
            if self._asked is not None and self._asked.more_body:
                self._by_asgi_if_unread()
            else:
                self._too_slow()
        elif self._due_s < math.inf:
            self._set_timer()

    def _stop_waiting(self) -> None:
        self._due_s = math.inf
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self._rings_s = None, math.inf

    def _too_slow(self) -> None:
        if self._in_headers and not self._ended:
            got = f"no end of its headers within {HEADER_S:g} s"
            self._refused = Refusal("E_SLOW_HEADERS", "request", got, "the whole of them")
            self._end_refused()
        else:
            self._ended = True
            self._socket.close()

    def _end_refused(self) -> None:
        """Parse no more; write what was wrong, and close.

        What was wrong is written once all earlier requests are answered.
        """
        self._ended, self._refused_id = True, new_request_id()
        self._refused = self._refused or Refusal("E_HTTP", "request", "no valid HTTP", "HTTP/1.1")
        if self._tell_refused is not None:
            self._tell_refused(self._refused, self._refused_id, self._refused_head)
        self._stop_waiting()
        broken = (
            self.cycle is not None and not self.cycle.response_complete and self.cycle.more_body
        )
        if self.pipeline and broken:
            self.pipeline.popleft()  # it was never begun, and its body broke off
        elif broken:  # the application hears that nobody waits
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            self._say_refused()
            return
        elif self.cycle is None or self.cycle.response_complete:
            self._say_refused()
            return
        self.flow.pause_reading()

    def _say_refused(self) -> None:
        """In the one shape of every error."""
        assert self._refused is not None
        status, _, body, headers = answer_to(self._refused, self._refused_id)
        named = (
            b"content-type: application/json\r\nx-request-id: %b\r\n" % self._refused_id.encode()
        )
        lines = [STATUS_LINE[status], named]
        lines += [b"%b: %b\r\n" % header for header in (*headers, *ERROR_HEADERS)]
        lines += (b"content-length: %d\r\nconnection: close\r\n\r\n" % len(body), body)
        self._socket.write(b"".join(lines))
        self._linger()

    def close(self) -> None:
        """Close, once the client has received what was written.

        If the client still sends, be it the next request, what it sends is read and dropped within
        bounds.
        """
        unread = self._ended or (self.cycle is not None and self._in_message)
        if unread and not self.closing:
            self._linger()
        else:
            self._ended = True
            self._stop_waiting()
            self._socket.close()

    def _linger(self) -> None:
        if self._socket.is_closing():
            return
        self._ended = self._lingers = True
        self.flow.resume_reading()
        self._socket.write_eof()
        self._await(LINGER_S)

    def _drop(self, size: int) -> None:
        self._dropped_bytes += size
        if self._dropped_bytes > LINGER_BYTES:
            self._socket.close()


class ClosingTransport:
    """A connection's transport as uvicorn's parts have it.

    Closing the transport is the connection's own affair.
    """

    __slots__ = ("_connection", "close", "get_extra_info", "write")

    def __init__(self, transport: asyncio.Transport, connection: StrictProtocol) -> None:
        self._connection = connection
        self.write = transport.write
        self.get_extra_info = transport.get_extra_info
        self.close = connection.close

    def is_closing(self) -> bool:
        """Is nothing answered any more?"""
        return self._connection.closing


def too_many_headers() -> Refusal:
    """More than is read of any request."""
    want = f"at most {MAX_HEADERS}, {MAX_HEADER_BYTES} bytes together"
    return Refusal("E_HEADERS", "headers, trailers and extensions of chunks", "more", want)
