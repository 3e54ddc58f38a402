"""Real workers that share a real engine process."""

from __future__ import annotations

import http.client
import json
import os
import random
import re
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
from click.testing import CliRunner
from support.conformance import rows, seal
from support.servers import Server

from seatrial.main import cli
from seatrial_contracts.errors import DeclarationError
from seatrial_serve.engine_keeper import EngineKeeper
from seatrial_serve.settings import Settings

sys.path.append(str(Path(__file__).parents[1] / "serve"))
from test_workers import Workers, ended

ASKED = "/v1/models/conformance:predict"
SHARED = ("--engine", "shared")


class Shared(Workers):
    """Two workers and an engine process."""

    def __init__(self, folder: Path, log: Path) -> None:
        super().__init__(folder, log, flags=(*SHARED, "--grace-s", "1"))

    def pids(self) -> set[int]:
        return {child.pid for child in self.children("seatrial_serve.worker")}

    @property
    def engine(self) -> psutil.Process:
        return self.until(lambda: self.children("seatrial_serve.engine_process"))[0]  # type: ignore[no-any-return]

    def children(self, module: str) -> list[psutil.Process]:
        found = []
        for child in psutil.Process(self.process.pid).children():
            try:
                if module in child.cmdline():
                    found.append(child)
            except psutil.Error:
                continue
        return found

    def lose(self, *, worker: bool, engine: bool) -> None:
        """Kill a worker, the engine process or both, and wait for what follows them."""
        lost, workers = self.engine.pid, self.pids()
        gone = min(workers)
        for pid in [gone] * worker + [lost] * engine:
            os.kill(pid, signal.SIGKILL)
        if worker:
            self.until(lambda: len(self.pids() - {gone}) == 2)
        if engine:
            self.until(lambda: self.engine.pid != lost)

    def echoed(self, numbers: list[int], **headers: str) -> tuple[int, Any]:
        """Status, and the numbers that came back or the code."""
        body = json.dumps({"instances": [rows()[0] | {"in_int64": numbers}]})
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request("POST", ASKED, body, {"Content-Type": "application/json", **headers})
            reply = connection.getresponse()
            data = json.loads(reply.read())
        if reply.status != 200:
            return reply.status, data["code"]
        return 200, data["predictions"][0]["out_int64"]

    def ready(self) -> bool:
        """Are both workers, for all that a few connections say?"""
        return all(self.echoed([1]) == (200, [1]) for _ in range(6))


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Shared]:
    found = Shared(tmp_path / "bundles", tmp_path / "log")
    with ended(found.process):
        found.wait_until_loaded()
        yield found


@pytest.mark.slow
def test_lost_workers_and_engines_mean_no_wrong_answer_and_leave_nothing(
    shared: Shared,
) -> None:
    stop, how, wrong = threading.Event(), Counter[Any](), list[Any]()

    def ask(seed: int) -> None:
        drawn = random.Random(seed)
        while not stop.is_set():
            numbers = [drawn.randrange(-(2**53), 2**53) for _ in range(drawn.randrange(1, 60))]
            try:
                status, got = shared.echoed(numbers)
            except (OSError, http.client.HTTPException):
                how["lost"] += 1
                continue
            how[status, None if status == 200 else got] += 1
            if status == 200 and got != numbers:
                wrong.append((numbers, got))

    threads = [threading.Thread(target=ask, args=(each,)) for each in range(4)]
    for thread in threads:
        thread.start()
    try:
        for lost in ("worker", "engine", "both"):
            time.sleep(0.3)
            shared.lose(worker=lost != "engine", engine=lost != "worker")
            shared.until(shared.ready)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not wrong
    assert how[200, None] > 100
    assert {code for code in how if code != "lost"} <= {
        (200, None), (503, "E_RUNTIME_DOWN"), (503, "E_NOT_READY"),
    }  # fmt: skip
    children = psutil.Process(shared.process.pid).children()
    shared.process.terminate()
    assert shared.process.wait(30) == 0
    assert psutil.wait_procs(children, timeout=30)[1] == []


@pytest.mark.slow
def test_answers_are_those_of_a_worker_that_holds_the_graph_itself(
    shared: Shared, tmp_path: Path
) -> None:
    drawn = random.Random(0)
    asked = [
        [
            drawn.choice(rows())
            | {"in_float32": [drawn.uniform(-1e30, 1e30) for _ in range(side)]}
            | {"in_uint64": [drawn.randrange(2**64) for _ in range(side)]}
            for side in [drawn.randrange(1, 60)] * drawn.randrange(1, 5)
        ]
        for _ in range(40)
    ]
    with_own = Server(tmp_path / "bundles")
    try:
        with_own.wait_until_loaded()
        own = int(with_own.url.rpartition(":")[2])
        for instances in asked:
            body = json.dumps({"instances": instances})
            found = []
            for port in (own, shared.port):
                with closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
                    connection.request("POST", ASKED, body, {"Content-Type": "application/json"})
                    reply = connection.getresponse()
                    found.append((reply.status, reply.read()))
            assert found[0][0] == 200
            assert found[0] == found[1]
    finally:
        with_own.stop()


