"""The server process: sockets, signals and the drain."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import resource
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, cast

import uvicorn

from seatrial_contracts.errors import SeatrialError
from seatrial_serve.access.access import Access, open_access
from seatrial_serve.access.paths import Paths
from seatrial_serve.api.direct import DirectWay
from seatrial_serve.api.exchange import Exchanges
from seatrial_serve.api.guard import audit_refusal
from seatrial_serve.app import create_app
from seatrial_serve.http.acceptor import Acceptor
from seatrial_serve.http.connection import Asked, StrictProtocol
from seatrial_serve.http.cors import AllowedOrigins, CorsApp
from seatrial_serve.http.forwarded import TrustedProxies
from seatrial_serve.http.hosts import AllowedHosts
from seatrial_serve.http.proxied import ProxiedProtocol
from seatrial_serve.http.sockets import listen
from seatrial_serve.metrics.metrics import Metrics
from seatrial_serve.metrics_listener import MetricsListener
from seatrial_serve.models.lifecycle import ModelLifecycle
from seatrial_serve.models.loader import open_identities, open_trust
from seatrial_serve.models.repository import Repository, open_repository
from seatrial_serve.models.shared_looks import SharedLooks
from seatrial_serve.observers.observers import check_observers
from seatrial_serve.observers.refused import record_refusal
from seatrial_serve.process.audit_log import recording
from seatrial_serve.process.budget import Places
from seatrial_serve.process.clock import now_s
from seatrial_serve.process.drain import Drain
from seatrial_serve.process.log import LogSink, start_log
from seatrial_serve.process.reloads import Reloads
from seatrial_serve.serving import open_serving
from seatrial_serve.settings import Settings, ignored_variables

if TYPE_CHECKING:
    from fastapi import FastAPI

    from seatrial_serve.api.grpc_listener import GrpcListener
    from seatrial_serve.http.tls import Handshakes
    from seatrial_serve.process.certificates import Certificates

log = logging.getLogger("seatrial.server")
KEEP_ALIVE_S = 75
"""Above the idle time of common balancers (60 s).

Balancers close first, and no request meets a closing socket.
"""


LINGER_S, LINGER_TURNS = 0.5, 10
"""Between the last accepted connection and the closing of idle ones.

uvicorn would close one whose request is just arriving.
"""


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises `DeclarationError` where it cannot, or should not."""
    settings.check_exposure()
    reloads = Reloads()
    sink = start_log(settings.log_level, settings.log_format)
    if ignored := ignored_variables(os.environ):
        log.info("ignored, since Kubernetes sets them for Services: %s", ", ".join(ignored))
    allow_files()
    with recording(settings.audit_log):
        repository = open_repository(settings)
        with open_access(settings.api_keys) as access:
            if settings.workers > 1:
                from seatrial_serve.supervisor import Supervisor

                check_start(settings, repository)
                shared = SharedLooks(repository.sources) if repository.sources.remote else None
                Supervisor(settings, access, shared).run(reloads)
            else:
                serve_alone(settings, repository, reloads, sink, access)


def check_start(settings: Settings, repository: Repository) -> None:
    """Read and open once what each of several workers reads and opens as it starts.

    A worker that cannot start would be started again for ever. Raises the `DeclarationError` or
    `MissingExtra` by which one process alone would end.
    """
    open_trust(settings, repository)
    open_identities(settings)
    check_observers(settings)


def serve_alone(
    settings: Settings,
    repository: Repository,
    reloads: Reloads,
    sink: LogSink,
    access: Access | None,
) -> None:
    """Serve by this process. Raises `DeclarationError` where a port is taken."""
    metrics = Metrics(on=settings.metrics)
    sink.on_drop = metrics.families.log_dropped.inc
    certificates = open_certificates(settings, metrics)
    listening = listen(settings.host, settings.http_port)
    if settings.grpc and settings.grpc_port:
        listen(
            settings.host, settings.grpc_port, "--grpc-port"
        ).close()  # gRPC itself would fail later, and say less
    scraped = (
        MetricsListener(metrics.registry, settings, metrics.flush, access, certificates)
        if settings.metrics
        else None
    )
    host, port = listening.getsockname()[:2]
    log.info(
        "%s://%s:%d%s%s",
        settings.scheme,
        host,
        port,
        settings.pages_told,
        f", metrics on port {scraped.port}" if scraped else "",
    )
    try:
        run_server(settings, repository, listening, metrics, reloads, access, certificates)
    finally:
        if scraped is not None:
            scraped.close()


