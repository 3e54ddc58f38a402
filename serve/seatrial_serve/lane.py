"""The fast lane: predict and infer as raw ASGI in front of the framework, since its routing would cost ten times the work."""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from concurrent.futures import Executor
from functools import lru_cache, partial
from typing import Any, NamedTuple

from seatrial_contracts.errors import ModelError, Refusal
from seatrial_serve.admission import NO_ROOM, REFUSAL_S, Budget
from seatrial_serve.body import REQUEST_ID_HEADER, ClientLeft, expected_bytes, read_body, request_id_of
from seatrial_serve.browsers import ERROR_HEADERS, with_policy
from seatrial_serve.busy_poll import BusyPoll
from seatrial_serve.clock import now_s
from seatrial_serve.drain import Drain
from seatrial_serve.journey import Journey, Watchers, tell_watchers
from seatrial_serve.metrics import NOBODY, Metrics
from seatrial_serve.model import Answer as ModelAnswer
from seatrial_serve.model import ServedModel, Terms
from seatrial_serve.partial import asks_for_parts
from seatrial_serve.repository import Entry, Repository
from seatrial_serve.routes import tidy_path
from seatrial_serve.scope import IN_FLIGHT, REPLY, WHEN_LEFT, WHOLE, Scope
from seatrial_serve.status import answer_to
from seatrial_serve.taps import Taps

Asgi = Callable[[Scope, Any, Any], Awaitable[None]]

PATH = re.compile(
    r"/v(?:(?P<v1>1)|2)/models/(?P<name>[^/]*?)(?:/versions/(?P<version>[^/:]+)|/labels/(?P<label>[^/:]+))?"
    r"(?P<verb>(?(v1):predict|/infer))"
)
LARGE_BODY_BYTES = 64 * 1024
"""Larger bodies are parsed in a thread, so that the event loop never stands still for one."""
WORTH_COMPRESSING_BYTES = 4096
JSON = b"application/json"
UNREAD = ("E_BODY_BYTES", "E_SLOW_BODY")
"""After these the rest of the body may still come: the connection is closed."""
TIMEOUT, TRACEPARENT = b"x-request-timeout-ms", b"traceparent"
ROUTES = {":predict": "/v1/models/{model}:predict", "/infer": "/v2/models/{model}/infer"}
REQUEST_ID = "seatrial.request_id"
"""Where a scope holds the request's id for the framework's routes."""


class Reply(NamedTuple):
    """An answer's bytes, what its headers say of them, and what it was made of."""

    body: bytes
    media_type: bytes = JSON
    headers: Sequence[tuple[bytes, bytes]] = ()
    answer: ModelAnswer | None = None


class Asked:
    """A request to a model that is ready: its headers, its terms, and how to read its body. Use `with`."""

    __slots__ = (
        "_body",
        "_budget",
        "_held",
        "_on_its_way",
        "_receive",
        "_timeout_s",
        "_when_left",
        "_whole",
        "headers",
        "left",
        "model",
        "pool",
        "terms",
    )

    def __init__(
        self, model: ServedModel, headers: Mapping[bytes, bytes], terms: Terms, pool: Executor, receive: Any, timeout_s: float, budget: Budget, *,
        whole: bool, when_left: Callable[[Callable[[], None] | None], None] | None,
    ) -> None:  # fmt: skip
        """`whole`: is all of it here already? `when_left`: see `scope.WHEN_LEFT`."""
        self.model, self.headers, self.terms, self.pool = model, headers, terms, pool
        self._receive, self._timeout_s, self._budget, self._whole = receive, timeout_s, budget, whole
        self._when_left = when_left if not model.instant else None
        self._held, self._body, self._on_its_way = 0, b"", False
        self.left = False
        """Did the client leave while its request was on its way?"""

    @property
    def body_bytes(self) -> int:
        """How long its body is."""
        return len(self._body)

    async def body(self) -> bytes:
        """The whole of it, decompressed, once memory is held for it. Raises `Refusal`, `Unavailable` or `ClientLeft`."""
        most = self.model.contract.max_body_bytes
        self._held = self._budget.take(expected_bytes(self.headers, most))
        self._body = await read_body(self.headers, self._receive, most, self._timeout_s, whole=self._whole)
        self.model.quarantine.check(self._body)
        self.model.pressure.enter()  # only now: a client that sends slowly says nothing of how fast the model is
        self._on_its_way = True
        if self._when_left is not None:
            self._when_left(partial(self._leave, asyncio.current_task()))
        return self._body

    def _leave(self, request: asyncio.Task[Any] | None) -> None:
        """End a request whose client has left: what still waits is not run."""
        self.left = True
        if request is not None:
            request.cancel()

    def blame(self) -> None:
        """The model failed on this body, although not on all of it."""
        self.model.quarantine.blame(self._body)

    def __enter__(self) -> Asked:
        self.model.hold()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, *_: object) -> None:
        if self._on_its_way:
            self.model.pressure.leave(kind)
        self.model.release()
        self._budget.give_back(self._held)
        if self._when_left is not None:
            self._when_left(None)
        if isinstance(error, ModelError) or getattr(error, "code", "") == "E_MODEL_INPUT":
            self.model.quarantine.blame(self._body)


