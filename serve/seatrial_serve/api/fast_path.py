"""The way over ASGI: requests to models, taken in front of the framework.

The framework's routing would cost ten times the work. The direct way (`api/direct.py`) takes
requests that are small and come as a whole; the others come here.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from functools import lru_cache, partial
from typing import Any, TypeVar

from seatrial_contracts.errors import SeatrialError
from seatrial_serve.api.exchange import JSON, Exchanges, Reply
from seatrial_serve.api.guard import Guard
from seatrial_serve.api.http_request import (
    REQUEST_ID,
    Answering,
    AsgiExchange,
    Form,
    answer,
    begin_record,
)
from seatrial_serve.api.paths import tidy_path
from seatrial_serve.api.routes.route import Route, RouteExchange
from seatrial_serve.api.routing import default_entry
from seatrial_serve.http.body import Scope
from seatrial_serve.http.browsers import ERROR_HEADERS, NO_SNIFF, with_policy
from seatrial_serve.http.headers import REQUEST_ID_HEADER, request_id_of
from seatrial_serve.http.status import ToldError, answer_to, plain_error
from seatrial_serve.models.entry import Entry
from seatrial_serve.observers.refused import record_refusal

Request = TypeVar("Request", bound=AsgiExchange)
Asgi = Callable[[Scope, Any, Any], Awaitable[None]]

PATH = re.compile(
    r"/v(?:(?P<v1>1)|2)/models/(?P<name>[^/]*?)(?:/versions/(?P<version>[^/:]+)|/labels/(?P<label>[^/:]+))?"
    r"(?P<verb>(?(v1):(?:predict|feedback)|/infer))"
)
TASKS = re.compile(r"/hf/([^/]+)")
INVOKES = re.compile(r"/models/([^/]+)/invoke")
"""SageMaker's path to one of several models."""
INVOKE = "/invoke"
HF = "/hf"
"""Stands for the verb of a path to a model's task, which has none."""
UNREAD = ("E_BODY_BYTES", "E_SLOW_BODY", "E_MEMORY")
"""If one of these came while the body was read, the connection is closed.

The rest of the body may still come.
"""
FEEDBACK = ":feedback"
ROUTES = {
    ":predict": "/v1/models/{model}:predict",
    FEEDBACK: "/v1/models/{model}:feedback",
    "/infer": "/v2/models/{model}/infer",
    HF: "/hf/{model}",
    INVOKE: "/models/{model}/invoke",
}
READ_BY_PAGES = re.compile(
    r"/v1/models(/[^:]+)?|/v2|/v2/(health|models)(/.+)?|/openapi\.json|/info"
)
"""What pages of listed origins may read."""


class DefaultExchange(AsgiExchange):
    """A request whose path names no model."""

    __slots__ = ()

    async def find(self) -> Entry | None:
        """See `Exchange`: the model of requests that name none."""
        entry = default_entry(self.shared.repository)
        self.check_caller(entry.name)
        return entry


