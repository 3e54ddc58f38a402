"""The Open Inference Protocol's gRPC service behind Ray's gRPC proxy.

Ray's proxy takes the calls, and calls the replica's method of the same name. Messages pass as
bytes: the replica's own service reads them, with its own limits.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import grpc

from seatrial_contracts.errors import ModelError, SeatrialError
from seatrial_ray.lost import LOST
from seatrial_serve.http.status import answer_to

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
CODE = "seatrial-code"
"""Metadata behind each error of ours."""
DIED = "The actor "
"""How Ray's text of a lost replica begins: "The actor died unexpectedly before ..."."""
FAILED = ModelError("E_INTERNAL", "Ray failed on this request; the log of its proxy says why")
Call = Callable[[Any, Any], Awaitable[bytes]]


def add_servicer(_: object, server: Any) -> None:
    """Add the service to Ray's proxy: an entry of `grpc_servicer_functions`."""
    server.add_generic_rpc_handlers((Handlers(),))


class Handlers(grpc.ServiceRpcHandler):  # type: ignore[misc]  # the package has no types
    """The service's handlers, which are Ray's own, with what they say of its failures in our words.

    Ray replaces `_method_handlers`, as grpc's own dictionary of handlers names it.
    """

    def __init__(self) -> None:
        handler = grpc.unary_unary_rpc_method_handler(None)
        self._method_handlers = {f"/{SERVICE}/{call}": handler for call in CALLS}

    def service_name(self) -> str:
        """The service."""
        return SERVICE

    def service(self, call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        """The handler of a call; None if it is none of the service's."""
        found = self._method_handlers.get(call.method)
        return found and found._replace(unary_unary=partial(passed_on, found.unary_unary))


async def passed_on(handler: Call, message: bytes, context: Any) -> bytes:
    """Answer a call by Ray's handler, and say of a lost replica what HTTP's clients are told.

    Ray says INTERNAL, which clients do not repeat, with the process and address of the replica.
    """
    answered = await handler(message, context)
    if context.code() is grpc.StatusCode.INTERNAL and CODE not in dict(
        context.trailing_metadata() or ()
    ):
        if context.details().startswith(DIED):
            tell(context, LOST, grpc.StatusCode.UNAVAILABLE)
        else:
            tell(context, FAILED, grpc.StatusCode.INTERNAL)
    return answered


def tell(context: Any, error: SeatrialError, status: grpc.StatusCode) -> None:
    """End a call with an error of ours in place of Ray's."""
    _, code, _, headers = answer_to(error, "")
    context.set_code(status)
    context.set_details(str(error))
    context.set_trailing_metadata((
        *(context.trailing_metadata() or ()),
        (CODE, code),
        *((name.decode(), value.decode()) for name, value in headers),
    ))  # fmt: skip


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
