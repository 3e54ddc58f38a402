"""Requests wait here until a batch is worth running."""

from __future__ import annotations

import asyncio
import math
from bisect import insort
from collections.abc import Awaitable, Callable, Hashable, Sequence, Sized
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, Protocol, Self, TypeVar

from seatrial_contracts.errors import ModelError, OutOfMemory, Unavailable
from seatrial_serve.batch_rule import BatchRule
from seatrial_serve.clock import now_s
from seatrial_serve.journey import Company


class Sliceable(Protocol):
    """The rows of a request, in whatever form."""

    def __len__(self) -> int:
        """How many."""
        ...

    def __getitem__(self, part: slice, /) -> Any:
        """Some of them, in the same form."""
        ...


Rows = TypeVar("Rows", bound=Sliceable)
Sleep = Callable[[float], Awaitable[None]]


class Answered(Protocol):
    """The answers of a batch."""

    @property
    def rows(self) -> Sized:
        """As many as there are answers."""
        ...

    def part(self, start: int, stop: int) -> Self:
        """Those from `start` to `stop`."""
        ...


Answers = TypeVar("Answers", bound=Answered)


class Observe(Protocol):
    """What is told of every batch."""

    def batch(self, rows: int, cost: int, padding: float, waited_s: Sequence[float], run_s: float) -> None:
        """A batch of `rows`, of whose `cost` the share `padding` is padding, ran for `run_s` after its tickets waited `waited_s`."""
        ...

    def waiting(self, rows: int) -> None:
        """So many rows wait now."""
        ...

    def out_of_memory(self, rows: int) -> None:
        """A batch of `rows` was too large for the memory there is."""
        ...


class Passenger(Protocol):
    """A request that wants to know what became of its rows."""

    def ran(self, arrived_s: float, started_s: float, ended_s: float, company: Company) -> None:
        """Some of them came, ran in a batch with others, and were answered or failed: times of the clock."""
        ...


DEFAULT_PRIORITY = 2**31
"""Where a request names no priority: after all that do."""


class Unobserved:
    """Tells nobody."""

    def batch(self, rows: int, cost: int, padding: float, waited_s: Sequence[float], run_s: float) -> None:
        """See `Observe`."""

    def waiting(self, rows: int) -> None:
        """See `Observe`."""

    def out_of_memory(self, rows: int) -> None:
        """See `Observe`."""


@dataclass(eq=False, slots=True)
class Ticket(Generic[Rows, Answers]):
    """Rows of one request that run together, and where their answers go."""

    rows: Rows
    count: int
    shape: Hashable
    length: int
    arrived_s: float
    deadline_s: float | None
    order: tuple[int, float]
    future: asyncio.Future[Answers]
    passenger: Passenger | None = None


