"""Requests wait here until a batch is worth running."""

from __future__ import annotations

import asyncio
import math
from bisect import insort
from collections.abc import Callable, Hashable
from functools import partial
from types import NoneType
from typing import Generic, NoReturn, Self

from seatrial_contracts.errors import ModelError, OutOfMemory, TooLate, Unavailable
from seatrial_serve.process.clock import now_s
from seatrial_serve.scheduling.batch_rule import BatchRule
from seatrial_serve.scheduling.fair_order import FairOrder, Order
from seatrial_serve.scheduling.ticket import (
    Answers,
    Observe,
    Rows,
    Ticket,
    TicketListener,
    Unobserved,
    batch_figures,
    latest,
    reply_to_all,
    resolve,
    tell_listeners,
)

CallLater = Callable[[float, Callable[[], None]], asyncio.TimerHandle]


RESOLUTION_S = 0.002
"""Of the event loop's clock and timers."""


class Batcher(Generic[Rows, Answers]):
    """A queue and what empties it, on the event loop.

    `run` takes the parts of a batch, each the rows of one ticket, and gives the answers of all in
    order.

    Nothing here is a task: a ticket carries what to call, and one callback a turn of the loop
    (`_pump`) starts the next batch. If `run` gives a future, the batch runs elsewhere (in a thread)
    and up to `slots` of them run at once. If it gives the answers themselves, the batch ran on the
    event loop, and the loop reads its sockets before the next one starts.

    Whose turn it is: see `FairOrder`.
    """

    def __init__(
        self,
        rule: BatchRule,
        run: Callable[[list[Rows]], Answers | asyncio.Future[Answers]],
        *,
        slots: int = 1,
        max_waiting_rows: int = 4096,
        observe: Observe | None = None,
        clock: Callable[[], float] = now_s,
        call_later: CallLater | None = None,
    ) -> None:
        self.rule, self._run, self._max_waiting_rows = rule, run, max_waiting_rows
        self._observe, self._clock, self._call_later = observe or Unobserved(), clock, call_later
        self._free, self._slots = slots, slots
        self.until_s = math.inf
        """When the last of the batch that `run` is called with stops waiting."""
        self._queue: list[Ticket[Rows, Answers]] = []
        self._waiting_rows = 0
        self._batches: dict[int, list[Ticket[Rows, Answers]]] = {}
        """The batches that run elsewhere now, by the `id` of each."""
        self._order = FairOrder()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pumping = False
        self._timer: asyncio.TimerHandle | None = None
        self._rings_s = math.inf
        self._closing: asyncio.Future[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def idle(self) -> bool:
        """Does nothing wait or run?"""
        return not self._queue and self._free == self._slots

    @property
    def requests_running(self) -> int:
        """How many requests have rows in a batch that runs elsewhere now. Any thread may ask.

        A batch on the event loop is short, and counts as none.
        """
        batches = list(self._batches.values())
        return len({id(each.listener or each) for batch in batches for each in batch})

    async def submit(
        self,
        rows: Rows,
        *,
        shape: Hashable = None,
        length: int = 1,
        deadline_s: float = math.inf,
        flow: Hashable = None,
        priority: int = 0,
        listener: TicketListener | None = None,
        alone: bool = False,
    ) -> list[Answers]:
        """Return the answers of `rows`, in order.

        They run in as many parts as the request was split into: a batch holds only so many rows.

        `flow` is the client; `priority` 1 is the highest, 0 that of everybody; `listener` is called
        with each batch; with `alone`, nobody could join these rows and they run on the event loop,
        so that they do at once where they can (see `run_now`). Raises `Unavailable`: E_OVERLOADED
        at once if too much waits, E_DEADLINE if its turn came after `deadline_s` (a time of the
        clock), E_DRAINING while closing, E_OOM if memory was short even for smaller batches. What
        `run` raises for these rows, and not for their mates', is raised here.
        """
        if alone:
            answers = self.run_now(
                rows, shape=shape, length=length, deadline_s=deadline_s, listener=listener
            )
            if answers is not None:
                return [answers]
        self._check_room(len(rows))
        order = self._place(flow, min(len(rows), self.rule.max_rows) * length, priority)
        in_parts = partial(self._in_parts, rows, shape, length, deadline_s, order, listener)
        try:
            if len(rows) > self.rule.rows_of(length):
                return await in_parts()
            return [await self._whole(rows, shape, length, deadline_s, order, listener)]
        except OutOfMemory:
            if self._closing:
                raise
            return await in_parts()  # the rule is half as large by now

    async def _whole(
        self,
        rows: Rows,
        shape: Hashable,
        length: int,
        deadline_s: float,
        order: Order,
        listener: TicketListener | None,
    ) -> Answers:
        """The answers of rows that are one ticket."""
        future: asyncio.Future[Answers] = asyncio.get_running_loop().create_future()
        ticket = self._enqueue(
            rows, shape, length, deadline_s, order, listener, partial(resolve, future)
        )
        if self._free:
            self.pump_soon()
        try:
            return await future
        finally:
            ticket.gone = True

    def post(
        self,
        rows: Rows,
        reply: Callable[[Answers | Exception], None],
        *,
        shape: Hashable = None,
        length: int = 1,
        deadline_s: float = math.inf,
        flow: Hashable = None,
        priority: int = 0,
        listener: TicketListener | None = None,
        further: bool = False,
    ) -> Ticket[Rows, Answers]:
        """Put rows of one batch in the queue and return at once.

        `further`: they belong to a request that was let in already.

        `pump` starts their batch, and `reply` is called with their answers.

        See `submit`, also for what is raised.
        Rows that are more than a batch holds are the caller's to `submit`. `OutOfMemory` comes to
        `reply` without a second try.
        """
        self._check_room(0 if further else len(rows))
        order = self._place(flow, len(rows) * length, priority)
        return self._enqueue(rows, shape, length, deadline_s, order, listener, reply)

    def run_now(
        self,
        rows: Rows,
        *,
        shape: Hashable = None,
        length: int = 1,
        deadline_s: float = math.inf,
        listener: TicketListener | None = None,
    ) -> Answers | None:
        """Return the answers of rows that need not wait, at once, without a turn of the loop.

        They need not wait since nobody else is here and they run on the event loop.

        None if they must wait in the queue: others wait or run, the batcher is closing, the
        deadline has passed, or memory was short. Raises what `run` raises.
        """
        started = self._clock()
        if not self.idle or self._closing or deadline_s < started:
            return None
        order = self._order.now
        answered: list[Answers | Exception] = []
        ticket: Ticket[Rows, Answers] = Ticket(
            rows, len(rows), shape, length, started, deadline_s, order, answered.append, listener
        )
        alone = [ticket]
        self.until_s = deadline_s
        try:
            answers = self._run([rows])
        except OutOfMemory:
            return None
        except Exception:  # a runtime may raise anything; its sender is told
            tell_listeners(alone, started, self._clock())
            raise
        if isinstance(answers, asyncio.Future):
            raise TypeError("these rows do not run on the event loop; this is a bug in seatrial")
        self._deliver(alone, answers, started)
        result = answered[0]
        if isinstance(result, Exception):
            raise result
        return result

    async def _in_parts(
        self, rows: Rows, shape: Hashable, length: int, deadline_s: float, order: Order,
        listener: TicketListener | None,
    ) -> list[Answers]:  # fmt: skip
        """The answers of `rows`, in as many tickets as the rule wants now."""
        size, loop = self.rule.rows_of(length), asyncio.get_running_loop()
        rank, turn = order
        starts = range(0, len(rows), size)
        futures: list[asyncio.Future[Answers]] = [loop.create_future() for _ in starts]
        tickets = [
            self._enqueue(
                rows[start : start + size],
                shape,
                length,
                deadline_s,
                (rank, turn + start * length),
                listener,
                partial(resolve, future),
            )
            for start, future in zip(starts, futures, strict=True)
        ]
        if self._free:
            self.pump_soon()
        try:
            return await asyncio.gather(*futures)
        finally:
            for ticket, future in zip(tickets, futures, strict=True):
                ticket.gone = True
                future.cancel()

    def _check_room(self, rows: int) -> None:
        if self._closing:
            raise Unavailable("E_DRAINING", "the server is stopping")
        if rows and self._waiting_rows + rows > self._max_waiting_rows and self._queue:
            raise Unavailable("E_OVERLOADED", f"{self._waiting_rows} rows wait already")

    def _place(self, flow: Hashable, cost: int, priority: int) -> Order:
        """The place of a flow's next ticket in the queue."""
        return self._order.place(flow, cost, priority, empty=not self._queue)

    def _enqueue(
        self, rows: Rows, shape: Hashable, length: int, deadline_s: float, order: Order,
        listener: TicketListener | None, reply: Callable[[Answers | Exception], None],
    ) -> Ticket[Rows, Answers]:  # fmt: skip
        """Put rows in their place in the queue, from which a batch takes them once one starts."""
        ticket: Ticket[Rows, Answers] = Ticket(
            rows, len(rows), shape, length, self._clock(), deadline_s, order, reply, listener
        )
        if self._queue and order < self._queue[-1].order:
            insort(self._queue, ticket, key=lambda waiting: waiting.order)
        else:
            self._queue.append(ticket)
        self._waiting_rows += ticket.count
        if not self._free:
            self._ring_at(deadline_s + RESOLUTION_S)
        return ticket

    async def close(self) -> None:
        """Refuse new requests, answer those that wait, and return once nothing runs."""
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_future()
            self.pump_soon()
        await asyncio.shield(self._closing)
        if self._timer is not None:
            self._timer.cancel()
        # Whoever gave `_run` has this batcher, too: a circle, which would outlive its last holder.
        self._run = _closed

    def pump(self) -> None:
        """Start the next batches of what was posted.

        Call `pump` once all that came in this turn of the loop is posted.
        """
        if self._free:
            self._start()

    def pump_soon(self) -> None:
        """As `pump`, in the next turn of the loop: once for all that comes in this one."""
        if not self._pumping:
            self._pumping = True
            self._loop = self._loop or asyncio.get_running_loop()
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        """Start the next batches, in a turn of the loop of their own."""
        self._pumping = False
        self._start()

    def _start(self) -> None:
        """Start the next batches; nobody waits for ever, whatever goes wrong here."""
        try:
            self._start_batches()
        except Exception:  # whatever it was, nobody waits for ever
            stranded, self._queue, self._waiting_rows = self._queue, [], 0
            reply_to_all(stranded, RuntimeError("the batcher failed"))
            if self._closing:
                self.pump_soon()
            raise

    def _start_batches(self) -> None:
        """Start as many as there are slots, or say when to look again."""
        while self._drop_gone() and self._free:
            wait_s = 0.0 if self._closing else self.rule.wait_s(self._queue, self._clock())
            if wait_s > 0:
                self._ring_at(min(self._clock() + wait_s, self._next_deadline_s))
                return
            batch = self._take()
            self._free -= 1
            free = self._free
            self._work([batch])
            # It ran on the event loop, which reads its sockets before the next one.
            if self._free > free:
                return
        if self._queue:
            self._ring_at(self._next_deadline_s)
        elif self._closing and self.idle and not self._closing.done():
            self._closing.set_result(None)

    @property
    def _next_deadline_s(self) -> float:
        return min(ticket.deadline_s for ticket in self._queue) + RESOLUTION_S

    def _ring_at(self, time_s: float) -> None:
        """Look at the queue at that time of the clock, if not before."""
        if time_s >= self._rings_s:
            return
        if self._timer is not None:
            self._timer.cancel()
        call_later = self._call_later or asyncio.get_running_loop().call_later
        self._rings_s = time_s
        self._timer = call_later(max(0.0, time_s - self._clock()), self._ring)

    def _ring(self) -> None:
        self._timer, self._rings_s = None, math.inf
        self.pump_soon()

    def _drop_gone(self) -> bool:
        """Take out whoever left or came too late; is anybody left?"""
        now = self._clock()
        kept = []
        for ticket in self._queue:
            if ticket.gone:
                continue
            if ticket.deadline_s < now:
                ticket.tell(TooLate())
                continue
            kept.append(ticket)
        if len(kept) != len(self._queue):
            self._queue = kept
            self._waiting_rows = sum(ticket.count for ticket in kept)
        return bool(kept)

    def _take(self) -> list[Ticket[Rows, Answers]]:
        places = self.rule.take(self._queue)
        self._order.serve(self._queue[0].order)
        batch = [self._queue[place] for place in places]
        if len(places) == len(self._queue):
            self._queue = []
        else:
            chosen = set(places)
            self._queue = [
                ticket for place, ticket in enumerate(self._queue) if place not in chosen
            ]
        self._waiting_rows -= sum(ticket.count for ticket in batch)
        self._observe.waiting(self._waiting_rows)
        return batch

    def _work(self, pending: list[list[Ticket[Rows, Answers]]]) -> None:
        """Run batches one after another in the slot that is held, and free the slot.

        The halves of batches that fail are among them.
        """
        batch: list[Ticket[Rows, Answers]] = []
        try:
            while pending:
                batch = pending.pop()
                started, self.until_s = self._clock(), latest(batch)
                try:
                    answers = self._run([ticket.rows for ticket in batch])
                except Exception as error:  # each ticket is told what went wrong with its own rows
                    self._failed(batch, error, started, pending)
                    continue
                if isinstance(answers, asyncio.Future):
                    self._batches[id(batch)] = batch
                    answers.add_done_callback(partial(self._came, batch, started, pending))
                    return
                self._deliver(batch, answers, started)
        except BaseException:  # whatever ends it, nobody waits for ever, and the slot is free again
            self._give_up([batch, *pending], RuntimeError("the batcher failed"))
            raise
        self._free_slot()

    def _give_up(self, batches: list[list[Ticket[Rows, Answers]]], error: Exception) -> None:
        """Fail all who have no answer yet, and free the batches' slot.

        The batches are not run any more.
        """
        self._free_slot()
        for batch in batches:
            reply_to_all(batch, error)

    def _free_slot(self) -> None:
        self._free += 1
        if self._queue or self._closing:
            self.pump_soon()

    def _came(
        self,
        batch: list[Ticket[Rows, Answers]],
        started: float,
        pending: list[list[Ticket[Rows, Answers]]],
        answers: asyncio.Future[Answers],
    ) -> None:
        """A batch that ran elsewhere has ended."""
        self._batches.pop(id(batch), None)
        error = None if answers.cancelled() else answers.exception()
        if answers.cancelled() or not isinstance(error, (Exception, NoneType)):
            self._give_up([batch, *pending], Unavailable("E_DRAINING", "the server is stopping"))
            return
        try:
            if error is not None:
                self._failed(batch, error, started, pending)
            else:
                self._deliver(batch, answers.result(), started)
        except BaseException:  # as in `_work`
            self._give_up([batch, *pending], RuntimeError("the batcher failed"))
            raise
        self._work(pending)

    def _deliver(
        self, batch: list[Ticket[Rows, Answers]], answers: Answers, started: float
    ) -> None:
        rows, cost, padding = batch_figures([(each.count, each.length) for each in batch])
        if len(answers.rows) != rows:
            text = f"{len(answers.rows)} answers for {rows} rows; this is a bug in seatrial"
            reply_to_all(batch, ModelError("E_OUTPUT_CONTRACT", text))
            return
        ended = self._clock()
        tell_listeners(batch, started, ended)
        self._observe.batch(
            rows,
            cost,
            padding,
            [started - ticket.arrived_s for ticket in batch],
            ended - started,
        )
        place = 0
        for ticket in batch:
            end = place + ticket.count
            if not ticket.gone:
                ticket.gone = True
                ticket.reply(answers.part(place, end))
            place = end

    def _failed(
        self,
        batch: list[Ticket[Rows, Answers]],
        error: Exception,
        started: float,
        pending: list[list[Ticket[Rows, Answers]]],
    ) -> None:
        """Halve the batch until the request that fails stands alone; its mates get their answers.

        One that was too large for the memory goes back to its caller, who tries once more, under a
        rule half as large.
        """
        tell_listeners(batch, started, self._clock())
        if isinstance(error, OutOfMemory):
            rows = sum(ticket.count for ticket in batch)
            self.rule = self.rule.shrunk(rows * max(ticket.length for ticket in batch))
            self._observe.out_of_memory(rows)
        # What is not there is there for none of them.
        if len(batch) == 1 or isinstance(error, Unavailable):
            reply_to_all(batch, error)
            return
        middle = len(batch) // 2
        pending += (batch[middle:], batch[:middle])


def _closed(_parts: object) -> NoReturn:
    raise Unavailable("E_DRAINING", "the model has been closed")
