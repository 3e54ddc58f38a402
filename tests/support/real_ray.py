"""A real Ray Serve, in an environment of its own (`make test-ray`)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from seatrial_contracts.bundle import Bundle
from seatrial_serve.deploy.ray import RayService
from seatrial_serve.deploy.source import Source, with_address
from support.manifests import PLACING, REGISTRY, figures
from support.ports import free_ports
from support.servers import ROOT

PYTHON = ROOT / "build/ray/bin/python"
PACKAGES = [str(ROOT / folder) for folder in ("contracts", "serve")]
SOON = {
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "2",
    "RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "1",
    "RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "1",
}
"""What takes half a minute otherwise."""
SECONDS = 120
KEPT_S = 8
"""How long a connection may be idle after an answer; Ray's default is 90 s."""
DRIVER = ROOT / "tests/ray_serve/cluster.py"


class Cluster:
    """A Ray on two cores."""

    def __init__(
        self, environment: dict[str, str], scratch: Path, log: Path, source: Source
    ) -> None:
        self._source = source
        self.by_haproxy = "RAY_SERVE_ENABLE_HA_PROXY" in environment
        self.http_port, self.grpc_port, *rest = free_ports(6)
        names = ("HAPROXY_METRICS_PORT", "HAPROXY_STATS_PORT", "FALLBACK_PROXY_HTTP_PORT",
                 "FALLBACK_PROXY_GRPC_PORT")  # fmt: skip
        ports = {f"RAY_SERVE_{n}": str(port) for n, port in zip(names, rest, strict=True)}
        # two clusters would share Ray's own range, and each other's calls over gRPC
        own = 10_000 + os.getpid() % 200 * 100
        for name, first in (("HTTP", own), ("GRPC", own + 50)):
            ports[f"RAY_SERVE_DIRECT_INGRESS_MIN_{name}_PORT"] = str(first)
            ports[f"RAY_SERVE_DIRECT_INGRESS_MAX_{name}_PORT"] = str(first + 49)
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
            [str(PYTHON), str(DRIVER)],
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

    @property
    def log(self) -> str:
        """What Ray and its replicas have logged."""
        return Path(self._log.name).read_text()

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
        """What `seatrial deploy ray` writes, on the loopback and in little time.

        `args` and `deployment` override what stands there.
        """
        config = RayService([self._source], [figures()], PLACING).serve_config
        config["proxy_location"] = "HeadOnly"
        config["http_options"] |= {
            "host": "127.0.0.1", "port": self.http_port, "keep_alive_timeout_s": KEPT_S,
        }  # fmt: skip
        config["grpc_options"]["port"] = self.grpc_port
        (app,) = config["applications"]
        app["args"] |= {"log_format": "text"} | args
        (written,) = app["deployments"]
        if "num_replicas" in deployment:
            del written["autoscaling_config"]
        written |= {"ray_actor_options": {"num_cpus": 0.5}, "graceful_shutdown_timeout_s": 10}
        written |= {k: v for k, v in deployment.items() if k != "autoscaling_config"}
        if "autoscaling_config" in deployment:
            written["autoscaling_config"] |= deployment["autoscaling_config"]
        self.ask("deploy", config)

    def wait(self, found: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The status once it is so."""
        end = time.monotonic() + SECONDS
        while True:
            status: dict[str, Any] = self.ask("status")
            if found(status):
                return status
            assert time.monotonic() < end, status
            time.sleep(0.3)

    def wait_for(self, replicas: int, besides: Collection[int] = ()) -> list[int]:
        """The processes of so many running replicas, none of them among `besides`."""
        status = self.wait(
            lambda now: (
                now["status"] == "RUNNING"
                and len(now["pids"]) == replicas
                and not set(besides) & set(now["pids"])
            )
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
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._log.close()


@contextmanager
def open_cluster(environment: dict[str, str], bundle: Bundle, log: Path) -> Iterator[Cluster]:
    """A Ray of its own. Its config is written for `bundle`; `deploy` says what it serves."""
    source = with_address(bundle, REGISTRY)
    with tempfile.TemporaryDirectory(prefix="r") as scratch:  # its sockets' paths have to be short
        cluster = Cluster(environment, Path(scratch), log, source)
        try:
            yield cluster
        finally:
            cluster.close()
