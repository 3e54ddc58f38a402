"""Several workers behind one port: real processes, their metrics added up.

Each worker is replaced when it is lost.
"""

from __future__ import annotations

import errno
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from click.testing import CliRunner
from support.conformance import rows, seal

from seatrial.main import cli
from seatrial_serve.process.reloads import Reloads
from seatrial_serve.settings import Settings
from seatrial_serve.supervisor import Supervisor

BODY = json.dumps({"instances": rows()[:1]})
PLACE = re.compile(r"2 workers at http://127.0.0.1:(\d+), metrics on port (\d+)")


class Workers:
    """A server of two workers, and how to ask it."""

    def __init__(
        self,
        folder: Path,
        log: Path,
        while_loading: Callable[[subprocess.Popen[bytes]], None] = lambda _: None,
        flags: Sequence[str] = (),
    ) -> None:
        """`while_loading` is called again and again until both have loaded their model."""
        seal(folder)
        self.log, self.while_loading = log, while_loading
        command = [
            sys.executable,
            "-m",
            "seatrial",
            "serve",
            str(folder),
            "--workers",
            "2",
            "--drain-window-s",
            "0.2",
        ]
        ports = [part for name in ("http", "grpc", "metrics") for part in (f"--{name}-port", "0")]
        with log.open("w") as sink:
            self.process = subprocess.Popen([*command, *ports, *flags], stderr=sink)

    def wait_until_loaded(self) -> None:
        """Both workers have."""
        self.port, self.metrics_port = (
            int(port) for port in self.until(lambda: PLACE.search(self.log.read_text())).groups()
        )
        self.until(self.loaded)

    def loaded(self) -> bool:
        self.while_loading(self.process)
        return len(self.joined()) == 2

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
            int(pid)
            for pid in re.findall(
                r"repository\[(\d+)\]: conformance .* passed", self.log.read_text()
            )
        } & self.pids()

    def ask(self) -> int:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request(
                "POST", "/v1/models/conformance:predict", BODY, {"Content-Type": "application/json"}
            )
            return connection.getresponse().status

    def versions(self, asked: int) -> set[str]:
        """What answers so many requests, each over a connection of its own."""
        url = f"http://127.0.0.1:{self.port}/v1/models/conformance:predict"
        given = {"Content-Type": "application/json"}
        replies = [requests.post(url, BODY, headers=given, timeout=30) for _ in range(asked)]
        return {reply.json()["model_version"] for reply in replies}

    def console(self) -> dict[str, float]:
        """How requests ended, as the console shows it."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request("GET", "/console/series?model=conformance")
            codes: dict[str, float] = json.loads(connection.getresponse().read())["codes"]
        return codes

    def metric(self, name: str) -> float:
        with closing(
            http.client.HTTPConnection("127.0.0.1", self.metrics_port, timeout=30)
        ) as connection:
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
        return sum(
            float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name)
        )


@contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """A supervisor that is gone afterwards, with its workers."""
    try:
        yield
    finally:
        children = psutil.Process(process.pid).children() if process.poll() is None else []
        process.kill()
        process.wait()
        for child in children:
            child.wait(30)


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Workers]:
    found = Workers(tmp_path / "bundles", tmp_path / "log")
    with ended(found.process):
        found.wait_until_loaded()
        yield found


@pytest.mark.slow
def test_metrics_add_up_over_workers_and_over_one_that_was_lost(workers: Workers) -> None:
    assert [workers.ask() for _ in range(40)] == [200] * 40
    # Counts are flushed four times a second.
    workers.until(lambda: workers.metric('seatrial_requests_total{code="ok"') == 40)
    assert (
        workers.metric('seatrial_request_phase_seconds_count{model="conformance",phase="total"')
        == 40
    )
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
def test_a_folder_that_changed_unasked_is_served_alike_by_all_once_a_worker_is_lost(
    workers: Workers, tmp_path: Path
) -> None:
    seal(tmp_path / "bundles", "1.0.1")
    (lost, *kept) = sorted(workers.pids())
    assert workers.versions(20) == {"1.0.0"}  # nobody has asked for a look
    os.kill(lost, signal.SIGKILL)
    for pid in [*kept, *workers.until(lambda: workers.pids() - {lost, *kept})]:
        passed = f"repository[{pid}]: conformance 1.0.1 passed"
        workers.until(lambda passed=passed: passed in workers.log.read_text())
    workers.until(lambda: workers.versions(20) == {"1.0.1"})


@pytest.mark.slow
def test_sigterm_ends_every_worker_and_sighup_reloads_every_one(
    workers: Workers, tmp_path: Path
) -> None:
    seal(tmp_path / "bundles", "1.0.1")
    workers.process.send_signal(signal.SIGHUP)
    workers.until(
        lambda: len(re.findall(r"conformance 1.0.1 passed", workers.log.read_text())) == 2
    )
    pids = workers.pids()
    workers.process.terminate()
    assert workers.process.wait(30) == 0
    assert not any(psutil.pid_exists(pid) for pid in pids)


@pytest.mark.slow
def test_who_connects_while_workers_stop_is_answered_or_refused_and_never_reset(
    workers: Workers,
) -> None:
    workers.process.terminate()
    answered = [workers.ask()]
    with pytest.raises(ConnectionRefusedError):
        answered.extend(workers.ask() for _ in range(10_000))
    assert set(answered) == {200}


@pytest.mark.slow
def test_workers_do_not_outlive_their_supervisor(workers: Workers) -> None:
    children = psutil.Process(workers.process.pid).children()
    workers.process.kill()
    workers.process.wait()
    assert psutil.wait_procs(children, timeout=30)[1] == []


@pytest.mark.slow
def test_a_worker_that_is_asked_to_reload_while_it_starts_and_loads_lives_and_reloads_then(
    tmp_path: Path,
) -> None:
    log = tmp_path / "log"
    found = Workers(tmp_path / "bundles", log, lambda process: process.send_signal(signal.SIGHUP))
    with ended(found.process):
        found.wait_until_loaded()
        assert "ended with" not in log.read_text()
        assert found.ask() == 200
        found.process.terminate()
        assert found.process.wait(30) == 0


DUMMY = "import sys, signal; sys.stdin.readline(); print('settled', flush=True); signal.pause()"


@pytest.fixture
def handlers() -> Iterator[None]:
    """The handlers of signals, and what is held back, are afterwards as they were."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)


