"""The supervisor: several server processes behind one port, started anew where one is lost, their metrics added up."""

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
from types import FrameType

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from seatrial_contracts.errors import DeclarationError
from seatrial_serve.clock import now_s
from seatrial_serve.scrapes import MetricsListener
from seatrial_serve.settings import Settings
from seatrial_serve.sockets import listen, reserve
from seatrial_serve.threads import plan_bytes, usable_cores

log = logging.getLogger("seatrial.workers")
STEADY_S = 60.0
"""A worker that lived so long did not fail at its start: the next one is started at once."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 30.0


class Supervisor:
    """Starts workers one after another, keeps as many of them as were asked for, and passes signals on. It answers no request itself.

    All accept from one listening socket, so that what waits there when one of them is lost is answered by another. The first
    accepts at once, and says that it is not ready; each further one, and each that takes a lost one's place, joins when it has
    loaded its models.
    """

    def __init__(self, settings: Settings) -> None:
        """Raises `DeclarationError` for settings that do not go together."""
        if settings.admin:
            want = "one worker, or no admin routes"
            raise DeclarationError(
                "settings 'workers' and 'admin'", "both", want, "reload all workers by SIGHUP, or with --watch"
            )
        self._settings = settings
        self._lock, self._stopping = threading.Lock(), threading.Event()
        self._alive: dict[int, subprocess.Popen[bytes]] = {}
        self._settled = [threading.Event() for _ in range(settings.workers)]

    def run(self) -> None:
        """Until SIGTERM or SIGINT, and until every worker has drained. Raises `DeclarationError` where a port is taken."""
        settings = self._settings
        with (
            tempfile.TemporaryDirectory(prefix="seatrial-") as folder,
            listen(settings.host, settings.http_port) as http,
        ):
            self._folder = folder
            registry = CollectorRegistry()
            MultiProcessCollector(registry, path=folder)
            self._count = Gauge("seatrial_workers", "Server processes that run now.", registry=registry)
            self._lost = Counter(
                "seatrial_workers_lost_total", "Server processes that ended unasked.", registry=registry
            )
            scraped = MetricsListener(registry, settings) if settings.metrics else None
            reserved = reserve(settings.host, settings.grpc_port, "--grpc-port") if settings.grpc else None
            try:
                self._supervise(http, reserved, scraped)
            finally:
                if reserved is not None:
                    reserved.close()
                if scraped is not None:
                    scraped.close()

    def _supervise(self, http: socket.socket, grpc: socket.socket | None, scraped: MetricsListener | None) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, self._pass_on)
        place = "{}:{}".format(*http.getsockname()[:2])
        metrics = f", metrics on port {scraped.port}" if scraped else ""
        log.info("%d workers at http://%s%s", self._settings.workers, place, metrics)
        port = grpc.getsockname()[1] if grpc is not None else 0
        threads = [
            threading.Thread(target=self._keep, args=(place, http, port)) for place in range(self._settings.workers)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _stop(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  (the signal module's signature)
        self._stopping.set()
        for settled in self._settled:
            settled.set()
        self._pass_on(signal.SIGTERM, frame)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  (the signal module's signature)
        for process in list(self._alive.values()):
            process.send_signal(number)

    def _keep(self, place: int, http: socket.socket, grpc_port: int) -> None:
        """Keep one worker alive."""
        if place:
            self._settled[
                place - 1
            ].wait()  # one after another: load gates measure, and share what the first one cached
        failures, joining = 0, place > 0
        while True:
            begun = now_s()
            with self._lock:
                if self._stopping.is_set():
                    return
                process = self._alive[place] = self._start(joining, http, grpc_port)
                self._count.inc()
            if self._stopping.is_set():  # between the two lines above
                process.terminate()
            assert process.stdout is not None
            process.stdout.readline()  # it has settled, or ended
            self._settled[place].set()
            process.stdout.close()
            status = process.wait()
            with self._lock:
                del self._alive[place]
                self._count.dec()
            assert process.stdin is not None
            process.stdin.close()
            mark_process_dead(process.pid, self._folder)
            if self._stopping.is_set():
                return
            failures = 0 if now_s() - begun > STEADY_S else failures + 1
            pause_s = 0.0 if not failures else min(FIRST_PAUSE_S * math.pow(2, failures - 1), LONGEST_PAUSE_S)
            self._lost.inc()
            log.error(
                "worker %d (process %d) ended with %d; another starts in %g s", place + 1, process.pid, status, pause_s
            )
            joining = True
            self._stopping.wait(pause_s)

    def _start(self, joining: bool, http: socket.socket, grpc_port: int) -> subprocess.Popen[bytes]:
        settings = self._settings
        shared = settings.model_copy(update={
            "threads": settings.threads or max(1, usable_cores() // settings.workers), "grpc_port": grpc_port,
            "budget_bytes": (settings.budget_bytes or plan_bytes()) // settings.workers,
        })  # fmt: skip
        process = subprocess.Popen(
            [sys.executable, "-m", "seatrial_serve.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[http.fileno()],
            env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": self._folder},
            process_group=0,  # Ctrl-C is the supervisor's to pass on
        )  # fmt: skip
        assert process.stdin is not None
        told = {"settings": shared.model_dump(mode="json"), "socket": http.fileno(), "joining": joining}
        process.stdin.write(json.dumps(told).encode() + b"\n")
        process.stdin.flush()
        return process
