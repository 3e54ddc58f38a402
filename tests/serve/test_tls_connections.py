"""Connections over TLS: what holds without it holds with it, and handshakes are bounded.

The tests of `test_connections` and `test_connection` that are named here run again, over TLS.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import socket
import ssl
import subprocess
import time
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import httpx
import pytest
import test_connection
import test_connections
from cryptography import x509
from support.conformance import seal
from support.tls import Authority, Pair
from support.waiting import until_here
from test_connection import (
    SIZED,
    draining_server,
    test_a_bad_request_behind_a_good_one_leaves_the_good_ones_answer_whole,
    test_a_body_that_ends_early_runs_nothing,
    test_an_answer_says_that_it_is_the_last,
    test_an_answer_to_head_has_no_body,
    test_expect_continue_is_answered_before_the_body,
    test_fifty_pipelined_requests_are_answered_in_order,
    test_who_reads_nothing_of_a_large_answer_is_dropped,
)
from test_connections import (
    App,
    echo,
    loaded,
    refuse,
    replies,
    test_a_broken_request_behind_good_ones_is_answered_after_them,
    test_a_refused_body_is_read_no_further_than_its_bound,
    test_a_refused_connection_whose_client_stays_silent_is_closed,
    test_a_tunnel_is_refused,
    test_an_idle_connection_makes_room_and_one_that_waits_for_its_answer_does_not,
    test_each_request_that_is_refused_here_is_told_of_once,
    test_many_pipelined_upgrades_are_many_requests,
    test_what_does_not_end_is_refused_and_not_kept,
)
from uvicorn.server import ServerState

from seatrial_serve.http import tls as layer
from seatrial_serve.http.connection import StrictProtocol
from seatrial_serve.http.sockets import listen
from seatrial_serve.http.tls import Handshakes, TlsConnection
from seatrial_serve.process.certificates import Certificates
from seatrial_serve.process.tls_files import TlsFiles

pytestmark = pytest.mark.slow
AGAIN = (
    test_a_bad_request_behind_a_good_one_leaves_the_good_ones_answer_whole,
    test_a_body_that_ends_early_runs_nothing,
    test_a_broken_request_behind_good_ones_is_answered_after_them,
    test_a_refused_body_is_read_no_further_than_its_bound,
    test_a_refused_connection_whose_client_stays_silent_is_closed,
    test_a_tunnel_is_refused,
    test_an_answer_says_that_it_is_the_last,
    test_an_answer_to_head_has_no_body,
    test_an_idle_connection_makes_room_and_one_that_waits_for_its_answer_does_not,
    test_each_request_that_is_refused_here_is_told_of_once,
    test_expect_continue_is_answered_before_the_body,
    test_fifty_pipelined_requests_are_answered_in_order,
    test_many_pipelined_upgrades_are_many_requests,
    test_what_does_not_end_is_refused_and_not_kept,
    test_who_reads_nothing_of_a_large_answer_is_dropped,
)
"""They are collected here by their names."""
HELLO = b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03"
"""How a handshake begins that goes no further."""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def pair(authority: Authority) -> Pair:
    return authority.issue()


@pytest.fixture(scope="module")
def address(
    tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., Any], authority: Authority,
    pair: Pair,
) -> tuple[str, int]:  # fmt: skip
    folder = tmp_path_factory.mktemp("protocol")
    seal(folder)
    server = serve(folder, *pair.flags, context=authority.client())
    assert server.wait_until_loaded()[0] == 200
    host, port = server.url.removeprefix("https://").split(":")
    return host, int(port)


class Over:
    """A server's side of TLS, for whatever a test answers with."""

    def __init__(self, pair: Pair, client_ca: Path | None = None, required: bool = True) -> None:
        self.certificates = Certificates(TlsFiles(pair.certificate, pair.key, client_ca, required))
        self.shakes = Handshakes()
        self.state = ServerState()

    @asynccontextmanager
    async def listening(
        self, app: App, state: ServerState | None = None, **options: Any
    ) -> AsyncIterator[tuple[str, int]]:
        """As `test_connections.listening`."""
        self.state = state or ServerState()
        above = lambda: StrictProtocol(
            config=loaded(app), server_state=self.state, app_state={}, **options
        )
        make = lambda: TlsConnection(above, self.certificates, self.shakes)
        server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
        async with server:
            yield server.sockets[0].getsockname()
            self.shakes.abort_all()
            for connection in list(self.state.connections):
                connection.abort()  # type: ignore[union-attr]

    @asynccontextmanager
    async def connected(self, app: App, **_: Any) -> AsyncIterator[Any]:
        """As `test_connection.connected`."""
        async with self.listening(app) as place:
            reader, writer = await asyncio.open_connection(*place)
            yield reader, writer, self.state
            writer.close()


