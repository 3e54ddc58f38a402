"""What serves within a replica: seatrial's app and its gRPC service, without sockets."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack
from typing import TYPE_CHECKING, Any

from seatrial_contracts.errors import DeclarationError, Unavailable
from seatrial_ray.arguments import selections_of
from seatrial_ray.exported import ExportedMetrics
from seatrial_ray.load import queue_ratio
from seatrial_ray.policy import CPU, QUEUE
from seatrial_serve.access.access import open_access
from seatrial_serve.api.v2_grpc import InferenceService
from seatrial_serve.app import create_app
from seatrial_serve.metrics.metrics import Metrics
from seatrial_serve.models.repository import open_repository
from seatrial_serve.process.audit_log import recording
from seatrial_serve.process.budget import Places
from seatrial_serve.process.log import start_log
from seatrial_serve.serving import open_serving
from seatrial_serve.settings import Settings

if TYPE_CHECKING:
    from seatrial_serve.api.fast_path import Asgi
    from seatrial_serve.http.body import Scope
    from seatrial_serve.models.scan import FoundModel

log = logging.getLogger("seatrial.replica")
REQUEST_ID = b"x-request-id"
SEVERAL = 2
"""Servers that one client may meet: each remembers its own answers."""


class ServingReplica:
    """Serves what the settings name, on the event loop of the actor."""

    def __init__(self, settings: Settings) -> None:
        """Raises a `SeatrialError` where there is nothing to serve."""
        self._settings = settings
        sink = start_log(settings.log_level, settings.log_format)
        self._metrics = Metrics(on=settings.metrics)
        sink.on_drop = self._metrics.families.log_dropped.inc
        self._stack = AsyncExitStack()
        with ExitStack() as opening:
            opening.enter_context(recording(settings.audit_log))
            self._repository = open_repository(settings)
            access = opening.enter_context(open_access(settings.api_keys))
            serving = self._serving = opening.enter_context(
                open_serving(settings, self._repository, self._metrics, access, joining=True)
            )
            self._stack.callback(opening.pop_all().close)
        share = max(1, round(settings.grpc_calls * settings.client_share))
        places = Places(share, settings.grpc_calls)
        self.calls = InferenceService(serving.exchanges, places).calls
        """A call's name -> what answers it."""
        self._measured = time.process_time(), time.monotonic()
        self._user_config: Mapping[str, Any] = {}
        """The last one that was taken up."""
        self._was_ready = False

    async def open_app(self) -> Asgi:
        """Return the app, whose lifespan begins once every model is loaded, or has failed."""
        settings, serving = self._settings, self._serving
        if settings.metrics:
            await self._stack.enter_async_context(ExportedMetrics(self._metrics))
        return mounted(
            create_app(
                serving.exchanges,
                serving.lifecycle,
                serving.observers,
                docs=settings.docs,
                console=settings.console,
                workers=SEVERAL,
                predict_path=settings.predict_path,
                health_path=settings.health_path,
            )
        )

    async def select(self, user_config: Mapping[str, Any]) -> None:
        """Take up the labels and variants of a `user_config` in place of those of files.

        Raises `DeclarationError` where it names anything else, or a model that there is not, unless
        the replica has been ready. Then the log says so, and what was selected before goes on: Ray
        would stop a replica that raises here, though it has no other.
        """
        if user_config == self._user_config:  # Ray tells it anew where other replicas come and go
            return
        try:
            await self._take_up(user_config)
        except DeclarationError as error:
            if not self._was_ready:
                raise
            log.error("user_config not taken up, what was selected before goes on: %s", error)
        else:
            self._user_config = user_config

    async def _take_up(self, user_config: Mapping[str, Any]) -> None:
        selections, names = selections_of(user_config), self._repository.names
        for name in selections.keys() - set(names):
            got = f"labels or variants of '{name}'"
            raise DeclarationError("user_config", got, f"of one of {', '.join(names)}")
        self._repository.sources.select(selections)
        found = await self._serving.lifecycle.reload()
        if not self._was_ready:
            await self._unload_unselected(found)

    async def _unload_unselected(self, found: Sequence[FoundModel]) -> None:
        """Let no version take traffic as another variant than the selected one, which failed.

        Ray tells of a `user_config` once the models are loaded without it.
        """
        lifecycle, find = self._serving.lifecycle, self._repository.find
        for model in found:
            there = [(entry, find(entry.name, entry.version)) for entry in model.entries]
            if any(one and one.is_available and one.stamp != entry.stamp for entry, one in there):
                await lifecycle.unload(model.name)
                await lifecycle.reload(model.name, look=False)

    def check_ready(self) -> None:
        """Raise `Unavailable` if not enough models take traffic."""
        if not self._repository.ready:
            waiting = [f"{e.name} {e.version}: {e.reason}" for e in self._repository.waiting]
            raise Unavailable("E_NOT_READY", f"models that take no traffic: {'; '.join(waiting)}")
        self._was_ready = True

    def load(self) -> dict[str, float]:
        """Return the load by the names of `policy`; the processor's since the last call."""
        settings, (cpu_s, at_s) = self._settings, self._measured
        self._measured = time.process_time(), time.monotonic()
        cores = (self._measured[0] - cpu_s) / max(self._measured[1] - at_s, 1e-3)
        models = [entry.model for entry in self._repository if entry.model is not None]
        queue = queue_ratio(models, settings.request_timeout_s)
        return {QUEUE: queue, CPU: cores / (settings.threads or 1)}

    async def close(self) -> None:
        """End what the app's own end leaves."""
        await self._stack.aclose()


def mounted(app: Asgi) -> Asgi:
    """The app as Ray mounts it: behind a prefix of paths, and with a request id of Ray's.

    Ray gives each request an id, by which the app answers too: it stands in the reply once.
    """

    async def answer(scope: Scope, receive: Any, send: Any) -> None:
        prefix = scope.get("root_path", "")
        if prefix:
            scope = {**scope, "path": scope["path"].removeprefix(prefix)}

        async def send_once(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [pair for pair in message["headers"] if pair[0] != REQUEST_ID]
            await send(message)

        await app(scope, receive, send_once if scope["type"] == "http" else send)

    return answer
