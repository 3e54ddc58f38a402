"""The direct way: small requests from their connection to the model and back, without a task or a coroutine for any.

Those that come in one turn of the event loop are read together, and their rows wait for a batch
together. A request that needs more than that (rows that a thread prepares, parts of several
batches, partial answers) goes on in a task of its own, in the same exchange.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from functools import lru_cache, partial
from typing import NamedTuple

from seatrial_contracts.errors import OutOfMemory
from seatrial_contracts.front import Part
from seatrial_serve.api.compression import compressed
from seatrial_serve.api.exchange import Exchanges, Job, Reply
from seatrial_serve.api.fast_path import ROUTES, model_path
from seatrial_serve.api.http_request import Form, HttpExchange, begin_record, ready_model
from seatrial_serve.http.body import too_large
from seatrial_serve.http.browsers import ERROR_HEADERS
from seatrial_serve.http.direct import DirectRequest
from seatrial_serve.http.headers import CONTENT_TYPE, REQUEST_ID_HEADER
from seatrial_serve.http.status import answer_to
from seatrial_serve.inference.engine import Answers
from seatrial_serve.models.answer import Answer
from seatrial_serve.models.served_model import ServedModel
from seatrial_serve.scheduling.ticket import Ticket

log = logging.getLogger("seatrial.direct")


class Route(NamedTuple):
    """What a URL asks for."""

    name: str
    version: str | None
    label: str | None
    form: Form
    pattern: str


class DirectWay:
    """A `DirectHandler`: answers what comes in one turn of the event loop together."""

    def __init__(self, exchanges: Exchanges, forms: Mapping[str, Form]) -> None:
        """`forms`: how a path ends -> how what is posted there is read and answered."""
        self._exchanges, self._forms = exchanges, forms
        self._came: list[DirectRequest] = []
        self._latest: object = None
        """The connection that the latest request came over."""
        self.tasks: set[asyncio.Task[None]] = set()
        self.route = lru_cache(maxsize=256)(self._route)
        """See `DirectHandler`."""

    def _route(self, url: bytes) -> Route | None:
        if not url.isascii() or any(mark in url for mark in (b"%", b"?", b"#")):
            return None
        path = model_path(url.decode())
        if path is None or path[-1] not in self._forms:
            return None
        name, version, label, verb = path
        return Route(name, version, label, self._forms[verb], ROUTES[verb])

    def ask(self, request: DirectRequest) -> None:
        """See `DirectHandler`."""
        came, latest = self._came, self._latest
        came.append(request)
        self._latest = request.connection
        if len(came) > 1:
            return
        if request.connection is latest and not self._exchanges.drain.in_flight:
            self._turn()  # nobody else asks: there is nobody to wait for
        else:
            request.connection.loop.call_soon(self._turn)

    def _turn(self) -> None:
        """Read what came, and queue its rows."""
        came, self._came = self._came, []
        models: dict[ServedModel, list[DirectExchange]] = {}
        for request in came:
            asked = DirectExchange(self, self._exchanges, request)
            if asked.read():
                models.setdefault(asked.model, []).append(asked)
        for model, together in models.items():
            if len(together) == 1 and self._exchanges.drain.in_flight == 1:
                together[0].queue(alone=True)
            else:
                for asked in together:
                    asked.queue()
            model.batcher.pump()

    def in_task(self, asked: DirectExchange) -> None:
        """Go on with a request in a task."""
        task = asyncio.get_running_loop().create_task(asked.finish())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        asked.request.when_left = partial(asked.leave_task, task)


class DirectExchange(HttpExchange):
    """A request on the direct way."""

    __slots__ = ("_form", "_job", "_way", "request")

    def __init__(self, way: DirectWay, shared: Exchanges, request: DirectRequest) -> None:
        headers, route = dict(request.headers), request.route
        entry = shared.repository.find(route.name, route.version, route.label)
        super().__init__(shared, begin_record(headers, route.pattern), entry, request.client, headers)
        self.request, self._way, self._form = request, way, route.form
        self._job: Job

    def ready_model(self) -> ServedModel:
        """See `Exchange`."""
        return ready_model("POST", self.entry)

    def read(self) -> bool:
        """Take it in and read its body. False: it has ended already, with its client told why."""
        self.begin()
        body = self.request.body
        try:
            self.admit()
            self._form.check(self)
            most = self.model.contract.max_body_bytes
            if len(body) > most:
                raise too_large(most)
            self.whole(body)
            if self.terms.partial or is_raw(self):
                self._way.in_task(self)
                return False
            self._job = self._form.read(self, body)
        except Exception as error:  # every error becomes one clear answer
            self.fail(error)
            return False
        return True

    def queue(self, *, alone: bool = False) -> None:
        """Its rows wait for a batch, from here on or in a task; with `alone`, they run at once where they can."""
        model, terms = self.model, self.terms
        try:
            part = model.part_at_once(self._job.given, terms)
            if part is None:
                self._way.in_task(self)
                return
            if alone:
                answers = model.run_now(part, terms)
                if answers is not None:
                    self._answered(answers)
                    return
            ticket = model.post(part, terms, self._answered)
        except Exception as error:  # every error becomes one clear answer
            self.fail(error)
            return
        self.request.when_left = partial(self._leave_ticket, ticket)

    def _answered(self, answers: Answers | Exception) -> None:
        """Its batch ran."""
        if isinstance(answers, OutOfMemory):
            self._way.in_task(self)  # which tries once more: the rule is half as large by now
            return
        try:
            if isinstance(answers, Exception):
                raise answers
            job = self._job
            reply = self.written(job, self.model.checked(Answer(job.given, [answers])))
        except Exception as error:  # every error becomes one clear answer
            self.fail(error)
        else:
            self._succeed(reply)

    async def finish(self) -> None:
        """The rest of it in a task."""
        try:
            if not hasattr(self, "_job"):
                self._job = await self.parsed(partial(self._form.read, self), self.request.body, aside=True)
            reply = await self.answered(self._job)
        except asyncio.CancelledError:
            self.gone()
            self.close()
            if not self.left:
                raise
        except Exception as error:  # every error becomes one clear answer
            self.fail(error)
        else:
            self._succeed(reply)

    def ignore_leaving(self) -> None:
        """See `Exchange`."""
        self.request.when_left = None

    def _leave_ticket(self, ticket: Ticket[Part, Answers]) -> None:
        ticket.gone = self.left = True
        self.gone()
        self.close()

    def leave_task(self, task: asyncio.Task[None]) -> None:
        """Its client has left while a task answers it."""
        self.left = True
        task.cancel()

    def _succeed(self, reply: Reply) -> None:
        self.done(reply)
        accepted = self.headers.get(b"accept-encoding")
        if accepted is not None:
            reply = compressed(reply, accepted)
        self._send(200, reply)

    def fail(self, error: Exception) -> None:
        """It ends with this error, of which its client is told."""
        wait_s = self.failed(error)
        if wait_s:
            asyncio.get_running_loop().call_later(wait_s, self._say, error)
        else:
            self._say(error)

    def _say(self, error: Exception) -> None:
        status, _, body, extra = answer_to(error, self.record.request_id)
        self._send(status, Reply(body, headers=[*extra, *ERROR_HEADERS]))

    def _send(self, status: int, reply: Reply) -> None:
        headers = [
            (CONTENT_TYPE, reply.media_type), (REQUEST_ID_HEADER, self.record.request_id.encode()), *reply.headers,
        ]  # fmt: skip
        self.request.reply(status, headers, reply.body, close=self.shared.drain.draining)
        self.close()


def is_raw(asked: HttpExchange) -> bool:
    """May the body be an image itself, which a thread decodes?"""
    return asked.model.contract.file_input is not None
