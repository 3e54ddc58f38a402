"""Bundles on a real Ray Serve: golden rows, lost replicas, new versions, their number."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.real_ray import Cluster
from support.servers import fetch

import seatrial as st
from seatrial_parity.runners.ray_grpc import RayGrpcRunner
from seatrial_parity.runners.ray_http import RayHttpRunner
from seatrial_parity.trial import try_runner

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ROW = {"instances": [{"x": 1.5}]}
CLIENTS = 8
CLOSED = ("RemoteDisconnected", "BrokenPipeError", "ConnectionResetError")
HAPROXY_WAITS_FOR = 2**14
"""So many bytes of a request at most, before it hands it over."""
NO_HEADERS: Mapping[str, str] = {}


class Load:
    """Clients that ask one after another until they are told to stop."""

    def __init__(
        self,
        cluster: Cluster,
        model: str,
        body: Any,
        clients: int = CLIENTS,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> None:
        self.answered, self.errors = Counter[str](), list[str]()
        self._port, self._path = cluster.http_port, f"/v1/models/{model}:predict"
        self._headers = headers
        self._body, self._stop = json.dumps(body).encode(), threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def _ask(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        headers = {"Content-Type": "application/json", **self._headers}
        while not self._stop.is_set():
            try:
                connection.request("POST", self._path, self._body, headers)
                reply = connection.getresponse()
                text = reply.read().decode()
            except (OSError, http.client.HTTPException) as error:
                self.errors.append(f"{type(error).__name__}: {error}")
                connection.close()
                continue
            if reply.status == 200:
                self.answered[json.loads(text)["model_version"]] += 1
            else:
                self.errors.append(f"{reply.status} {dict(reply.headers)} {text[:200]}")
        connection.close()

    def wait_for(self, answers: int) -> None:
        """Until so many more have been answered."""
        end, goal = time.monotonic() + 60, self.answered.total() + answers
        while self.answered.total() < goal:
            assert time.monotonic() < end, (self.answered, self.errors)
            time.sleep(0.05)

    @contextmanager
    def running(self) -> Iterator[Load]:
        """Under it."""
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join()


def test_golden_rows_pass_two_replicas_over_http_and_grpc(cluster: Cluster, lines: Path) -> None:
    cluster.deploy({"bundles": [str(lines / "line/1.0.0")]}, num_replicas=2)
    cluster.wait_for(2)
    bundle = st.open_bundle(lines / "line/1.0.0")
    http_runner = RayHttpRunner(bundle, cluster.url)
    for runner in (http_runner, RayGrpcRunner(bundle, cluster.grpc, "1.0.0")):
        trials = try_runner(bundle, runner)
        assert all(trial.passed for trial in trials), trials
    load = Load(cluster, "line", ROW)
    with load.running():
        load.wait_for(400)
    assert not load.errors
    replicas = wait_for_metrics(cluster, load.answered.total())
    assert len(replicas) == 2, replicas


def wait_for_metrics(cluster: Cluster, answered: int) -> dict[str, float]:
    """Requests that each replica says it has answered, among Ray's metrics.

    A replica tells every 10 s: waits until they have told of as many as clients were answered.
    """
    port, end = cluster.ask("metrics_port"), time.monotonic() + 60
    while True:
        text = fetch(f"http://127.0.0.1:{port}/metrics")[1]
        found = [
            line for line in text.splitlines() if line.startswith("ray_seatrial_requests_total{")
        ]
        counts: dict[str, float] = {}
        for line in found:
            replica = line.partition('replica="')[2].partition('"')[0]
            counts[replica] = counts.get(replica, 0) + float(line.rpartition(" ")[2])
        if sum(counts.values()) >= answered:
            return {replica: count for replica, count in counts.items() if count}
        assert time.monotonic() < end, text[-2000:]
        time.sleep(1)


def test_a_replica_that_is_killed_costs_at_most_what_was_in_its_hands(
    cluster: Cluster, slow: Path
) -> None:
    cluster.deploy({"bundles": [str(slow)]}, num_replicas=2)
    pids = cluster.wait_for(2)
    load = Load(cluster, "slow", ROW)
    with load.running():
        load.wait_for(50)
        cluster.ask("kill", pids[0])
        load.wait_for(50)
        cluster.wait_for(2, besides={pids[0]})
        load.wait_for(50)
    print("killed:", load.answered, load.errors)
    assert len(load.errors) <= CLIENTS
    for error in load.errors:
        if cluster.by_haproxy:  # all were asked of the other replica; its reload closes connections
            assert error.startswith(CLOSED), error
        else:
            assert error.startswith("503"), error
            assert "'retry-after': '1'" in error, error
            assert "E_NOT_READY" in error, error


def test_a_rolling_update_under_load_loses_nothing(cluster: Cluster, lines: Path) -> None:
    cluster.deploy({"bundles": [str(lines / "line/1.0.0")]}, num_replicas=2)
    before = cluster.wait_for(2)
    load = Load(cluster, "line", ROW)
    with load.running():
        load.wait_for(200)
        cluster.deploy({"bundles": [str(lines / "line/2.0.0")]}, num_replicas=2)
        cluster.wait_for(2, besides=set(before))
        load.wait_for(200)
    print("rolled:", load.answered, load.errors)
    assert not load.errors
    assert load.answered.keys() == {"1.0.0", "2.0.0"}


def test_a_version_that_fails_its_gate_is_told_and_the_one_before_goes_on(
    cluster: Cluster, lines: Path, tmp_path: Path
) -> None:
    cluster.deploy({"bundles": [str(lines / "line/1.0.0")]}, num_replicas=1)
    before = cluster.wait_for(1)
    shutil.copytree(lines / "line/2.0.0", tmp_path / "line/2.0.0")
    (graph,) = tmp_path.glob("line/2.0.0/graphs/*.onnx")
    graph.write_bytes(graph.read_bytes()[:-1] + b"?")
    load = Load(cluster, "line", ROW)
    with load.running():
        cluster.deploy({"bundles": [str(tmp_path / "line/2.0.0")]}, num_replicas=1)
        status = cluster.wait(lambda now: "E_NOT_READY" in now["message"])
        load.wait_for(50)
    assert "line 2.0.0" in status["message"]
    assert not load.errors
    assert load.answered.keys() == {"1.0.0"}
    assert status["pids"] == before


def test_labels_of_the_user_config_reach_running_replicas(cluster: Cluster, lines: Path) -> None:
    args = {"bundles": [str(lines)], "versions": "all"}
    cluster.deploy(args, num_replicas=2)
    pids = cluster.wait_for(2)
    assert versions(cluster) == {"2.0.0"}
    labels = {"labels": {"line": {"stable": "1.0.0"}}}
    cluster.deploy(args, num_replicas=2, user_config=labels)
    end = time.monotonic() + 60
    while versions(cluster) != {"1.0.0"}:
        assert time.monotonic() < end
        time.sleep(0.5)
    assert cluster.wait_for(2) == pids


def versions(cluster: Cluster) -> set[str]:
    """What the model's own name stands for at each replica, as far as some requests meet them."""
    load = Load(cluster, "line", ROW)
    with load.running():
        load.wait_for(40)
    assert not load.errors
    return set(load.answered)


