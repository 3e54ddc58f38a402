"""Connections over real sockets: several requests on one, and clients that are slow.

What is no HTTP is in tests/refusals.
"""

from __future__ import annotations

import asyncio
import json
import socket
import time
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import uvicorn
from support.conformance import rows, seal
from uvicorn.server import ServerState

from seatrial_serve.http import connection as protocol
from seatrial_serve.http.connection import HEADER_S, LINGER_S, StrictProtocol
from seatrial_serve.http.sockets import listen
from seatrial_serve.models.lifecycle import ModelLifecycle
from seatrial_serve.process.certificates import Certificates
from seatrial_serve.process.drain import Drain
from seatrial_serve.process.reloads import Reloads
from seatrial_serve.server import DrainingServer

pytestmark = pytest.mark.slow
GET = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n"
POST = (
    b"POST /v1/models/conformance:predict HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/json\r\n"
)
BODY = json.dumps({"instances": rows()[:1]}).encode()
SIZED = POST + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., Any]) -> tuple[str, int]:
    folder = tmp_path_factory.mktemp("protocol")
    seal(folder)
    server = serve(folder)
    assert server.wait_until_loaded()[0] == 200
    host, port = server.url.removeprefix("http://").split(":")
    return host, int(port)


def talk(
    address: tuple[str, int], data: bytes, *, within_s: float = 0.5, half_close: bool = False
) -> tuple[bytes, bool]:
    """What comes back, and whether the server closed the connection."""
    with socket.create_connection(address, 10) as sock:
        sock.settimeout(within_s)
        try:
            sock.sendall(data)
            if half_close:
                sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it was refused while it was being sent
        said = b""
        try:
            while part := sock.recv(65_536):
                said += part
        except TimeoutError:
            return said, False
        except ConnectionResetError:
            pass
        return said, True


def good(address: tuple[str, int]) -> None:
    """The invariant after every case: a good request is answered."""
    said, _ = talk(
        address, SIZED.replace(b"Content-Type", b"Connection: close\r\nContent-Type"), within_s=10
    )
    assert said.startswith(b"HTTP/1.1 200"), said


def test_fifty_pipelined_requests_are_answered_in_order(address: tuple[str, int]) -> None:
    said, _ = talk(
        address,
        b"".join(
            (GET if i % 2 else SIZED.split(b"\r\n\r\n")[0] + b"\r\n")
            + (b"\r\n" if i % 2 else b"\r\n" + BODY)
            for i in range(50)
        ),
        within_s=3,
    )
    assert said.count(b"HTTP/1.1 200") == 50
    assert said.index(b"predictions") < said.index(b'"live"')


def test_a_bad_request_behind_a_good_one_leaves_the_good_ones_answer_whole(
    address: tuple[str, int],
) -> None:
    said, shut = talk(address, SIZED + b"BAD\r\n\r\n", within_s=3)
    assert said.startswith(b"HTTP/1.1 200")
    assert b"predictions" in said
    assert shut


def test_a_body_that_ends_early_runs_nothing(address: tuple[str, int]) -> None:
    said, _ = talk(address, SIZED[:-5], half_close=True, within_s=2)
    assert b"200 OK" not in said
    good(address)


def test_expect_continue_is_answered_before_the_body(address: tuple[str, int]) -> None:
    with socket.create_connection(address, 10) as sock:
        sock.sendall(
            SIZED.replace(b"Content-Type", b"Expect: 100-continue\r\nContent-Type", 1)[: -len(BODY)]
        )
        assert sock.recv(1000).startswith(b"HTTP/1.1 100")
        sock.sendall(BODY)
        assert sock.recv(1000).startswith(b"HTTP/1.1 200")


def test_slow_headers_and_silent_connections_are_closed(address: tuple[str, int]) -> None:
    with (
        socket.create_connection(address, 15) as slow,
        socket.create_connection(address, 15) as silent,
    ):
        slow.sendall(GET)
        start = time.monotonic()
        assert slow.recv(1000).startswith(b"HTTP/1.1 408")
        assert silent.recv(1000) == b""
        assert time.monotonic() - start < 14
    good(address)


