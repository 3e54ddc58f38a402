"""What all calls over gRPC share: who asks, how a message is read, and how an error is told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from seatrial_contracts.errors import Refusal, SeatrialError
from seatrial_serve.access.access import Access
from seatrial_serve.access.caller import Caller, Scope
from seatrial_serve.http.forwarded import TrustedProxies
from seatrial_serve.http.status import answer_to
from seatrial_serve.v2.grpc_wire import malformed

SMALL_BYTES, SMALL_S = 64 * 1024, 10.0
"""Of a message that asks for no inference: how long it may be, and how late."""
MOST_TOLD_BYTES = 4096
"""Of an error's text: it is a header, and clients take some 8 KiB of headers by default."""
LATE = "no message within its time"
CODES = {
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    415: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    500: grpc.StatusCode.INTERNAL,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
"""HTTP status of an error -> its gRPC status."""
ASKED_BY: ContextVar[Caller | None] = ContextVar("asked_by", default=None)
"""Who makes the call of this task; None where everybody may make every call."""
Context = Any
"""grpc.aio.ServicerContext; the package has no types."""
Unpacked = TypeVar("Unpacked", bound=Message)


def client_of(context: Context) -> str:
    """Return the address of a call's client.

    It is "127.0.0.1" of "ipv4:127.0.0.1:40000", and "::1" of "ipv6:%5B::1%5D:40000".
    """
    host: str = context.peer().partition(":")[2].rpartition(":")[0]
    return host.removeprefix("%5B").removesuffix("%5D").strip("[]")


def address_of(context: Context, proxies: TrustedProxies | None) -> str:
    """The address that a call comes from: its client's, or whom a trusted proxy names."""
    address = client_of(context)
    if proxies is None or not proxies.holds(address):
        return address
    said = context.invocation_metadata() or ()
    return proxies.client_of(
        address, ((key.encode(), value.encode()) for key, value in said if isinstance(value, str))
    )


def headers_of(context: Context) -> Mapping[bytes, bytes]:
    """The metadata of a call, as HTTP has it, and the request id that `_answering` settled."""
    given, settled = context.invocation_metadata(), context.trailing_metadata()
    return dict((*pairs_of(given), *pairs_of(settled)))


def pairs_of(metadata: Iterable[tuple[str, str | bytes]] | None) -> Iterator[tuple[bytes, bytes]]:
    """Metadata as headers of HTTP: each as often as it was sent."""
    for key, value in metadata or ():
        said = value.encode("latin-1", "replace") if isinstance(value, str) else value
        yield key.encode(), said


async def receive(context: Context, timeout_s: float) -> bytes:
    """Return the message of a call, received within `timeout_s` seconds.

    Raises `Refusal`, also if the call ends without a message.
    """
    call = asyncio.current_task()
    assert call is not None
    # asyncio.timeout takes several times as long as it takes to unpack the message.
    timer = asyncio.get_running_loop().call_later(timeout_s, call.cancel, LATE)
    try:
        message = await context.read()
    except asyncio.CancelledError as error:
        if error.args != (LATE,):
            raise
        call.uncancel()
        raise Refusal(
            "E_SLOW_BODY", "message", f"no end of it within {timeout_s:g} s", "the whole of it"
        ) from None
    finally:
        timer.cancel()
    # The client sends no message, or gRPC itself has ended the call with a too long one.
    if message is grpc.aio.EOF:
        raise Refusal(
            "E_MESSAGE",
            "message",
            "none, or one longer than gRPC takes",
            "one of the service's messages",
        )
    whole: bytes = message
    return whole


def too_large(size: int, most: int) -> Refusal:
    """What is said of a message that is longer than it may be."""
    return Refusal("E_BODY_BYTES", "message", f"{size} bytes", f"at most {most} bytes")


async def receive_small(context: Context, kind: type[Unpacked]) -> Unpacked:
    """Return the message of a call that asks for no inference. Raises `Refusal`."""
    data = await receive(context, SMALL_S)
    if len(data) > SMALL_BYTES:
        raise too_large(len(data), SMALL_BYTES)
    return unpacked(data, kind)


def unpacked(data: bytes, kind: type[Unpacked]) -> Unpacked:
    """A message of that kind. Raises `Refusal`."""
    try:
        return kind.FromString(data)
    except DecodeError:
        raise malformed() from None


async def abort(context: Context, error: Exception, request_id: str) -> None:
    """End a call with what went wrong.

    gRPC keeps the exception that ends a call in a cycle with the call, until the collector comes.
    Nothing that was on the way to it stays with it: frames would keep the call's message.
    """
    status, code, _, headers = answer_to(error, request_id)
    error.__traceback__ = error.__cause__ = error.__context__ = None
    ours = isinstance(error, SeatrialError)
    text = told(error) if ours else "seatrial failed on this request; this is a bug in seatrial"
    metadata = [
        ("seatrial-code", code),
        *(context.trailing_metadata() or ()),
        *((key.decode(), value.decode()) for key, value in headers),
    ]
    await context.abort(CODES.get(status, grpc.StatusCode.INTERNAL), text, tuple(metadata))


def told(error: Exception) -> str:
    """The text of an error of ours; of a refusal, a line for each fault, as many as there is room.

    The first line is the error itself, which counts the others.
    """
    lines = [str(error)]
    if isinstance(error, Refusal):
        room = MOST_TOLD_BYTES - encoded_bytes(lines[0])
        for fault in error.faults[1:]:
            room -= encoded_bytes(f"\n{fault}")
            if room < 0:
                break
            lines.append(str(fault))
        left_out = max(len(error.faults), 1) + error.unlisted - len(lines)
        lines += [f"and {left_out} more"] if left_out else []
    return "\n".join(lines)


def encoded_bytes(text: str) -> int:
    """The bytes of a text as a header of gRPC's, which writes other than plain ones as `%0A`."""
    return sum(1 if 32 <= byte < 127 and byte != ord("%") else 3 for byte in text.encode())


async def let_in(
    access: Access | None, context: Context, address: str, scope: Scope, model: str | None = None
) -> None:
    """Note in `ASKED_BY` who makes the call of this task, from an address.

    Without `access` everybody may make every call. Raises `Refusal` where that one may not ask this
    of a model, or of none, and `Unavailable` above its rate.
    """
    if access is None:
        return
    headers = tuple(pairs_of(context.invocation_metadata()))
    caller = await access.caller_of(headers, address, peer_names_of(context))
    ASKED_BY.set(caller)
    caller.check(scope, model)
    caller.count()


def peer_names_of(context: Context) -> tuple[str, ...]:
    """The names of a call's client, of its verified certificate: see `Peer.names_at`."""
    (certificate,) = context.auth_context().get("x509_pem_cert", (b"",))
    if not certificate:
        return ()
    from seatrial_serve.process.certificates import peer_of

    return peer_of(certificate).names_at(time.time())
