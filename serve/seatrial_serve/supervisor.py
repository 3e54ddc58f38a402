"""The supervisor: several server processes behind one port.

A process that is lost is started anew. It reads its folders anew, so the others are told to look.
The metrics of all are added up. If they share an engine process, it is one of them, and starts
first. Stores are looked at here, and the workers told.
"""

from __future__ import annotations

import logging
import signal
import socket
import subprocess
import tempfile
import threading
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from types import FrameType
from typing import TYPE_CHECKING, Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import mark_process_dead

from seatrial_serve.access.access import Access
from seatrial_serve.engine_keeper import EngineKeeper
from seatrial_serve.http.sockets import listen, reserve
from seatrial_serve.kept_process import keep, release, spawn
from seatrial_serve.metrics.families import SupervisorFamilies, WorkersCollector
from seatrial_serve.metrics_listener import MetricsListener
from seatrial_serve.process.reloads import Reloads, hold_reloads
from seatrial_serve.process.resources import plan_bytes, usable_cores
from seatrial_serve.settings import Settings

if TYPE_CHECKING:
    from seatrial_serve.process.certificates import Certificates

log = logging.getLogger("seatrial.workers")


class Stores(Protocol):
    """What looks at stores for all workers: see `SharedLooks`."""

    def begin(self, folder: Path) -> Path:
        """Tell what is there, by a file in a folder, which is returned. Raises `OSError`."""
        ...

    def look(self) -> bool:
        """Look at each store: is there anything that workers do not know yet? Blocks."""
        ...

    def mend(self) -> bool:
        """As `look`, if the cache has lost what a worker would be told."""
        ...


class Supervisor:
    """Starts workers one after another, keeps their number, and passes signals on.

    It answers no request itself.

    All accept from one listening socket, so that what waits there when one of them is lost is
    answered by another. The first accepts at once, and answers that it is not ready; each further
    one, and each that takes a lost one's place, joins when it has loaded its models.
    """

    def __init__(
        self, settings: Settings, access: Access | None, stores: Stores | None = None
    ) -> None:
        """`access`: who may scrape; None: everybody. `stores`: None where none is served."""
        self._settings, self._access, self._stores = settings, access, stores
        self._looks = SimpleQueue[None]()
        """One item for each look that was asked for. A signal's handler may add one."""
        self._lock, self._stopping = threading.Lock(), threading.Event()
        self._alive: dict[int, subprocess.Popen[bytes]] = {}
        self._settled = [threading.Event() for _ in range(settings.workers)]
        self._certificates: Certificates | None = None
        self._engines: EngineKeeper | None = None

    def run(self, reloads: Reloads) -> None:
        """Run until SIGTERM or SIGINT, and until every worker has drained.

        Raises `DeclarationError` if a port is taken.
        """
        settings = self._settings
        with (
            tempfile.TemporaryDirectory(prefix="seatrial-") as folder,
            listen(settings.host, settings.http_port) as http,
        ):
            self._folder = Path(folder)
            self._told = self._stores.begin(self._folder) if self._stores is not None else None
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
        if settings.shares_engine:
            self._engines = EngineKeeper(settings, self._folder, self._families.lost.inc)
        if self._stores is not None:
            follow = partial(self._follow_stores, self._stores)  # it may hang: nobody waits for it
            threading.Thread(target=follow, name="seatrial-stores", daemon=True).start()
        engines = self._engines
        threads = settings.workers + (len(engines.addresses) if engines is not None else 0) + 1
        with ThreadPoolExecutor(threads, initializer=hold_reloads) as pool:
            pool.submit(self._close_when_stopping, http)
            if engines is not None:
                engines.start(pool, lambda: self._stop(signal.SIGTERM, None))
            keeping = [
                pool.submit(self._keep, place, http, port)
                for place in range(self._settings.workers)
            ]
            wait(keeping, return_when=FIRST_EXCEPTION)
            if any(done.exception() for done in keeping if done.done()):
                self._stop(signal.SIGTERM, None)
                wait(keeping)
            if engines is not None:
                engines.stop()  # last of all, since the workers answer what they have
        for done in keeping:
            done.result()

    def _follow_stores(self, stores: Stores) -> None:
        """Look at stores when a reload is asked for, or again and again; let workers follow."""
        hold_reloads()
        poll_s = self._settings.poll_s if self._settings.watch else None
        while True:
            try:
                self._looks.get(timeout=poll_s)
                asked = True
            except Empty:
                asked = False
            if self._stopping.is_set():
                return
            try:
                changed = stores.look()
            except Exception:  # what one look raises must not end the others
                log.exception("stores were not looked at: this is a bug in seatrial")
                continue
            if changed or asked:
                self._pass_on(signal.SIGHUP)

    def _reload(self) -> None:
        self._pass_on(signal.SIGHUP)  # what lies in folders waits for no store
        if self._stores is not None:
            self._looks.put(None)
        if self._access is not None:
            self._access.reload_soon()
        if self._certificates is not None:
            self._certificates.ask()

    def _stop(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  (the signal module's signature)
        self._stopping.set()
        if self._engines is not None:
            self._engines.let_go()
        for settled in self._settled:
            settled.set()
        self._looks.put(None)
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
        elif self._engines is not None:
            self._engines.wait_for_all()
        joining = place > 0

        def run() -> str:
            nonlocal joining
            ended = self._run_worker(place, http, grpc_port, joining=joining)
            joining = True
            return ended

        keep(f"worker {place + 1}", run, self._stopping, self._families.lost.inc)

    def _run_worker(self, place: int, http: socket.socket, grpc_port: int, *, joining: bool) -> str:
        """Start a worker and wait for its end; return how it ended, in words.

        The next worker starts once this one has settled, or ended.
        """
        if self._stores is not None and self._stores.mend():
            self._pass_on(signal.SIGHUP)
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
        settled = process.stdout.readline()  # empty: it has ended
        if settled and self._settled[place].is_set() and not self._stopping.is_set():
            # it takes a lost one's place, and has read its folders anew
            self._pass_on(signal.SIGHUP)
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
        engines = [] if self._engines is None else self._engines.addresses
        told = {
            "settings": shared.model_dump(mode="json"),
            "socket": http.fileno(),
            "joining": joining,
            "engine_addresses": [str(each) for each in engines],
            "stores": str(self._told) if self._told is not None else "",
        }
        return spawn("seatrial_serve.worker", told, self._folder, http.fileno())


def open_certificates(settings: Settings) -> Certificates | None:
    """The certificates of the metrics' port, followed. Raises `DeclarationError`."""
    if settings.tls is None:
        return None
    from seatrial_serve.process.certificates import Certificates

    certificates = Certificates(settings.tls)
    certificates.start()
    return certificates
