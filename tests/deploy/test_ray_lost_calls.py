"""What a client of Ray's gRPC proxy is told where Ray failed, by a server that acts as Ray's does.

`tests/ray_serve` kills replicas behind Ray's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import grpc
import pytest

from seatrial_ray.calls import CALLS, SERVICE, add_servicer

DIED = "The actor died unexpectedly before finishing this task.\n\tpid: 7\n\tip: 192.0.2.2"


class Proxy:
    """Ray's way with handlers: its own in place of each, before the server takes them."""

    def __init__(self, server: Any, handler: Any) -> None:
        self._server, self._handler = server, handler

    def add_generic_rpc_handlers(self, handlers: Sequence[Any]) -> None:
        """See Ray's `gRPCGenericServer`."""
        (service,) = handlers
        service._method_handlers = {
            name: found._replace(unary_unary=self._handler)
            for name, found in service._method_handlers.items()
        }
        self._server.add_generic_rpc_handlers(handlers)


async def told(
    code: grpc.StatusCode, text: str, metadata: Sequence[tuple[str, str]] = (), call: str = CALLS[0]
) -> tuple[grpc.StatusCode, str, Mapping[str, Any]]:
    """Status, details and metadata that a client gets of a call that Ray ended so."""

    async def handler(_: bytes, context: Any) -> bytes:
        context.set_code(code)
        context.set_details(text)
        context.set_trailing_metadata((("request_id", "mine"), *metadata))
        return b""

    server = grpc.aio.server()
    add_servicer(None, Proxy(server, handler))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            asked = channel.unary_unary(f"/{SERVICE}/{call}")(b"")
            ended = await asked.code(), await asked.details()
            return *ended, dict(await asked.trailing_metadata())
    finally:
        await server.stop(None)


async def test_a_lost_replica_is_unavailable_and_no_text_of_rays_is_told() -> None:
    code, text, metadata = await told(grpc.StatusCode.INTERNAL, DIED)
    assert code is grpc.StatusCode.UNAVAILABLE
    assert text == "the replica was lost before it answered; ask again"
    assert metadata == {"request_id": "mine", "seatrial-code": "E_NOT_READY", "retry-after": "1"}


async def test_another_failure_of_rays_stays_internal_without_its_text() -> None:
    code, text, metadata = await told(grpc.StatusCode.INTERNAL, "Traceback: /home/somebody")
    assert code is grpc.StatusCode.INTERNAL
    assert text == "Ray failed on this request; the log of its proxy says why"
    assert metadata["seatrial-code"] == "E_INTERNAL"


@pytest.mark.parametrize(
    ("code", "metadata"),
    [
        (grpc.StatusCode.INTERNAL, [("seatrial-code", "E_INTERNAL")]),
        (grpc.StatusCode.UNAVAILABLE, [("seatrial-code", "E_NOT_READY")]),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, []),
        (grpc.StatusCode.OK, []),
    ],
)
async def test_every_other_end_of_a_call_is_passed_on(
    code: grpc.StatusCode, metadata: list[tuple[str, str]]
) -> None:
    text = "" if code is grpc.StatusCode.OK else "as it was"
    assert await told(code, text, metadata) == (
        code,
        text,
        {"request_id": "mine", **dict(metadata)},
    )


async def test_a_call_that_the_service_has_not_is_not_there() -> None:
    code, _, _ = await told(grpc.StatusCode.OK, "", call="Nothing")
    assert code is grpc.StatusCode.UNIMPLEMENTED