Answer = Callable[[Asked], Awaitable[Reply]]


class FastLane:
    """ASGI in front of the framework's app: answers `/v1/models/{name}:predict` and `/v2/models/{name}/infer`, with or without version, and passes everything else on."""

    def __init__(
        self, app: Asgi, *, protocols: Mapping[str, Answer], repository: Repository, pool: Executor, drain: Drain, budget: Budget, taps: Taps, metrics: Metrics, timeout_s: float,
        watchers: Watchers = (),
    ) -> None:  # fmt: skip
        """`protocols`: how a path ends -> what answers it."""
        self.app, self._protocols = app, protocols
        self._repository, self._pool, self._drain, self._timeout_s = repository, pool, drain, timeout_s
        self._budget, self._taps, self._metrics, self._watchers = budget, taps, metrics, watchers
        self._busy_poll = BusyPoll()

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
        entry = self._repository.find(name, version, label)
        journey = begin_journey(headers, ROUTES[verb])
        journey.model = entry.model if entry is not None else None
        asked: Asked | None = None
        if not self._drain.in_flight:
            self._busy_poll.came()
        self._drain.enter()
        try:
            model = journey.model = ready_model(scope["method"], entry)
            terms = self._terms(scope, headers, journey)
            model.pressure.admit(terms.deadline_s)
            asked = Asked(
                model, headers, terms, self._pool, receive, self._timeout_s, self._budget, whole=WHOLE in scope,
                when_left=scope.get(WHEN_LEFT),
            )  # fmt: skip
            with asked:
                reply = await self._protocols[verb](asked)
        except ClientLeft:
            journey.end("")
        except asyncio.CancelledError:
            if asked is None or not asked.left:
                raise
            journey.end("")
        except Exception as error:  # every error becomes one clear answer
            status, code, body, extra = answer_to(error, journey.request_id)
            journey.end(code, status, error)
            self._metrics.refused(*(NOBODY if entry is None else (entry.name, entry.version)), error)
            more = [*extra, *ERROR_HEADERS, *([(b"allow", b"POST")] if status == 405 else ())]
            if code in NO_ROOM:
                await asyncio.sleep(REFUSAL_S)
            await self._send(scope, send, status, Reply(body, JSON, more), journey.request_id, close=code in UNREAD)
        else:
            journey.answer = reply.answer
            journey.end("ok", 200)
            await self._send(scope, send, 200, compressed(reply, headers.get(b"accept-encoding")), journey.request_id)
            if asked is not None and reply.answer is not None:
                self._taps.offer(asked.model, reply.answer, journey.request_id, journey.seconds, asked.body_bytes)
        finally:
            self._drain.leave()
            if not self._drain.in_flight:
                self._busy_poll.left()
            tell_watchers(self._watchers, journey)

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

    def _terms(self, scope: Scope, headers: Mapping[bytes, bytes], journey: Journey) -> Terms:
        timeout_s, asked = self._timeout_s, headers.get(TIMEOUT)
        if asked is not None:
            if not asked.isdigit() or not 0 < len(asked) < 10 or not int(asked):
                raise Refusal(
                    "E_PARAMETER",
                    "header X-Request-Timeout-Ms",
                    "another value",
                    "a whole number of milliseconds from 1",
                )
            timeout_s = min(timeout_s, int(asked) / 1000)
        client = scope.get("client")
        flow, in_flight = client[0] if client else None, scope.get(IN_FLIGHT)
        partial = asks_for_parts(headers)
        return Terms(journey.began_s + timeout_s, flow, journey=journey, partial=partial, in_flight=in_flight)

    async def _send(
        self, scope: Scope, send: Any, status: int, reply: Reply, request_id: str, close: bool = False
    ) -> None:
        headers = [
            (b"content-type", reply.media_type), (b"content-length", b"%d" % len(reply.body)),
            (REQUEST_ID_HEADER, request_id.encode()), *reply.headers,
        ]  # fmt: skip
        close = close or self._drain.draining
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
