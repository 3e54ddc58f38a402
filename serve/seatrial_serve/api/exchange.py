"""One request to a model, from its first byte to its answer.

It begins, is admitted, read, parsed, queued, run and answered, or fails, or its client leaves; and it
is accounted for. HTTP, gRPC and feedback share this life: only how a request travels is their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, Self, TypeVar

from seatrial_contracts.errors import ModelError
from seatrial_serve.http.body import ClientLeft, Pace
from seatrial_serve.http.busy_poll import BusyPoll
from seatrial_serve.metrics.metrics import NOBODY, Metrics
from seatrial_serve.models.answer import Answer
from seatrial_serve.models.entry import Entry
from seatrial_serve.models.partial import asks_for_parts
from seatrial_serve.models.repository import Repository
from seatrial_serve.models.request import Terms
from seatrial_serve.models.request_record import RequestRecord
from seatrial_serve.models.served_model import ServedModel
from seatrial_serve.observers.observer import RequestObservers, tell_observers
from seatrial_serve.observers.sampling import Sampler
from seatrial_serve.process.budget import GROWTH, Budget
from seatrial_serve.process.codes import status_of
from seatrial_serve.process.drain import Drain
from seatrial_serve.scheduling.admission import NO_ROOM, REFUSAL_S

Parsed = TypeVar("Parsed")
JSON = b"application/json"
LARGE_BODY_BYTES = 64 * 1024
"""Larger bodies are parsed in a thread, so that the event loop never stands still for one."""


class Reply(NamedTuple):
    """An answer's bytes, what its headers say of them, and what it was made of."""

    body: bytes
    media_type: bytes = JSON
    headers: Sequence[tuple[bytes, bytes]] = ()
    answer: Answer | None = None


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
    busy_poll: BusyPoll = field(default_factory=BusyPoll)


class Exchange:
    """One request. Use `with`, which lasts until its answer is on its way; within it, `run` once."""

    __slots__ = (
        "_body",
        "_hold",
        "_on_its_way",
        "_when_left",
        "client",
        "counted",
        "entry",
        "headers",
        "in_flight",
        "left",
        "model",
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
        in_flight: Any = None,
        when_left: Callable[[Callable[[], None] | None], None] | None = None,
        counted: bool = True,
    ) -> None:
        """`entry`: what it asks for, None where that is not there, or where `find` will tell. `when_left`: see `scope.WHEN_LEFT`.

        `counted`: does it ask for predictions, which the metrics of models count?
        """
        self.shared, self.record, self.entry, self.client = shared, record, entry, client
        self.headers = headers
        self.in_flight, self._when_left, self.counted = in_flight, when_left, counted
        self._hold = shared.budget.begin(client)
        self._body, self._on_its_way = b"", False
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

    def timeout_s(self) -> float:
        """How long it may take, as its client says and the server allows. Raises `Refusal`."""
        raise NotImplementedError

    async def run(self, answer: Callable[[Self], Awaitable[Reply]]) -> Reply | None:
        """What `answer` replies once the model is found and has time; None where the client left.

        Raises whatever went wrong, after it was accounted for.
        """
        record = self.record
        try:
            entry = self.entry = self.entry or await self.find()
            record.model = entry.model if entry is not None else None
            model = record.model = self.model = self.ready_model()
            self.terms = Terms(
                record.began_s + self.timeout_s(),
                self.client,
                record=record,
                partial=asks_for_parts(self.headers),
                in_flight=self.in_flight,
            )
            model.backlog.admit(self.terms.deadline_s)
            model.hold()
            error: BaseException | None = None
            try:
                reply = await answer(self)
            except BaseException as raised:  # whatever ended it, it is raised on
                error = raised
                raise
            finally:
                self._release(model, error)
        except ClientLeft:
            self._end("")
            return None
        except asyncio.CancelledError:
            self._end("")
            if not self.left:
                raise
            return None
        except Exception as error:  # every error is accounted for, and raised on
            status, code = status_of(error)
            self._end(code, status, error)
            if self.counted:
                named = NOBODY if self.entry is None else (self.entry.name, self.entry.version)
                self.shared.metrics.refused(*named, error)
            if code in NO_ROOM:
                await asyncio.sleep(REFUSAL_S)
            raise
        record.answer = reply.answer
        self._end("ok", 200)
        return reply

    def whole(self, body: bytes, growth: int = GROWTH) -> None:
        """The body is here and is about to be parsed, which takes `growth` bytes of memory for each of it.

        Raises `Refusal` for one in quarantine, and `Unavailable` where there is no room.
        """
        self._hold.work(len(body) * growth)
        self._body = body
        self.model.quarantine.check(body)
        # Only now: a client that sends slowly says nothing of how fast the model is.
        self.model.backlog.enter()
        self._on_its_way = True
        if self.model.instant:
            self._when_left = None
        if self._when_left is not None:
            self._when_left(partial(self._leave, asyncio.current_task()))

    async def parsed(self, parse: Callable[[bytes], Parsed], body: bytes) -> Parsed:
        """What `parse` makes of the body, in a thread where it is large. Raises what that raises."""
        if len(body) <= LARGE_BODY_BYTES:
            return parse(body)
        return await asyncio.get_running_loop().run_in_executor(self.pool, parse, body)

    def blame(self) -> None:
        """The model failed on this body, although not on all of it."""
        self.model.quarantine.blame(self._body)

    def _leave(self, request: asyncio.Task[Any] | None) -> None:
        """End a request whose client has left: what still waits is not run."""
        self.left = True
        if request is not None:
            request.cancel()

    def _end(self, code: str, status: int = 0, error: BaseException | None = None) -> None:
        record = self.record
        record.end(code, status, error)
        self._hold.give_back()
        if self.counted and record.model is not None:
            record.model.metrics.finish(code or "other", record.seconds, record.request_id if code == "ok" else None)

    def _release(self, model: ServedModel, error: BaseException | None) -> None:
        """Nothing of it is on its way any more, but for its answer."""
        if self._on_its_way:
            model.backlog.leave(type(error) if error is not None else None)
        model.release()
        if self._when_left is not None:
            self._when_left(None)
        if error is not None and (isinstance(error, ModelError) or getattr(error, "code", "") == "E_MODEL_INPUT"):
            self.blame()

    def __enter__(self) -> Self:
        drain = self.shared.drain
        if not drain.in_flight:
            self.shared.busy_poll.came()
        drain.enter()
        return self

    def __exit__(self, *_: object) -> None:
        shared, record = self.shared, self.record
        if record.answer is not None and record.model is not None:
            shared.sampler.offer(record.model, record.answer, record.request_id, record.seconds, len(self._body))
        shared.drain.leave()
        if not shared.drain.in_flight:
            shared.busy_poll.left()
        tell_observers(shared.observers, record)
