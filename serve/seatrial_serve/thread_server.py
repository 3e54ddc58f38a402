"""A server in a thread of the caller's process: for notebooks and tests."""

from __future__ import annotations

import gc
import sys
import threading
from contextlib import ExitStack
from typing import Self

from seatrial_contracts.errors import DeclarationError, ModelError, SeatrialError, Unavailable
from seatrial_serve.access.access import open_access
from seatrial_serve.http.sockets import listen
from seatrial_serve.metrics.metrics import Metrics
from seatrial_serve.metrics_listener import MetricsListener
from seatrial_serve.models.repository import Repository, open_repository
from seatrial_serve.process.audit_log import recording
from seatrial_serve.process.reloads import NoReloads
from seatrial_serve.server import DrainingServer, open_certificates, run_server
from seatrial_serve.settings import Settings

STOP_S = 30.0
"""How long a stop may take beyond the drain: requests on their way are answered."""


class ThreadServer:
    """The server of `run_server`, in a thread. Use `with`, or `start` and `stop`.

    It handles no signal, and leaves logging as it is. What it changes of the interpreter (how often
    threads switch, the collector) is put back when it stops.
    """

    def __init__(self, settings: Settings) -> None:
        """Raises `DeclarationError` for settings of several processes."""
        if settings.workers > 1:
            got = f"{settings.workers} workers"
            mend = "seatrial serve --workers starts processes"
            raise DeclarationError("workers", got, "1, in a thread of this process", mend)
        self._settings = settings
        self._server: DrainingServer | None = None
        self._changed = threading.Event()
        self._settled = False
        self._error: BaseException | None = None
        self._scraped: MetricsListener | None = None
        self._stack = ExitStack()
        self.url = ""
        """Where HTTP listens: http://host:port."""

    def start(self) -> Self:
        """Listen, load every model, and return once all of them take traffic.

        Raises `ModelError` for a model that fails its load gate, and what `serve` raises; then
        nothing goes on running.
        """
        self._settings.check_exposure()
        metrics = Metrics(on=self._settings.metrics)
        try:
            self._stack.enter_context(recording(self._settings.audit_log))
            repository = open_repository(self._settings)
            access = self._stack.enter_context(open_access(self._settings.api_keys))
            certificates = open_certificates(self._settings, metrics)
            if self._settings.metrics:
                self._scraped = MetricsListener(
                    metrics.registry, self._settings, metrics.flush, access, certificates
                )
            listening = listen(self._settings.host, self._settings.http_port)
        except SeatrialError:
            self._close_scraped()
            raise
        host, port = listening.getsockname()[:2]
        place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.url = f"{self._settings.scheme}://{place}"
        threshold, switches_s = gc.get_threshold(), sys.getswitchinterval()

        def run() -> None:
            try:
                run_server(
                    self._settings, repository, listening, metrics, NoReloads(), access,
                    certificates, settled=self._note_settled, made=self._note_server,
                )  # fmt: skip
            except BaseException as error:  # raised again where somebody waits for the start
                self._error = error
            finally:
                gc.unfreeze()
                gc.set_threshold(*threshold)
                sys.setswitchinterval(switches_s)
                listening.close()
                self._changed.set()

        self._thread = threading.Thread(target=run, name="seatrial-server", daemon=True)
        self._thread.start()
        self._changed.wait()
        if not self._settled:
            self.stop()
            raise self._error or Unavailable("E_NOT_READY", "the server ended before it was ready")
        self._check(repository)
        return self

    def _check(self, repository: Repository) -> None:
        """Stop, and raise `ModelError`, where a model does not take traffic."""
        waiting = repository.waiting
        if waiting:
            self.stop()
            told = "; ".join(f"{each.name} {each.version}: {each.reason}" for each in waiting)
            raise ModelError(waiting[0].code or "E_NOT_READY", told)

    def _note_server(self, server: DrainingServer) -> None:
        self._server = server

    def _note_settled(self) -> None:
        self._settled = True
        self._changed.set()

    @property
    def grpc(self) -> str | None:
        """Where gRPC listens: host:port; None where it does not."""
        port = None if self._server is None else self._server.grpc_port
        return None if port is None else f"{self._settings.host}:{port}"

    @property
    def metrics_url(self) -> str | None:
        """Where Prometheus scrapes; None where nothing is measured."""
        if self._scraped is None:
            return None
        return f"{self._settings.scheme}://{self._settings.host}:{self._scraped.port}/metrics"

    @property
    def running(self) -> bool:
        """Does it take requests?"""
        return self._thread.is_alive() and self._settled

    def stop(self) -> None:
        """Answer what is on its way, and end. Twice is once.

        Raises `Unavailable` where the thread does not end in time.
        """
        if self._server is not None and self._thread.is_alive():
            self._server.stop()
        self._thread.join(self._settings.drain_window_s + self._settings.grace_s + STOP_S)
        self._close_scraped()
        if self._thread.is_alive():
            raise Unavailable("E_DRAINING", "the server did not end in time")

    def _close_scraped(self) -> None:
        if self._scraped is not None:
            self._scraped.close()
            self._scraped = None
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
