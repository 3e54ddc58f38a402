"""One request to a model, from its first byte to its answer.

It begins, is admitted, read, parsed, queued, run and answered, or fails, or its client leaves; and
it is accounted for. HTTP (directly and over ASGI), gRPC and feedback share this life: only how a
request travels is their own. Each step is a plain call; `run` takes them in a coroutine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple, Self, TypeVar

from seatrial_contracts.errors import ModelError, Refusal
from seatrial_serve.access.access import Access
from seatrial_serve.access.caller import Caller, Scope
from seatrial_serve.api.audit import AdminAudit
from seatrial_serve.http.body import ClientLeft, Pace
from seatrial_serve.http.busy_poll import BusyPoll
from seatrial_serve.metrics.metrics import NOBODY, Metrics
from seatrial_serve.models.answer import NO_PROMPTS, Answer
from seatrial_serve.models.entry import Entry, NotLoaded
from seatrial_serve.models.partial import HEADER, answer_each, asks_for_parts, failed_runs
from seatrial_serve.models.repository import Repository
from seatrial_serve.models.request import Given, Terms
from seatrial_serve.models.request_record import RequestRecord
from seatrial_serve.models.served_model import ServedModel
from seatrial_serve.observers.observer import RequestObservers, tell_observers
from seatrial_serve.observers.sampling import Sampler
from seatrial_serve.process.budget import GROWTH, Budget
from seatrial_serve.process.clock import now_s
from seatrial_serve.process.codes import status_of
from seatrial_serve.process.drain import Drain
from seatrial_serve.scheduling.admission import NO_ROOM, REFUSAL_S

Parsed = TypeVar("Parsed")
JSON = b"application/json"
LARGE_BODY_BYTES = 64 * 1024
"""Larger bodies are parsed in a thread, so that the event loop never stands still for one."""


NO_ROW_REFUSED: Mapping[int, Refusal] = MappingProxyType({})


class Reply(NamedTuple):
    """An answer's bytes, what its headers say of them, and what it was made of."""

    body: bytes
    media_type: bytes = JSON
    headers: Sequence[tuple[bytes, bytes]] = ()
    answer: Answer | None = None


class Job(NamedTuple):
    """A request's body, read: what it asks the model, and how its answer is written."""

    given: Given
    write: Callable[[Answer], Reply]
    refused: Mapping[int, Refusal] = NO_ROW_REFUSED
    """Of a request for partial answers: place of a row that the contract does not take -> why."""
    prompts: Mapping[str, str] = NO_PROMPTS
    """What stands before the client's own texts in `given`, by the name of their input."""

    def reply(self, answer: Answer) -> Reply:
        """The answer, written; observers are told what of it the client did not send."""
        answer.prompts = self.prompts
        return self.write(answer)


@dataclass(frozen=True)
class Exchanges:
    """What the requests of a server share."""

    repository: Repository
    pool: Executor
    drain: Drain
    budget: Budget
    sampler: Sampler
    metrics: Metrics
    observers: RequestObservers
    pace: Pace
    """How fast bodies must come; its timeout is also the longest that a request may take."""
    access: Access | None = None
    """Who may ask what; None: everybody may ask everything."""
    busy_poll: BusyPoll = field(default_factory=BusyPoll)
    audit: AdminAudit = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "audit", AdminAudit(self.repository))


