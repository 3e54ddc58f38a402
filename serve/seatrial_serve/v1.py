"""The V1 predict route: a raw ASGI endpoint in front of the framework, since routing would cost ten times the work."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import Executor
from typing import Any

import orjson

from seatrial_contracts.errors import Refusal, Unavailable
from seatrial_serve.body import ClientLeft, is_file, read_body, request_id_of
from seatrial_serve.clock import now_s
from seatrial_serve.drain import Drain
from seatrial_serve.model import ServedModel, Terms
from seatrial_serve.repository import Entry, Repository, State
from seatrial_serve.status import answer_to

Scope = MutableMapping[str, Any]
Asgi = Callable[[Scope, Any, Any], Awaitable[None]]

PREFIX = "/v1/models/"
LARGE_BODY_BYTES = 64 * 1024
"""Larger bodies are parsed in a thread, so that the event loop never stands still for one."""
JSON_HEADERS = [(b"content-type", b"application/json")]


class PredictRoute:
    """ASGI middleware that answers `POST /v1/models/{name}[/versions/{version}]:predict` and passes everything else on."""

    def __init__(self, app: Asgi, *, repository: Repository, pool: Executor, drain: Drain, timeout_s: float) -> None:
        self._app, self._repository, self._pool, self._drain, self._timeout_s = app, repository, pool, drain, timeout_s

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Answer a predict request, or pass it on."""
        path = scope.get("path", "")
        if scope["type"] != "http" or not (path.startswith(PREFIX) and path.endswith(":predict")):
            await self._app(scope, receive, send)
            return
        start = now_s()
        headers = dict(scope["headers"])
        entry = self._repository.by_path.get(path)
        self._drain.enter()
        try:
            body = await self._answer(scope, entry, headers, receive, start + self._timeout_s)
        except ClientLeft:
            _count(entry, "other", start)
        except Exception as error:  # every error becomes one clear answer
            status, code, body, extra = answer_to(error, request_id_of(headers))
            _count(entry, code, start)
            close = status in (408, 413)
            await self._send(send, status, body, extra + ([(b"allow", b"POST")] if status == 405 else []), close)
        else:
            _count(entry, "ok", start)
            await self._send(send, 200, body, [], False)
        finally:
            self._drain.leave()

    async def _answer(
        self, scope: Scope, entry: Entry | None, headers: dict[bytes, bytes], receive: Any, deadline_s: float
    ) -> bytes:
        model = ready_model(scope["method"], entry)
        contract = model.contract
        field = contract.file_input
        raw = is_file(headers, field.media_types if field else None)
        body = await read_body(headers, receive, contract.max_body_bytes, self._timeout_s)
        if raw and field:
            rows = [contract.validate_row({field.name: body}, 0)]
        elif len(body) > LARGE_BODY_BYTES:
            rows = await asyncio.get_running_loop().run_in_executor(self._pool, contract.parse_request, body)
        else:
            rows = contract.parse_request(body)
        client = scope.get("client")
        answer = await model.answer_rows(rows, Terms(deadline_s, client[0] if client else None))
        describe = contract.describe
        predictions = [describe(outputs, index) for outputs, index in answer]
        return orjson.dumps(
            {"predictions": predictions, "model_version": model.bundle.version}, option=orjson.OPT_SERIALIZE_NUMPY
        )

    async def _send(self, send: Any, status: int, body: bytes, extra: list[tuple[bytes, bytes]], close: bool) -> None:
        headers = [*JSON_HEADERS, (b"content-length", b"%d" % len(body)), *extra]
        if close or self._drain.draining:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def ready_model(method: str, entry: Entry | None) -> ServedModel:
    """The model of an entry. Raises `Refusal` or `Unavailable` where there is none to ask, or where the method is not POST."""
    if entry is None:
        raise Refusal("E_MODEL_NOT_FOUND", "model", "an unknown name or version", "one of GET /v1/models")
    if method != "POST":
        raise Refusal("E_METHOD", "method", "another", "POST")
    if entry.state is not State.READY or entry.model is None:
        text = f"{entry.name} {entry.version} is {entry.state.lower()}" + (f": {entry.code}" if entry.code else "")
        raise Unavailable("E_NOT_READY", text, retry_after_s=2 if entry.state is State.LOADING else 30)
    return entry.model


def _count(entry: Entry | None, code: str, start: float) -> None:
    if entry is not None and entry.model is not None:
        entry.model.metrics.finish(code, now_s() - start)


__all__ = ["PredictRoute", "ready_model"]
