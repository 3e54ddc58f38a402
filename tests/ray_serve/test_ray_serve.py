"""Bundles on a real Ray Serve: golden rows, lost replicas, new versions, their number."""

from __future__ import annotations

import json
import shutil
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from support.foreign import answers
from support.ray_load import CLIENTS, GrpcLoad, HttpLoad, Load, X
from support.real_ray import Cluster
from support.servers import fetch
from support.waiting import until

import seatrial as st
from seatrial_parity.runners.ray_grpc import RayGrpcRunner
from seatrial_parity.runners.ray_http import RayHttpRunner
from seatrial_parity.trial import try_runner

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
WHOLE, HALVED = 1.6500001, 1.6494141
"""1.5 * 1.1 as the variants `fp32` and `fp16` answer it."""
HAPROXY_WAITS_FOR = 2**14
"""So many bytes of a request at most, before it hands it over."""
OVER_BOTH = pytest.mark.parametrize("clients", [HttpLoad, GrpcLoad], ids=["http", "grpc"])


def test_golden_rows_pass_two_replicas_over_http_and_grpc(cluster: Cluster, lines: Path) -> None:
    cluster.deploy({"bundles": [str(lines / "line/1.0.0")]}, num_replicas=2)
    cluster.wait_for(2)
    bundle = st.open_bundle(lines / "line/1.0.0")
    http_runner = RayHttpRunner(bundle, cluster.url)
    for runner in (http_runner, RayGrpcRunner(bundle, cluster.grpc, "1.0.0")):
        trials = try_runner(bundle, runner)
        assert all(trial.passed for trial in trials), trials
    load = HttpLoad(cluster, "line")
    with load.running():
        until(lambda: len(answered_by(cluster)) == 2, 60)  # a replica tells every 10 s
    assert not load.errors
    until(lambda: sum(answered_by(cluster).values()) >= load.answered.total(), 60)


def answered_by(cluster: Cluster) -> dict[str, float]:
    """Requests that each replica says it has answered, among Ray's metrics."""
    text = fetch(f"http://127.0.0.1:{cluster.ask('metrics_port')}/metrics")[1]
    counts: dict[str, float] = {}
    for line in text.splitlines():
        if line.startswith("ray_seatrial_requests_total{"):
            replica = line.partition('replica="')[2].partition('"')[0]
            counts[replica] = counts.get(replica, 0) + float(line.rpartition(" ")[2])
    return {replica: count for replica, count in counts.items() if count}


@OVER_BOTH
def test_a_replica_that_is_killed_costs_at_most_what_was_in_its_hands(
    cluster: Cluster, slow: Path, clients: type[Load]
) -> None:
    (right,) = answers(st.open_bundle(slow / "slow/1.0.0"), [{"x": X}])
    cluster.deploy({"bundles": [str(slow)]}, num_replicas=2)
    pids = cluster.wait_for(2)
    load = clients(cluster, "slow")
    with load.running():
        load.wait_for(50)
        cluster.ask("kill", pids[0])
        load.wait_for(50)
        cluster.wait_for(2, besides={pids[0]})
        load.wait_for(50)
    print("killed:", load.answered, "refused:", load.refused, "closed:", load.closed)
    assert sorted(load.answers["1.0.0"]) == pytest.approx(
        [float(right["y"])] * len(load.answers["1.0.0"]), rel=1e-4
    )
    assert len(load.errors) <= CLIENTS
    if cluster.by_haproxy:  # asks the other replica; as it is reloaded, it closes connections
        assert not load.refused
        return
    assert not load.closed
    for refused in load.refused:
        assert refused.startswith(("503", "UNAVAILABLE")), refused
        assert "E_NOT_READY" in refused, refused
        assert "'retry-after': '1'" in refused, refused


@OVER_BOTH
def test_a_rolling_update_under_load_loses_nothing(
    cluster: Cluster, lines: Path, clients: type[Load]
) -> None:
    cluster.deploy({"bundles": [str(lines / "line/1.0.0")]}, num_replicas=2)
    before = cluster.wait_for(2)
    load = clients(cluster, "line")
    with load.running():
        load.wait_for(200)
        cluster.deploy({"bundles": [str(lines / "line/2.0.0")]}, num_replicas=2)
        cluster.wait_for(2, besides=set(before))
        load.wait_for(200)
    print("rolled:", load.answered, load.errors)
    assert not load.errors
    assert load.answers == {"1.0.0": {2 * X}, "2.0.0": {3 * X}}