def test_a_body_that_does_not_end_is_ended(tmp_path: Path, serve: Callable[..., Any]) -> None:
    seal(tmp_path)
    server = serve(tmp_path, "--request-timeout-s", "1")
    assert server.wait_until_loaded()[0] == 200
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 10) as sock:
        sock.sendall(SIZED[: -len(BODY)])
        sock.settimeout(0.3)
        said = b""
        for byte in BODY:  # a byte now and then is no way to keep it open
            sock.sendall(bytes([byte]))
            try:
                said = sock.recv(1000)
                break
            except TimeoutError:
                continue
        sock.settimeout(10)
        while more := sock.recv(1000):
            said += more
        assert said.startswith(b"HTTP/1.1 408")
        assert b"E_SLOW_BODY" in said


App = Callable[[Any, Any, Any], Awaitable[None]]


@asynccontextmanager
async def connected(
    app: App, **options: Any
) -> AsyncIterator[tuple[StreamReader, StreamWriter, ServerState]]:
    """A connection to an app behind our protocol, in this process."""
    config = uvicorn.Config(app, http=StrictProtocol, lifespan="off", **options)
    config.load()
    state = ServerState()
    async with await asyncio.get_running_loop().create_server(
        lambda: StrictProtocol(config=config, server_state=state, app_state={}), "127.0.0.1", 0
    ) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        try:
            yield reader, writer, state
        finally:
            writer.close()
            await asyncio.sleep(0.01)


async def greet(scope: Any, receive: Any, send: Any) -> None:
    """Answers as the way over ASGI does."""
    await receive()
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
    )
    await send({"type": "http.response.body", "body": b"hi"})


async def test_who_reads_nothing_of_a_large_answer_is_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(protocol, "SEND_S", 0.2)
    sent = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(64):
            await send({"type": "http.response.body", "body": bytes(2**20), "more_body": True})
        sent.set()

    async with connected(app) as (reader, writer, state):
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(GET + b"\r\n")
        await asyncio.wait_for(sent.wait(), 10)
        assert not state.connections


class Clocked:
    """A connection on a clock of its own: what it says, and when it is closed."""

    def __init__(self, app: App, **options: Any) -> None:
        self.now_s, self._timers = 0.0, list[tuple[float, Callable[[], None], Mock]]()
        loop = Mock(
            time=lambda: self.now_s,
            call_at=self._call_at,
            create_task=asyncio.get_running_loop().create_task,
        )
        self._transport = Mock(asyncio.Transport, get_extra_info=Mock(return_value=None))
        self._transport.is_closing.return_value = False
        config = uvicorn.Config(app, http=StrictProtocol, lifespan="off", **options)
        self._protocol = StrictProtocol(
            config=config, server_state=ServerState(), app_state={}, _loop=loop
        )
        self._protocol.connection_made(self._transport)

    def _call_at(self, when_s: float, ring: Callable[[], None]) -> Mock:
        handle = Mock()
        self._timers.append((when_s, ring, handle))
        return handle

    async def say(self, data: bytes) -> None:
        self._protocol.data_received(data)
        for _ in range(3):
            await asyncio.sleep(0)

    def wait_until(self, now_s: float) -> None:
        self.now_s = now_s
        due = [timer for timer in self._timers if timer[0] <= now_s]
        self._timers = [timer for timer in self._timers if timer[0] > now_s]
        for _, ring, handle in due:
            if not handle.cancel.called:
                ring()

    @property
    def said(self) -> bytes:
        return b"".join(call.args[0] for call in self._transport.write.call_args_list)

    @property
    def ended(self) -> bool:
        return bool(self._transport.write_eof.called)

    @property
    def closed(self) -> bool:
        return bool(self._transport.close.called)


async def test_the_headers_of_a_later_request_must_end_in_time_too() -> None:
    connection = Clocked(greet, timeout_keep_alive=75)
    await connection.say(GET + b"\r\n")
    assert connection.said.startswith(b"HTTP/1.1 200")
    for place in range(5):  # one byte after another does not buy more time
        connection.wait_until(20 + place * HEADER_S / 5)
        await connection.say(GET[place : place + 1])
    connection.wait_until(20 + HEADER_S - 0.1)
    assert not connection.closed
    connection.wait_until(20 + HEADER_S)
    assert b"HTTP/1.1 408" in connection.said
    assert b"E_SLOW_HEADERS" in connection.said
    assert connection.ended
    assert not connection.closed  # its client may still be sending
    connection.wait_until(20 + HEADER_S + LINGER_S)
    assert connection.closed


