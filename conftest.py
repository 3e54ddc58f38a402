"""What the slow tests of both suites share: the example bundles, sealed once through the command line, and real servers."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent
OURS = (sys.executable, "-m", "seatrial", "serve")
EXAMPLES = ("penguins", "digits", "sentences", "photos")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where the conformance suite finds a server that is not ours."""
    parser.addoption("--oip-url", help="HTTP address of a running server, for tests/oip: http://127.0.0.1:8000")
    parser.addoption("--oip-grpc-url", help="its gRPC address: 127.0.0.1:8001")


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache folder of this run's own: nothing depends on what an earlier one left."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the bundles of all examples, sealed by `seatrial export`, two at a time."""
    out = tmp_path_factory.mktemp("examples")
    waiting = [
        (name, [sys.executable, "-m", "seatrial", "export", f"examples/{name}/pipeline.py:pipeline", "--out", str(out)])
        for name in reversed(EXAMPLES)
    ]
    while waiting:
        pair, waiting = waiting[:2], waiting[2:]
        started = [
            (name, subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
            for name, command in pair
        ]
        for name, process in started:
            said, _ = process.communicate(timeout=120)
            assert process.returncode == 0, f"{name}: {said}"
    return out


class Server:
    """A `seatrial serve` of our own, on free ports of the loopback."""

    def __init__(self, bundles: Path, *flags: str, program: Sequence[str] = OURS) -> None:
        command = [
            *program,
            str(bundles),
            "--http-port",
            "0",
            "--grpc-port",
            "0",
            "--metrics-port",
            "0",
            *flags,
        ]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.log: list[str] = []
        self._found = threading.Event()
        self.url = self.metrics_url = self.grpc = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._found.wait(60)
        assert self.url, "".join(self.log)

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line)
            said = re.search(r"(http://[0-9.]+:\d+) .*metrics on port (\d+)", line)
            if said:
                self.url, self.metrics_url = said[1], f"http://127.0.0.1:{said[2]}/metrics"
            listens = re.search(r"gRPC on port (\d+)", line)
            if listens:
                self.grpc = f"127.0.0.1:{listens[1]}"
            if self.url and self.grpc:
                self._found.set()
        self._found.set()

    def wait_until_loaded(self, within_s: float = 60) -> tuple[int, str]:
        """Status and body of the readiness route once nothing is loading any more."""
        end = time.monotonic() + within_s
        while True:
            status, body = fetch(f"{self.url}/v2/health/ready")
            if '"LOADING"' not in body:
                return status, body
            assert time.monotonic() < end, body
            time.sleep(0.1)

    def stop(self) -> int:
        """SIGTERM, and the exit status."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(30)
        finally:
            self.process.kill()
            self._reader.join(5)
            assert self.process.stderr is not None
            self.process.stderr.close()


def fetch(url: str) -> tuple[int, str]:
    """Status and body of a GET."""
    try:
        with urllib.request.urlopen(url, timeout=30) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@contextmanager
def _serving(bundles: Path, *flags: str, program: Sequence[str] = OURS) -> Iterator[Server]:
    server = Server(bundles, *flags, program=program)
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def serve() -> Iterator[Callable[..., Server]]:
    """Start a server that ends with the tests at the latest."""
    with ExitStack() as stack:
        yield lambda bundles, *flags, **how: stack.enter_context(_serving(bundles, *flags, **how))


@pytest.fixture(scope="session")
def server(examples: Path, serve: Callable[..., Server]) -> Server:
    """All examples, served, each through its load gate."""
    started = serve(examples)
    status, body = started.wait_until_loaded()
    assert status == 200, body
    return started
