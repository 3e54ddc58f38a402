"""The fast lane: predict and infer as raw ASGI in front of the framework, since its routing would cost ten times the work."""

from __future__ import annotations

import re
import zlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from functools import lru_cache
from typing import Any

from seatrial_contracts.errors import Refusal
from seatrial_serve.exchange import JSON, Exchange, Exchanges, Reply
from seatrial_serve.http.asgi_extensions import IN_FLIGHT, REPLY, WHEN_LEFT, WHOLE, Scope
from seatrial_serve.http.body import read_body
from seatrial_serve.http.browsers import ERROR_HEADERS, with_policy
from seatrial_serve.http.headers import REQUEST_ID_HEADER, request_id_of
from seatrial_serve.http.status import answer_to
from seatrial_serve.models.entry import Entry
from seatrial_serve.models.request_record import Journey
from seatrial_serve.models.served_model import ServedModel
from seatrial_serve.process.clock import now_s
from seatrial_serve.routes import tidy_path

Asgi = Callable[[Scope, Any, Any], Awaitable[None]]

PATH = re.compile(
    r"/v(?:(?P<v1>1)|2)/models/(?P<name>[^/]*?)(?:/versions/(?P<version>[^/:]+)|/labels/(?P<label>[^/:]+))?"
    r"(?P<verb>(?(v1):(?:predict|feedback)|/infer))"
)
WORTH_COMPRESSING_BYTES = 4096
UNREAD = ("E_BODY_BYTES", "E_SLOW_BODY", "E_MEMORY")
"""If one of these came while the body was read, the rest may still come: the connection is closed."""
TIMEOUT, TRACEPARENT = b"x-request-timeout-ms", b"traceparent"
FEEDBACK = ":feedback"
ROUTES = {
    ":predict": "/v1/models/{model}:predict",
    FEEDBACK: "/v1/models/{model}:feedback",
    "/infer": "/v2/models/{model}/infer",
}
REQUEST_ID = "seatrial.request_id"
"""Where a scope holds the request's id for the framework's routes."""


class Asked(Exchange):
    """A request over HTTP: its headers, its terms, and how to read its body."""

    __slots__ = ("_receive", "_scope", "unread")

    def __init__(
        self, shared: Exchanges, journey: Journey, entry: Entry | None, scope: Scope, headers: Mapping[bytes, bytes], receive: Any, *,
        counted: bool = True,
    ) -> None:  # fmt: skip
        client = scope.get("client")
        super().__init__(
            shared, journey, entry, client[0] if client else None, headers, in_flight=scope.get(IN_FLIGHT), when_left=scope.get(WHEN_LEFT), counted=counted,
        )  # fmt: skip
        self._scope, self._receive = scope, receive
        self.unread = False
        """Is the rest of its body still to come?"""

    def ready_model(self) -> ServedModel:
        """See `Exchange`; `Refusal` also where the method is not POST."""
        return ready_model(self._scope["method"], self.entry)

    def timeout_s(self) -> float:
        """See `Exchange`."""
        asked, most_s = self.headers.get(TIMEOUT), self.shared.pace.timeout_s
        if asked is None:
            return most_s
        if not asked.isdigit() or not 0 < len(asked) < 10 or not int(asked):
            raise Refusal(
                "E_PARAMETER",
                "header X-Request-Timeout-Ms",
                "another value",
                "a whole number of milliseconds from 1",
            )
        return min(most_s, int(asked) / 1000)

    async def body(self) -> bytes:
        """The whole of it, decompressed, once memory is held for it. Raises `Refusal`, `Unavailable` or `ClientLeft`."""
        self.unread = True
        body = await read_body(
            self.headers, self._receive, self.model.contract.max_body_bytes, self.shared.pace, self._hold, whole=WHOLE in self._scope
        )  # fmt: skip
        self.unread = False
        self.whole(body)
        return body


Answer = Callable[[Asked], Awaitable[Reply]]