class Exchange:
    """One request. Use `with`, which lasts until its answer is on its way; within it, `run` once.

    Or call `begin`, `admit`, `whole`, then `done`, `failed` or `gone`, and `close` in that order.
    """

    __slots__ = (
        "_on_its_way",
        "caller",
        "client",
        "counted",
        "entry",
        "headers",
        "held",
        "hold",
        "left",
        "model",
        "payload",
        "record",
        "shared",
        "terms",
    )
    model: ServedModel
    terms: Terms

    def __init__(
        self,
        shared: Exchanges,
        record: RequestRecord,
        entry: Entry | None,
        client: Hashable,
        headers: Mapping[bytes, bytes],
        *,
        counted: bool = True,
        caller: Caller | None = None,
    ) -> None:
        """Begin the exchange of a request.

        `client`: the address that it comes from; shares go by `caller`, where that is known.

        `entry`: what the request is for; None if that is not there, or if `find` will find it.
        `counted`: whether the request is for predictions, which the metrics of models count.
        """
        if caller is not None:
            client = caller.client
        self.shared, self.record, self.entry, self.client = shared, record, entry, client
        self.headers, self.counted, self.caller = headers, counted, caller
        self.hold = shared.budget.begin(client)
        self.payload, self._on_its_way, self.held = b"", False, False
        self.left = False
        """Did the client leave while its request was on its way?"""

    @property
    def pool(self) -> Executor:
        """Threads for what would keep the event loop."""
        return self.shared.pool

    async def find(self) -> Entry | None:
        """What it asks for, where that was not known when it began."""
        return None

    def ready_model(self) -> ServedModel:
        """The model that it asks. Raises `Refusal` or `Unavailable` where there is none."""
        raise NotImplementedError

    def check_caller(self, model: str) -> None:
        """Raise `Refusal` where its caller may not ask this model."""
        if self.caller is not None:
            self.caller.check(Scope.INFER, model)

    def timeout_s(self) -> float:
        """How long it may take, as its client says and the server allows. Raises `Refusal`."""
        raise NotImplementedError

    def await_leaving(self) -> None:
        """From here on its client's leaving ends it: call `leave`."""

    def ignore_leaving(self) -> None:
        """From here on it does not matter whether its client leaves."""

    def begin(self) -> None:
        """It is on its way."""
        drain = self.shared.drain
        if not drain.in_flight:
            self.shared.busy_poll.came()
        drain.enter()

    def admit(self) -> None:
        """Find the request's model, and admit the request if that model can answer in time.

        Raises `Refusal` or `Unavailable`.
        """
        record, entry, headers = self.record, self.entry, self.headers
        record.entry, record.model = entry, entry.model if entry is not None else None
        model = record.model = self.model = self.ready_model()
        by_row = HEADER in headers and asks_for_parts(headers)
        deadline_s = record.began_s + self.timeout_s()
        self.terms = Terms(deadline_s, self.client, 0, record, by_row, self.shared.drain)
        if model.backlog.users:
            model.backlog.admit(deadline_s)
        model.hold()
        self.held = True

    async def admit_loaded(self) -> None:
        """The same, once the model is loaded if that is done on demand.

        Raises `Unavailable` also where its client cannot wait for that.
        """
        while True:
            try:
                self.admit()
            except NotLoaded as cold:
                began_s, record = now_s(), self.record
                await cold.demand.wait(cold.entry, record.began_s + self.timeout_s())
                ended_s = now_s()
                record.phases.append(("load", began_s, ended_s))
                record.load_s += ended_s - began_s
            else:
                return

    def whole(self, body: bytes, growth: int = GROWTH) -> None:
        """Take the whole body, which is about to be parsed.

        Parsing takes `growth` bytes of memory for each byte of the body.

        Raises `Refusal` for a body in quarantine, and `Unavailable` if there is no room.
        """
        self.hold.work(len(body) * growth)
        self.payload = body
        self.model.quarantine.check(body)
        # Only now: a client that sends slowly says nothing of how fast the model is.
        self.model.backlog.enter()
        self._on_its_way = True
        if not self.model.runs_inline:
            self.await_leaving()

    def done(self, reply: Reply) -> None:
        """It is answered so."""
        self.record.answer = reply.answer
        account(self.model, [self])

    def failed(self, error: Exception) -> float:
        """It ends with this error. In how many seconds may its client be told?"""
        self._release(error)
        status, code = status_of(error)
        self._end(code, status, error)
        if self.counted:
            named = NOBODY if self.entry is None else (self.entry.name, self.entry.version)
            self.shared.metrics.refused(*named, error)
        return REFUSAL_S if code in NO_ROOM else 0.0

    def gone(self) -> None:
        """Its client has left before it was answered."""
        self._release(ClientLeft())
        self._end("")

    def close(self) -> None:
        """Its answer is on its way: tell the observers."""
        close(self.shared, [self])

    async def run(self, answer: Callable[[Self], Awaitable[Reply]]) -> Reply | None:
        """What `answer` replies once the model is found and has time; None where the client left.

        Raises whatever went wrong, after it was accounted for.
        """
        try:
            self.entry = self.entry or await self.find()
            await self.admit_loaded()
            reply = await answer(self)
        except ClientLeft:
            self.gone()
            return None
        except asyncio.CancelledError:
            self.gone()
            if not self.left:
                raise
            return None
        except Exception as error:  # every error is accounted for, and raised on
            wait_s = self.failed(error)
            if wait_s:
                await asyncio.sleep(wait_s)
            raise
        self.done(reply)
        return reply

    async def parsed(
        self, parse: Callable[[bytes], Parsed], body: bytes, *, aside: bool = False
    ) -> Parsed:
        """Return what `parse` makes of the body; raise what `parse` raises.

        `parse` runs in a thread if the body is large or `aside` is true.
        """
        if len(body) <= LARGE_BODY_BYTES and not aside:
            return parse(body)
        return await asyncio.get_running_loop().run_in_executor(self.pool, parse, body)

    async def answered(self, job: Job) -> Reply:
        """The model's answer, written. Raises what `ServedModel.answer` raises."""
        model, terms = self.model, self.terms
        if terms.partial:
            answer = await answer_each(model, job.given, job.refused, terms)
            if failed_runs(answer):
                self.record_failure()
        else:
            answer = await model.answer(job.given, terms)
        return await self.written(job, answer)

    async def written(self, job: Job, answer: Answer) -> Reply:
        """The answer as the request's protocol has it, written by a thread where it is large."""
        start = now_s()
        if self.model.is_large(answer):
            reply = await asyncio.get_running_loop().run_in_executor(
                self.pool, self.write, job, answer
            )
        else:
            reply = self.write(job, answer)
        self.model.encoded(start, [self.record])
        return reply

    def write(self, job: Job, answer: Answer) -> Reply:
        """The same. Any thread may call it."""
        return job.reply(answer)

    def record_failure(self) -> None:
        """The model failed on this body, although not on all of it."""
        self.model.quarantine.record_failure(self.payload)

    def _end(self, code: str, status: int = 0, error: BaseException | None = None) -> None:
        """It ends without an answer."""
        record = self.record
        record.end(code, status, error)
        self.hold.give_back()
        if self.counted and record.model is not None:
            record.model.metrics.failed(code or "other", record.seconds)

    def _release(self, error: BaseException) -> None:
        """Nothing of it is on its way any more, but for its answer."""
        if not self.held:
            return
        self.held, model = False, self.model
        if self._on_its_way:
            model.backlog.leave(type(error))
        model.release()
        self.ignore_leaving()
        if isinstance(error, ModelError) or getattr(error, "code", "") == "E_MODEL_INPUT":
            self.record_failure()

    def __enter__(self) -> Self:
        self.begin()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def account(model: ServedModel, answered: Sequence[Exchange]) -> None:
    """These requests to a model are answered now; all of them count as predictions, or none."""
    now, seconds = now_s(), []
    model.backlog.leave(None, len(answered))
    model.release(len(answered))
    for each in answered:
        record = each.record
        record.code, record.status, record.ended_s = "ok", 200, now
        seconds.append(now - record.began_s - record.load_s)
        each.held = False
        each.hold.give_back()
        each.ignore_leaving()
    if answered[0].counted:
        slowest = max(range(len(seconds)), key=seconds.__getitem__) if len(seconds) > 1 else 0
        model.metrics.answered(seconds, seconds[slowest], answered[slowest].record.request_id)


def close(shared: Exchanges, ended: Sequence[Exchange]) -> None:
    """The answers of these requests are on their way: tell the observers."""
    sampler, drain, records = shared.sampler, shared.drain, []
    for each in ended:
        record = each.record
        records.append(record)
        if record.answer is not None and record.model is not None and sampler.open:
            sampler.offer(
                record.model, record.answer, record.request_id, record.seconds, len(each.payload)
            )
    drain.leave(len(ended))
    if not drain.in_flight:
        shared.busy_poll.left()
    tell_observers(shared.observers, records)
