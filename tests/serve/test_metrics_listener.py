"""The metrics' own listener: scrapes share a text, and those who hang or crowd hold nobody up."""

from __future__ import annotations

import asyncio
import gzip
import http.client
import re
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from support.keyed import key_of

from seatrial_contracts.errors import DeclarationError
from seatrial_serve.access.access import Access
from seatrial_serve.http.connection import PEER_NAMES
from seatrial_serve.metrics_listener import Kind, MetricsApp, MetricsListener
from seatrial_serve.settings import Settings

Got = tuple[int, dict[str, str], bytes]


class Listening:
    """A listener over a gauge that counts how often its text was written."""

    def __init__(self, series: int = 1, label: str = "", **settings: Any) -> None:
        self.registry, self.written, self.label = CollectorRegistry(), 0, label
        self.gauge = Gauge("written", "Texts.", ["place"], registry=self.registry)
        for place in range(series):
            self.gauge.labels(f"{place}{label}")
        self.listener = MetricsListener(
            self.registry, Settings(bundles=Path(), metrics_port=0, **settings), self.write
        )

    def write(self) -> None:
        self.written += 1
        self.gauge.labels(f"0{self.label}").set(self.written)

    def get(self, path: str = "/metrics", method: str = "GET", **headers: str) -> Got:
        connection = http.client.HTTPConnection("127.0.0.1", self.listener.port, timeout=20)
        try:
            connection.request(method, path, headers=headers)
            reply = connection.getresponse()
            return reply.status, dict(reply.getheaders()), reply.read()
        finally:
            connection.close()


@pytest.fixture
def listening() -> Iterator[Listening]:
    made = Listening()
    yield made
    made.listener.close()


def test_each_format_that_a_scraper_asks_for(listening: Listening) -> None:
    status, headers, body = listening.get()
    assert (status, headers["content-type"][:10]) == (200, "text/plain")
    assert b'written{place="0"} 1.0' in body
    status, headers, body = listening.get(
        **{"Accept": "application/openmetrics-text; version=1.0.0", "Accept-Encoding": "gzip"}
    )
    assert headers["content-type"].startswith("application/openmetrics-text")
    assert gzip.decompress(body).endswith(b"# EOF\n")
    assert listening.get("/other")[0] == 404
    assert listening.get(method="POST")[0] == 405


async def test_scrapes_that_come_while_one_is_written_share_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written = 0

    def write() -> None:
        nonlocal written
        written += 1

    scrapes = MetricsApp(CollectorRegistry(), write)
    kind = Kind("text/plain", packed=False, caller=None)
    texts = await asyncio.gather(*(scrapes._text("", kind) for _ in range(50)))
    assert written == 1
    assert len({id(text) for text in texts}) == 1
    await scrapes._text("", kind)
    assert written == 2


def test_fifty_scrapers_at_once_are_all_answered(listening: Listening) -> None:
    with ThreadPoolExecutor(50) as threads:
        found = list(threads.map(lambda _: listening.get(), range(100)))
    assert {status for status, _, _ in found} == {200}
    assert listening.written < 100