@pytest.mark.slow
@pytest.mark.usefixtures("handlers")
def test_a_worker_that_cannot_be_started_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[subprocess.Popen[bytes] | None] = []
    start = subprocess.Popen

    def start_or_fail(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        if len(tries) < 2:
            tries.append(None)
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        process = start([sys.executable, "-c", DUMMY], **options)
        tries.append(process)
        if len(tries) == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return process

    monkeypatch.setattr("seatrial_serve.kept_process.subprocess.Popen", start_or_fail)
    Supervisor(Settings(workers=2, http_port=0, grpc=False, metrics=False), None).run(Reloads())
    assert [process.returncode for process in tries if process is not None] == [-signal.SIGTERM] * 2
    assert (
        caplog.text.count("did not start (Resource temporarily unavailable); another starts in")
        == 2
    )


@pytest.mark.slow
@pytest.mark.usefixtures("handlers")
def test_a_fault_of_the_supervisor_itself_ends_it_with_its_workers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[subprocess.Popen[bytes]] = []
    start = subprocess.Popen

    def start_or_fail(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        if started:
            raise RuntimeError("a bug")
        started.append(start([sys.executable, "-c", DUMMY], **options))
        return started[0]

    monkeypatch.setattr("seatrial_serve.kept_process.subprocess.Popen", start_or_fail)
    with pytest.raises(RuntimeError, match="a bug"):
        Supervisor(Settings(workers=2, http_port=0, grpc=False, metrics=False), None).run(Reloads())
    assert started[0].returncode == -signal.SIGTERM


def test_admin_routes_do_not_go_with_several_workers(tmp_path: Path) -> None:
    seal(tmp_path)
    shown = CliRunner().invoke(cli, ["serve", str(tmp_path), "--workers", "2", "--admin"])
    assert "settings 'workers' and 'admin': got both, want one worker, or no admin routes" in str(
        shown.exception
    )
