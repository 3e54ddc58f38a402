"""A request to a model as HTTP brings it, and the reply to it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache, partial
from typing import Any, Protocol

from seatrial_contracts.errors import Refusal
from seatrial_serve.api.compression import compressed
from seatrial_serve.api.exchange import Exchange, Exchanges, Job, Reply
from seatrial_serve.http.body import Receive, Scope, read_body
from seatrial_serve.http.headers import request_id_of
from seatrial_serve.models.answer import Answer
from seatrial_serve.models.entry import Entry
from seatrial_serve.models.request_record import RequestRecord
from seatrial_serve.models.served_model import ServedModel
from seatrial_serve.process.clock import now_s

CALLER, REQUEST_ID = "seatrial.caller", "seatrial.request_id"
"""Where a scope holds who asks, if that is known, and the request's id for the framework."""
TIMEOUT, TRACEPARENT = b"x-request-timeout-ms", b"traceparent"
TIMING, SERVER_TIMING = b"x-server-timing", b"server-timing"
"""What a client asks for the times of its request with, as 1, and what they come in."""


def address_of(scope: Scope) -> str:
    """The address that a request comes from."""
    client = scope.get("client")
    return client[0] if client else "an unknown address"


class HttpExchange(Exchange):
    """A request over HTTP: its headers and its terms."""

    __slots__ = ()

    def timeout_s(self) -> float:
        """See `Exchange`."""
        asked, most_s = self.headers.get(TIMEOUT), self.shared.pace.timeout_s
        return most_s if asked is None else min(most_s, timeout_of(asked))

    def write(self, job: Job, answer: Answer) -> Reply:
        """See `Exchange`; compressed where its client takes that."""
        accepted = self.headers.get(b"accept-encoding")
        return job.reply(answer) if accepted is None else compressed(job.reply(answer), accepted)

    def timed(self, reply: Reply) -> Reply:
        """The reply of a request that was answered, with its times if its client asks for them."""
        if self.headers.get(TIMING) != b"1":
            return reply
        return reply._replace(headers=[*reply.headers, (SERVER_TIMING, server_timing(self.record))])


def server_timing(record: RequestRecord) -> bytes:
    """Milliseconds of each phase and of all, as the header Server-Timing has them (W3C, 3)."""
    timings = {**record.timings, "total": record.seconds}
    spans = [f"{name};dur={seconds * 1000:.3f}" for name, seconds in timings.items()]
    rows = max((sum(count for count, _ in batch.mates) for batch in record.batches), default=0)
    return ", ".join([*spans, f'batch;desc="{rows}"']).encode()


@lru_cache(maxsize=256)
def timeout_of(value: bytes) -> float:
    """Seconds that a client gives its request. Raises `Refusal`."""
    if not value.isdigit() or not 0 < len(value) < 10 or not int(value):
        want = "a whole number of milliseconds from 1"
        raise Refusal("E_PARAMETER", "header X-Request-Timeout-Ms", "another value", want)
    return int(value) / 1000


class AsgiExchange(HttpExchange):
    """A request over ASGI: how to read its body, and how to hear that its client has left."""

    __slots__ = ("_receive", "_scope", "_watching", "unread")

    def __init__(
        self,
        shared: Exchanges,
        record: RequestRecord,
        entry: Entry | None,
        scope: Scope,
        headers: Mapping[bytes, bytes],
        receive: Receive,
        *,
        counted: bool = True,
    ) -> None:
        client = scope.get("client")
        super().__init__(
            shared, record, entry, client[0] if client else None, headers, counted=counted,
            caller=scope.get(CALLER),
        )  # fmt: skip
        self._scope, self._receive = scope, receive
        self._watching: asyncio.Task[None] | None = None
        self.unread = False
        """Is the rest of its body still to come?"""

    def ready_model(self) -> ServedModel:
        """See `Exchange`; `Refusal` also where the method is not POST."""
        return ready_model(self._scope["method"], self.entry)

    async def body(self) -> bytes:
        """Return the whole body, decompressed, once memory is held for it.

        Raises `Refusal`, `Unavailable` or `ClientLeft`.
        """
        self.unread = True
        body = await read_body(
            self.headers,
            self._receive,
            self.model.contract.max_body_bytes,
            self.shared.pace,
            self.hold,
        )
        self.unread = False
        self.whole(body)
        return body

    def await_leaving(self) -> None:
        """See `Exchange`."""
        request = asyncio.current_task()
        assert request is not None
        self._watching = asyncio.create_task(self._watch(request))

    async def _watch(self, request: asyncio.Task[Any]) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.left = True
        request.cancel()

    def ignore_leaving(self) -> None:
        """See `Exchange`."""
        if self._watching is not None:
            self._watching.cancel()


Answering = Callable[[AsgiExchange], Awaitable[Reply]]


class Form(Protocol):
    """A protocol's way to write requests and answers: how a body becomes a job."""

    def check(self, asked: HttpExchange) -> None:
        """Raise `Refusal` where the headers say that the body is nothing that this takes."""
        ...

    def read(self, asked: HttpExchange, body: bytes) -> Job:
        """Return what the body asks. Any thread may call `read`.

        Raises `Refusal`, and `Unavailable` if the body asks for too short a time.
        """
        ...


async def answer(form: Form, asked: AsgiExchange) -> Reply:
    """Answer a request of that form."""
    form.check(asked)
    body = await asked.body()
    aside = asked.terms.partial
    return await asked.answered(await asked.parsed(partial(form.read, asked), body, aside=aside))


def begin_record(headers: Mapping[bytes, bytes], route: str) -> RequestRecord:
    """A request begins, with these headers."""
    traceparent = headers.get(TRACEPARENT)
    return RequestRecord(
        request_id_of(headers),
        route,
        now_s(),
        traceparent.decode("latin-1") if traceparent else None,
    )


def ready_model(method: str, entry: Entry | None) -> ServedModel:
    """Return the model of an entry.

    Raises `Refusal` or `Unavailable` if there is no model that answers, or if the method is not
    POST.
    """
    if entry is None:
        raise Refusal(
            "E_MODEL_NOT_FOUND", "model", "an unknown name or version", "one of GET /v1/models"
        )
    if method != "POST":
        mend = """send the body by POST, as curl's --json '{"instances": [ROW]}' does"""
        raise Refusal("E_METHOD", "method", "another", "POST", mend)
    return entry.ready_model()
