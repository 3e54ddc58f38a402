"""The direct way: small requests from connection to model and back, without a task or coroutine.

Those that come in one turn of the event loop are read together, and their rows wait for a batch
together. A request that needs more than that (rows that a thread prepares, parts of several
batches, partial answers) goes on in a task of its own, in the same exchange.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from itertools import compress
from typing import Any, NamedTuple

from seatrial_contracts.errors import OutOfMemory, TooLate
from seatrial_contracts.host_stage import EncodedRow, Part
from seatrial_serve.access.caller import Caller, Scope
from seatrial_serve.api.exchange import Exchanges, Job, Reply, account, close
from seatrial_serve.api.fast_path import ROUTES, model_path
from seatrial_serve.api.http_request import Form, HttpExchange, begin_record, ready_model
from seatrial_serve.http.body import too_large
from seatrial_serve.http.browsers import ERROR_HEADERS, NO_SNIFF
from seatrial_serve.http.direct import DirectRequest, Heads
from seatrial_serve.http.status import answer_to
from seatrial_serve.inference.engine import Answers
from seatrial_serve.models.answer import Answer
from seatrial_serve.models.entry import NotLoaded
from seatrial_serve.models.served_model import RowsAtOnce, ServedModel
from seatrial_serve.process.clock import now_s
from seatrial_serve.scheduling.ticket import Ticket

log = logging.getLogger("seatrial.direct")
REFUSED = b"content-type: %b\r\nx-request-id: %b\r\n"
ANSWERED = REFUSED + b"%b: %b\r\n" % NO_SNIFF
"""How the headers of answers begin; refusals bring `ERROR_HEADERS`."""


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
        self.heads = Heads()
        self._came: list[DirectRequest] = []
        self.ran: list[tuple[DirectExchange, Answers]] = []
        """Whose rows have run, with what the model answered: their answers are written together."""
        self.in_turn = False
        """Will the answers be written at the end of this turn?"""
        self._latest: object = None
        """The connection that the latest request came over."""
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

    def may(self, caller: Caller, route: Route) -> bool:
        """See `DirectHandler`."""
        return caller.may(Scope.INFER, route.name)

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
        """Read what came, queue its rows, and write the answers of those that ran at once."""
        came, self._came = self._came, []
        models: dict[ServedModel, list[DirectExchange]] = {}
        shared = self._exchanges
        if not shared.drain.in_flight:
            shared.busy_poll.came()
        shared.drain.enter(len(came))
        for request in came:
            asked = DirectExchange(self, shared, request)
            if asked.read():
                models.setdefault(asked.model, []).append(asked)
        self.in_turn = True
        try:
            for model, together in models.items():
                try:
                    self._queue(model, together)
                except Exception:  # the requests to other models go on
                    log.exception("a turn failed; this is a bug in seatrial")
        finally:
            self.in_turn = False
            self.write()

    def _queue(self, model: ServedModel, together: list[DirectExchange]) -> None:
        """Rows that came together go through the host stage, and wait for a batch."""
        start = now_s()
        if len(together) > 1 and model.engine.together:
            self._encode(model, together, start)
            return
        ready = [(asked, rows) for asked in together if (rows := asked.prepared()) is not None]
        if ready:
            self._ready(model, ready, start)

    def _encode(self, model: ServedModel, together: Sequence[DirectExchange], start: float) -> None:
        """Take rows of several requests through the host stage in one go.

        Requests that take longer go on in tasks.
        """
        there = [(asked, row) for asked in together if (row := asked.row_of_turn()) is not None]
        if not there:
            return
        waiting, rows = [asked for asked, _ in there], [row for _, row in there]
        if len(rows) <= model.rows_at_once_most:
            self._encoded(model, waiting, start, model.encode_turn(rows))
            return
        for places, encoded in model.encode_turn_aside(rows, [asked.terms for asked in waiting]):
            mates = [waiting[place] for place in places]
            bells = await_turn(mates)
            encoded.add_done_callback(partial(self._thread_encoded, model, mates, start, bells))

    def _thread_encoded(
        self, model: ServedModel, together: Sequence[DirectExchange], start: float,
        bells: Sequence[asyncio.TimerHandle], encoded: asyncio.Future[list[EncodedRow | Exception]],
    ) -> None:  # fmt: skip
        """The host stage has ended, in a thread."""
        for bell in bells:
            bell.cancel()
        there = [asked.held for asked in together]
        if encoded.cancelled():  # the server has ended
            for asked in compress(together, there):
                asked.leave()
            return
        try:
            found: Sequence[EncodedRow | Exception] = encoded.result()
        except Exception as error:  # every error becomes one clear answer, for each of them
            found = [error] * len(together)
        self._encoded(model, list(compress(together, there)), start, list(compress(found, there)))

    def _encoded(
        self,
        model: ServedModel,
        together: Sequence[DirectExchange],
        start: float,
        encoded: Sequence[EncodedRow | Exception],
    ) -> None:
        ready: list[tuple[DirectExchange, RowsAtOnce]] = []
        for asked, row in zip(together, encoded, strict=True):
            if isinstance(row, Exception):
                asked.fail(row)
            else:
                ready.append((asked, ([row], model.engine.batch_key(row))))
        if ready:
            self._ready(model, ready, start)

    def _ready(
        self, model: ServedModel, ready: Sequence[tuple[DirectExchange, RowsAtOnce]], start: float
    ) -> None:
        """Queue the rows of these requests for a batch.

        The rows went through the host stage since `start`.
        """
        model.fronted(start, [asked.record for asked, _ in ready])
        if len(ready) == 1 and self._exchanges.drain.in_flight == 1:
            asked, rows = ready[0]
            if asked.run_now(rows):
                return
        try:
            for asked, rows in ready:
                asked.post(rows)
        finally:
            model.batcher.pump()

    def write(self) -> None:
        """Write the answers of all whose rows have run."""
        ran, self.ran = self.ran, []
        models: dict[ServedModel, list[tuple[DirectExchange, Answers]]] = {}
        for each in ran:
            models.setdefault(each[0].model, []).append(each)
        for model, together in models.items():
            start = now_s()
            replies = [
                (asked, reply)
                for asked, answers in together
                if (reply := asked.written_reply(answers))
            ]
            if replies:
                model.encoded(start, [asked.record for asked, _ in replies])
                self.succeed(model, replies)

    def succeed(self, model: ServedModel, replies: Sequence[tuple[DirectExchange, Reply]]) -> None:
        """Requests to a model are answered: account for them, and send."""
        answered = [asked for asked, _ in replies]
        account(model, answered)
        for asked, reply in replies:
            asked.record.answer = reply.answer
            asked.send(200, asked.timed(reply))
        close(self._exchanges, answered)

    def in_task(self, asked: DirectExchange, answer: Answer | None = None) -> None:
        """Go on with a request in a task, from the model's answer where that is there.

        The task is one of the server's: a stop waits for it, and cancels it after its grace.
        """
        task = asyncio.get_running_loop().create_task(asked.finish(answer))
        asked.request.connection.tasks.add(task)
        task.add_done_callback(partial(self._task_ended, asked))
        asked.request.when_left = task.cancel

    def _task_ended(self, asked: DirectExchange, task: asyncio.Task[None]) -> None:
        """End the request of a task that was cancelled, maybe before its first step."""
        asked.request.connection.tasks.discard(task)
        if task.cancelled():
            asked.leave()


def await_turn(together: Sequence[DirectExchange]) -> list[asyncio.TimerHandle]:
    """These requests wait for a thread, until their clients leave or the timers here ring."""
    loop, now = asyncio.get_running_loop(), now_s()
    bells = []
    for asked in together:
        asked.request.when_left = asked.leave
        left_s = max(0.0, asked.terms.deadline_s - now)
        if left_s < math.inf:
            bells.append(loop.call_later(left_s, asked.too_late))
    return bells


class DirectExchange(HttpExchange):
    """A request on the direct way."""

    __slots__ = ("_form", "_job", "_notes", "_way", "request")

    def __init__(self, way: DirectWay, shared: Exchanges, request: DirectRequest) -> None:
        headers, route = request.headers, request.route
        entry = shared.repository.find(route.name, route.version, route.label)
        super().__init__(
            shared, begin_record(headers, route.pattern), entry, request.connection.address,
            headers, caller=request.caller,
        )  # fmt: skip
        self.request, self._way, self._form = request, way, route.form
        self._job: Job
        self._notes: Sequence[tuple[Any, ...]] = ()

    def ready_model(self) -> ServedModel:
        """See `Exchange`."""
        entry = self.entry
        return entry.ready_model() if entry is not None else ready_model("POST", entry)

    def read(self) -> bool:
        """Admit the request and read its body.

        False: the request has ended already, with its client told why, or goes on in a task.
        """
        try:
            if self.caller is not None:
                self.caller.count()
            self.admit()
            if self.request.disconnected:
                self.leave()
                return False
            self._take_body()
            if self.terms.partial or self.model.contract.file_input is not None:
                self._way.in_task(self)  # a thread decodes a file
                return False
            self._job = self._form.read(self, self.request.body)
        except NotLoaded:
            self._way.in_task(self)
            return False
        except Exception as error:  # every error becomes one clear answer
            self.fail(error)
            return False
        return True

    def _take_body(self) -> None:
        """Its model is known: check the body's form and size, and take it."""
        body = self.request.body
        self._form.check(self)
        contract = self.model.contract
        if len(body) > contract.max_body_bytes:
            raise too_large(contract.max_body_bytes)
        self.whole(body)

    def prepared(self) -> RowsAtOnce | None:
        """Return the request's rows after the host stage.

        None: the request has ended already, with its client told why, or goes on in a task.
        """
        try:
            rows = self.model.rows_at_once(self._job.given, self.record)
        except Exception as error:  # every error becomes one clear answer
            self.fail(error)
            return None
        if rows is None:
            self._way.in_task(self)
        return rows

    def row_of_turn(self) -> Mapping[str, Any] | None:
        """Its only row. None: it asks for more, and goes on in a task."""
        row = self.model.row_of_turn(self._job.given, self.record)
        if row is None:
            self._way.in_task(self)
        return row

    def run_now(self, rows: RowsAtOnce) -> bool:
        """Run its rows, for which there are no mates. False: they must wait in the queue."""
        self._notes = self.model.notes_of(rows[0])
        try:
            answers = self.model.run_now(rows, self.terms)
        except Exception as error:  # every error becomes one clear answer
            self.fail(error)
            return True
        if answers is None:
            return False
        self._ran(answers)
        return True

    def post(self, rows: RowsAtOnce) -> None:
        """Its rows wait for a batch."""
        self._notes = self.model.notes_of(rows[0])
        try:
            ticket = self.model.post(rows, self.terms, self._ran)
        except Exception as error:  # every error becomes one clear answer
            self.fail(error)
            return
        if not self.model.runs_inline:
            self.request.when_left = partial(self._leave_ticket, ticket)

    def _ran(self, answers: Answers | Exception) -> None:
        """Its batch ran."""
        if not self.held:  # it has ended: the ticket of an inline model is not taken back
            return
        if not isinstance(answers, Exception):
            way = self._way
            if not (way.ran or way.in_turn):
                self.request.connection.loop.call_soon(way.write)
            way.ran.append((self, answers))
        elif isinstance(answers, OutOfMemory):
            self._way.in_task(self)  # which tries once more: the rule is half as large by now
        else:
            self.fail(answers)

    def written_reply(self, answers: Answers) -> Reply | None:
        """Return the request's written answer.

        None: the request failed, and its client is told why; or the client has left; or a task goes
        on.
        """
        if not self.held:
            return None
        try:
            answer = self.model.checked(Answer(self._job.given, (answers,), notes=self._notes))
            if self.model.is_large(answer):
                self._way.in_task(self, answer)
                return None
            return self.write(self._job, answer)
        except Exception as error:  # every error becomes one clear answer
            self.fail(error)
            return None

    async def finish(self, answer: Answer | None = None) -> None:
        """The rest of it in a task; `answer`: the model's, where that is there."""
        try:
            if not self.held:
                await self.admit_loaded()
                self._take_body()
            if not hasattr(self, "_job"):
                self._job = await self.parsed(
                    partial(self._form.read, self), self.request.body, aside=True
                )
            job = self._job
            reply = await (self.answered(job) if answer is None else self.written(job, answer))
        except Exception as error:  # every error becomes one clear answer
            self.fail(error)
        else:
            self._way.succeed(self.model, [(self, reply)])

    def ignore_leaving(self) -> None:
        """See `Exchange`."""
        self.request.when_left = None

    def leave(self) -> None:
        """Its client has left, or its server ends."""
        self.gone()
        self.close()

    def too_late(self) -> None:
        """Its deadline has passed while its row waited for a thread of the host stage."""
        if self.held:
            self.fail(TooLate())

    def _leave_ticket(self, ticket: Ticket[Part, Answers]) -> None:
        ticket.leave()
        self.leave()

    def fail(self, error: Exception) -> None:
        """It ends with this error, of which its client is told."""
        wait_s = self.failed(error)
        if wait_s:
            asyncio.get_running_loop().call_later(wait_s, self._say, error)
        else:
            self._say(error)

    def _say(self, error: Exception) -> None:
        status, _, body, extra = answer_to(error, self.record.request_id)
        self.send(status, Reply(body, headers=[*extra, *ERROR_HEADERS]))
        self.close()

    def send(self, status: int, reply: Reply) -> None:
        """Write the answer."""
        head = (ANSWERED if status == 200 else REFUSED) % (
            reply.media_type,
            self.record.request_id.encode(),
        )
        for header in reply.headers:
            head += b"%b: %b\r\n" % header
        self.request.reply(status, head, reply.body, close=self.shared.drain.draining)
