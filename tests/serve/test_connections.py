"""How a connection treats upgrades, trailers and refused bodies.

Foreign hosts, foreign pages, and too many other connections are tried too.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import shutil
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import cache
from typing import Any
from unittest.mock import Mock

import httpx
import pytest
import uvicorn
from uvicorn.server import ServerState

from seatrial_contracts.errors import SeatrialError
from seatrial_serve.http import connection as protocol
from seatrial_serve.http.connection import MAX_FIELD_BYTES, Asked, StrictProtocol
from seatrial_serve.http.hosts import AllowedHosts, is_cross_site

pytestmark = pytest.mark.slow
UPGRADES = {
    "h2c": (
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        b"HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n"
    ),
    "h2c, kept alive": b"Upgrade: h2c\r\nConnection: keep-alive, upgrade\r\n",
    "a websocket": (
        b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    ),
    "two at once": b"Upgrade: h2c\r\nConnection: Upgrade\r\nUpgrade: tea/1\r\n",
}
LINE = b"POST /echo?q=1 HTTP/1.1\r\nHost: localhost\r\nX-Kept: yes\r\n"
BODY = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
"""A body that reads like a request."""
SIZED = b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(
    b"%x\r\n%s\r\n" % (len(BODY), BODY) for _ in range(2)
)
END = b"0\r\n\r\n"
App = Callable[[Any, Any, Any], Awaitable[None]]


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Says what it was asked."""
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body, more = body + message.get("body", b""), message.get("more_body", False)
    names = [name.decode() for name, _ in scope["headers"]]
    said = json.dumps(
        {"path": scope["path"], "body": body.decode("latin-1"), "headers": names}
    ).encode()
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-length", b"%d" % len(said))],
        }
    )
    await send({"type": "http.response.body", "body": said})


