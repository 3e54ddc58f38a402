"""The supervisor: several server processes behind one port.

A process that is lost is started anew. The metrics of all are added up. If they share an engine
process, it is one of them, and starts first.
"""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import mark_process_dead

from seatrial_serve.access.access import Access
from seatrial_serve.http.sockets import listen, reserve
from seatrial_serve.metrics.families import SupervisorFamilies, WorkersCollector
from seatrial_serve.metrics_listener import MetricsListener
from seatrial_serve.process.clock import now_s
from seatrial_serve.process.reloads import Reloads, hold_reloads
from seatrial_serve.process.resources import plan_bytes, usable_cores
from seatrial_serve.settings import Settings

if TYPE_CHECKING:
    from seatrial_serve.process.certificates import Certificates

log = logging.getLogger("seatrial.workers")
STEADY_S = 60.0
"""A worker that lived so long did not fail at its start: the next one is started at once."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 30.0
ENGINE_PAUSE_S = 2.0
"""The longest before another engine process starts, without which no worker answers."""


class Supervisor:
    """Starts workers one after another, keeps their number, and passes signals on.

    It answers no request itself.

    All accept from one listening socket, so that what waits there when one of them is lost is
    answered by another. The first accepts at once, and answers that it is not ready; each further
    one, and each that takes a lost one's place, joins when it has loaded its models.
    """

    def __init__(self, settings: Settings, access: Access | None) -> None:
        """`access`: who may scrape; None: everybody."""
        self._settings, self._access = settings, access
        self._lock, self._stopping = threading.Lock(), threading.Event()
        self._alive: dict[int, subprocess.Popen[bytes]] = {}
        self._settled = [threading.Event() for _ in range(settings.workers)]
        self._certificates: Certificates | None = None
        self._engine: subprocess.Popen[bytes] | None = None
        self._engine_told, self._engine_stops = threading.Event(), threading.Event()

    def run(self, reloads: Reloads) -> None:
        """Run until SIGTERM or SIGINT, and until every worker has drained.

        Raises `DeclarationError` if a port is taken.
        """
        settings = self._settings
        with (
            tempfile.TemporaryDirectory(prefix="seatrial-") as folder,
            listen(settings.host, settings.http_port) as http,
        ):
            self._folder = folder
            registry = CollectorRegistry()
            WorkersCollector(registry, path=folder)
            self._families = SupervisorFamilies(registry)
            certificates = self._certificates = open_certificates(settings)
            scraped = (
                MetricsListener(registry, settings, access=self._access, certificates=certificates)
                if settings.metrics
                else None
            )
            reserved = (
                reserve(settings.host, settings.grpc_port, "--grpc-port") if settings.grpc else None
            )
            try:
                self._supervise(http, reserved, scraped, reloads)
            finally:
                if reserved is not None:
                    reserved.close()
                if scraped is not None:
                    scraped.close()
                if certificates is not None:
                    self._certificates = None
                    certificates.close()

    def _supervise(
        self,
        http: socket.socket,
        grpc: socket.socket | None,
        scraped: MetricsListener | None,
        reloads: Reloads,
    ) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        reloads.follow(self._reload)
        place = "{}:{}".format(*http.getsockname()[:2])
        metrics = f", metrics on port {scraped.port}" if scraped else ""
        settings = self._settings
        at, pages = f"{settings.scheme}://{place}", settings.pages_told
        log.info("%d workers at %s%s%s", settings.workers, at, metrics, pages)
        port = grpc.getsockname()[1] if grpc is not None else 0
        with ThreadPoolExecutor(self._settings.workers + 2, initializer=hold_reloads) as pool:
            pool.submit(self._close_when_stopping, http)
            engine = pool.submit(self._keep_engine) if settings.shares_engine else None
            keeping = [
                pool.submit(self._keep, place, http, port)
                for place in range(self._settings.workers)
            ]
            wait(keeping, return_when=FIRST_EXCEPTION)
            if any(done.exception() for done in keeping if done.done()):
                self._stop(signal.SIGTERM, None)
                wait(keeping)
            self._stop_engine()  # last of all, since the workers answer what they have
        for done in (*keeping, *([engine] if engine is not None else [])):
            done.result()

    def _reload(self) -> None:
        self._pass_on(signal.SIGHUP)
        if self._access is not None:
            self._access.reload_soon()
        if self._certificates is not None:
            self._certificates.ask()

    def _stop(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  (the signal module's signature)
        self._stopping.set()
        self._engine_told.set()
        for settled in self._settled:
            settled.set()
        self._pass_on(signal.SIGTERM)

    def _close_when_stopping(self, http: socket.socket) -> None:
        """Leave the listening socket to the workers.

        A client that connects once the last of them has closed it is refused, and not reset later.
        """
        self._stopping.wait()
        with self._lock:  # no worker is being started on it, and none will be
            http.close()

    def _pass_on(self, number: int) -> None:
        for process in list(self._alive.values()):
            process.send_signal(number)

    def _keep(self, place: int, http: socket.socket, grpc_port: int) -> None:
        """Keep one worker alive."""
        if place:
            # one after another: load gates measure, and share what the first one cached
            self._settled[place - 1].wait()
        elif self._settings.shares_engine:
            self._engine_told.wait()
        joining = place > 0

        def run() -> str:
            nonlocal joining
            ended = self._run_worker(place, http, grpc_port, joining=joining)
            joining = True
            return ended

        self._repeat(f"worker {place + 1}", run, self._stopping)

    def _keep_engine(self) -> None:
        """Keep the engine process alive, until every worker has ended."""
        try:
            self._repeat("the engine process", self._run_engine, self._engine_stops, ENGINE_PAUSE_S)
        except BaseException:
            self._stop(signal.SIGTERM, None)  # without it, the workers answer nothing
            raise

    def _repeat(
        self, name: str, run: Callable[[], str], stops: threading.Event,
        longest_s: float = LONGEST_PAUSE_S,
    ) -> None:  # fmt: skip
        """Run a process again and again, with a pause where it does not live long.

        `run` returns how it ended, in words; `longest_s`: the longest pause.
        """
        failures = 0
        while not stops.is_set():
            begun = now_s()
            ended = run()
            if stops.is_set():
                return
            failures = 0 if now_s() - begun > STEADY_S else failures + 1
            pause_s = (
                0.0 if not failures else min(FIRST_PAUSE_S * math.pow(2, failures - 1), longest_s)
            )
            self._families.lost.inc()
            log.error("%s %s; another starts in %g s", name, ended, pause_s)
            stops.wait(pause_s)

    def _run_engine(self) -> str:
        """Start the engine process and wait for its end; return how it ended, in words."""
        told = {
            "settings": self._settings.model_dump(mode="json"),
            "address": str(self._engine_address),
        }
        with self._lock:
            if self._engine_stops.is_set():
                return "was told to stop"
            try:
                process = self._engine = self._spawn("seatrial_serve.engine_process", told)
            except OSError as error:
                return f"did not start ({error.strerror or 'an error'})"
        assert process.stdout is not None
        process.stdout.readline()  # it listens, or ended
        self._engine_told.set()
        status = process.wait()
        with self._lock:
            self._engine = None
        release(process)
        return f"(process {process.pid}) ended with {status}"

    def _stop_engine(self) -> None:
        with self._lock:
            self._engine_stops.set()
            if self._engine is not None:
                self._engine.terminate()

    @property
    def _engine_address(self) -> Path | None:
        """Where the engine process listens; None where workers hold graphs of their own."""
        return Path(self._folder) / "engine" if self._settings.shares_engine else None

    def _run_worker(self, place: int, http: socket.socket, grpc_port: int, *, joining: bool) -> str:
        """Start a worker and wait for its end; return how it ended, in words.

        The next worker starts once this one has settled, or ended.
        """
        with self._lock:
            if self._stopping.is_set():
                return "was told to stop"
            try:
                process = self._alive[place] = self._start(joining, http, grpc_port)
            except OSError as error:  # too few processes, memory or files: there may be more later
                self._settled[place].set()
                return f"did not start ({error.strerror or 'an error'})"
            self._families.workers.inc()
        if self._stopping.is_set():  # between the two lines above
            process.terminate()
        assert process.stdout is not None
        process.stdout.readline()  # it has settled, or ended
        self._settled[place].set()
        status = process.wait()
        with self._lock:
            del self._alive[place]
            self._families.workers.dec()
        release(process)
        mark_process_dead(process.pid, self._folder)
        return f"(process {process.pid}) ended with {status}"

    def _start(self, joining: bool, http: socket.socket, grpc_port: int) -> subprocess.Popen[bytes]:
        settings = self._settings
        shared = settings.model_copy(
            update={
                "threads": settings.threads or max(1, usable_cores() // settings.workers),
                "grpc_port": grpc_port,
                "budget_bytes": (settings.budget_bytes or plan_bytes()) // settings.workers,
            }
        )
        engine = self._engine_address
        told = {
            "settings": shared.model_dump(mode="json"),
            "socket": http.fileno(),
            "joining": joining,
            "engine_address": None if engine is None else str(engine),
        }
        return self._spawn("seatrial_serve.worker", told, http.fileno())

    def _spawn(self, module: str, told: dict[str, Any], *files: int) -> subprocess.Popen[bytes]:
        """Start a process of ours, and tell it what it needs. Raises `OSError`."""
        process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=files,
            env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": self._folder},
            process_group=0,  # Ctrl-C is the supervisor's to pass on
        )
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(told).encode() + b"\n")
            process.stdin.flush()
        except OSError:  # it ended before it was told
            process.kill()
            process.wait()
            release(process)
            raise
        return process


def open_certificates(settings: Settings) -> Certificates | None:
    """The certificates of the metrics' port, followed. Raises `DeclarationError`."""
    if settings.tls is None:
        return None
    from seatrial_serve.process.certificates import Certificates

    certificates = Certificates(settings.tls)
    certificates.start()
    return certificates


def release(process: subprocess.Popen[bytes]) -> None:
    """Close the pipes to a process that has ended."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdout.close()
    with suppress(BrokenPipeError):  # what it did not read goes with it
        process.stdin.close()
