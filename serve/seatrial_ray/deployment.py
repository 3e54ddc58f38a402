"""The deployment: what Ray Serve calls in each replica, and how many requests it hands over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import ray
from ray import serve

from seatrial_ray.arguments import settings_of, within
from seatrial_ray.calls import CALLS, Written, answer
from seatrial_serve.settings import Settings

if TYPE_CHECKING:
    from ray.serve.grpc_util import RayServegRPCContext

NAME = "seatrial"
SURGE_PERCENT = 25
"""An old replica stops once a new one is ready. By Ray's default, 0, it would stop first."""


@serve.ingress()
class Replica:
    """A replica. What it raises as it starts, Ray tells, and goes on with the replicas before.

    The app is made in the actor: nothing of it is pickled, and whoever deploys imports none of it.
    """

    def __init__(self, told: Mapping[str, Any]) -> None:
        """`told`: settings as JSON has them.

        Raises a `SeatrialError` where there is nothing to serve.
        """
        from seatrial_ray.replica import ServingReplica

        assigned = ray.get_runtime_context().get_assigned_resources()
        self._serving = ServingReplica(within(Settings(**told), assigned))

    async def __serve_build_asgi_app__(self) -> Any:
        """The app."""
        return await self._serving.open_app()

    async def reconfigure(
        self,
        user_config: Mapping[str, Any] | None,
        rank: object,  # noqa: ARG002  (without it Ray does not tell that there is none any more)
    ) -> None:
        """Take up a new `user_config`, without a new replica. Raises `DeclarationError`."""
        await self._serving.select(user_config or {})

    async def check_health(self) -> None:
        """Raise `Unavailable` if the server is not ready: Ray then replaces the replica."""
        self._serving.check_ready()

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """What `policy.predicted_queue` scales by."""
        return self._serving.load()

    async def __del__(self) -> None:
        """Ray calls it after the last answer, and after the app's own end."""
        if hasattr(self, "_serving"):
            await self._serving.close()


def method_of(name: str) -> Any:
    """The method that Ray's gRPC proxy calls for a call of this name."""

    async def method(self: Any, message: bytes, grpc_context: RayServegRPCContext) -> Written:
        return await answer(self._serving.calls[name], message, grpc_context)

    method.__name__ = name
    return method


for each in CALLS:
    setattr(Replica, each, method_of(each))


def application(args: Mapping[str, Any]) -> serve.Application:
    """The application of one deployment. Raises `DeclarationError`.

    The batcher is within the replica, and admission refuses there by the wait that it predicts: Ray
    hands over twice what the batcher lets wait, so that the replica itself refuses what comes
    beyond, and holds as much back while no replica is there.
    """
    settings = settings_of(args)
    deployment = serve.deployment(
        Replica,
        name=NAME,
        max_ongoing_requests=2 * settings.max_waiting_rows,
        max_queued_requests=settings.max_waiting_rows,
        max_surge_percent=SURGE_PERCENT,
        graceful_shutdown_timeout_s=settings.drain_window_s + settings.grace_s,
    )
    return deployment.bind(settings.model_dump(mode="json"))
