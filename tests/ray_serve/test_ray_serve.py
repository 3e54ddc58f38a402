"""Bundles on a real Ray Serve: golden rows, lost replicas, new versions, more and fewer replicas."""

from __future__ import annotations

import http.client
import json
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.servers import fetch

import seatrial as st
from seatrial_parity.runners.grpc import OurGrpcRunner
from seatrial_parity.runners.http import HttpRunner
from seatrial_parity.trial import try_runner

if TYPE_CHECKING:
    from tests.ray_serve.conftest import Cluster

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ROW = {"instances": [{"x": 1.5}]}
CLIENTS = 8


class Load:
    """Clients that ask one after another until they are told to stop."""

    def __init__(self, cluster: Cluster, model: str, body: Any, clients: int = CLIENTS) -> None:
        self.answered, self.errors = Counter[str](), list[str]()
        self._port, self._path = cluster.http_port, f"/v1/models/{model}:predict"
        self._body, self._stop = json.dumps(body).encode(), threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def _ask(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        headers = {"Content-Type": "application/json"}
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
    for runner in (HttpRunner(bundle, cluster.url), OurGrpcRunner(bundle, cluster.grpc, "1.0.0")):
        trials = try_runner(bundle, runner)
        assert all(trial.passed for trial in trials), trials
    load = Load(cluster, "line", ROW)
    with load.running():
        load.wait_for(400)
    assert not load.errors
    replicas = wait_for_metrics(cluster)
    assert len(replicas) == 2, replicas


def wait_for_metrics(cluster: Cluster) -> dict[str, float]:
    """Requests that each replica says it has answered, among Ray's metrics."""
    port, end = cluster.ask("metrics_port"), time.monotonic() + 60
    while True:
        text = fetch(f"http://127.0.0.1:{port}/metrics")[1]
        found = [line for line in text.splitlines() if line.startswith("ray_seatrial_requests_total{")]
        counts: dict[str, float] = {}
        for line in found:
            replica = line.partition('replica="')[2].partition('"')[0]
            counts[replica] = counts.get(replica, 0) + float(line.rpartition(" ")[2])
        if sum(counts.values()) >= 400:
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


def test_replicas_come_and_go_by_the_policy(cluster: Cluster, slow: Path) -> None:
    cluster.deploy(
        {"bundles": [str(slow)]},
        max_ongoing_requests=1000,
        autoscaling_config={
            "min_replicas": 1,
            "max_replicas": 2,
            "look_back_period_s": 11,
            "upscale_delay_s": 1,
            "downscale_delay_s": 3,
            "upscaling_factor": 0.1,
            "downscaling_factor": 0.1,
            "policy": {"policy_function": "seatrial_ray.policy:predicted_wait"},
        },
    )
    cluster.wait_for(1)
    load = Load(cluster, "slow", ROW, 4 * CLIENTS)
    with load.running():
        cluster.wait_for(2)
        load.wait_for(20)
    cluster.wait_for(1)
    assert not load.errors