def test_replicas_come_and_go_by_the_policy(cluster: Cluster, slow: Path) -> None:
    cluster.deploy(
        {"bundles": [str(slow)]},
        autoscaling_config={
            "min_replicas": 1,
            "max_replicas": 2,
            "look_back_period_s": 11,
            "upscale_delay_s": 1,
            "downscale_delay_s": 3,
        },
    )
    cluster.wait_for(1)
    load = Load(cluster, "slow", ROW, 4 * CLIENTS)
    with load.running():
        cluster.wait_for(2)
        load.wait_for(20)
    cluster.wait_for(1)
    assert not load.errors


def test_what_rays_proxies_let_through(cluster: Cluster, slow: Path) -> None:
    cluster.deploy({"bundles": [str(slow)]}, num_replicas=1)
    cluster.wait_for(1)
    load = Load(cluster, "slow", ROW, 4 * CLIENTS, {"X-Request-Timeout-Ms": "100"})
    with load.running():
        load.wait_for(50)
        end = time.monotonic() + 60
        while not any("E_OVERLOADED" in text for text in load.errors):
            assert time.monotonic() < end
    print("refused:", load.answered, load.errors[:2])
    assert all(text.startswith(("503", "504")) for text in load.errors)
    assert all("'retry-after'" in text for text in load.errors if "E_OVERLOADED" in text)
    path = "/v1/models/slow:predict"
    head = f"POST {path} HTTP/1.1\r\nHost: else.example\r\nContent-Type: application/json\r\n"
    some = " " * HAPROXY_WAITS_FOR
    refused = raw(cluster, f"{head}Content-Length: 999999999\r\n\r\n{some}")
    print("unread:", refused[:200])
    assert "413" in refused
    body = json.dumps(ROW)
    assert "200 OK" in raw(cluster, f"{head}Content-Length: {len(body)}\r\n\r\n{body}")


def raw(cluster: Cluster, sent: str) -> str:
    """The first bytes of what is answered to these bytes, while the connection stays open."""
    with socket.create_connection(("127.0.0.1", cluster.http_port), 30) as connection:
        connection.sendall(sent.encode())
        return connection.recv(65536).decode()