async def test_the_first_headers_must_end_in_time_counted_from_the_connection() -> None:
    connection = Clocked(greet)
    connection.wait_until(HEADER_S - 1)
    await connection.say(GET[:5])
    connection.wait_until(HEADER_S)
    assert b"HTTP/1.1 408" in connection.said


async def test_a_request_on_its_way_has_no_deadline_here_but_the_headers_behind_it_have() -> None:
    gate = asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await gate.wait()
        await greet(scope, receive, send)

    connection = Clocked(slow, timeout_keep_alive=75)
    await connection.say(GET + b"\r\n")
    connection.wait_until(5 * HEADER_S)
    assert not connection.closed
    await connection.say(GET[:5])
    gate.set()
    await connection.say(GET[5:6])
    assert connection.said.startswith(b"HTTP/1.1 200")
    connection.wait_until(6 * HEADER_S)
    assert b"HTTP/1.1 408" in connection.said


async def test_a_connection_that_asks_again_in_time_stays_and_one_that_does_not_is_closed() -> None:
    connection = Clocked(greet, timeout_keep_alive=15)
    for place in range(5):
        connection.wait_until(place * 14.0)
        await connection.say(GET + b"\r\n")
    assert connection.said.count(b"HTTP/1.1 200") == 5
    connection.wait_until(4 * 14 + 14.9)
    assert not connection.closed
    connection.wait_until(4 * 14 + 15)
    assert connection.closed
    assert connection.said.count(b"HTTP/1.1") == 5


async def test_a_silent_connection_is_closed_and_one_that_asked_just_before_is_not() -> None:
    silent, late = Clocked(greet), Clocked(greet, timeout_keep_alive=15)
    late.wait_until(HEADER_S - 0.1)
    await late.say(GET + b"\r\n")
    for each in (silent, late):
        each.wait_until(HEADER_S)
    assert (silent.closed, silent.said) == (True, b"")
    assert not late.closed


@pytest.mark.parametrize("request_", [GET.replace(b"1.1", b"1.0"), GET + b"Connection: close\r\n"])
async def test_an_answer_says_that_it_is_the_last(request_: bytes) -> None:
    async with connected(greet) as (reader, writer, _):
        writer.write(request_ + b"\r\n")
        assert (
            await reader.read()
            == b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi"
        )


async def test_an_answer_to_head_has_no_body() -> None:
    async with connected(greet) as (reader, writer, _):
        writer.write(GET.replace(b"GET", b"HEAD") + b"Connection: close\r\n\r\n")
        assert (await reader.read()).endswith(b"\r\n\r\n")


async def test_a_request_whose_client_has_closed_is_told_so_before_it_runs() -> None:
    heard: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        heard.set_result((await receive())["type"])

    config = uvicorn.Config(app, http=StrictProtocol, lifespan="off")
    connection = StrictProtocol(config=config, server_state=ServerState(), app_state={})
    connection.connection_made(Mock(asyncio.Transport, get_extra_info=Mock(return_value=None)))
    connection.data_received(SIZED)
    connection.eof_received()
    assert await heard == "http.disconnect"
    connection.connection_lost(None)


def draining_server(certificates: Certificates | None = None) -> DrainingServer:
    """The server without models, over an app that answers a request of BODY with nothing."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        assert (await receive())["body"] == BODY
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]}
        )
        await send({"type": "http.response.body", "body": b""})

    config = uvicorn.Config(app, http=StrictProtocol, ws="none", lifespan="off", log_config=None)
    server = DrainingServer(
        config,
        Drain(),
        0.0,
        Mock(ModelLifecycle, first_load_done=asyncio.Event()),
        None,
        nullcontext(),
        Mock(Reloads),
        certificates=certificates,
    )
    config.load()
    server.lifespan = config.lifespan_class(config)
    return server


async def test_a_connection_that_nobody_accepted_yet_is_answered_when_the_server_stops() -> None:
    server = draining_server()
    listening = listen("127.0.0.1", 0)
    place = listening.getsockname()
    await server.startup([listening])
    with socket.create_connection(place, 10) as sock:  # the loop has no turn in between
        sock.sendall(SIZED)
        await server.shutdown([listening])
        assert sock.recv(1000).startswith(b"HTTP/1.1 200")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(place, 1)
