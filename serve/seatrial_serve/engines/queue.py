"""The front's side of the queue in the engine process: rows go there, answers come back."""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from functools import partial
from struct import error as StructError  # noqa: N812  (a class, whatever its name)
from typing import Any, cast

import numpy as np

from seatrial_contracts.errors import OutOfMemory, TooLate, Unavailable
from seatrial_contracts.host_stage import ColumnBlock, Part
from seatrial_serve.engines.front import Joined, NotAdmitted, SharedEngine, gone
from seatrial_serve.engines.wire import (
    ASKED,
    UNIT,
    BrokenFrame,
    Frame,
    Frames,
    Kind,
    Piece,
    Ran,
    RowCodec,
    ToldError,
    error_of,
    flow_number,
    frame_of,
    unpacked_ran,
)
from seatrial_serve.inference.engine import Answers
from seatrial_serve.process.clock import now_s
from seatrial_serve.scheduling.fair_order import NO_PRIORITY
from seatrial_serve.scheduling.ticket import (
    BatchInfo,
    Observe,
    Ticket,
    TicketListener,
    Unobserved,
    batch_figures,
    resolve,
)

log = logging.getLogger("seatrial.engines")
SWEEP_S = 0.1
"""How often the front looks for tickets that are too late.

The engine process tells of them itself: this is for one that has stopped.
"""
MOST_UNREAD_BYTES = 2**25
"""Of rows that the engine process has not read: beyond them, requests are refused."""
RETRY_S, LONG_RETRY_S = 0.2, 5.0
"""Between tries to reach a new engine process, and where it does not admit the version."""
BROKEN: tuple[type[Exception], ...] = (BrokenFrame, StructError, ValueError, KeyError, TypeError)
"""What a frame raises that is none of this build."""


@dataclass(eq=False, slots=True)
class SentTicket(Ticket[Part, Answers]):
    """Rows that are on their way to the engine process, or wait or run there."""

    number: int = 0
    left: Callable[[int], None] = lambda _: None
    """Called with the number when nobody waits for the answers any more."""

    def leave(self) -> None:
        """See `Ticket.leave`."""
        if not self.gone:
            self.gone = True
            self.left(self.number)