@pytest.fixture(autouse=True)
def over(pair: Pair, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Over:
    """TLS under both files' tests, on the server's side and on the client's."""
    found, client = Over(pair), authority.client()
    monkeypatch.setattr(test_connections, "listening", found.listening)
    monkeypatch.setattr(test_connection, "connected", found.connected)
    opens = asyncio.open_connection
    monkeypatch.setattr(asyncio, "open_connection", partial(opens, ssl=client))
    connect = lambda *where: client.wrap_socket(
        socket.create_connection(*where), server_hostname="127.0.0.1"
    )
    sockets = SimpleNamespace(**vars(socket) | {"create_connection": connect})
    monkeypatch.setattr(test_connection, "socket", sockets)
    return found


@pytest.mark.parametrize("client", ["httpx", "urllib"])
async def test_who_sends_a_body_that_is_refused_unread_hears_so_each_time(
    client: str, over: Over, authority: Authority
) -> None:
    context = authority.client()

    def post(url: str) -> tuple[int, bytes]:
        if client == "httpx":
            reply = httpx.post(url, content=bytes(4 * 2**20), verify=context, trust_env=False)
            return reply.status_code, reply.content
        try:
            urllib.request.urlopen(url, bytes(4 * 2**20), 30, context=context)
        except urllib.request.HTTPError as error:
            with error:
                return error.code, error.read()
        raise AssertionError("it was not refused")

    async with over.listening(refuse) as (host, port):
        for _ in range(10):
            said = await asyncio.to_thread(post, f"https://{host}:{port}/")
            assert said == (413, b"too large")


@pytest.mark.parametrize("size", [1, 2**14 - 1, 2**14, 2**14 + 1, 3 * 2**20])
async def test_bodies_of_all_sizes_come_whole_both_ways(
    size: int, over: Over, authority: Authority
) -> None:
    async with (
        over.listening(echo) as (host, port),
        httpx.AsyncClient(verify=authority.client(), trust_env=False) as client,
    ):
        for _ in range(3):
            reply = await client.post(f"https://{host}:{port}/", content=b"a" * size)
            assert reply.json()["body"] == "a" * size
        assert len(over.state.connections) == 1


async def test_a_request_that_comes_byte_by_byte_and_record_by_record_is_one(over: Over) -> None:
    async with over.listening(echo) as place:
        reader, writer = await asyncio.open_connection(*place)
        for byte in test_connections.LINE + test_connections.SIZED:
            writer.write(bytes([byte]))
        ((status, said),) = await replies(reader, 1)
        assert (status, said["body"]) == (200, test_connections.BODY.decode())
        writer.close()


async def test_a_client_that_ends_by_tls_alone_is_answered_alike_and_its_request_told(
    over: Over, authority: Authority
) -> None:
    left: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        left.set_result((await receive())["type"])

    def end(place: tuple[str, int]) -> bytes:
        sock = socket.socket()
        sock.connect(place)
        sock.settimeout(20)
        wrapped = authority.client().wrap_socket(sock, server_hostname="localhost")
        wrapped.sendall(test_connections.LINE + test_connections.SIZED)
        with wrapped.unwrap() as plain:  # its word is sent, and the server's awaited
            return plain.recv(1)

    async with over.listening(app) as place:
        assert await asyncio.to_thread(end, place) == b""
        assert await left == "http.disconnect"
        await until_here(lambda: not over.state.connections)


async def test_a_handshake_that_does_not_end_is_ended_and_holds_nobody_up(
    over: Over, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(layer, "HANDSHAKE_S", 0.2)
    async with over.listening(echo) as place:
        raw = [socket.socket() for _ in range(20)]
        for each in raw:
            each.connect(place)
            each.sendall(HELLO)
        reader, writer = await asyncio.open_connection(*place)
        writer.write(test_connections.LINE + test_connections.SIZED)
        assert (await replies(reader, 1))[0][0] == 200
        await until_here(lambda: not over.shakes)
        for each in raw:
            assert each.recv(1) == b""
            each.close()
        assert "no end of the handshake within 0.2 s" in caplog.text
        writer.close()


async def test_beyond_the_most_handshakes_the_oldest_ends_and_an_honest_one_is_answered(
    over: Over,
) -> None:
    over.shakes = Handshakes(8)  # two of one address
    async with over.listening(echo) as place:
        raw = []
        for _ in range(40):
            raw.append(await asyncio.to_thread(opened, place))
            await asyncio.sleep(0)
        await until_here(lambda: len(over.shakes) == 2)
        reader, writer = await asyncio.open_connection(*place)
        writer.write(test_connections.LINE + test_connections.SIZED)
        assert (await replies(reader, 1))[0][0] == 200
        assert len(over.shakes) <= 2
        for each in raw:
            each.close()
        writer.close()


def opened(place: tuple[str, int]) -> socket.socket:
    """A socket whose handshake goes no further."""
    sock = socket.socket()
    sock.connect(place)
    sock.sendall(HELLO)
    return sock


def test_one_address_leaves_handshakes_to_the_others() -> None:
    shakes, made = Handshakes(8), [Mock(TlsConnection) for _ in range(10)]
    for number, each in enumerate(made[:3]):
        shakes.begin(each, "a")
        assert made[0].abort.called is (number == 2)
    shakes.end(made[0], "a")
    for number, each in enumerate(made[3:10]):
        shakes.begin(each, str(number))
    assert made[1].abort.called  # of all, the oldest
    assert not any(each.abort.called for each in made[2:])
    for number, each in enumerate((None, "a", "a", *map(str, range(7)))):
        shakes.end(made[number], each)
    assert len(shakes) == 0


async def test_plain_http_is_answered_in_plain_words_and_logged(
    over: Over, caplog: pytest.LogCaptureFixture
) -> None:
    async with over.listening(echo) as (host, port):
        reply = await asyncio.to_thread(
            httpx.post, f"http://{host}:{port}/", content=bytes(2**19), trust_env=False
        )
        assert (reply.status_code, reply.json()["code"]) == (400, "E_HTTP")
        assert "ask https://" in reply.json()["error"]
        await until_here(lambda: not over.shakes)
    (line,) = [each.message for each in caplog.records if each.levelno == logging.WARNING]
    assert line == "no TLS with 127.0.0.1: plain HTTP came: clients want https://"


async def test_tls_to_a_plain_port_is_logged(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    state = ServerState()
    make = lambda: StrictProtocol(config=loaded(echo), server_state=state, app_state={})
    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
    async with server:
        with pytest.raises(ssl.SSLError):
            await asyncio.open_connection(*server.sockets[0].getsockname())
    assert "127.0.0.1 came with TLS: see --tls-cert" in caplog.text


async def test_what_is_no_tls_and_who_leaves_at_once_leave_no_traceback(
    over: Over, caplog: pytest.LogCaptureFixture
) -> None:
    async with over.listening(echo) as place:
        for data in (b"", b"\x00" * 50, b"SSH-2.0-x\r\n", HELLO, HELLO + b"\xff" * 300):
            with socket.socket() as sock:
                sock.connect(place)
                sock.sendall(data)
                await asyncio.sleep(0.01)
        await until_here(lambda: not over.shakes)
    assert not [each for each in caplog.records if each.exc_info or each.levelno > logging.WARNING]


@pytest.mark.parametrize(
    ("version", "ciphers", "spoken"),
    [
        (ssl.TLSVersion.TLSv1_1, "ALL:@SECLEVEL=0", ""),
        (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-SHA256", ""),
        (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-GCM-SHA256", "TLSv1.2"),
        (ssl.TLSVersion.TLSv1_3, "", "TLSv1.3"),
    ],
)
async def test_old_versions_and_suites_are_refused_by_an_alert(
    version: ssl.TLSVersion, ciphers: str, spoken: str, over: Over, authority: Authority
) -> None:
    context = authority.client()
    old = pytest.warns(DeprecationWarning, match="deprecated")
    with old if version is ssl.TLSVersion.TLSv1_1 else nullcontext():
        context.minimum_version = context.maximum_version = version
    if ciphers:
        context.set_ciphers(ciphers)

    def said(place: tuple[str, int]) -> str:
        sock = socket.socket()
        sock.connect(place)
        with context.wrap_socket(sock, server_hostname="localhost") as wrapped:
            return wrapped.version() or ""

    async with over.listening(echo) as place:
        if spoken:
            assert await asyncio.to_thread(said, place) == spoken
        else:
            with pytest.raises(ssl.SSLError, match="ALERT"):
                await asyncio.to_thread(said, place)


async def test_the_names_of_a_clients_certificate_are_the_connections(
    pair: Pair, authority: Authority
) -> None:
    over = Over(pair, authority.path)
    names = [x509.UniformResourceIdentifier("spiffe://example.org/a")]
    client = authority.client(authority.issue("client", alternative=names))
    async with over.listening(echo) as place:
        _, writer = await asyncio.open_connection(*place, ssl=client)
        await until_here(lambda: over.state.connections)
        (connection,) = over.state.connections
        assert isinstance(connection, StrictProtocol)
        assert connection.peer_names == ("uri:spiffe://example.org/a", "cn:client")
        writer.close()


@pytest.mark.parametrize("required", [True, False])
async def test_clients_without_a_certificate_are_turned_away_where_one_is_required(
    required: bool, pair: Pair, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    over = Over(pair, authority.path, required)
    async with over.listening(echo) as place:
        reader, writer = await asyncio.open_connection(*place)
        writer.write(test_connections.LINE + test_connections.SIZED)
        if required:
            with pytest.raises(ssl.SSLError, match="CERTIFICATE_REQUIRED"):
                await reader.read()
            await until_here(lambda: "a client without a certificate" in caplog.text)
        else:
            assert (await replies(reader, 1))[0][0] == 200
            (connection,) = over.state.connections
            assert connection.peer_names == ()  # type: ignore[union-attr]
        writer.close()


@pytest.mark.parametrize("required", [True, False])
async def test_certificates_of_others_and_expired_ones_are_refused(
    required: bool, pair: Pair, authority: Authority, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    over, stranger = Over(pair, authority.path, required), Authority(tmp_path, "stranger").issue()
    expired = authority.issue("expired", from_days=-9, days=-2)
    async with over.listening(echo) as place:
        for refused in (stranger, expired):
            context = authority.client()
            context.load_cert_chain(refused.certificate, refused.key)
            reader, writer = await asyncio.open_connection(*place, ssl=context)
            writer.write(test_connections.LINE + test_connections.SIZED)
            with pytest.raises(ssl.SSLError, match="ALERT"):
                await reader.read()
            writer.close()
        await until_here(lambda: caplog.text.count("--tls-client-ca does not vouch for") == 2)
        assert not over.state.connections


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_session_outlives_no_certificate_of_a_client(
    version: ssl.TLSVersion, pair: Pair, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    over, client = Over(pair, authority.path), authority.client(authority.issue("client"))
    client.maximum_version = version
    sessions: list[ssl.SSLSession | None] = [None]

    def said(place: tuple[str, int]) -> bytes:
        sock = socket.socket()
        sock.connect(place)
        with client.wrap_socket(sock, server_hostname="localhost", session=sessions[-1]) as tls:
            tls.sendall(test_connections.LINE + test_connections.SIZED)
            data = tls.recv(100)
            sessions.append(tls.session)
            return data

    async with over.listening(echo) as place:
        assert (await asyncio.to_thread(said, place)).startswith(b"HTTP/1.1 200")
        monkeypatch.setattr(layer, "time", Mock(time=lambda: time.time() + 31 * 86400))
        assert not (await asyncio.to_thread(said, place)).startswith(b"HTTP/1.1 200")


async def test_a_connection_keeps_its_certificate_and_a_new_one_takes_the_new(
    authority: Authority, tmp_path: Path
) -> None:
    pair = authority.issue("first", folder=tmp_path)
    over = Over(pair)
    async with over.listening(echo) as place:
        old = await asyncio.open_connection(*place)
        new = authority.issue("second", folder=tmp_path)
        new.certificate.replace(pair.certificate)
        new.key.replace(pair.key)
        over.certificates.look()
        fresh = await asyncio.open_connection(*place)
        for (reader, writer), name in ((old, "first"), (fresh, "second")):
            writer.write(test_connections.LINE + test_connections.SIZED)
            assert (await replies(reader, 1))[0][0] == 200
            assert ((("commonName", name),),) == writer.get_extra_info("peercert")["subject"]
            writer.close()


async def test_a_handshake_on_its_way_is_answered_when_the_server_stops(
    pair: Pair, authority: Authority
) -> None:
    server = draining_server(Certificates(TlsFiles(pair.certificate, pair.key)))
    listening = listen("127.0.0.1", 0)
    place = listening.getsockname()
    await server.startup([listening])

    def ask(sock: socket.socket) -> bytes:
        with authority.client().wrap_socket(sock, server_hostname="localhost") as wrapped:
            wrapped.sendall(SIZED)
            return wrapped.recv(1000)

    sock = socket.socket()
    sock.connect(place)  # the loop has no turn in between
    asking = asyncio.create_task(asyncio.to_thread(ask, sock))
    await server.shutdown([listening])
    assert (await asking).startswith(b"HTTP/1.1 200")


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl here: apt-get install curl")
def test_curl_is_answered_over_tls_and_not_by_an_older_one(
    address: tuple[str, int], authority: Authority
) -> None:
    def curl(*flags: str) -> str:
        command = ["curl", "-sS", "-w", "\n%{http_version} %{http_code} %{ssl_verify_result}"]
        url = f"https://{address[0]}:{address[1]}/v2/health/ready"
        done = subprocess.run([*command, *flags, url], capture_output=True, text=True, check=False)
        return done.stdout.split("\n")[-1] + done.stderr

    trusted = ("--cacert", str(authority.path))
    assert curl(*trusted, "--http2") == "1.1 200 0"
    assert curl(*trusted, "--tls-max", "1.2") == "1.1 200 0"
    assert "alert protocol version" in curl(*trusted, "--tls-max", "1.1")
    assert "self-signed certificate" in curl() or "unable to get local issuer" in curl()


def test_openssl_sees_http_1_1_chosen_and_its_renegotiation_refused(
    address: tuple[str, int], authority: Authority
) -> None:
    command = [
        "openssl", "s_client", "-connect", f"{address[0]}:{address[1]}", "-CAfile",
        str(authority.path), "-alpn", "h2,http/1.1", "-verify_return_error", "-tls1_2",
    ]  # fmt: skip
    said = subprocess.run(
        command, input="R\n", capture_output=True, text=True, check=False, timeout=30
    )
    assert "ALPN protocol: http/1.1" in said.stdout
    assert "Verify return code: 0 (ok)" in said.stdout
    assert "no renegotiation" in said.stderr