class Batcher(Generic[Rows, Answers]):
    """One coroutine owns the queue. `run` takes the parts of a batch, each the rows of one ticket, and gives the answers of all in order.

    Where `run` gives an awaitable, the batch runs elsewhere (in a thread) and up to `slots` of them run at once; where it gives
    the answers themselves, it ran on the event loop, and the batcher lets the loop read its sockets between two batches.

    Whose turn it is: the higher priority, and among equals start-time fair queueing (Goyal, Vin and Cheng 1996) over `flow`, so
    that a client who sends ten times as much as another waits ten times as long, and the parts of a large request let small ones pass.
    """

    def __init__(
        self, rule: BatchRule, run: Callable[[list[Rows]], Answers | asyncio.Future[Answers]], *, slots: int = 1,
        max_waiting_rows: int = 4096, observe: Observe | None = None, clock: Callable[[], float] = now_s, sleep: Sleep = asyncio.sleep,
    ) -> None:  # fmt: skip
        self.rule, self._run, self._max_waiting_rows = rule, run, max_waiting_rows
        self._observe, self._clock, self._sleep = observe or Unobserved(), clock, sleep
        self._free = slots
        self.until_s = math.inf
        """When the last of the batch that `run` is called with stops waiting."""
        self._queue: list[Ticket[Rows, Answers]] = []
        self._waiting_rows = 0
        self._turn = 0.0
        self._next_turn: dict[Hashable, float] = {}
        self._wake = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()
        self._owner: asyncio.Task[None] | None = None
        self._closing = False

    async def __aenter__(self) -> Self:
        self._owner = asyncio.create_task(self._own_queue(), name="batcher")
        self._owner.add_done_callback(self._owner_ended)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def submit(
        self, rows: Rows, *, shape: Hashable = None, length: int = 1, deadline_s: float | None = None,
        flow: Hashable = None, priority: int = 0, passenger: Passenger | None = None, alone: bool = False,
    ) -> list[Answers]:  # fmt: skip
        """The answers of `rows`, in order, in as many parts as the request was split into: a batch holds only so many rows.

        `flow` is whoever asks; `priority` 1 is the highest, 0 that of everybody; `passenger` is told of each batch; with `alone`, nobody could
        join these rows and they run on the event loop, so that they do at once where they can (see `run_now`). Raises
        `Unavailable`: E_OVERLOADED at once where too much waits, E_DEADLINE where its turn came after `deadline_s` (a time of the
        clock), E_DRAINING while closing, E_OOM where memory was short even for smaller batches. What `run` raises for these rows,
        and not for their mates', is raised here.
        """
        if self._closing:
            raise Unavailable("E_DRAINING", "the server is stopping")
        if alone:
            answers = self.run_now(rows, shape=shape, length=length, deadline_s=deadline_s, passenger=passenger)
            if answers is not None:
                return [answers]
        if self._waiting_rows + len(rows) > self._max_waiting_rows and self._queue:
            raise Unavailable("E_OVERLOADED", f"{self._waiting_rows} rows wait already")
        rank, turn = priority or DEFAULT_PRIORITY, self._turn_of(flow, min(len(rows), self.rule.max_rows) * length)
        try:
            if len(rows) <= self.rule.rows_of(length):
                return [await self._enqueue(rows, shape, length, deadline_s, (rank, turn), passenger)]
            return await self._in_parts(rows, shape, length, deadline_s, rank, turn, passenger)
        except OutOfMemory:
            if self._closing:
                raise
            # the rule is half as large by now
            return await self._in_parts(rows, shape, length, deadline_s, rank, turn, passenger)

    def run_now(
        self, rows: Rows, *, shape: Hashable = None, length: int = 1, deadline_s: float | None = None, passenger: Passenger | None = None
    ) -> Answers | None:  # fmt: skip
        """The answers of rows that need not wait, since nobody else is here and they run on the event loop: at once, without a turn of the loop.

        None where they must `submit`: others wait or run, the batcher is closing, the deadline has passed, or memory was short.
        Raises what `run` raises.
        """
        started = self._clock()
        if self._queue or self._running or self._closing or (deadline_s is not None and deadline_s < started):
            return None
        future: asyncio.Future[Answers] = asyncio.get_running_loop().create_future()
        order = DEFAULT_PRIORITY, self._turn
        alone = [Ticket(rows, len(rows), shape, length, started, deadline_s, order, future, passenger)]
        self.until_s = latest(alone)
        try:
            answers = self._run([rows])
        except OutOfMemory:
            return None
        except Exception:
            tell_passengers(alone, started, self._clock())
            raise
        if isinstance(answers, asyncio.Future):
            raise TypeError("these rows do not run on the event loop; this is a bug in seatrial")
        self._deliver(alone, answers, started)
        return future.result()

    async def _in_parts(
        self, rows: Rows, shape: Hashable, length: int, deadline_s: float | None, rank: int, turn: float,
        passenger: Passenger | None,
    ) -> list[Answers]:  # fmt: skip
        """The answers of `rows`, in as many tickets as the rule wants now."""
        size = self.rule.rows_of(length)
        futures = [
            self._enqueue(
                rows[start : start + size], shape, length, deadline_s, (rank, turn + start * length), passenger
            )
            for start in range(0, len(rows), size)
        ]
        try:
            return await asyncio.gather(*futures)
        except BaseException:
            for future in futures:
                future.cancel()
            raise

    def _launch(self, batch: list[Ticket[Rows, Answers]], started: float) -> None:
        self.until_s = latest(batch)
        answers = self._run([ticket.rows for ticket in batch])
        if not isinstance(answers, asyncio.Future):
            return self._deliver(batch, answers, started)
        self._free -= 1
        task = asyncio.create_task(self._finish(batch, answers, started))
        self._running.add(task)
        task.add_done_callback(self._slot_freed)
        return None

    def _turn_of(self, flow: Hashable, cost: int) -> float:
        """The start tag of a flow's next ticket."""
        if not self._queue:
            self._next_turn.clear()
        turn = max(self._turn, self._next_turn.get(flow, 0.0))
        self._next_turn[flow] = turn + cost
        return turn

    def _enqueue(
        self,
        rows: Rows,
        shape: Hashable,
        length: int,
        deadline_s: float | None,
        order: tuple[int, float],
        passenger: Passenger | None,
    ) -> asyncio.Future[Answers]:
        future: asyncio.Future[Answers] = asyncio.get_running_loop().create_future()
        ticket = Ticket(rows, len(rows), shape, length, self._clock(), deadline_s, order, future, passenger)
        if self._queue and order < self._queue[-1].order:
            insort(self._queue, ticket, key=lambda waiting: waiting.order)
        else:
            self._queue.append(ticket)
        self._waiting_rows += ticket.count
        self._wake.set()
        return future

    async def close(self) -> None:
        """Refuse new requests, answer those that wait, and end the coroutine."""
        self._closing = True
        self._wake.set()
        if self._owner is not None:
            await self._owner
        self._run = _closed  # whoever gave it has this batcher, too: a circle, which would outlive its last holder

    async def _own_queue(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._free and self._drop_gone():
                wait_s = 0.0 if self._closing else self.rule.wait_s(self._queue, self._clock())
                if wait_s > 0:
                    await self._wait_for_company(wait_s)
                    continue
                await self._start(self._take())
            if self._closing and not self._queue and not self._running:
                return

    async def _wait_for_company(self, wait_s: float) -> None:
        """Until the time is over or something new has come."""
        timer = asyncio.ensure_future(self._sleep(wait_s))
        woken = asyncio.ensure_future(self._wake.wait())
        try:
            await asyncio.wait({timer, woken}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            woken.cancel()
            self._wake.clear()

    def _drop_gone(self) -> bool:
        """Take out whoever left or came too late; is anybody left?"""
        now = self._clock()
        kept = []
        for ticket in self._queue:
            if ticket.future.done():
                continue
            if ticket.deadline_s is not None and ticket.deadline_s < now:
                ticket.future.set_exception(Unavailable("E_DEADLINE", "the deadline passed before its turn came"))
                continue
            kept.append(ticket)
        if len(kept) != len(self._queue):
            self._queue = kept
            self._waiting_rows = sum(ticket.count for ticket in kept)
        return bool(kept)

    def _take(self) -> list[Ticket[Rows, Answers]]:
        places = self.rule.take(self._queue)
        self._turn = max(self._turn, self._queue[0].order[1])
        batch = [self._queue[place] for place in places]
        if len(places) == len(self._queue):
            self._queue = []
        else:
            chosen = set(places)
            self._queue = [ticket for place, ticket in enumerate(self._queue) if place not in chosen]
        self._waiting_rows -= sum(ticket.count for ticket in batch)
        self._observe.waiting(self._waiting_rows)
        return batch

    async def _start(self, batch: list[Ticket[Rows, Answers]]) -> None:
        started = self._clock()
        try:
            self._launch(batch, started)
        except Exception as error:
            await self._failed(batch, error, started)
        if not self._running:
            await asyncio.sleep(0)  # it ran on the event loop: let that read its sockets

    def _slot_freed(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._free += 1
        self._wake.set()

    async def _finish(
        self, batch: list[Ticket[Rows, Answers]], answers: asyncio.Future[Answers], started: float
    ) -> None:
        try:
            found = await answers
        except Exception as error:
            await self._failed(batch, error, started)
        else:
            self._deliver(batch, found, started)

    def _deliver(self, batch: list[Ticket[Rows, Answers]], answers: Answers, started: float) -> None:
        rows = useful = longest = 0
        for ticket in batch:
            rows += ticket.count
            useful += ticket.count * ticket.length
            longest = max(longest, ticket.length)
        if len(answers.rows) != rows:
            text = f"{len(answers.rows)} answers for {rows} rows; this is a bug in seatrial"
            return _fail_all(batch, ModelError("E_OUTPUT_CONTRACT", text))
        ended = self._clock()
        tell_passengers(batch, started, ended)
        place = 0
        for ticket in batch:
            if not ticket.future.done():
                ticket.future.set_result(answers.part(place, place + ticket.count))
            place += ticket.count
        cost = rows * longest
        self._observe.batch(
            rows, cost, 1 - useful / cost, [started - ticket.arrived_s for ticket in batch], ended - started
        )
        return None

    async def _failed(self, batch: list[Ticket[Rows, Answers]], error: Exception, started: float) -> None:
        """Halve the batch until the request that fails stands alone; its mates get their answers.

        One that was too large for the memory goes back to whoever asked, who asks once more, under a rule half as large.
        """
        tell_passengers(batch, started, self._clock())
        if isinstance(error, OutOfMemory):
            rows = sum(ticket.count for ticket in batch)
            self.rule = self.rule.shrunk(rows * max(ticket.length for ticket in batch))
            self._observe.out_of_memory(rows)
        if len(batch) == 1 or isinstance(error, Unavailable):  # what is not there is there for none of them
            return _fail_all(batch, error)
        middle = len(batch) // 2
        for half in (batch[:middle], batch[middle:]):
            started, self.until_s = self._clock(), latest(half)
            try:
                answers = self._run([ticket.rows for ticket in half])
                found = await answers if isinstance(answers, asyncio.Future) else answers
            except Exception as again:
                await self._failed(half, again, started)
            else:
                self._deliver(half, found, started)
        return None

    def _owner_ended(self, owner: asyncio.Task[None]) -> None:
        """Nobody waits for ever: whatever ended the coroutine early ends the waiting too."""
        self._closing = True
        if self._queue:
            _fail_all(self._queue, Unavailable("E_DRAINING", "the server is stopping"))
        if not owner.cancelled() and (error := owner.exception()) is not None:
            asyncio.get_running_loop().call_exception_handler(
                {"message": "the batcher ended; this is a bug in seatrial", "exception": error}
            )


def _closed(_parts: object) -> NoReturn:
    raise Unavailable("E_DRAINING", "the model has been closed")


def tell_passengers(batch: Sequence[Ticket[Any, Any]], started_s: float, ended_s: float) -> None:
    """Tell each request of a batch that it ran, and in which company."""
    company = None
    for ticket in batch:
        if ticket.passenger is not None:
            company = company or Company(ticket.shape, tuple([(mate.count, mate.length) for mate in batch]))
            ticket.passenger.ran(ticket.arrived_s, started_s, ended_s, company)


def latest(batch: Sequence[Ticket[Any, Any]]) -> float:
    """The last deadline of a batch."""
    return max(math.inf if ticket.deadline_s is None else ticket.deadline_s for ticket in batch)


def _fail_all(batch: Sequence[Ticket[Any, Any]], error: Exception) -> None:
    for ticket in batch:
        if not ticket.future.done():
            ticket.future.set_exception(error)
