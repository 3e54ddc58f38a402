"""Connections over real sockets: several requests on one, and clients that are slow. What is no HTTP is in tests/refusals."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import uvicorn
from conformance import rows, seal
from uvicorn.server import ServerState

from seatrial_serve import protocol
from seatrial_serve.drain import Drain
from seatrial_serve.keeper import Keeper
from seatrial_serve.protocol import StrictProtocol
from seatrial_serve.server import DrainingServer
from seatrial_serve.sockets import listen

pytestmark = pytest.mark.slow
GET = b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\n"
POST = b"POST /v1/models/conformance:predict HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
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
    said, _ = talk(address, SIZED.replace(b"Content-Type", b"Connection: close\r\nContent-Type"), within_s=10)
    assert said.startswith(b"HTTP/1.1 200"), said


def test_fifty_pipelined_requests_are_answered_in_order(address: tuple[str, int]) -> None:
    said, _ = talk(
        address,
        b"".join(
            (GET if i % 2 else SIZED.split(b"\r\n\r\n")[0] + b"\r\n") + (b"\r\n" if i % 2 else b"\r\n" + BODY)
            for i in range(50)
        ),
        within_s=3,
    )
    assert said.count(b"HTTP/1.1 200") == 50
    assert said.index(b"predictions") < said.index(b'"live"')


def test_a_bad_request_behind_a_good_one_leaves_the_good_ones_answer_whole(address: tuple[str, int]) -> None:
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
        sock.sendall(SIZED.replace(b"Content-Type", b"Expect: 100-continue\r\nContent-Type", 1)[: -len(BODY)])
        assert sock.recv(1000).startswith(b"HTTP/1.1 100")
        sock.sendall(BODY)
        assert sock.recv(1000).startswith(b"HTTP/1.1 200")


def test_slow_headers_and_silent_connections_are_closed(address: tuple[str, int]) -> None:
    with socket.create_connection(address, 15) as slow, socket.create_connection(address, 15) as silent:
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


async def test_who_reads_nothing_of_a_large_answer_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "SEND_S", 0.2)
    sent = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(64):
            await send({"type": "http.response.body", "body": bytes(2**20), "more_body": True})
        sent.set()

    config = uvicorn.Config(app, http=protocol.StrictProtocol, lifespan="off")
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    async with await loop.create_server(
        lambda: protocol.StrictProtocol(config=config, server_state=state, app_state={}), "127.0.0.1", 0
    ) as server:
        with socket.create_connection(server.sockets[0].getsockname()) as sock:
            sock.sendall(GET + b"\r\n")
            await asyncio.wait_for(sent.wait(), 10)
            assert not state.connections


async def test_a_connection_that_nobody_accepted_yet_is_answered_when_the_server_stops() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        assert (await receive())["body"] == BODY
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    config = uvicorn.Config(app, http=StrictProtocol, ws="none", lifespan="off", log_config=None)
    server = DrainingServer(config, Drain(), 0.0, Mock(Keeper, settled=asyncio.Event()), None)
    config.load()
    server.lifespan = config.lifespan_class(config)
    listening = listen("127.0.0.1", 0)
    place = listening.getsockname()
    await server.startup([listening])
    with socket.create_connection(place, 10) as sock:  # the loop has no turn in between
        sock.sendall(SIZED)
        await server.shutdown([listening])
        assert sock.recv(1000).startswith(b"HTTP/1.1 200")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(place, 1)
