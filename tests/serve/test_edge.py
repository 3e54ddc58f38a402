"""The edge against browsers and proxies: CORS, other sites' pages, and whose word counts."""

from __future__ import annotations

import asyncio
import http.server
import json
import shutil
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests
import tritonclient.grpc as over_grpc
from support import browsers
from support.conformance import rows, seal
from support.real_nginx import ADDRESS, NGINX, WHY, RealNginx
from support.servers import Server
from support.waiting import until, until_here
from test_connections import LINE, SIZED, App, echo, loaded, replies
from uvicorn.server import ServerState

from seatrial_serve.http.direct import DirectRequest, Heads
from seatrial_serve.http.forwarded import TrustedProxies
from seatrial_serve.http.proxied import ProxiedProtocol
from seatrial_serve.process.budget import Places

pytestmark = pytest.mark.slow
PREDICT = "/v1/models/conformance:predict"
FEEDBACK = "/v1/models/conformance:feedback"
LOAD = "/v2/repository/models/conformance/load"
BODY = json.dumps({"instances": rows()[:1]})
JSON = {"Content-Type": "application/json"}
PAGE = b"<!doctype html><title>another site</title>"


class Page(http.server.BaseHTTPRequestHandler):
    """A page of another site."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(PAGE)))
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@pytest.fixture(scope="module")
def sites() -> Iterator[tuple[str, str]]:
    """Origins of two other sites: the first is listed."""
    servers = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) for _ in range(2)]
    threads = [threading.Thread(target=each.serve_forever) for each in servers]
    for thread in threads:
        thread.start()
    yield tuple(f"http://127.0.0.1:{each.server_port}" for each in servers)  # type: ignore[misc]
    for each in servers:
        each.shutdown()
        each.server_close()


@pytest.fixture(scope="module")
def audit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("audit") / "audit.jsonl"


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., Server],
    sites: tuple[str, str], audit: Path,
) -> Server:  # fmt: skip
    folder = tmp_path_factory.mktemp("edge")
    seal(folder)
    started = serve(
        folder, "--admin", "--audit-log", str(audit), "--trusted-proxies", ADDRESS,
        "--cors-origins", sites[0], "--feedback-answers", "10",
    )  # fmt: skip
    assert started.wait_until_loaded()[0] == 200
    return started


def test_a_listed_origin_may_ask_models_and_read_the_answers(
    server: Server, sites: tuple[str, str]
) -> None:
    listed, other = sites
    reply = requests.post(server.url + PREDICT, BODY, headers=JSON | {"Origin": listed}, timeout=30)
    assert reply.status_code == 200
    assert reply.headers["access-control-allow-origin"] == listed
    assert "access-control-allow-credentials" not in reply.headers
    assert "x-request-id" in reply.headers["access-control-expose-headers"]
    assert reply.headers["vary"] == "origin"
    reply = requests.post(server.url + PREDICT, BODY, headers=JSON | {"Origin": other}, timeout=30)
    assert (reply.status_code, reply.json()["code"]) == (403, "E_CROSS_SITE")
    assert "access-control-allow-origin" not in reply.headers
    for path in ("/v2", "/v2/models/conformance", "/v2/health/ready", "/openapi.json"):
        reply = requests.get(server.url + path, headers={"Origin": listed}, timeout=30)
        assert reply.headers["access-control-allow-origin"] == listed
        reply = requests.get(server.url + path, headers={"Origin": other}, timeout=30)
        assert "access-control-allow-origin" not in reply.headers
        assert reply.headers["vary"] == "origin"
    reply = requests.post(server.url + PREDICT, b"[", headers=JSON | {"Origin": listed}, timeout=30)
    assert reply.status_code == 400  # its page may read what is wrong
    assert reply.headers["access-control-allow-origin"] == listed


def preflight(server: Server, path: str, origin: str, method: str = "POST") -> requests.Response:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "content-type,authorization",
    }
    return requests.options(server.url + path, headers=headers, timeout=30)


def test_preflights_are_answered_for_listed_origins_and_routes_alone(
    server: Server, sites: tuple[str, str]
) -> None:
    listed, other = sites
    reply = preflight(server, PREDICT, listed)
    assert (reply.status_code, reply.content) == (204, b"")
    assert reply.headers["access-control-allow-origin"] == listed
    assert reply.headers["access-control-allow-methods"] == "POST"
    allowed = reply.headers["access-control-allow-headers"]
    assert {"content-type", "authorization", "x-api-key"} <= set(allowed.split(", "))
    assert "access-control-allow-credentials" not in reply.headers
    reply = requests.options(server.url + PREDICT, headers={"Origin": listed}, timeout=30)
    assert reply.status_code == 405  # no preflight
    for path, origin, method in (
        (PREDICT, other, "POST"),
        (PREDICT, "null", "POST"),
        (PREDICT, listed.replace("127.0.0.1", "localhost"), "POST"),
        (PREDICT, listed, "DELETE"),
        (FEEDBACK, listed, "POST"),
        (LOAD, listed, "POST"),
        (LOAD.replace("/v2", "//v2"), listed, "POST"),
        (LOAD.replace("repository", "models/../repository"), listed, "POST"),
        ("/v2/repository/index", listed, "POST"),
        ("/console/series", listed, "GET"),
        ("/", listed, "GET"),
        ("/docs", listed, "GET"),
    ):
        reply = preflight(server, path, origin, method)
        assert not {name for name in reply.headers if name.startswith("access-control")}, path


@pytest.mark.parametrize(
    "page", [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {}]
)
@pytest.mark.parametrize(
    "path", [FEEDBACK, LOAD, LOAD.replace("load", "unload"), "/v2/repository/index"]
)
@pytest.mark.parametrize("place", [0, 1])
def test_administration_and_feedback_refuse_every_other_sites_page(
    path: str, page: dict[str, str], place: int, server: Server, sites: tuple[str, str]
) -> None:
    for kind in ("application/json", "text/plain"):  # the second needs no preflight
        headers = {"Origin": sites[place], "Content-Type": kind, **page}
        reply = requests.post(server.url + path, "{}", headers=headers, timeout=30)
        assert (reply.status_code, reply.json()["code"]) == (403, "E_CROSS_SITE")
        assert "access-control-allow-origin" not in reply.headers
        assert reply.headers["x-content-type-options"] == "nosniff"


def test_nothing_of_administration_and_feedback_runs_by_a_get(server: Server) -> None:
    for path in (FEEDBACK, LOAD, LOAD.replace("load", "unload"), "/v2/repository/index"):
        assert requests.get(server.url + path, timeout=30).status_code in (404, 405)


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl here: apt-get install curl")
@pytest.mark.parametrize(("te", "said"), [((), ""), (("-H", "te: trailers"), "grpc-status: 0")])
def test_no_page_can_call_grpc(
    te: tuple[str, ...], said: str, server: Server, tmp_path: Path
) -> None:
    """No page may write the header `te` (the Fetch standard, "forbidden request-header")."""
    message = tmp_path / "message"
    message.write_bytes(bytes(5))
    call = ["curl", "-s", "-i", "--http2-prior-knowledge", "--data-binary", f"@{message}"]
    url = f"http://{server.grpc}/inference.GRPCInferenceService/ServerLive"
    done = subprocess.run(
        [*call, "-H", "Content-Type: text/plain", *te, url], capture_output=True, timeout=30,
        check=False,
    )  # fmt: skip
    assert (said in done.stdout.decode("latin-1")) if said else (done.stdout == b"")


@browsers.NEEDED
def test_a_browser_lets_pages_of_the_listed_origin_alone_ask_and_read(
    server: Server, sites: tuple[str, str]
) -> None:
    script = """async ([url, body, headers]) => {
        try {
            const reply = await fetch(url, {method: "POST", body, headers});
            return [reply.status, reply.headers.get("x-request-id"), (await reply.text()).length];
        } catch (error) { return String(error); }
    }"""
    own = {"content-type": "application/json", "authorization": "Bearer k", "x-request-id": "mine"}
    with browsers.started() as browser:
        listed, other = browser.new_page(), browser.new_page()
        listed.goto(sites[0])
        other.goto(sites[1])
        status, request_id, size = listed.evaluate(script, [server.url + PREDICT, BODY, own])
        assert (status, request_id) == (200, "mine")
        assert size > 100
        refused = "TypeError: Failed to fetch"
        assert other.evaluate(script, [server.url + PREDICT, BODY, own]) == refused
        for path in (FEEDBACK, LOAD):
            assert listed.evaluate(script, [server.url + path, "{}", own]) == refused


@pytest.mark.skipif(NGINX is None, reason=WHY)
def test_behind_nginx_the_logs_name_the_client_and_not_whom_it_names(
    server: Server, audit: Path, tmp_path: Path
) -> None:
    place = server.url.removeprefix("http://")
    forged = {"X-Forwarded-For": "203.0.113.9", "Host": "localhost"}
    with RealNginx(tmp_path / "nginx", place, server.grpc) as nginx:
        for url in (f"http://{nginx.http}", server.url):  # the second is no proxy's
            reply = requests.post(url + LOAD, b"{}", headers=JSON | forged, timeout=30)
            assert reply.status_code == 200, reply.text
        for address in (nginx.grpc, server.grpc):
            with over_grpc.InferenceServerClient(address) as client:
                client.load_model("conformance", headers={"x-forwarded-for": "203.0.113.9"})
        # a proxy's own word, and its client's beside it
        forged = {"Forwarded": "for=203.0.113.9", "Host": "localhost"}
        requests.post(f"http://{nginx.http}{LOAD}", b"{}", headers=JSON | forged, timeout=30)
        for _ in range(20):
            reply = requests.post(f"http://{nginx.http}{PREDICT}", BODY, headers=JSON, timeout=30)
            assert reply.status_code == 200
    client = "127.0.0.1"
    wanted = [
        ("HTTP", client), ("HTTP", client), ("gRPC", client), ("gRPC", client), ("HTTP", ADDRESS),
    ]  # fmt: skip
    until(lambda: administered(audit) == wanted)


def administered(audit: Path) -> list[tuple[str, str]]:
    """How and by whom models were administered. What was refused stems from other tests here."""
    said = [json.loads(line) for line in audit.read_text("utf-8").splitlines()]
    return [
        (line["over"], line["who"])
        for line in said
        if line["event"] == "administration" and line["result"] == "ok"
    ]


class Answering:
    """A `DirectHandler` that answers when it is told to, and says whom."""

    def __init__(self) -> None:
        self.heads, self.asked = Heads(), list[DirectRequest]()

    def route(self, url: bytes) -> Any:
        return url if url == b"/direct" else None

    def ask(self, request: DirectRequest) -> None:
        self.asked.append(request)

    def answer(self) -> str | None:
        request = self.asked.pop(0)
        address = request.connection.address
        request.reply(200, b"content-type: application/json\r\n", b'"direct"', close=False)
        return address


@asynccontextmanager
async def proxied(app: App, places: Places, direct: Answering) -> AsyncIterator[tuple[str, int]]:
    """A server that trusts 127.0.0.1 as a proxy."""
    state = ServerState()
    make = partial(
        ProxiedProtocol, config=loaded(app), server_state=state, app_state={}, places=places,
        direct=direct, proxies=TrustedProxies(["127.0.0.1"]),
    )  # fmt: skip
    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()
        for connection in list(state.connections):
            connection.abort()  # type: ignore[union-attr]


def asks(client: str, path: str = "/direct") -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n"
        f"X-Forwarded-For: {client}\r\n\r\n[]"
    ).encode()


async def test_each_request_over_a_proxys_connection_is_its_own_clients() -> None:
    places, direct, seen = Places(1), Answering(), []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["client"][0])
        await echo(scope, receive, send)

    async with proxied(app, places, direct) as place:
        reader, writer = await asyncio.open_connection(*place)
        assert places.taken == 0  # a proxy's connection is nobody's
        for client in ("203.0.113.1", "203.0.113.2", "203.0.113.1"):
            writer.write(asks(client))
            await until_here(lambda: direct.asked)
            assert places.taken == 1
            assert direct.answer() == client
            assert (await replies(reader, 1))[0] == (200, "direct")
            assert places.taken == 0
            writer.write(asks(client, "/echo"))
            assert (await replies(reader, 1))[0][0] == 200
            await until_here(lambda: places.taken == 0)
        assert seen == ["203.0.113.1", "203.0.113.2", "203.0.113.1"]
        writer.close()


async def test_a_client_has_its_connections_through_all_proxies_and_others_have_theirs() -> None:
    places, direct = Places(2), Answering()
    async with proxied(echo, places, direct) as place:
        opened = [await asyncio.open_connection(*place) for _ in range(4)]
        for _, writer in opened[:2]:
            writer.write(asks("203.0.113.1"))
        await until_here(lambda: len(direct.asked) == 2)
        opened[2][1].write(asks("203.0.113.1"))
        ((status, said),) = await replies(opened[2][0], 1)
        assert (status, said["code"]) == (503, "E_CONNECTIONS")
        opened[3][1].write(asks("203.0.113.2"))
        await until_here(lambda: len(direct.asked) == 3)
        while direct.asked:
            direct.answer()
        for place_of in (0, 1, 3):
            assert (await replies(opened[place_of][0], 1))[0][0] == 200
        assert places.taken == 0
        opened[0][1].write(asks("203.0.113.1"))
        await until_here(lambda: direct.asked)
        for _, writer in opened:
            writer.close()  # one of them with a request on its way
        await until_here(lambda: places.taken == 0)


@pytest.mark.parametrize(
    "said",
    [b"", b"X-Forwarded-For: 203.0.113.1\r\nForwarded: for=198.51.100.7\r\n", b'Forwarded: "\r\n'],
    ids=["nothing", "two things", "nothing that is well-formed"],
)
async def test_whom_a_proxy_does_not_name_has_the_connections_of_one_address(said: bytes) -> None:
    """A client that makes the headers disagree has no more than others."""
    places, direct = Places(1), Answering()
    request = asks("203.0.113.1").replace(b"X-Forwarded-For: 203.0.113.1\r\n", said)
    async with proxied(echo, places, direct) as place:
        opened = [await asyncio.open_connection(*place) for _ in range(2)]
        assert places.taken == 0
        opened[0][1].write(request)
        await until_here(lambda: direct.asked)
        opened[1][1].write(request)
        ((status, said_of_it),) = await replies(opened[1][0], 1)
        assert (status, said_of_it["code"]) == (503, "E_CONNECTIONS")
        assert direct.answer() == "127.0.0.1"
        assert (await replies(opened[0][0], 1))[0][0] == 200
        assert places.taken == 0
        for _, writer in opened:
            writer.close()


async def test_who_is_no_proxy_counts_by_its_address_whatever_it_says() -> None:
    places, direct, state = Places(1), Answering(), ServerState()
    make = partial(
        ProxiedProtocol, config=loaded(echo), server_state=state, app_state={}, places=places,
        direct=direct, proxies=TrustedProxies(["192.0.2.1"]),
    )  # fmt: skip
    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        for _ in range(2):
            writer.write(asks("203.0.113.1"))
            await until_here(lambda: direct.asked)
            assert places.taken == 1
            assert direct.answer() == "127.0.0.1"
            await replies(reader, 1)
        assert places.taken == 1
        other = await asyncio.open_connection(*server.sockets[0].getsockname())
        assert (await replies(other[0], 1))[0][1]["code"] == "E_CONNECTIONS"
        for each in (writer, other[1]):
            each.close()
        await until_here(lambda: places.taken == 0)


async def test_a_refused_request_of_a_proxys_client_gives_its_place_back() -> None:
    places, direct = Places(1), Answering()
    async with proxied(echo, places, direct) as place:
        for bad in (LINE + b"Expect: tea\r\nX-Forwarded-For: 203.0.113.1\r\n\r\n", b"BAD\r\n\r\n"):
            reader, writer = await asyncio.open_connection(*place)
            writer.write(bad)
            assert (await replies(reader, 1))[0][0] in (400, 417)
            writer.close()
            await until_here(lambda: places.taken == 0)
        reader, writer = await asyncio.open_connection(*place)
        writer.write((LINE + SIZED) * 3)
        assert [status for status, _ in await replies(reader, 3)] == [200] * 3
        writer.close()
