"""`grpc.health.v1` over gRPC: how each service stands, asked for once or watched."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from seatrial_serve.process.budget import Places

MOST_WATCHES, MOST_OF_CLIENT = 256, 64
"""How many streams may watch at once, and how many of them may be one client's."""
Status = health_pb2.HealthCheckResponse


class HealthService(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # the package has no types
    """The health service of gRPC, in place of grpcio's own.

    If one of several streams of grpcio's service ends, the others hear nothing more.
    """

    def __init__(self) -> None:
        self._states: dict[str, Any] = {"": Status.SERVING}
        self._changed = asyncio.Event()
        self._places = Places(MOST_OF_CLIENT, MOST_WATCHES)
        self._closed = False

    async def set(self, service: str, status: Any) -> None:
        """A service stands so from now on."""
        if self._states.get(service) != status:
            self._states[service] = status
            self._wake()

    def close(self) -> None:
        """End every stream."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802  (the protocol's name)
        """How it stands; NOT_FOUND where nobody knows it."""
        status = self._states.get(request.service)
        if status is None:
            await context.abort(grpc.StatusCode.NOT_FOUND)
        return Status(status=status)

    async def Watch(self, request: Any, context: Any) -> None:  # noqa: N802  (the protocol's name)
        """How it stands now, and whenever that changes."""
        client = client_of(context)
        if not self._places.take(client):
            await context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED, "too many streams watch: ask Check"
            )
        try:
            last = None
            while not self._closed:
                changed = self._changed
                status = self._states.get(request.service, Status.SERVICE_UNKNOWN)
                if status != last:
                    await context.write(Status(status=status))
                last = status
                await changed.wait()
        finally:
            self._places.give_back(client)


def client_of(context: Any) -> str:
    """Return the address of a call's client.

    It is "127.0.0.1" of "ipv4:127.0.0.1:40000", and "::1" of "ipv6:%5B::1%5D:40000".
    """
    host: str = context.peer().partition(":")[2].rpartition(":")[0]
    return host.removeprefix("%5B").removesuffix("%5D").strip("[]")
