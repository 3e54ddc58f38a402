"""Several workers behind one port: real processes, their metrics added up, each one replaced when it is lost."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
from click.testing import CliRunner
from conformance import rows, seal

from seatrial.main import cli

BODY = json.dumps({"instances": rows()[:1]})
PLACE = re.compile(r"2 workers at http://127.0.0.1:(\d+), metrics on port (\d+)")


class Workers:
    """A server of two workers, and how to ask it."""

    def __init__(self, folder: Path, log: Path) -> None:
        seal(folder)
        self.log = log
        command = [sys.executable, "-m", "seatrial", "serve", str(folder), "--workers", "2", "--drain-window-s", "0.2"]
        ports = [part for name in ("http", "grpc", "metrics") for part in (f"--{name}-port", "0")]
        with log.open("w") as sink:
            self.process = subprocess.Popen([*command, *ports], stderr=sink)
        self.port, self.metrics_port = (
            int(port) for port in self.until(lambda: PLACE.search(log.read_text())).groups()
        )
        self.until(lambda: len(self.joined()) == 2)

    def until(self, found: Callable[[], Any]) -> Any:
        end = time.monotonic() + 60
        while not (value := found()):
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.02)
        return value

    def pids(self) -> set[int]:
        return {child.pid for child in psutil.Process(self.process.pid).children()}

    def joined(self) -> set[int]:
        """Those that have loaded their model."""
        return {
            int(pid) for pid in re.findall(r"repository\[(\d+)\]: conformance .* passed", self.log.read_text())
        } & self.pids()

    def ask(self) -> int:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request("POST", "/v1/models/conformance:predict", BODY, {"Content-Type": "application/json"})
            return connection.getresponse().status

    def console(self) -> dict[str, float]:
        """How requests ended, as the console shows it."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request("GET", "/console/series?model=conformance")
            codes: dict[str, float] = json.loads(connection.getresponse().read())["codes"]
        return codes

    def metric(self, name: str) -> float:
        with closing(http.client.HTTPConnection("127.0.0.1", self.metrics_port, timeout=30)) as connection:
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
        return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name))


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Workers]:
    found = Workers(tmp_path / "bundles", tmp_path / "log")
    try:
        yield found
    finally:
        children = psutil.Process(found.process.pid).children() if found.process.poll() is None else []
        found.process.kill()
        found.process.wait()
        for child in children:
            child.wait(30)


@pytest.mark.slow
def test_metrics_add_up_over_workers_and_over_one_that_was_lost(workers: Workers) -> None:
    assert [workers.ask() for _ in range(40)] == [200] * 40
    workers.until(lambda: workers.metric('seatrial_requests_total{code="ok"') == 40)  # handed over four times a second
    assert workers.metric('seatrial_request_phase_seconds_count{model="conformance",phase="total"') == 40
    assert workers.metric("seatrial_model_ready") == 1
    workers.until(lambda: workers.console() == {"ok": 40})  # whichever worker is asked
    lost = min(workers.pids())
    os.kill(lost, signal.SIGKILL)
    workers.until(lambda: len(workers.pids() - {lost}) == 2)
    assert [workers.ask() for _ in range(20)] == [200] * 20
    workers.until(lambda: len(workers.joined()) == 2)
    workers.until(lambda: workers.metric('seatrial_requests_total{code="ok"') == 60)
    assert workers.metric("seatrial_workers_lost_total") == 1
    assert "ended with -9" in workers.log.read_text()


@pytest.mark.slow
def test_sigterm_ends_every_worker_and_sighup_reloads_every_one(workers: Workers, tmp_path: Path) -> None:
    seal(tmp_path / "bundles", "1.0.1")
    workers.process.send_signal(signal.SIGHUP)
    workers.until(lambda: len(re.findall(r"conformance 1.0.1 passed", workers.log.read_text())) == 2)
    pids = workers.pids()
    workers.process.terminate()
    assert workers.process.wait(30) == 0
    assert not any(psutil.pid_exists(pid) for pid in pids)


@pytest.mark.slow
def test_workers_do_not_outlive_their_supervisor(workers: Workers) -> None:
    children = psutil.Process(workers.process.pid).children()
    workers.process.kill()
    workers.process.wait()
    assert psutil.wait_procs(children, timeout=30)[1] == []


def test_admin_routes_do_not_go_with_several_workers(tmp_path: Path) -> None:
    seal(tmp_path)
    shown = CliRunner().invoke(cli, ["serve", str(tmp_path), "--workers", "2", "--admin"])
    assert "settings 'workers' and 'admin': got both, want one worker, or no admin routes" in str(shown.exception)