def hanging_scraper(listening: Listening) -> socket.socket:
    """A connection that reads the beginning of its reply, and no further."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    sock.connect(("127.0.0.1", listening.listener.port))
    sock.sendall(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n")
    assert sock.recv(100).startswith(b"HTTP/1.1 200")
    return sock


def test_a_scraper_that_hangs_mid_response_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seatrial_serve.metrics_listener.LONGEST_REST_S", 0.0)
    listening = Listening(series=4000, label="x" * 2000)  # 8 MB: more than a connection buffers
    hanging: list[socket.socket] = []
    try:
        hanging += [hanging_scraper(listening) for _ in range(3)]
        status, _, body = listening.get()
        assert status == 200
        assert len(body) > 8e6
    finally:
        for sock in hanging:
            sock.close()
        listening.listener.close()


def test_idle_connections_beyond_the_most_make_room_for_scrapers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("seatrial_serve.metrics_listener.MOST_CONNECTIONS", 20)
    listening = Listening()
    silent = [socket.create_connection(("127.0.0.1", listening.listener.port)) for _ in range(15)]
    kept = [
        http.client.HTTPConnection("127.0.0.1", listening.listener.port, timeout=20)
        for _ in range(15)
    ]
    try:
        for connection in kept:
            connection.request("GET", "/metrics")
            assert connection.getresponse().read()
        assert {listening.get()[0] for _ in range(20)} == {200}
    finally:
        for connection in (*silent, *kept):
            connection.close()
        listening.listener.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "seatrial-metrics"]


def test_replies_that_nobody_reads_make_room_for_scrapers_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("seatrial_serve.metrics_listener.LONGEST_REST_S", 0.0)
    monkeypatch.setattr("seatrial_serve.metrics_listener.MOST_CONNECTIONS", 2)
    listening = Listening(series=4000, label="x" * 2000)  # 8 MB: more than a connection buffers
    hanging: list[socket.socket] = []
    try:
        hanging += [hanging_scraper(listening) for _ in range(3)]
        assert listening.get()[0] == 200
    finally:
        for sock in hanging:
            sock.close()
        listening.listener.close()


async def test_a_key_that_is_for_some_models_is_shown_those_alone(tmp_path: Path) -> None:
    file, registry = tmp_path / "keys.toml", CollectorRegistry()
    keys = {
        "all": key_of(file, "all", "metrics"),
        "toys": key_of(file, "toys", "metrics", "infer", models=("toy*",)),
        "none": key_of(file, "none", "infer"),
    }
    with file.open("a") as more:  # of which each scope is for other models
        more.write('[[certificates]]\nname = "dns:a"\nscopes = ["metrics"]\nmodels = ["other"]\n')
    asked = Counter("asked", "Requests.", ["model", "code"], registry=registry)
    for model in ("toy", "other", ""):
        asked.labels(model, "ok").inc()
    took = Histogram("took", "Seconds.", ["model"], registry=registry)
    for model in ("toy", "other"):
        took.labels(model).observe(1)
    Gauge("held", "Bytes.", registry=registry).set(7)
    app = MetricsApp(registry, lambda: None, Access(file))

    async def scrape(key: str, names: tuple[str, ...] = ()) -> tuple[int, str]:
        said: list[Any] = []

        async def send(message: Any) -> None:
            said.append(message)

        given = [(b"authorization", f"Bearer {keys[key]}".encode())] if key else []
        scope = {"path": "/metrics", "method": "GET", "headers": given, PEER_NAMES: names}
        await app(scope, None, send)
        return said[0]["status"], said[1]["body"].decode()

    both = await asyncio.gather(scrape("all"), scrape("toys"), scrape("", ("dns:a",)))
    assert [status for status, _ in both] == [200] * 3
    for (_, text), named in zip(
        both, ({"toy", "other", ""}, {"toy", ""}, {"other", ""}), strict=True
    ):
        assert set(re.findall(r'model="(\w*)"', text)) == named
        assert "held 7.0" in text
    assert 'asked_total{code="ok",model="toy"} 1.0' in both[1][1]
    assert 'took_bucket{le="1.0",model="toy"} 1.0' in both[1][1]
    assert (await scrape("none"))[0] == 403


def test_a_scrape_by_a_name_that_was_not_allowed_is_refused() -> None:
    listening = Listening(allowed_hosts=("seatrial", "*.svc.cluster.local"))
    try:
        hosts = {
            "seatrial:8002": 200,
            "a.b.svc.cluster.local:1": 200,
            "10.1.2.3:8002": 200,
            "pages.example": 421,
        }
        assert {host: listening.get(Host=host)[0] for host in hosts} == hosts
    finally:
        listening.listener.close()


def test_a_port_that_is_taken_is_said() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(DeclarationError, match="--metrics-port"),
    ):
        MetricsListener(
            CollectorRegistry(), Settings(bundles=Path(), metrics_port=taken.getsockname()[1])
        )