class FastPath:
    """ASGI in front of the framework's app.

    It answers `/v1/models/{name}:predict`, `/v1/models/{name}:feedback` and
    `/v2/models/{name}/infer`, with or without version, `/hf/{name}`, the routes of other projects'
    clients, and whole paths to the model of requests that name none. It passes everything else on.
    """

    def __init__(
        self,
        app: Asgi,
        exchanges: Exchanges,
        forms: Mapping[str, Form],
        others: Mapping[str, Answering],
        routes: Mapping[str, Route[Any]],
        defaults: Mapping[str, Form],
        guard: Guard | None = None,
    ) -> None:
        """Keep the paths to models, by how they end.

        `forms`: how a path ends -> the form of what is asked there.
        `others`: how a path ends -> what answers there without a form.
        `routes`: whole paths whose bodies may name a model -> what answers there.
        `defaults`: whole paths to the model of requests that name none -> the form of a POST.
        `guard`: lets requests in; None: everybody may ask everything.
        """
        self._guard = guard
        self._routes = routes
        self._defaults = {path: partial(answer, form) for path, form in defaults.items()}
        self.app, self._exchanges, self.forms = app, exchanges, forms
        self._answers = {verb: partial(answer, form) for verb, form in forms.items()} | dict(others)

    def page_may(self, method: str, path: str) -> bool:
        """May a page of another site, whose origin is listed, ask this?

        Predictions, and what describes models; never feedback and administration.
        """
        asked_for = model_path(path)
        if method == "POST":
            if asked_for is not None:
                return asked_for[-1] in self.forms
            return path in self._routes or path in self._defaults
        return method in ("GET", "HEAD") and READ_BY_PAGES.fullmatch(path) is not None

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Answer a request to a model, or pass it on."""
        if self._guard is not None and scope["type"] == "http":
            try:
                await self._guard.let_in(scope)
            except SeatrialError as error:
                await self._turn_away(scope, error, send)
                return
        asked_for = model_path(scope["path"]) if scope["type"] == "http" else None
        if asked_for is None and scope["type"] == "http" and tidy_path(scope):
            asked_for = model_path(scope["path"])
        if asked_for is None:
            await self._route(scope, receive, send)
            return
        headers = dict(scope["headers"])
        name, version, label, verb = asked_for
        exchanges = self._exchanges
        record = begin_record(headers, ROUTES[verb])
        entry = exchanges.repository.find(name, version, label)
        asked = AsgiExchange(
            exchanges, record, entry, scope, headers, receive, counted=verb != FEEDBACK
        )
        await self._run(asked, self._answers[verb], send)

    async def _turn_away(self, scope: Scope, error: SeatrialError, send: Any) -> None:
        """Answer a request that may not be asked, in the shape of its protocol."""
        headers, route = dict(scope["headers"]), self._routes.get(scope["path"])
        request_id = request_id_of(headers)
        shape = plain_error if route is None else route.error
        status, _, body, extra = answer_to(error, request_id, shape)
        shared = self._exchanges
        if self._guard is not None:
            self._guard.audit(scope, error, request_id)
        record_refusal(shared.metrics, shared.observers, error, request_id)
        unread = headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers
        reply = Reply(body, JSON, [*extra, *ERROR_HEADERS])
        await self._send(send, status, reply, request_id, close=unread)

    async def _route(self, scope: Scope, receive: Any, send: Any) -> None:
        """Answer a request that names no model in its path, or pass it on."""
        is_http = scope["type"] == "http"
        path = scope["path"] if is_http else ""
        route = self._routes.get(path)
        default = self._defaults.get(path) if is_http and scope["method"] == "POST" else None
        if route is None and default is None:
            await self._pass_on(scope, receive, send)
            return
        exchanges, headers = self._exchanges, dict(scope["headers"])
        if route is None:
            assert default is not None
            asked = DefaultExchange(
                exchanges, begin_record(headers, path), None, scope, headers, receive
            )
            await self._run(asked, default, send)
            return
        routed = RouteExchange(exchanges, route, scope, headers, receive)
        await self._run(routed, route.answer, send, route.error)

    async def _run(
        self, asked: Request, answer: Callable[[Request], Awaitable[Reply]], send: Any,
        shape: Callable[[ToldError], bytes] = plain_error,
    ) -> None:  # fmt: skip
        record = asked.record
        with asked:
            try:
                reply = await asked.run(answer)
            except Exception as error:  # every error becomes one clear answer
                status, code, body, extra = answer_to(error, record.request_id, shape)
                more = [*extra, *ERROR_HEADERS, *([(b"allow", b"POST")] if status == 405 else ())]
                close = code in UNREAD and asked.unread
                await self._send(
                    send, status, Reply(body, JSON, more), record.request_id, close=close
                )
            else:
                if reply is not None:
                    told = asked.timed(reply._replace(headers=[NO_SNIFF, *reply.headers]))
                    await self._send(send, 200, told, record.request_id)

    async def _pass_on(self, scope: Scope, receive: Any, send: Any) -> None:
        """To the framework; its answers carry the request's id too."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = scope[REQUEST_ID] = request_id_of(dict(scope["headers"]))

        async def send_named(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *with_policy(message["headers"]),
                    (REQUEST_ID_HEADER, request_id.encode()),
                ]
            await send(message)

        await self.app(scope, receive, send_named)

    async def _send(
        self, send: Any, status: int, reply: Reply, request_id: str, close: bool = False
    ) -> None:
        headers = [
            (b"content-type", reply.media_type), (b"content-length", b"%d" % len(reply.body)),
            (REQUEST_ID_HEADER, request_id.encode()), *reply.headers,
        ]  # fmt: skip
        if close or self._exchanges.drain.draining:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})


@lru_cache(maxsize=256)
def model_path(path: str) -> tuple[str, str | None, str | None, str] | None:
    """A path's model, version, label and verb; None where this path does not take it."""
    match = PATH.fullmatch(path)
    if match is not None:
        return match["name"], match["version"], match["label"], match["verb"]
    for others, verb in ((TASKS, HF), (INVOKES, INVOKE)):
        match = others.fullmatch(path)
        if match is not None:
            return match[1], None, None, verb
    return None