def allow_files() -> None:
    """Open as many files, which connections are, as the system lets this process.

    The usual soft limit is 1024.
    """
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def most_connections() -> float:
    """Return how many connections over HTTP there may be: three of four open files.

    Bundles, gRPC and scrapes find some too.
    """
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return math.inf if files == resource.RLIM_INFINITY else files * 3 // 4


def run_server(
    settings: Settings,
    repository: Repository,
    listening: socket.socket,
    metrics: Metrics,
    reloads: Reloads,
    access: Access | None,
    certificates: Certificates | None,
    *,
    joining: bool = False,
    settled: Callable[[], None] | None = None,
    made: Callable[[DrainingServer], None] | None = None,
    engine_addresses: Sequence[Path] = (),
) -> None:
    """Serve on a socket that listens already.

    With `joining`, accept once all models are loaded. `settled` is called once they are, or have
    failed; `made` gets the server before it starts; `engine_addresses`: see `open_serving`.
    """
    with open_serving(
        settings, repository, metrics, access, joining=joining, engine_addresses=engine_addresses
    ) as serving:
        exchanges, lifecycle, watch = serving.exchanges, serving.lifecycle, serving.observers
        grpc = open_grpc(settings, exchanges, lifecycle, certificates) if settings.grpc else None
        app = create_app(
            exchanges,
            lifecycle,
            watch,
            docs=settings.docs,
            console=settings.console,
            admin=settings.admin,
            grpc=grpc,
            workers=settings.workers,
            predict_path=settings.predict_path,
            health_path=settings.health_path,
            multi_model=settings.multi_model,
        )
        pages = (
            AllowedOrigins(settings.cors_origins, app.page_may) if settings.cors_origins else None
        )
        proxies = TrustedProxies(settings.trusted_proxies) if settings.trusted_proxies else None
        protocol = StrictProtocol if proxies is None else partial(ProxiedProtocol, proxies=proxies)
        paths = Paths(())

        def refused(error: SeatrialError, request_id: str, asked: Asked | None) -> None:
            record_refusal(metrics, watch.observers, error, request_id)
            if asked is not None:
                needed = paths.needed(asked.method, asked.path)
                audit_refusal(exchanges.audit, needed, asked.address, error, request_id)

        strict = partial(
            protocol,
            hosts=AllowedHosts(settings.own_hosts, pages),
            most=most_connections(),
            places=Places(settings.client_connections),
            refused=refused,
            direct=DirectWay(exchanges, app.forms),
            access=access,
        )
        config = uvicorn.Config(
            app if pages is None else CorsApp(app, pages),
            loop="uvloop",
            http=cast("type[asyncio.Protocol]", strict),
            ws="none",
            lifespan="off",
            access_log=False,
            proxy_headers=False,
            log_config=None,
            server_header=False,
            date_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=round(settings.grace_s) or None,
            h11_max_incomplete_event_size=32 * 1024,
        )
        framework = cast("FastAPI", app.app)
        server = DrainingServer(
            config,
            exchanges.drain,
            settings.drain_window_s,
            lifecycle,
            grpc,
            framework.router.lifespan_context(framework),
            reloads,
            settled,
            access,
            certificates,
        )
        if made is not None:
            made(server)
        server.run(sockets=[listening])


def open_certificates(settings: Settings, metrics: Metrics) -> Certificates | None:
    """The certificates that the settings name, which metrics tell of. Raises `DeclarationError`."""
    if settings.tls is None:
        return None
    from seatrial_serve.process.certificates import Certificates

    certificates = Certificates(settings.tls, metrics.certificate_read)
    metrics.watch_certificates(lambda: certificates.current.expiries)
    return certificates


def open_grpc(
    settings: Settings,
    exchanges: Exchanges,
    lifecycle: ModelLifecycle,
    certificates: Certificates | None,
) -> GrpcListener:
    """The gRPC listener, told of every change."""
    # They take memory: only where they are wanted.
    from seatrial_serve.api import (
        grpc_listener,
        v2_grpc,
    )

    calls = Places(max(1, round(settings.grpc_calls * settings.client_share)), settings.grpc_calls)
    service = v2_grpc.InferenceService(
        exchanges,
        calls,
        lifecycle if settings.admin else None,
        TrustedProxies(settings.trusted_proxies) if settings.trusted_proxies else None,
    )
    grpc = grpc_listener.GrpcListener(
        service,
        exchanges.repository,
        exchanges.drain,
        settings.host,
        settings.grpc_port,
        settings.grace_s,
        settings.grpc_message_bytes
        or min(exchanges.repository.expected_body_bytes(), grpc_listener.MOST_MESSAGE_BYTES),
        shared_port=settings.workers > 1,
        certificates=certificates,
    )
    lifecycle.changed = grpc.refresh
    return grpc


