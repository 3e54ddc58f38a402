"""A real Ray Serve in an environment of its own (`make test-ray`), and small bundles for it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
from onnx import numpy_helper
from support.foreign import adopt, parsed

import seatrial as st

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / "build/ray/bin/python"
PACKAGES = [str(ROOT / folder) for folder in ("contracts", "serve")]
HAPROXY = {
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response",
}
"""As `seatrial deploy ray` writes it; a test compares."""
SOON = {
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "2",
    "RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "1",
    "RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "1",
}
"""What takes half a minute otherwise."""
SECONDS = 120
SIDE, TIMES = 1024, 48
"""Of the slow model: its matrix, and how often a row goes through it."""


class Point(st.Row):
    x: Annotated[float, st.Number(ge=-100, le=100)]


class Line(st.Answer):
    y: float


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on just now."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Cluster:
    """A Ray on two cores."""

    def __init__(self, environment: dict[str, str], scratch: Path, log: Path) -> None:
        self.http_port, self.grpc_port, *rest = free_ports(6)
        names = ("HAPROXY_METRICS_PORT", "HAPROXY_STATS_PORT", "FALLBACK_PROXY_HTTP_PORT",
                 "FALLBACK_PROXY_GRPC_PORT")  # fmt: skip
        ports = {f"RAY_SERVE_{n}": str(port) for n, port in zip(names, rest, strict=True)}
        files = {
            "CONFIG_FILE_LOC": "haproxy.cfg",
            "SOCKET_PATH": "admin.sock",
            "SERVER_STATE_BASE": "",
            "SERVER_STATE_FILE": "state",
            "METRICS_SOCKET_PATH": "metrics.sock",
        }
        files = {f"RAY_SERVE_HAPROXY_{n}": str(scratch / each) for n, each in files.items()}
        self._log = log.open("w")
        self._process = subprocess.Popen(
            [str(PYTHON), str(Path(__file__).parent / "cluster.py")],
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(scratch),
                "XDG_CACHE_HOME": str(scratch / "cache"),
                "PYTHONPATH": os.pathsep.join(PACKAGES),
                "SCRATCH": str(scratch),
                "RAY_USAGE_STATS_ENABLED": "0",
                "RAY_memory_monitor_refresh_ms": "0",
                **ports,
                **files,
                **SOON,
                **environment,
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            start_new_session=True,
        )
        self.ask("start", 2)

    @property
    def url(self) -> str:
        """Ray's HTTP proxy."""
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def grpc(self) -> str:
        """Ray's gRPC proxy."""
        return f"127.0.0.1:{self.grpc_port}"

    def ask(self, word: str, *rest: Any) -> Any:
        """See `cluster.py`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([word, *rest]) + "\n")
        self._process.stdin.flush()
        told = json.loads(self._process.stdout.readline())
        assert "is" in told, told
        return told["is"]

    def deploy(self, args: dict[str, Any], **deployment: Any) -> None:
        """A config of one application; `deployment` overrides what the application sets."""
        name = {"name": "seatrial", "ray_actor_options": {"num_cpus": 0.5}}
        self.ask("deploy", {
            "proxy_location": "HeadOnly",
            "http_options": {"host": "127.0.0.1", "port": self.http_port},
            "grpc_options": {
                "port": self.grpc_port,
                "grpc_servicer_functions": ["seatrial_ray.calls:add_servicer"],
            },
            "logging_config": {"enable_access_log": False},
            "applications": [{
                "name": "models",
                "route_prefix": "/",
                "import_path": "seatrial_ray:app",
                "args": args,
                "deployments": [name | deployment],
            }],
        })  # fmt: skip

    def wait(self, found: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The status once it is so."""
        end = time.monotonic() + SECONDS
        while True:
            status: dict[str, Any] = self.ask("status")
            if found(status):
                return status
            assert time.monotonic() < end, status
            time.sleep(0.3)

    def wait_for(self, replicas: int, besides: set[int] = frozenset()) -> list[int]:  # type: ignore[assignment]
        """The processes of so many running replicas, none of them among `besides`."""
        status = self.wait(
            lambda now: now["status"] == "RUNNING"
            and len(now["pids"]) == replicas
            and not besides & set(now["pids"])
        )
        pids: list[int] = status["pids"]
        return pids

    def close(self) -> None:
        """End it, and every process that it started."""
        try:
            self.ask("stop")
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait(60)
        finally:
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._log.close()


@pytest.fixture(scope="module", params=[HAPROXY, {}], ids=["haproxy", "proxy"])
def cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """A Ray by HAProxy, then one by Ray's own proxy."""
    if not PYTHON.exists():
        pytest.skip("Ray's environment is not here: make test-ray")
    log = tmp_path_factory.mktemp("ray") / "log"
    with tempfile.TemporaryDirectory(prefix="r") as scratch:  # its sockets' paths have to be short
        cluster = Cluster(request.param, Path(scratch), log)
        try:
            yield cluster
        finally:
            cluster.close()


@pytest.fixture(scope="session")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model `line` of two versions: 1.0.0 doubles, 2.0.0 triples."""
    folder = tmp_path_factory.mktemp("lines")
    golden = [{"x": float(x)} for x in range(-4, 5)]
    for version, factor in (("1.0.0", 2), ("2.0.0", 3)):
        graph = f"g (float[n] x) => (float[n] y) <float k = {{{factor}}}> {{ y = Mul(x, k) }}"
        adopt(graph, folder, Point, Line, golden, name="line", version=version)
    return folder


@pytest.fixture(scope="session")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model that takes some 10 ms for a row, and shall take 100."""
    folder = tmp_path_factory.mktemp("slow")
    made = np.random.default_rng(0)
    weights = (made.normal(size=(SIDE, SIDE)) / SIDE**0.5).astype(np.float32)
    parts = {"w": weights, "ones": np.ones((1, SIDE), np.float32), "last": np.array([1])}
    steps = " ".join(f"t{i + 1} = MatMul(t{i}, w)" for i in range(TIMES))
    text = (
        "g (float[n] x) => (float[n] y) { column = Unsqueeze(x, last) t0 = MatMul(column, ones) "
        f"{steps} y = ReduceMean <keepdims = 0> (t{TIMES}, last) }}"
    )
    graph = parsed(text, opset=18)
    graph.graph.initializer.extend(numpy_helper.from_array(v, name) for name, v in parts.items())
    golden = [{"x": float(x)} for x in range(-4, 5)]
    objective = st.Objective(p99_s=0.1)
    adopt(graph, folder, Point, Line, golden, name="slow", version="1.0.0", objective=objective)
    return folder
