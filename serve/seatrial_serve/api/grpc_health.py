"""`grpc.health.v1` over gRPC: how each service stands, asked for once or watched."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Any

import grpc
from grpc_health.v1 import health_pb2

from seatrial_contracts.errors import Refusal, Unavailable
from seatrial_serve.access.access import Access
from seatrial_serve.access.caller import Scope
from seatrial_serve.api.grpc_call import (
    ASKED_BY,
    Context,
    abort,
    address_of,
    headers_of,
    let_in,
    receive_small,
)
from seatrial_serve.http.forwarded import TrustedProxies
from seatrial_serve.http.headers import request_id_of
from seatrial_serve.process.budget import Places

SERVICE = "grpc.health.v1.Health"
MOST_WATCHES, MOST_OF_CLIENT = 256, 64
"""How many streams may watch at once, and how many of them may be one client's.

As many calls again may be awaited, whose message has not come yet.
"""
Status = health_pb2.HealthCheckResponse
Method = Callable[[Any, Context], Awaitable[Any]]


class HealthService:
    """The health service of gRPC, in place of grpcio's own.

    If one of several streams of grpcio's service ends, the others hear nothing more. grpcio unpacks
    each message on the event loop, however long it is.
    """

    def __init__(
        self,
        proxies: TrustedProxies | None = None,
        access: Access | None = None,
        open_to_all: Collection[str] = ("",),
    ) -> None:
        """`proxies`: those whose word on clients counts.

        `access`: who may ask about services that are not `open_to_all`; None: everybody.
        """
        self._proxies, self._access, self._open = proxies, access, frozenset(open_to_all)
        self._states: dict[str, Any] = {"": Status.SERVING}
        self._changed = asyncio.Event()
        self._places = Places(MOST_OF_CLIENT, MOST_WATCHES)
        self._awaited = Places(MOST_OF_CLIENT, MOST_WATCHES)
        self._closed = False

    def handler(self) -> grpc.GenericRpcHandler:
        """What gRPC calls."""
        write = Status.SerializeToString
        return grpc.method_handlers_generic_handler(SERVICE, {
            "Check": grpc.stream_unary_rpc_method_handler(
                self._answering(self.check), response_serializer=write
            ),
            "Watch": grpc.stream_stream_rpc_method_handler(
                self._answering(self.watch), response_serializer=write
            ),
        })  # fmt: skip

    def _answering(self, method: Method) -> Method:
        """Return the call's handler, which reads the message if there is a place for the call."""

        async def answer_call(_: Any, context: Context) -> Any:
            client = address_of(context, self._proxies)
            placed = self._awaited.take(client)
            try:
                if not placed:
                    raise Unavailable("E_OVERLOADED", "more calls are awaited than there may be")
                request = await receive_small(context, health_pb2.HealthCheckRequest)
                if request.service not in self._open:
                    await let_in(self._access, context, client, Scope.READ, request.service)
            except Exception as error:  # every error becomes one answer; a bug is logged there
                await abort(context, error, request_id_of(headers_of(context)))
                raise
            finally:
                if placed:
                    self._awaited.give_back(client)
            return await method(request, context)

        return answer_call

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

    async def check(self, request: Any, context: Context) -> Any:
        """How it stands; NOT_FOUND where nobody knows it."""
        status = self._states.get(request.service)
        if status is None:
            await context.abort(grpc.StatusCode.NOT_FOUND)
        return Status(status=status)

    async def watch(self, request: Any, context: Context) -> None:
        """How it stands now, and whenever that changes, as long as its caller may know."""
        client = address_of(context, self._proxies)
        if not self._places.take(client):
            await context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED, "too many streams watch: ask Check"
            )
        try:
            last = None
            while not self._closed:
                changed = self._changed
                caller = ASKED_BY.get()
                if caller is not None:
                    caller.check(Scope.READ, request.service)
                status = self._states.get(request.service, Status.SERVICE_UNKNOWN)
                if status != last:
                    await context.write(Status(status=status))
                last = status
                await changed.wait()
        except Refusal as refusal:
            await abort(context, refusal, request_id_of(headers_of(context)))
        finally:
            self._places.give_back(client)