@pytest.mark.slow
def test_an_engine_that_has_stopped_costs_each_request_its_deadline_and_no_more(
    shared: Shared,
) -> None:
    engine = shared.engine
    engine.suspend()
    try:
        begun = time.monotonic()
        got = [shared.echoed([7], **{"X-Request-Timeout-Ms": "300"}) for _ in range(4)]
        assert got == [(504, "E_DEADLINE")] * 4
        assert time.monotonic() - begun < 15
    finally:
        engine.resume()
    shared.until(shared.ready)


@pytest.mark.slow
def test_a_reload_reaches_all_workers_and_the_old_version_is_given_up(
    shared: Shared, tmp_path: Path
) -> None:
    seal(tmp_path / "bundles", "1.0.1")
    shared.process.send_signal(signal.SIGHUP)
    shared.until(lambda: len(re.findall(r"conformance 1.0.1 passed", shared.log.read_text())) == 2)
    shared.until(lambda: shared.log.read_text().count("is loaded for all workers") == 2)
    shared.until(lambda: not any("1.0.0" in str(each) for each in versions(shared)))
    assert shared.echoed([3]) == (200, [3])
    assert shared.log.read_text().count("is loaded for all workers") == 2, "each version once"


@pytest.mark.slow
def test_a_version_that_comes_while_the_engine_is_lost_takes_over_once_there_is_another(
    shared: Shared, tmp_path: Path
) -> None:
    seal(tmp_path / "bundles", "1.0.1")
    shared.engine.kill()
    shared.process.send_signal(signal.SIGHUP)

    def followed() -> bool:
        return all(
            [(each["version"], each["state"]) for each in versions(shared)]
            == [("1.0.1", "AVAILABLE")]
            for _ in range(4)
        )

    shared.until(followed)
    shared.until(shared.ready)


@pytest.mark.slow
def test_an_engine_that_has_stopped_does_not_keep_the_server_from_its_end(shared: Shared) -> None:
    shared.engine.suspend()
    shared.process.terminate()
    assert shared.process.wait(30) == 0


def versions(shared: Shared) -> list[Any]:
    with closing(http.client.HTTPConnection("127.0.0.1", shared.port, timeout=30)) as connection:
        connection.request("GET", "/v1/models/conformance")
        return list(json.loads(connection.getresponse().read())["model_version_status"])


@pytest.mark.slow
def test_without_a_supervisor_the_workers_drain_and_the_engine_ends_after_them(
    shared: Shared,
) -> None:
    engine, children = shared.engine, psutil.Process(shared.process.pid).children()
    shared.process.kill()
    shared.process.wait()
    answered = 0
    while engine.is_running() and engine.status() != psutil.STATUS_ZOMBIE:
        try:
            status, got = shared.echoed([4])
        except OSError:
            continue
        assert (status, got) == (200, [4])
        answered += 1
    assert answered
    assert psutil.wait_procs(children, timeout=30)[1] == []


@pytest.mark.slow
def test_batches_are_counted_once_over_all_workers(shared: Shared) -> None:
    assert [shared.ask() for _ in range(30)] == [200] * 30
    shared.until(lambda: shared.metric('seatrial_requests_total{code="ok"') == 30)
    assert shared.metric("seatrial_batch_rows_sum") == 30
    queued = 'seatrial_request_phase_seconds_count{model="conformance",phase="queue"'
    assert shared.metric(queued) == 30
    with closing(http.client.HTTPConnection("127.0.0.1", shared.port, timeout=30)) as connection:
        connection.request("GET", "/v1/models/conformance/versions/1.0.0")
        assert json.loads(connection.getresponse().read())["execution"]["engine"] == "shared"
    shared.engine.kill()
    shared.until(lambda: shared.metric("seatrial_workers_lost_total") == 1)


def test_a_temporary_folder_whose_path_is_too_long_for_a_socket_is_named(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError) as refused:
        EngineKeeper(Settings(workers=2, engine="shared"), tmp_path / ("x" * 100), lambda: None)
    assert "the temporary folder: got a path of" in str(refused.value)
    assert "set TMPDIR to a folder with a shorter path" in str(refused.value)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--engine", "shared"), "got a shared engine and one worker, want --workers 2, or more"),
        (
            ("--engine", "shared", "--workers", "2", "--load", "on-demand"),
            "want --load all, or --engine own: each worker unloads for itself",
        ),
        (
            ("--engine", "shared", "--workers", "2", "--runtime", "triton", "--triton-url", "a:1"),
            "want one of them: the other runtime holds the models already",
        ),
    ],
)
def test_settings_that_do_not_go_together(
    tmp_path: Path, flags: tuple[str, ...], said: str
) -> None:
    seal(tmp_path)
    shown = CliRunner().invoke(cli, ["serve", str(tmp_path), *flags])
    assert said in str(shown.exception)
