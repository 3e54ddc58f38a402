"""Measuring a bundle: a server of its own, on the loopback, with an empty cache, then a load."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from seatrial_contracts.bundle import Bundle
from seatrial_contracts.errors import DeclarationError, ModelError
from seatrial_contracts.golden import wire_row
from seatrial_contracts.identities import COMMAND_VARIABLE, FILE_VARIABLE
from seatrial_contracts.receipt import now, this_machine
from seatrial_serve.deploy.measured import Measured, read_measured, write_measured
from seatrial_serve.settings import PREFIX

START = (
    "from seatrial_serve.server import serve; "
    "from seatrial_serve.settings import load_settings; serve(load_settings())"
)
LOAD_S = 3.0
READY_WITHIN_S = 1800.0
STOPPED_WITHIN_S = 60.0
LOOK_S = 0.02
HIGH_WATER = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)
"""The most memory that a process held: proc_pid_status(5)."""


def measure(bundle: Bundle, cores: int, tell: Callable[[str], None] = lambda _: None) -> Measured:
    """Serve a bundle with `cores` threads, load it for some seconds, and return its figures.

    `tell` is given what is being done. Raises `ModelError` if the bundle does not pass its load
    gate here or no golden row is answered, and `DeclarationError` on systems without Linux's /proc.
    """
    if not Path("/proc/self/status").exists():
        raise DeclarationError("measuring a bundle", f"{sys.platform}", "Linux, as containers run")
    tell(f"{bundle.name}: starting a server with an empty cache")
    with tempfile.TemporaryDirectory(prefix="seatrial-") as folder:
        begun = time.monotonic()
        with running(bundle, cores, Path(folder)) as server:
            server.wait_until_ready()
            start_s = time.monotonic() - begun
            rows = server.batch_rows()
            tell(f"{bundle.name}: ready after {start_s:.1f} s; {LOAD_S:g} s of requests")
            rows, times = server.load(bundle, rows, cores + 1)
            resident = server.high_water_bytes()
        cache_bytes = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
    return Measured(
        schema=1,
        name=bundle.name,
        version=bundle.version,
        digest=bundle.digest,
        made_at=now(),
        processor=this_machine({}).processor,
        cores=cores,
        start_s=round(start_s, 2),
        resident_bytes=resident,
        cache_bytes=cache_bytes,
        bundle_bytes=bundle.size_bytes,
        request_rows=rows,
        requests=len(times),
        slowest_answer_s=round(max(times), 4),
    )


def measured_in(
    folder: Path, bundle: Bundle, cores: int, tell: Callable[[str], None]
) -> tuple[Measured, bool]:
    """The figures that `folder` keeps of this bundle with so many cores, and whether it had them.

    If it has none, they are measured and kept there. Raises what `measure` raises.
    """
    kept = read_measured(folder)
    if kept is not None and (kept.digest, kept.cores) == (bundle.digest, cores):
        return kept, True
    measured = measure(bundle, cores, tell)
    write_measured(folder, measured)
    return measured, False


class RunningServer:
    """A server of one bundle in a process of its own."""

    def __init__(self, bundle: Bundle, process: subprocess.Popen[bytes], port: int, log: Path):
        self._name = bundle.name
        self._process, self._port, self._log = process, port, log
        self.url = f"http://127.0.0.1:{port}"
        self._high: dict[int, int] = {}
        """Process id -> the most memory seen of it."""

    def wait_until_ready(self) -> None:
        """Return once it is ready. Raises `ModelError` with the reason if it never will be."""
        end = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < end:
            self.high_water_bytes()
            if self._process.poll() is not None:
                raise self._failed("its process ended")
            try:
                status, found = self._ask("GET", "/v2/health/ready")
            except OSError:
                time.sleep(LOOK_S)
                continue
            if status == 200:
                return
            failed = [each for each in found["not_ready"] if each["state"] == "FAILED"]
            if failed:
                raise ModelError(failed[0]["code"], f"{self._name}: {failed[0]['reason']}")
            time.sleep(LOOK_S)
        raise self._failed(f"it was not ready after {READY_WITHIN_S:g} s")

    def batch_rows(self) -> int:
        """Rows of the batch that pays, as the load gate measured it."""
        _, found = self._ask("GET", f"/v1/models/{self._name}")
        return int(found["execution"]["batch_rows"])

    def load(self, bundle: Bundle, batch_rows: int, callers: int) -> tuple[int, list[float]]:
        """Rows of a request, and seconds of each answer, of `callers` clients at once."""
        rows, bodies = requests_of(bundle, batch_rows)
        end = time.monotonic() + LOAD_S

        def call(first: int) -> list[float]:
            times: list[float] = []
            with closing_connection(self._port) as client:
                for body in islice(cycle(bodies), first, None):
                    begun = time.monotonic()
                    if times and begun > end:
                        return times
                    status, found = exchange(client, "POST", self._path, body)
                    if status == 200:
                        times.append(time.monotonic() - begun)
                    elif status != 503 or begun > end:
                        raise self._failed(f"golden rows got status {status}: {found}")
            raise AssertionError("a cycle ends")

        with ThreadPoolExecutor(callers) as pool:
            times = [each for some in pool.map(call, range(callers)) for each in some]
        return rows, times

    @property
    def _path(self) -> str:
        return f"/v1/models/{self._name}:predict"

    def high_water_bytes(self) -> int:
        """The most memory that the server and processes of its own held, added up."""
        own = self._process.pid
        for pid in (own, *children(own)):
            try:
                found = HIGH_WATER.search(Path(f"/proc/{pid}/status").read_text("ascii"))
            except OSError:
                continue  # it has just ended
            if found:
                self._high[pid] = 1024 * int(found[1])
        return sum(self._high.values())

    def _ask(self, method: str, path: str) -> tuple[int, Any]:
        with closing_connection(self._port) as client:
            return exchange(client, method, path)

    def _failed(self, what: str) -> ModelError:
        last = self._log.read_text("utf-8", "replace").strip().splitlines()[-1:]
        return ModelError("E_MEASURE", "; ".join([f"{self._name}: {what}", *last]))


@contextmanager
def running(bundle: Bundle, cores: int, folder: Path) -> Iterator[RunningServer]:
    """A server with settings from the environment, as in a container; its cache is `folder`."""
    ports = free_ports(3)
    settings = {
        "BUNDLES": str(bundle.path.resolve()),
        "THREADS": str(cores),
        "DRAIN_WINDOW_S": "0",
        **dict(zip(("HTTP_PORT", "GRPC_PORT", "METRICS_PORT"), map(str, ports), strict=True)),
    }
    kept = (FILE_VARIABLE, COMMAND_VARIABLE)  # what opens an encrypted bundle
    others = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(PREFIX) or name in kept
    }
    ours = {f"{PREFIX}{name}": value for name, value in settings.items()}
    environment = others | ours | {"XDG_CACHE_HOME": str(folder), "TOKENIZERS_PARALLELISM": "false"}
    with tempfile.NamedTemporaryFile(prefix="seatrial-", suffix=".log") as log:
        process = None
        try:
            # In a session of its own: Ctrl-C is for whoever measures, who then ends the server.
            with interrupts_later():
                process = subprocess.Popen(
                    [sys.executable, "-c", START],
                    env=environment,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            yield RunningServer(bundle, process, ports[0], Path(log.name))
        finally:
            if process is not None:
                end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process, if need be by force."""
    process.terminate()
    try:
        process.wait(STOPPED_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def interrupts_later() -> Iterator[None]:
    """Raise a Ctrl-C of meanwhile afterwards: within `Popen` it would leave a process behind."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Ctrl-C is raised in the main thread alone
        return
    seen = list[int]()
    before = signal.signal(signal.SIGINT, lambda number, _: seen.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if seen:
        raise KeyboardInterrupt


def requests_of(bundle: Bundle, batch_rows: int) -> tuple[int, list[bytes]]:
    """Rows of each body, and bodies that hold every golden row, within the contract's limits."""
    contract, golden = bundle.contract, [wire_row(row) for row in bundle.golden.rows]
    rows = min(batch_rows, contract.limits.max_rows)
    asked: dict[str, Any] = {}
    if contract.whole_options:
        asked["parameters"] = contract.whole_options
    while True:
        chunks = [
            list(islice(cycle(golden), start, start + rows))
            for start in range(0, len(golden), rows)
        ]
        bodies = [json.dumps({"instances": chunk, **asked}).encode() for chunk in chunks]
        if rows == 1 or max(map(len, bodies)) <= contract.max_body_bytes:
            return rows, bodies
        rows = (rows + 1) // 2


def children(pid: int) -> list[int]:
    """The processes that a process started: proc_pid_task_tid_children(5)."""
    found: list[int] = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += map(int, file.read_text("ascii").split())
        except OSError:
            continue  # that thread has just ended
    return found


def free_ports(count: int) -> list[int]:
    """So many ports of the loopback that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


@contextmanager
def closing_connection(port: int) -> Iterator[http.client.HTTPConnection]:
    """A connection to the loopback."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=READY_WITHIN_S)
    try:
        yield client
    finally:
        client.close()


def exchange(
    client: http.client.HTTPConnection, method: str, path: str, body: bytes | None = None
) -> tuple[int, Any]:
    """Status of an answer, and its JSON."""
    headers: Mapping[str, str] = {"Content-Type": "application/json"} if body else {}
    client.request(method, path, body, headers)
    reply = client.getresponse()
    return reply.status, json.loads(reply.read())
