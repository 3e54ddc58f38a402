"""The Open Inference Protocol's gRPC service behind Ray's gRPC proxy.

Ray's proxy takes the calls, and calls the replica's method of the same name. Messages pass as
bytes: the replica's own service reads them, with its own limits.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import grpc

if TYPE_CHECKING:
    from ray.serve.grpc_util import RayServegRPCContext

SERVICE = "inference.GRPCInferenceService"
CALLS = (
    "ServerLive",
    "ServerReady",
    "ModelReady",
    "ServerMetadata",
    "ModelMetadata",
    "ModelConfig",
    "ModelStatistics",
    "RepositoryIndex",
    "RepositoryModelLoad",
    "RepositoryModelUnload",
    "ModelInfer",
)
"""Written down, since a proxy would take all of the server into memory to read them off."""
RAYS_OWN = "request_id"
Call = Callable[[Any, Any], Awaitable[bytes]]


def add_servicer(_: object, server: Any) -> None:
    """Add the service to Ray's proxy: an entry of `grpc_servicer_functions`."""
    handler = grpc.unary_unary_rpc_method_handler(None)  # Ray puts its own in its place
    handlers = grpc.method_handlers_generic_handler(SERVICE, dict.fromkeys(CALLS, handler))
    server.add_generic_rpc_handlers((handlers,))


class Written:
    """A message that is written already, as Ray reads what a method returns."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def SerializeToString(self) -> bytes:  # noqa: N802  (protobuf's name)
        """The message's bytes."""
        return self._data


class Ended(Exception):
    """The call has ended with a status, which its context has."""


class RayCall:
    """A call of which Ray's proxy has received the message, as the service knows gRPC's own."""

    def __init__(self, message: bytes, context: RayServegRPCContext) -> None:
        self._message, self._context = message, context
        self.peer = context.peer
        self.invocation_metadata = context.invocation_metadata
        self.trailing_metadata = context.trailing_metadata

    async def read(self) -> bytes:
        """The message."""
        return self._message

    def auth_context(self) -> dict[str, list[bytes]]:
        """Nothing of the client's certificate: Ray's proxy does not pass it on."""
        return {}

    def time_remaining(self) -> None:
        """How long the client waits: Ray's proxy does not pass it on."""

    def set_trailing_metadata(self, metadata: Sequence[tuple[str, str]]) -> None:
        """What is told behind the answer. Ray itself adds its `request_id`."""
        self._context.set_trailing_metadata([pair for pair in metadata if pair[0] != RAYS_OWN])

    async def abort(
        self, code: grpc.StatusCode, text: str, metadata: Sequence[tuple[str, str]]
    ) -> NoReturn:
        """End the call. Raises `Ended`."""
        self._context.set_code(code)
        self._context.set_details(text)
        self.set_trailing_metadata(metadata)
        raise Ended


async def answer(call: Call, message: bytes, context: RayServegRPCContext) -> Written:
    """Answer a call of the service.

    What ended with a status returns no message: if the method raised, Ray would drop the metadata.
    """
    try:
        return Written(await call(None, RayCall(message, context)))
    except Ended:
        return Written(b"")