async def refuse(scope: Any, receive: Any, send: Any) -> None:
    """Refuses unread what was declared too large, and reads nothing."""
    headers = [(b"content-length", b"9"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": b"too large"})


@asynccontextmanager
async def listening(
    app: App, state: ServerState | None = None, **options: Any
) -> AsyncIterator[tuple[str, int]]:
    """Our protocol over an app, on a port of the loopback."""
    state = state or ServerState()
    make = lambda: StrictProtocol(config=loaded(app), server_state=state, app_state={}, **options)
    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()
        for connection in list(state.connections):
            connection.abort()  # type: ignore[union-attr]


@cache
def loaded(app: App) -> uvicorn.Config:
    config = uvicorn.Config(app, http=StrictProtocol, lifespan="off")
    config.load()
    return config


async def answers_to(*packets: bytes) -> list[tuple[int, Any]]:
    """Status and JSON of each answer of `echo` to what comes in these packets, without a socket."""
    connection = StrictProtocol(config=loaded(echo), server_state=ServerState(), app_state={})
    transport = Mock(get_extra_info=Mock(return_value=None), is_closing=Mock(return_value=False))
    connection.connection_made(transport)
    for packet in packets:
        connection.data_received(packet)
        await asyncio.sleep(0)
    while connection.tasks:
        await asyncio.sleep(0)
    connection.connection_lost(None)
    written = b"".join(call.args[0] for call in transport.write.call_args_list)
    heads = [answer.partition(b"\r\n\r\n") for answer in written.split(b"HTTP/1.1 ")[1:]]
    return [(int(head.split()[0]), json.loads(said)) for head, _, said in heads]


async def replies(reader: asyncio.StreamReader, count: int) -> list[tuple[int, Any]]:
    """So many answers: status and JSON."""
    found = []
    for _ in range(count):
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        found.append((int(head.split()[1]), json.loads(await reader.readexactly(length))))
    return found


@pytest.mark.parametrize("upgrade", UPGRADES.values(), ids=UPGRADES)
@pytest.mark.parametrize("body", [SIZED, CHUNKED + END], ids=["sized", "chunked"])
async def test_a_request_that_asks_for_another_protocol_keeps_its_body_wherever_it_is_cut(
    upgrade: bytes, body: bytes
) -> None:
    plain = b"GET /after HTTP/1.1\r\nHost: localhost\r\n\r\n"
    data = LINE + upgrade + body + LINE + upgrade + b"\r\n" + plain
    want = BODY.decode() * (2 if body is not SIZED else 1)
    step = 1 if upgrade is UPGRADES["h2c"] else 11
    for cut in range(1, len(data), step):
        first, second, third = await answers_to(data[:cut], data[cut:])
        assert (first[0], first[1]["path"], first[1]["body"]) == (200, "/echo", want)
        assert {"x-kept", "connection"} <= set(first[1]["headers"])
        assert "upgrade" not in first[1]["headers"]
        assert (second[1]["path"], second[1]["body"], third[1]["path"]) == ("/echo", "", "/after")


async def test_a_request_that_asks_for_another_protocol_byte_by_byte_keeps_its_body() -> None:
    data = LINE + UPGRADES["h2c"] + SIZED
    ((status, said),) = await answers_to(*(data[place : place + 1] for place in range(len(data))))
    assert (status, said["body"]) == (200, BODY.decode())


async def test_many_pipelined_upgrades_are_many_requests() -> None:
    async with listening(echo) as place:
        reader, writer = await asyncio.open_connection(*place)
        writer.write((LINE + UPGRADES["h2c"] + SIZED) * 200)
        found = await replies(reader, 200)
        assert {(status, said["path"], said["body"]) for status, said in found} == {
            (200, "/echo", BODY.decode())
        }
        writer.close()


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl here: apt-get install curl")
@pytest.mark.parametrize("size", [0, 100, 300_000])
async def test_curl_that_asks_for_http2_is_answered_by_http1(size: int) -> None:
    async with listening(echo) as (host, port):
        command = [
            "curl",
            "-sS",
            "--http2",
            "--max-time",
            "20",
            "-w",
            "\n%{http_version} %{http_code}",
            "--data-binary",
            "@-",
        ]
        curl = await asyncio.create_subprocess_exec(
            *command,
            f"http://{host}:{port}/x",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        said, _ = await curl.communicate(b"a" * size)
        body, _, status = said.rpartition(b"\n")
        assert status == b"1.1 200"
        assert json.loads(body)["body"] == "a" * size


async def test_a_tunnel_is_refused() -> None:
    async with listening(echo) as place:
        reader, writer = await asyncio.open_connection(*place)
        writer.write(b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost:80\r\n\r\n" + LINE + SIZED)
        ((status, said),) = await replies(reader, 1)
        assert (status, said["code"]) == (400, "E_HTTP")
        assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()


TRAILERS = (
    b"X-Request-Id: trailer\r\nContent-Type: text/plain\r\nX-Request-Timeout-Ms: 1\r\n"
    b"Host: pages.example\r\n"
)


async def test_trailers_are_no_headers_wherever_they_are_cut() -> None:
    data = LINE + CHUNKED + b"0\r\n" + TRAILERS + b"\r\n" + LINE + b"\r\n"
    for cut in range(len(LINE + CHUNKED), len(data)):
        first, second = await answers_to(data[:cut], data[cut:])
        assert first[1]["headers"] == ["host", "x-kept", "transfer-encoding"]
        assert first[1]["body"] == BODY.decode() * 2
        assert second[1]["headers"] == ["host", "x-kept"]


@pytest.mark.parametrize(
    "endless",
    [
        pytest.param(LINE + b"X-Long: ", id="a header"),
        pytest.param(LINE + CHUNKED + b"0\r\nX-Long: ", id="a trailer"),
        pytest.param(LINE + CHUNKED + b"5;ext=", id="an extension of a chunk"),
        pytest.param(
            LINE + b"Transfer-Encoding: chunked\r\n\r\n5;ext=", id="an extension of the first chunk"
        ),
    ],
)
async def test_what_does_not_end_is_refused_and_not_kept(endless: bytes) -> None:
    async with listening(echo) as place:
        reader, writer = await asyncio.open_connection(*place)
        writer.write(endless)
        for _ in range(MAX_FIELD_BYTES // 1024 + 64):
            writer.write(b"a" * 1024)
            await asyncio.sleep(0)
        ((status, said),) = await replies(reader, 1)
        assert (status, said["code"]) == (431, "E_HEADERS")
        writer.close()


def post(url: str, size: int, **headers: str) -> tuple[int, bytes]:
    """Send a POST by urllib, and return its status and body.

    urllib sends the whole body before it reads, and closes its connection after each request.
    """
    request = urllib.request.Request(url, bytes(size), headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def post_by_httpx(url: str, size: int, **headers: str) -> tuple[int, bytes]:
    reply = httpx.post(
        url, content=bytes(size), headers=headers, timeout=30, trust_env=False, verify=False
    )
    return reply.status_code, reply.content


def post_by_http_client(url: str, size: int, **headers: str) -> tuple[int, bytes]:
    """On a connection that is to be kept, in chunks."""
    connection = http.client.HTTPConnection(url.split("/")[2], timeout=30)
    try:
        parts = (bytes(2**16) for _ in range(size // 2**16))
        connection.request("POST", "/", parts, headers, encode_chunked=True)
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()


@pytest.mark.parametrize("client", [post, post_by_httpx, post_by_http_client])
async def test_who_sends_a_body_that_is_refused_unread_hears_so_each_time(client: Any) -> None:
    async with listening(refuse) as (host, port):
        for _ in range(20):
            said = await asyncio.to_thread(client, f"http://{host}:{port}/", 4 * 2**20)
            assert said == (413, b"too large")


@pytest.mark.parametrize(
    "headers", [{"Expect": "tea"}, {"X-Long": "a" * 40_000}, {"Host": "pages.example"}]
)
async def test_who_sends_a_body_behind_bad_headers_hears_so_each_time(
    headers: dict[str, str],
) -> None:
    async with listening(echo) as (host, port):
        for _ in range(20):
            status, said = await asyncio.to_thread(
                post, f"http://{host}:{port}/", 4 * 2**20, **headers
            )
            assert status == {"Expect": 417, "X-Long": 431, "Host": 421}[next(iter(headers))]
            assert set(json.loads(said)) == {"error", "code", "request_id"}


async def test_a_refused_body_is_read_no_further_than_its_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(protocol, "LINGER_BYTES", 2**20)
    state = ServerState()
    async with listening(refuse, state) as place:
        reader, writer = await asyncio.open_connection(*place)
        writer.write(LINE + b"Content-Length: 99999999999\r\n\r\n")
        assert await reader.readuntil(b"too large")
        assert await reader.read() == b""
        assert state.connections
        with pytest.raises(ConnectionError):
            for _ in range(1000):
                writer.write(bytes(2**16))
                await writer.drain()
                await asyncio.sleep(0)
        writer.close()


async def test_a_refused_connection_whose_client_stays_silent_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(protocol, "LINGER_S", 0.0)
    state = ServerState()
    async with listening(refuse, state) as place:
        reader, writer = await asyncio.open_connection(*place)
        writer.write(LINE + b"Content-Length: 99999999999\r\n\r\n")
        assert (await reader.read()).endswith(b"too large")
        async with asyncio.timeout(10):
            while state.connections:
                await asyncio.sleep(0)
        writer.close()


async def test_a_broken_request_behind_good_ones_is_answered_after_them() -> None:
    async with listening(echo) as place:
        for broken in (b"BAD\r\n\r\n", LINE + CHUNKED + b"ZZ\r\n"):
            reader, writer = await asyncio.open_connection(*place)
            writer.write((LINE + SIZED) * 2 + broken)
            first, second, third = await replies(reader, 3)
            assert (first[0], second[0], third[0], third[1]["code"]) == (200, 200, 400, "E_HTTP")
            assert await reader.read() == b""
            writer.close()


async def test_each_request_that_is_refused_here_is_told_of_once() -> None:
    told: list[tuple[str, str]] = []
    heads: list[Asked | None] = []
    bad = {
        b"BAD\r\n\r\n": "E_HTTP",
        LINE + b"Expect: tea\r\n\r\n": "E_EXPECT",
        b"GET /\r\n\r\n": "E_HTTP_VERSION",
        LINE.replace(b"/echo", b"/" + b"a" * 9000) + b"\r\n": "E_URL",
        LINE + b"X: a\r\n" * 200 + b"\r\n": "E_HEADERS",
        LINE.replace(b"localhost", b"pages.example") + b"\r\n": "E_HOST",
        LINE + b"Origin: http://pages.example\r\n\r\n": "E_CROSS_SITE",
        (LINE + SIZED) * 2 + b"BAD\r\n\r\n": "E_HTTP",
    }

    def tell(error: SeatrialError, request_id: str, asked: Asked | None) -> None:
        told.append((error.code, request_id))  # type: ignore[attr-defined]
        heads.append(asked)

    async with listening(echo, refused=tell) as place:
        for data, code in bad.items():
            reader, writer = await asyncio.open_connection(*place)
            writer.write(data)
            said = await asyncio.wait_for(reader.read(), 10)
            assert [code for code, _ in told] == [code]
            assert told.pop()[1].encode() in said
            writer.close()
            asked = heads.pop()
            if code in ("E_EXPECT", "E_HOST", "E_CROSS_SITE"):
                assert asked is not None
                assert asked.path == "/echo"
            elif code in ("E_URL", "E_HEADERS"):
                assert asked is None


async def test_an_idle_connection_makes_room_and_one_that_waits_for_its_answer_does_not() -> None:
    gate = asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/slow":
            await gate.wait()
        await echo(scope, receive, send)

    slowly = LINE.replace(b"/echo", b"/slow") + SIZED
    async with listening(slow, most=2) as place:
        first = await asyncio.open_connection(*place)
        first[1].write(slowly)
        idle = await asyncio.open_connection(*place)
        idle[1].write(LINE + SIZED)
        await replies(idle[0], 1)
        second = await asyncio.open_connection(*place)
        second[1].write(slowly)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await idle[0].readexactly(1)
        crowded = await asyncio.open_connection(*place)
        crowded[1].write(LINE + SIZED)
        head = await crowded[0].readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503")
        assert b"\r\nretry-after: 1\r\n" in head
        gate.set()
        assert (await replies(first[0], 1))[0][0] == (await replies(second[0], 1))[0][0] == 200
        for _, writer in (first, idle, second, crowded):
            writer.close()


HOSTS = {
    "localhost": True,
    "LOCALHOST:8000": True,
    "localhost.": True,
    "127.0.0.1:8000": True,
    "[::1]": True,
    "[::1]:8000": True,
    "10.2.3.4": True,
    "[fd00::7]:80": True,
    "models": True,
    "models:8000": True,
    "MODELS.": True,
    "a.b.svc.cluster.local": True,
    "pages.example": False,
    "models.pages.example": False,
    "svc.cluster.local": False,
    "xsvc.cluster.local": False,
    "localhost.pages.example": False,
    "127.0.0.1.pages.example": False,
    "127.1": False,
    "0x7f000001": False,
    "2130706433": False,
    "[::1": False,
    "::1": False,
    "user@localhost": False,
    "localhost:": False,
    "localhost:80:80": False,
    "localhost/": False,
    "": False,
    "..": False,
    "\xe9": False,
}


@pytest.mark.parametrize(("host", "held"), HOSTS.items())
def test_hosts_are_addresses_localhost_and_the_names_that_were_allowed(
    host: str, held: bool
) -> None:
    assert AllowedHosts(("models", "*.svc.cluster.local")).holds(host.encode("latin-1")) is held
    assert AllowedHosts("*").holds(host.encode("latin-1"))


@pytest.mark.parametrize(
    ("method", "site", "origin", "cross"),
    [
        ("POST", None, None, False),  # no browser
        ("POST", "same-origin", "http://own:1", False),
        ("POST", "none", None, False),
        ("POST", "same-site", "http://other.own", True),
        ("POST", "cross-site", "http://pages.example", True),
        ("POST", "cross-site", None, True),
        ("POST", None, "http://own:1", False),
        ("POST", None, "HTTP://OWN:1", False),
        ("POST", None, "http://own:2", True),
        ("POST", None, "null", True),
        ("DELETE", None, "http://pages.example", True),
        ("GET", "cross-site", "http://pages.example", False),
        ("OPTIONS", "cross-site", "http://pages.example", False),
    ],
)
def test_a_page_of_another_origin_changes_nothing(
    method: str, site: str | None, origin: str | None, cross: bool
) -> None:
    sites, origins = ([value.encode()] if value is not None else [] for value in (site, origin))
    assert is_cross_site(method.encode(), sites, origins, b"own:1") is cross


async def test_the_host_of_an_absolute_url_counts_and_not_the_headers() -> None:
    async with listening(echo) as (host, port):
        for authority, want in (
            (b"localhost:1", 200),
            (b"pages.example", 421),
            (b"u@localhost", 421),
        ):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(LINE.replace(b"/echo", b"http://" + authority + b"/echo") + SIZED)
            assert (await replies(reader, 1))[0][0] == want
            writer.close()


async def test_a_request_of_http_1_0_needs_no_host() -> None:
    async with listening(echo) as place:
        reader, writer = await asyncio.open_connection(*place)
        writer.write(b"POST / HTTP/1.0\r\n" + SIZED)
        assert (await replies(reader, 1))[0][0] == 200
        writer.close()