def test_a_version_that_fails_its_gate_is_told_and_the_one_before_goes_on(
    cluster: Cluster, lines: Path, tmp_path: Path
) -> None:
    cluster.deploy({"bundles": [str(lines / "line/1.0.0")]}, num_replicas=1)
    before = cluster.wait_for(1)
    shutil.copytree(lines / "line/2.0.0", tmp_path / "line/2.0.0")
    (graph,) = tmp_path.glob("line/2.0.0/graphs/*.onnx")
    graph.write_bytes(graph.read_bytes()[:-1] + b"?")
    load = HttpLoad(cluster, "line")
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
    until(lambda: versions(cluster) == {"1.0.0"}, 60)
    assert cluster.wait_for(2) == pids
    cluster.deploy(args, num_replicas=2)
    until(lambda: versions(cluster) == {"2.0.0"}, 60)
    assert cluster.wait_for(2) == pids


def test_variants_of_the_user_config_reach_running_replicas(cluster: Cluster, halved: Path) -> None:
    args = {"bundles": [str(halved)]}
    cluster.deploy(args, num_replicas=2, user_config=variant("fp16"))
    pids = cluster.wait_for(2)
    assert outputs(cluster) == {HALVED}
    for now, right in [("fp32", WHOLE), ("fp16", HALVED)]:
        cluster.deploy(args, num_replicas=2, user_config=variant(now))
        until(lambda right=right: outputs(cluster) == {right}, 60)
        assert cluster.wait_for(2) == pids
    cluster.deploy(args, num_replicas=2)
    until(lambda: outputs(cluster) == {WHOLE}, 60)
    assert cluster.wait_for(2) == pids


def test_a_variant_that_there_is_not_is_told_and_the_one_before_goes_on(
    cluster: Cluster, halved: Path
) -> None:
    args = {"bundles": [str(halved)]}
    cluster.deploy(args, num_replicas=2, user_config=variant("fp16"))
    pids = cluster.wait_for(2)
    cluster.deploy(args, num_replicas=2, user_config=variant("int8"))
    told = "line 1.0.0 is not ready: no variant 'int8' in this bundle; sealed: fp32, fp16"
    until(lambda: told in cluster.log, 60)
    assert cluster.wait_for(2) == pids
    assert outputs(cluster) == {HALVED}
    cluster.ask("kill", pids[0])
    until(lambda: cluster.ask("status")["pids"] == pids[1:], 60)
    cluster.wait(lambda now: "line 1.0.0: no variant 'int8' in this bundle" in now["message"])
    assert outputs(cluster) == {HALVED}
    cluster.deploy(args, num_replicas=2, user_config=variant("fp32"))
    assert set(pids[1:]) < set(cluster.wait_for(2))
    until(lambda: outputs(cluster) == {WHOLE}, 60)


def test_a_user_config_of_a_model_that_there_is_not_stops_no_running_replica(
    cluster: Cluster, lines: Path
) -> None:
    args = {"bundles": [str(lines / "line/1.0.0")]}
    cluster.deploy(args, num_replicas=1)
    pids = cluster.wait_for(1)
    load = HttpLoad(cluster, "line")
    with load.running():
        wrong = {"labels": {"lime": {"stable": "1.0.0"}}}
        cluster.deploy(args, num_replicas=1, user_config=wrong)
        until(lambda: "user_config not taken up" in cluster.log, 60)
        assert cluster.wait_for(1) == pids
        load.wait_for(50)
    assert not load.errors
    assert load.answers == {"1.0.0": {2 * X}}


def variant(name: str) -> dict[str, Any]:
    """A `user_config` that selects a variant of the model."""
    return {"variants": {"line": {"default": name}}}


def versions(cluster: Cluster) -> set[str]:
    """What the model's own name stands for at each replica, as far as some requests meet them."""
    return set(asked(cluster).answered)


def outputs(cluster: Cluster) -> set[float]:
    """What each replica answers, as far as some requests meet them."""
    return {y for found in asked(cluster).answers.values() for y in found}


def asked(cluster: Cluster) -> Load:
    """Some requests, each of which was answered."""
    load = HttpLoad(cluster, "line")
    with load.running():
        load.wait_for(40)
    assert not load.errors
    return load


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
    load = HttpLoad(cluster, "slow", 4 * CLIENTS)
    with load.running():
        cluster.wait_for(2)
        load.wait_for(20)
    cluster.wait_for(1)
    assert not load.errors


def test_what_rays_proxies_let_through(cluster: Cluster, slow: Path) -> None:
    cluster.deploy({"bundles": [str(slow)]}, num_replicas=1)
    cluster.wait_for(1)
    load = HttpLoad(cluster, "slow", 4 * CLIENTS, {"X-Request-Timeout-Ms": "100"})
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
    body = json.dumps({"instances": [{"x": X}]})
    assert "200 OK" in raw(cluster, f"{head}Content-Length: {len(body)}\r\n\r\n{body}")


def raw(cluster: Cluster, sent: str) -> str:
    """The first bytes of what is answered to these bytes, while the connection stays open."""
    with socket.create_connection(("127.0.0.1", cluster.http_port), 30) as connection:
        connection.sendall(sent.encode())
        return connection.recv(65536).decode()
