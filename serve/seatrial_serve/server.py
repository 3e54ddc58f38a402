"""The server process: sockets, signals and the drain."""

from __future__ import annotations

import asyncio
import logging
import math
import signal
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn

from seatrial_contracts.errors import DeclarationError
from seatrial_serve.app import create_app
from seatrial_serve.clock import now_s
from seatrial_serve.drain import Drain
from seatrial_serve.keeper import Keeper
from seatrial_serve.loading import Loader
from seatrial_serve.metrics import Metrics, MetricsListener
from seatrial_serve.protocol import StrictProtocol
from seatrial_serve.repository import Repository
from seatrial_serve.settings import Settings
from seatrial_serve.threads import plan_bytes, plan_threads, usable_cores

if TYPE_CHECKING:
    from seatrial_serve.v2.grpc_service import GrpcListener

log = logging.getLogger("seatrial.server")
KEEP_ALIVE_S = 75
"""Above the idle time of common balancers (60 s), so that they close first and no request meets a closing socket."""


BACKLOG = 2048
LINGER_S, LINGER_TURNS = 0.5, 10
"""Between the last accepted connection and the closing of idle ones: uvicorn would close one whose request is just arriving."""


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises `DeclarationError` where it cannot start."""
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    repository = Repository(settings.bundles, settings.versions)
    plan = plan_threads(settings.threads or usable_cores())
    metrics, drain = Metrics(), Drain()
    listening = listen(settings.host, settings.http_port)
    if settings.grpc and settings.grpc_port:
        listen(settings.host, settings.grpc_port, "--grpc-port").close()  # gRPC itself would fail later, and say less
    scraped = listen_metrics(metrics, settings) if settings.metrics else None
    with ThreadPoolExecutor(plan.runs + 1, thread_name_prefix="seatrial") as pool:
        keeper = Keeper(
            repository,
            Loader(settings, plan, pool, metrics),
            pool,
            forget=metrics.forget,
            watch=settings.watch,
            remote=settings.runtime is not None,
        )
        grpc = None
        if settings.grpc:
            from seatrial_serve.v2 import grpc_service  # takes memory: only where it is wanted

            service = grpc_service.InferenceService(
                repository, pool, drain, settings.request_timeout_s, keeper if settings.admin else None
            )
            grpc = grpc_service.GrpcListener(
                service, repository, drain, settings.host, settings.grpc_port, settings.grace_s
            )
            keeper.changed = grpc.refresh
        app = create_app(
            repository, keeper, pool, drain, docs=settings.docs, admin=settings.admin, request_timeout_s=settings.request_timeout_s,
            budget_bytes=settings.budget_bytes or plan_bytes(), grpc=grpc
        )  # fmt: skip
        config = uvicorn.Config(
            app, loop="uvloop", http=StrictProtocol, ws="none", lifespan="on", access_log=False, proxy_headers=False, log_config=None, server_header=False, date_header=False, backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_S, timeout_graceful_shutdown=round(settings.grace_s) or None, h11_max_incomplete_event_size=32 * 1024,
        )  # fmt: skip
        host, port = listening.getsockname()[:2]
        log.info("http://%s:%d (pages at /docs)%s", host, port, f", metrics on port {scraped.port}" if scraped else "")
        DrainingServer(config, drain, settings.drain_window_s, keeper, grpc).run(sockets=[listening])
    if scraped is not None:
        scraped.close()


class DrainingServer(uvicorn.Server):
    """On the first SIGTERM or SIGINT it is no longer ready, goes on answering for the drain window, then stops; the second stops at once."""

    def __init__(
        self, config: uvicorn.Config, drain: Drain, window_s: float, keeper: Keeper, grpc: GrpcListener | None
    ) -> None:
        super().__init__(config)
        self._drain, self._window_s, self._grpc = drain, window_s, grpc
        self._stop_at_s = math.inf
        self._keeper = keeper

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The signals' handler."""
        if self._drain.draining:
            self.force_exit = True
            super().handle_exit(sig, frame)
            return
        self._drain.begin()
        self._stop_at_s = now_s() + self._window_s
        log.info("%s: draining for %g s, %d in flight", signal.Signals(sig).name, self._window_s, self._drain.in_flight)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen, and to reload at SIGHUP."""
        await super().startup(sockets)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._keeper.reload_soon)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, answer what is on its way over connections that are open already, then close these."""
        for server in self.servers:
            server.close()
        for _ in range(LINGER_TURNS):
            await asyncio.sleep(LINGER_S / LINGER_TURNS)
            if not self.server_state.connections or self.force_exit:
                break
        await super().shutdown(sockets)

    async def on_tick(self, counter: int) -> bool:
        """Called by uvicorn ten times a second: time to stop?"""
        if self._drain.draining and self._grpc is not None:
            await self._grpc.refresh()
            self._grpc = None
        self.should_exit = self.should_exit or now_s() >= self._stop_at_s
        return await super().on_tick(counter)


def listen(host: str, port: int, flag: str = "--http-port") -> socket.socket:
    """A listening socket. Raises `DeclarationError` where the address is taken or not this machine's."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        sock.listen(BACKLOG)  # from here on clients wait to be accepted, and are not turned away
    except OSError as error:
        sock.close()
        raise DeclarationError(
            f"listening on {host}:{port}",
            error.strerror or "an error",
            "a free port of this machine",
            f"choose another: {flag}",
        ) from None
    sock.set_inheritable(True)
    return sock


def listen_metrics(metrics: Metrics, settings: Settings) -> MetricsListener:
    """The metrics' listener. Raises `DeclarationError`."""
    try:
        return MetricsListener(metrics.registry, settings.host, settings.metrics_port)
    except OSError as error:
        where = f"metrics on {settings.host}:{settings.metrics_port}"
        raise DeclarationError(
            where, error.strerror or "an error", "a free port of this machine", "choose another: --metrics-port"
        ) from None