class FastLane:
    """ASGI in front of the framework's app: answers `/v1/models/{name}:predict`, `/v1/models/{name}:feedback` and `/v2/models/{name}/infer`, with or without version, and passes everything else on."""

    def __init__(self, app: Asgi, exchanges: Exchanges, protocols: Mapping[str, Answer]) -> None:
        """`protocols`: how a path ends -> what answers it."""
        self.app, self._exchanges, self._protocols = app, exchanges, protocols

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Answer a request to a model, or pass it on."""
        asked_for = asked_of(scope["path"]) if scope["type"] == "http" else None
        if asked_for is None and scope["type"] == "http" and tidy_path(scope):
            asked_for = asked_of(scope["path"])
        if asked_for is None:
            await self._pass_on(scope, receive, send)
            return
        headers = dict(scope["headers"])
        name, version, label, verb = asked_for
        exchanges = self._exchanges
        journey = begin_journey(headers, ROUTES[verb])
        entry = exchanges.repository.find(name, version, label)
        asked = Asked(exchanges, journey, entry, scope, headers, receive, counted=verb != FEEDBACK)
        with asked:
            try:
                reply = await asked.run(self._protocols[verb])
            except Exception as error:  # every error becomes one clear answer
                status, code, body, extra = answer_to(error, journey.request_id)
                more = [*extra, *ERROR_HEADERS, *([(b"allow", b"POST")] if status == 405 else ())]
                close = code in UNREAD and asked.unread
                await self._send(scope, send, status, Reply(body, JSON, more), journey.request_id, close=close)
            else:
                if reply is not None:
                    reply = compressed(reply, headers.get(b"accept-encoding"))
                    await self._send(scope, send, 200, reply, journey.request_id)

    async def _pass_on(self, scope: Scope, receive: Any, send: Any) -> None:
        """To the framework; its answers carry the request's id too."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = scope[REQUEST_ID] = request_id_of(dict(scope["headers"]))

        async def send_named(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*with_policy(message["headers"]), (REQUEST_ID_HEADER, request_id.encode())]
            await send(message)

        await self.app(scope, receive, send_named)

    async def _send(
        self, scope: Scope, send: Any, status: int, reply: Reply, request_id: str, close: bool = False
    ) -> None:
        headers = [
            (b"content-type", reply.media_type), (b"content-length", b"%d" % len(reply.body)),
            (REQUEST_ID_HEADER, request_id.encode()), *reply.headers,
        ]  # fmt: skip
        close = close or self._exchanges.drain.draining
        write_whole = scope.get(REPLY)
        if write_whole is not None:
            await write_whole(status, headers, reply.body, close=close)
            return
        if close:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})


@lru_cache(maxsize=256)
def asked_of(path: str) -> tuple[str, str | None, str | None, str] | None:
    """A path's model, version, label and verb; None where it is not this lane's."""
    match = PATH.fullmatch(path)
    return (match["name"], match["version"], match["label"], match["verb"]) if match is not None else None


def begin_journey(headers: Mapping[bytes, bytes], route: str) -> Journey:
    """A request begins, with these headers."""
    traceparent = headers.get(TRACEPARENT)
    return Journey(request_id_of(headers), route, now_s(), traceparent.decode("latin-1") if traceparent else None)


def ready_model(method: str, entry: Entry | None) -> ServedModel:
    """The model of an entry. Raises `Refusal` or `Unavailable` where there is none to ask, or where the method is not POST."""
    if entry is None:
        raise Refusal("E_MODEL_NOT_FOUND", "model", "an unknown name or version", "one of GET /v1/models")
    if method != "POST":
        raise Refusal("E_METHOD", "method", "another", "POST")
    return entry.ready_model()


def compressed(reply: Reply, accepted: bytes | None) -> Reply:
    """The reply in an encoding that the client takes, gzip or deflate, where it is large enough to be worth it."""
    if accepted is None or len(reply.body) < WORTH_COMPRESSING_BYTES:
        return reply
    offered = {
        item.partition(b";")[0].strip()
        for item in accepted.lower().split(b",")
        if not item.replace(b" ", b"").endswith((b";q=0", b";q=0.0"))
    }
    encoding = next((name for name in (b"gzip", b"deflate") if name in offered), None)
    if encoding is None:
        return reply
    packer = zlib.compressobj(1, wbits=31 if encoding == b"gzip" else 15)
    body = packer.compress(reply.body) + packer.flush()
    return Reply(
        body, reply.media_type, [*reply.headers, (b"content-encoding", encoding), (b"vary", b"accept-encoding")]
    )
