"""Requests wait here until a batch is worth running."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, Self, TypeVar

from seatrial_contracts.errors import ModelError, Unavailable
from seatrial_serve.batch_rule import BatchRule
from seatrial_serve.clock import now_s

Row = TypeVar("Row")
Answer = TypeVar("Answer")
Sleep = Callable[[float], Awaitable[None]]


class Observe(Protocol):
    """What is told of every batch."""

    def batch(self, rows: int, padding: float, waited_s: Sequence[float], run_s: float) -> None:
        """A batch of `rows`, of which the share `padding` of its cost is padding, ran for `run_s` after its tickets waited `waited_s`."""
        ...

    def waiting(self, rows: int) -> None:
        """So many rows wait now."""
        ...


class Unobserved:
    """Tells nobody."""

    def batch(self, rows: int, padding: float, waited_s: Sequence[float], run_s: float) -> None:
        """See `Observe`."""

    def waiting(self, rows: int) -> None:
        """See `Observe`."""


@dataclass(eq=False, slots=True)
class Ticket(Generic[Row, Answer]):
    """Rows of one request that run together, and where their answers go."""

    rows: Sequence[Row]
    shape: Hashable
    length: int
    arrived_s: float
    deadline_s: float | None
    future: asyncio.Future[list[Answer]]
    count: int = field(init=False)

    def __post_init__(self) -> None:
        self.count = len(self.rows)


class Batcher(Generic[Row, Answer]):
    """One coroutine owns the queue. `run` takes the rows of a batch and gives one answer for each, in order.

    Where `run` gives an awaitable, the batch runs elsewhere (in a thread) and up to `slots` of them run at once; where it gives
    the answers themselves, it ran on the event loop, and the batcher lets the loop read its sockets between two batches.
    """

    def __init__(
        self, rule: BatchRule, run: Callable[[list[Row]], Sequence[Answer] | Awaitable[Sequence[Answer]]], *, slots: int = 1,
        max_waiting_rows: int = 4096, observe: Observe | None = None, clock: Callable[[], float] = now_s, sleep: Sleep = asyncio.sleep,
    ) -> None:  # fmt: skip
        self.rule, self._run, self._max_waiting_rows = rule, run, max_waiting_rows
        self._observe, self._clock, self._sleep = observe or Unobserved(), clock, sleep
        self._free = slots
        self._queue: list[Ticket[Row, Answer]] = []
        self._waiting_rows = 0
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
        self, rows: Sequence[Row], *, shape: Hashable = None, length: int = 1, deadline_s: float | None = None
    ) -> list[Answer]:
        """The answers of `rows`, in order. A request of more rows than a batch holds is split, and answered whole.

        Raises `Unavailable`: E_OVERLOADED at once where too much waits, E_DEADLINE where its turn came after `deadline_s` (a time
        of the clock), E_DRAINING while closing. What `run` raises for these rows, and not for their mates', is raised here.
        """
        if self._closing:
            raise Unavailable("E_DRAINING", "the server is stopping")
        if self._waiting_rows + len(rows) > self._max_waiting_rows and self._queue:
            raise Unavailable("E_OVERLOADED", f"{self._waiting_rows} rows wait already")
        size = self.rule.max_rows
        parts = [rows] if len(rows) <= size else [rows[start : start + size] for start in range(0, len(rows), size)]
        futures = [self._enqueue(part, shape, length, deadline_s) for part in parts]
        if len(futures) == 1:
            return await futures[0]
        try:
            answers = await asyncio.gather(*futures)
        except BaseException:
            for future in futures:
                future.cancel()
            raise
        return [answer for part in answers for answer in part]

    def _enqueue(
        self, rows: Sequence[Row], shape: Hashable, length: int, deadline_s: float | None
    ) -> asyncio.Future[list[Answer]]:
        future: asyncio.Future[list[Answer]] = asyncio.get_running_loop().create_future()
        self._queue.append(Ticket(rows, shape, length, self._clock(), deadline_s, future))
        self._waiting_rows += len(rows)
        self._wake.set()
        return future

    async def close(self) -> None:
        """Refuse new requests, answer those that wait, and end the coroutine."""
        self._closing = True
        self._wake.set()
        if self._owner is not None:
            await self._owner

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

    def _take(self) -> list[Ticket[Row, Answer]]:
        places = self.rule.take(self._queue)
        batch = [self._queue[place] for place in places]
        if len(places) == len(self._queue):
            self._queue = []
        else:
            chosen = set(places)
            self._queue = [ticket for place, ticket in enumerate(self._queue) if place not in chosen]
        self._waiting_rows -= sum(ticket.count for ticket in batch)
        self._observe.waiting(self._waiting_rows)
        return batch

    async def _start(self, batch: list[Ticket[Row, Answer]]) -> None:
        started = self._clock()
        try:
            answers = self._run([row for ticket in batch for row in ticket.rows])
        except Exception as error:
            await self._failed(batch, error)
        else:
            if isinstance(answers, Awaitable):
                self._free -= 1
                task = asyncio.create_task(self._finish(batch, answers, started))
                self._running.add(task)
                task.add_done_callback(self._slot_freed)
                return
            self._deliver(batch, answers, started)
        await asyncio.sleep(0)

    def _slot_freed(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._free += 1
        self._wake.set()

    async def _finish(
        self, batch: list[Ticket[Row, Answer]], answers: Awaitable[Sequence[Answer]], started: float
    ) -> None:
        try:
            found = await answers
        except Exception as error:
            await self._failed(batch, error)
        else:
            self._deliver(batch, found, started)

    def _deliver(self, batch: list[Ticket[Row, Answer]], answers: Sequence[Answer], started: float) -> None:
        rows = sum(ticket.count for ticket in batch)
        if len(answers) != rows:
            return _fail_all(
                batch,
                ModelError("E_OUTPUT_CONTRACT", f"{len(answers)} answers for {rows} rows; this is a bug in seatrial"),
            )
        place = 0
        for ticket in batch:
            if not ticket.future.done():
                ticket.future.set_result(list(answers[place : place + ticket.count]))
            place += ticket.count
        longest = max(ticket.length for ticket in batch)
        padding = 1 - sum(ticket.count * ticket.length for ticket in batch) / (rows * longest)
        self._observe.batch(rows, padding, [started - ticket.arrived_s for ticket in batch], self._clock() - started)
        return None

    async def _failed(self, batch: list[Ticket[Row, Answer]], error: Exception) -> None:
        """Halve the batch until the request that fails stands alone; its mates get their answers."""
        if len(batch) == 1:
            return _fail_all(batch, error)
        middle = len(batch) // 2
        for half in (batch[:middle], batch[middle:]):
            started = self._clock()
            try:
                answers = self._run([row for ticket in half for row in ticket.rows])
                found = await answers if isinstance(answers, Awaitable) else answers
            except Exception as again:
                await self._failed(half, again)
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


def _fail_all(batch: Sequence[Ticket[Any, Any]], error: Exception) -> None:
    for ticket in batch:
        if not ticket.future.done():
            ticket.future.set_exception(error)