class EngineQueue(asyncio.Protocol):
    """A front's tickets in one engine process.

    Batches are made there, from the rows of all fronts, in one fair order.
    """

    def __init__(
        self,
        engine: SharedEngine,
        joined: Joined,
        *,
        max_waiting_rows: int = 4096,
        observe: Observe | None = None,
        clock: Callable[[], float] = now_s,
    ) -> None:
        """`joined`: the process; `max_waiting_rows`: of this front, before requests are refused."""
        self.rule, self._slots = joined.loaded.batch_rule, joined.loaded.slots
        self._bundle, self._link = engine.bundle, joined.link
        self._codec, self._max_waiting_rows = RowCodec(engine.specs), max_waiting_rows
        self._observe, self._clock = observe or Unobserved(), clock
        self._asked: dict[int, SentTicket] = {}
        self._number, self._rows = 0, 0
        self._outbox: list[Piece] = []
        self._posted = 0
        self._departed: list[int] = []
        self._flushing = self._sweeping = self._full = False
        self._frames = Frames()
        self._transport: asyncio.Transport | None = None
        self._closing: asyncio.Future[None] | None = None
        self._reaching: asyncio.Task[None] | None = None

    async def __aenter__(self) -> EngineQueue:
        self._loop = asyncio.get_running_loop()
        await self._join()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _join(self) -> None:
        """Take the connection over from the thread that opened it."""
        taken = self._link.taken()
        if taken is None:
            return
        taken.setblocking(False)
        self._frames, early = self._link.frames, self._link.early
        await self._loop.create_unix_connection(lambda: self, sock=taken)
        self._heed(early)

    @property
    def idle(self) -> bool:
        """Is nothing of this front waiting or running?"""
        return not self._asked

    @property
    def requests_running(self) -> int:
        """How many requests of this front run now, at least. Any thread may ask."""
        return min(len(self._asked), self._slots)

    @property
    def up(self) -> bool:
        """Is the process there, with the version loaded?"""
        return self._transport is not None

    @property
    def waiting_rows(self) -> int:
        """Rows of this front that wait or run there."""
        return self._rows

    async def submit(
        self,
        rows: Part,
        *,
        length: int = 1,
        alone: bool = False,  # noqa: ARG002  (see `Batcher.submit`: there is no faster way)
        **terms: Any,
    ) -> list[Answers]:
        """See `Batcher.submit`, also for the terms.

        Raises E_RUNTIME_DOWN too, where the engine process is lost.
        """
        try:
            return await self._in_parts(rows, length, **terms)
        except OutOfMemory:
            if self._closing:
                raise
            return await self._in_parts(rows, length, **terms)  # the rule is half as large by now

    async def _in_parts(self, rows: Part, length: int, **terms: Any) -> list[Answers]:
        size, loop = self.rule.rows_of(length), asyncio.get_running_loop()
        starts = range(0, len(rows), size)
        futures: list[asyncio.Future[Answers]] = [loop.create_future() for _ in starts]
        tickets: list[Ticket[Part, Answers]] = []
        try:
            self._check_room(len(rows))
            for start, future in zip(starts, futures, strict=True):
                part = rows[start : start + size] if len(rows) > size else rows
                reply = partial(resolve, future)
                tickets.append(self._send(part, reply, length=length, further=start > 0, **terms))
            self._flush_soon()
            return await asyncio.gather(*futures)
        finally:
            for ticket, future in zip(tickets, futures, strict=False):
                ticket.leave()
                future.cancel()

    def post(
        self, rows: Part, reply: Callable[[Answers | Exception], None], **terms: Any
    ) -> SentTicket:
        """See `Batcher.post`, also for the terms; `pump` sends what was posted."""
        self._check_room(len(rows))
        return self._send(rows, reply, **terms)

    def _check_room(self, rows: int) -> None:
        if self._closing:
            raise Unavailable("E_DRAINING", "the server is stopping")
        if self._transport is None:
            raise gone()
        if self._full:
            raise Unavailable("E_OVERLOADED", "the engine process does not read what was sent")
        if self._rows + rows > self._max_waiting_rows and self._asked:
            raise Unavailable("E_OVERLOADED", f"{self._rows} rows wait already")

    def _send(
        self,
        rows: Part,
        reply: Callable[[Answers | Exception], None],
        *,
        shape: Hashable = None,
        length: int = 1,
        deadline_s: float = math.inf,
        flow: Hashable = None,
        priority: int = 0,
        listener: TicketListener | None = None,
        further: bool = False,
    ) -> SentTicket:
        """Put rows behind what is sent next; `further`: of a request that was let in already."""
        count = len(rows)
        pieces = self._codec.pack(rows)
        size = sum(map(len, pieces))
        self._number = number = self._number + 1
        now = self._clock()
        many = -count if isinstance(rows, ColumnBlock) else count
        asked = ASKED.pack(
            number, now, deadline_s, flow_number(flow), size, many, priority or NO_PRIORITY,
            further,
        )  # fmt: skip
        self._outbox += [asked, *pieces]
        if size % UNIT:
            self._outbox.append(bytes(-size % UNIT))
        self._posted += 1
        self._asked[number] = ticket = SentTicket(
            (), count, shape, length, now, deadline_s, (0, 0.0), reply, listener, False, number,
            self._left,
        )  # fmt: skip
        self._rows += count
        if not self._sweeping:
            self._sweeping = True
            self._loop.call_later(SWEEP_S, self._sweep)
        return ticket

    def pump(self) -> None:
        """Send what was posted, in one frame."""
        transport = self._transport
        if transport is None:
            return
        if self._outbox:
            pieces, self._outbox = self._outbox, []
            posted, self._posted = self._posted, 0
            transport.writelines(frame_of(Kind.RUN, posted, pieces))
            self._observe.waiting(self._rows)
        if self._departed:
            numbers = np.array(self._departed, np.uint64).tobytes()
            transport.writelines(frame_of(Kind.LEFT, len(self._departed), [numbers]))
            self._departed = []

    def _flush_soon(self) -> None:
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        self.pump()

    def _left(self, number: int) -> None:
        ticket = self._asked.pop(number, None)
        if ticket is None:
            return
        self._rows -= ticket.count
        self._observe.waiting(self._rows)
        if self._transport is not None:
            self._departed.append(number)
            self._flush_soon()
        self._maybe_closed()

    def _sweep(self) -> None:
        late_s = self._clock() - SWEEP_S
        for ticket in [each for each in self._asked.values() if each.deadline_s < late_s]:
            ticket.leave()
            ticket.reply(TooLate())
        self._sweeping = bool(self._asked)
        if self._sweeping:
            self._loop.call_later(SWEEP_S, self._sweep)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class
        self._transport.set_write_buffer_limits(MOST_UNREAD_BYTES)
        self._outbox, self._posted, self._departed, self._full = [], 0, [], False
        self._link.up, self._link.refused = True, False

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`: the engine process has stopped, or cannot follow."""
        self._full = True

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._full = False

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._heed(self._frames.feed(data))

    def _heed(self, frames: Iterable[Frame]) -> None:
        try:
            told = [self._read(frame) for frame in frames]
        except BROKEN:
            log.exception("the engine process sent what nobody reads; this is a bug in seatrial")
            if self._transport is not None:
                self._transport.abort()
            return
        for heed in told:
            heed()
        self._observe.waiting(self._rows)
        self._maybe_closed()

    def _read(self, frame: Frame) -> Callable[[], None]:
        """What a frame has this front do. Raises `BROKEN`."""
        if frame.kind == Kind.RAN:
            return partial(self._deliver, unpacked_ran(frame))
        told = json.loads(bytes(frame.body))
        if frame.kind == Kind.FAILED:
            error, ran = error_of(ToldError(**told["error"])), told["ran"]
            return partial(self._failed, told["numbers"], error, ran)
        if frame.kind == Kind.SHRUNK:
            return partial(self._shrink, told["cost"], told["rows"] if told["counted_here"] else 0)
        raise BrokenFrame(f"a frame of kind {frame.kind}")

    def _shrink(self, cost: int, counted_rows: int) -> None:
        self.rule = self.rule.shrunk(cost)
        if counted_rows:
            self._observe.out_of_memory(counted_rows)

    def _taken(self, number: int) -> SentTicket | None:
        ticket = self._asked.pop(number, None)
        if ticket is not None:
            self._rows -= ticket.count
        return ticket

    def _deliver(self, ran: Ran) -> None:
        tickets = [self._taken(number) for number in ran.numbers]
        waited_s = [ran.started_s - each.arrived_s for each in tickets if each is not None]
        for each in tickets:
            if each is not None and each.listener is not None:
                info = BatchInfo(each.shape, ran.mates)
                each.listener.ran(each.arrived_s, ran.started_s, ran.ended_s, info)
        if ran.counted_here:
            spent_s = ran.ended_s - ran.started_s
            self._observe.batch(*batch_figures(ran.mates), waited_s, spent_s)
        else:
            self._observe.queued(waited_s)
        answers = Answers(ran.outputs, 0, sum(ran.counts), ran.faults)
        place = 0
        for ticket, count in zip(tickets, ran.counts, strict=True):
            if ticket is not None:
                ticket.tell(answers.part(place, place + count))
            place += count

    def _failed(self, numbers: list[int], error: Exception, ran: Any) -> None:
        """`ran`: when the batch started and ended, and its mates; None where it never ran."""
        for number in numbers:
            ticket = self._taken(number)
            if ticket is None:
                continue
            if ran is not None and ticket.listener is not None:
                started_s, ended_s, mates = ran
                info = BatchInfo(ticket.shape, tuple((rows, length) for rows, length in mates))
                ticket.listener.ran(ticket.arrived_s, started_s, ended_s, info)
            ticket.tell(error)

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002  (it is gone, however)
        """See `asyncio.Protocol`."""
        self._transport, self._link.up = None, False
        stranded, self._asked, self._rows = list(self._asked.values()), {}, 0
        self._observe.waiting(0)
        for ticket in stranded:
            ticket.tell(gone())
        self._maybe_closed()
        if self._closing is None:
            shown = self._bundle
            log.error("%s %s: the engine process is lost", shown.name, shown.version)
            self._reaching = self._loop.create_task(self._reach())

    async def _reach(self) -> None:
        """Ask the engine process that follows for the version, until it has it."""
        shown, told = self._bundle, ""
        while self._closing is None:
            try:
                loaded = await asyncio.to_thread(self._link.open)
            except Unavailable:
                await asyncio.sleep(RETRY_S)
            except NotAdmitted as refused:
                self._link.refused = True
                if str(refused.error) != told:
                    log.error("%s %s: %s", shown.name, shown.version, refused.error)
                told = str(refused.error)
                await asyncio.sleep(LONG_RETRY_S)
            except Exception:  # the next try may find it right
                log.exception("the engine process was not reached; this is a bug in seatrial")
                await asyncio.sleep(LONG_RETRY_S)
            else:
                self.rule, self._slots = loaded.batch_rule, loaded.slots
                await self._join()
                log.warning("%s %s: another engine process has it", shown.name, shown.version)
                return

    def _maybe_closed(self) -> None:
        if self._closing is not None and not self._asked and not self._closing.done():
            self._closing.set_result(None)

    async def close(self) -> None:
        """Refuse new requests, answer those that wait, and give the version up."""
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_future()
            self._flush_soon()
            self._maybe_closed()
        await asyncio.shield(self._closing)
        if self._reaching is not None and not self._reaching.done():
            self._link.close()  # which ends a thread that waits for the other process
            self._reaching.cancel()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.writelines(frame_of(Kind.DONE, 0, []))
            self._transport.close()
