"""How long either of Ray's proxies keeps connections that are slow, idle or many."""

from __future__ import annotations

import json
import math
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from support.real_ray import KEPT_S, Cluster

from seatrial_serve.http.connection import HEADER_S

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
WATCHED_S = 20.0
BODY_S = 5.0
"""How late a replica lets the first second's worth of a body be."""
LATE_S = 5.0
"""How much later than its time a connection may end here."""
CONNECTIONS = 500
BODY = json.dumps({"instances": [{"x": 1.5}]})
HEAD = "POST /v1/models/line:predict HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n"
WHOLE = f"{HEAD}Content-Length: {len(BODY)}\r\n\r\n{BODY}"
LONG = f"{HEAD}Content-Length: 400000\r\n\r\n"

REPLICAS, HAPROXYS = "HTTP/1.1 408 Request Timeout", "HTTP/1.1 408 Request Time-out"
BY_HAPROXY: Mapping[str, tuple[float, str | None]] = {
    "no byte": (HEADER_S, ""),
    "half a head": (HEADER_S, HAPROXYS),
    "a head by bytes": (HEADER_S, HAPROXYS),
    "no body": (HEADER_S, HAPROXYS),
    "a body by bytes": (HEADER_S, HAPROXYS),
    "a body that stops": (BODY_S, REPLICAS),
    "idle": (KEPT_S, ""),
}
"""What a connection brings -> when it is ended, and with which line."""
BY_PROXY: Mapping[str, tuple[float, str | None]] = {
    "no byte": (math.inf, None),
    "half a head": (math.inf, None),
    "a head by bytes": (math.inf, None),
    "no body": (BODY_S, REPLICAS),
    "a body by bytes": (BODY_S, REPLICAS),
    "a body that stops": (BODY_S, REPLICAS),
    "idle": (KEPT_S, ""),
}


@dataclass(frozen=True)
class Ended:
    """How a connection ended."""

    after_s: float
    told: str
    """The first line of what came before its end; empty if nothing did."""


class Watched:
    """A connection that brings some bytes at once, and others by one a second."""

    def __init__(self, cluster: Cluster) -> None:
        self._address = "127.0.0.1", cluster.http_port

    def __call__(self, at_once: str, dripped: str = "") -> Ended | None:
        """How it ended; None if it is open after `WATCHED_S` seconds."""
        with socket.create_connection(self._address) as connection:
            connection.sendall(at_once.encode())
            return self._drip(connection, iter(dripped))

    def idle_after_an_answer(self) -> Ended | None:
        """The same of a connection that has been answered."""
        with socket.create_connection(self._address) as connection:
            connection.sendall(WHOLE.encode())
            answer = b""
            while not answer.endswith(b'"1.0.0"}'):
                answer += connection.recv(65536)
            return self._drip(connection, iter(""))

    def _drip(self, connection: socket.socket, dripped: Iterator[str]) -> Ended | None:
        began = time.monotonic()
        connection.settimeout(1)
        while time.monotonic() - began < WATCHED_S:
            try:
                connection.sendall(next(dripped, "").encode())
                told = connection.recv(65536).decode()
            except TimeoutError:
                continue
            except ConnectionError:
                told = ""
            return Ended(time.monotonic() - began, told.partition("\r\n")[0])
        return None


@pytest.fixture
def served(cluster: Cluster, lines: Path) -> Cluster:
    """A replica of the small model."""
    cluster.deploy({"bundles": [str(lines / "line/1.0.0")]}, num_replicas=1)
    cluster.wait_for(1)
    return cluster


def test_how_long_slow_and_idle_connections_are_kept(served: Cluster) -> None:
    watched = Watched(served)
    asked: dict[str, Callable[[], Ended | None]] = {
        "no byte": lambda: watched(""),
        "half a head": lambda: watched(HEAD),
        "a head by bytes": lambda: watched(HEAD, "X-Long: " + "a" * 100),
        "no body": lambda: watched(LONG),
        "a body by bytes": lambda: watched(LONG, " " * 100),
        "a body that stops": lambda: watched(LONG + " " * 20_000),
        "idle": watched.idle_after_an_answer,
    }
    with ThreadPoolExecutor(len(asked)) as pool:
        seen = dict(zip(asked, pool.map(lambda ask: ask(), asked.values()), strict=True))
    print("kept:", seen)
    wanted = BY_HAPROXY if served.by_haproxy else BY_PROXY
    assert {way: each and each.told for way, each in seen.items()} == {
        way: told for way, (_, told) in wanted.items()
    }
    for way, (due_s, _) in wanted.items():
        ended = seen[way]
        assert ended is None or ended.after_s < due_s + LATE_S, (way, ended)


def test_idle_connections_keep_no_request_out(served: Cluster) -> None:
    with ExitStack() as opened:
        for _ in range(CONNECTIONS):
            address = "127.0.0.1", served.http_port
            opened.enter_context(socket.create_connection(address))
        with socket.create_connection(("127.0.0.1", served.http_port), 30) as another:
            another.sendall(WHOLE.encode())
            assert another.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_a_grpc_channel_may_be_idle_before_a_call_and_after_one(served: Cluster) -> None:
    with grpc.insecure_channel(served.grpc) as channel:
        grpc.channel_ready_future(channel).result(30)
        method = channel.unary_unary("/inference.GRPCInferenceService/ServerReady")
        for _ in range(2):
            time.sleep(HEADER_S + 2)
            assert method(b"", timeout=30)