class DrainingServer(uvicorn.Server):
    """A server that drains on the first SIGTERM or SIGINT; the second stops it at once.

    While it drains it is no longer ready, and goes on answering for the drain window, then stops.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        drain: Drain,
        window_s: float,
        lifecycle: ModelLifecycle,
        grpc: GrpcListener | None,
        running: AbstractAsyncContextManager[object],
        reloads: Reloads,
        settled: Callable[[], None] | None = None,
        access: Access | None = None,
        certificates: Certificates | None = None,
    ) -> None:
        """Take `running`, which is entered before anything is accepted.

        It is left after the last answer; what it raises ends the server.
        """
        super().__init__(config)
        self._drain, self._window_s, self._grpc, self._running = drain, window_s, grpc, running
        self._reloads, self._access = reloads, access
        self._stop_at_s = math.inf
        self._keeper, self._settled = lifecycle, settled
        self._told_of_drain = False
        self._certificates = certificates
        self._shakes: Handshakes | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Handle a signal.

        The handler takes no lock, so it logs nothing: what it interrupts may hold that lock.
        """
        if self._drain.draining:
            self.force_exit = True
            super().handle_exit(sig, frame)
            return
        self._drain.begin()
        self._keeper.stop_loading()
        self._stop_at_s = now_s() + self._window_s

    def stop(self) -> None:
        """Stop as at SIGTERM, from another thread than that of its event loop."""
        self.handle_exit(signal.SIGTERM, None)

    @property
    def grpc_port(self) -> int | None:
        """Where gRPC listens, once the server runs; None where it does not."""
        return None if self._grpc is None else self._grpc.port

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen, and to reload at SIGHUP.

        Raises what the models, observers or gRPC raise as they start.
        """
        await self._running.__aenter__()
        await super().startup(sockets=[])
        if self._certificates is not None:
            from seatrial_serve.http.tls import MOST_HANDSHAKES, Handshakes

            self._shakes = Handshakes(int(min(MOST_HANDSHAKES, most_connections() // 4)))
            self._certificates.start()
        self._acceptors = [Acceptor(sock, self._protocol) for sock in sockets or ()]
        for acceptor in self._acceptors:
            acceptor.start()
        loop = asyncio.get_running_loop()
        self._reloads.follow(lambda: loop.call_soon_threadsafe(self._reload))
        self._told = asyncio.create_task(self._tell())

    def _reload(self) -> None:
        self._keeper.reload_soon()
        if self._access is not None:
            self._access.reload_soon()
        if self._certificates is not None:
            self._certificates.ask()

    async def _tell(self) -> None:
        await self._keeper.first_load_done.wait()
        if self._settled is not None:
            self._settled()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002  (the acceptors have them)
        """Stop listening, answer what is on its way, then close the open connections."""
        self._reloads.ignore()
        for acceptor in self._acceptors:
            await acceptor.close()
        for _ in range(LINGER_TURNS):
            await asyncio.sleep(LINGER_S / LINGER_TURNS)
            if self.force_exit or not (self.server_state.connections or self._shakes):
                break
        if self._shakes is not None:
            self._shakes.abort_all()
        await super().shutdown()
        for connection in list(self.server_state.connections):  # past the grace: nobody waits on
            if isinstance(connection, StrictProtocol):
                connection.abort()
        if not self.force_exit:
            await self._running.__aexit__(None, None, None)
        if self._certificates is not None:
            self._certificates.close()

    def _protocol(self) -> asyncio.Protocol:
        if self._certificates is None or self._shakes is None:
            return self._http()
        from seatrial_serve.http.tls import TlsConnection

        return TlsConnection(self._http, self._certificates, self._shakes)

    def _http(self) -> asyncio.Protocol:
        make = cast("Callable[..., asyncio.Protocol]", self.config.http_protocol_class)
        return make(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )

    async def on_tick(self, counter: int) -> bool:
        """Called by uvicorn ten times a second: time to stop?"""
        if self._drain.draining and not self._told_of_drain:
            self._told_of_drain = True
            log.info(
                "told to stop: draining for %g s, %d in flight",
                self._window_s,
                self._drain.in_flight,
            )
            if self._grpc is not None:
                await self._grpc.refresh()
        self.should_exit = self.should_exit or now_s() >= self._stop_at_s
        return await super().on_tick(counter)
