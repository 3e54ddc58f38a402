"""The engine process's side: versions that fronts share, and the batches of all their rows."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from struct import error as StructError  # noqa: N812  (a class, whatever its name)
from typing import NamedTuple, cast

import numpy as np
from pydantic import ValidationError

from seatrial_contracts.answer_faults import NO_ROWS, OutputFault
from seatrial_contracts.bundle import open_bundle
from seatrial_contracts.errors import ModelError, OutOfMemory, SeatrialError
from seatrial_contracts.host_stage import ColumnBlock, Part
from seatrial_contracts.identities import Identities
from seatrial_serve.engines.footprint import Growths, footprint
from seatrial_serve.engines.loader import EngineLoader, LoadedGraph, ProvenEngine
from seatrial_serve.engines.runner import BatchRunner
from seatrial_serve.engines.told import LoadedReply, LoadRequest, NotLoadedReply, ToldGate
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
    build,
    json_frame,
    packed_ran,
    told_error,
)
from seatrial_serve.inference.engine import Answers
from seatrial_serve.metrics.standing import GateResult
from seatrial_serve.process.memory import trim
from seatrial_serve.scheduling.batcher import Batcher
from seatrial_serve.scheduling.fair_pool import FairPool
from seatrial_serve.scheduling.ticket import BatchInfo, Ticket, Unobserved

log = logging.getLogger("seatrial.engines")
LINGER_S = 30.0
"""How long a version is kept whose last front is lost, and did not give it up.

The front that follows it finds it loaded.
"""
BROKEN: tuple[type[Exception], ...] = (BrokenFrame, StructError, ValueError, TypeError)
"""What a frame raises that is none of this build."""


class NotServed(Exception):
    """A version is not served, with what its load gate found, if it came so far."""

    def __init__(self, error: BaseException, gate: GateResult | None = None) -> None:
        super().__init__(str(error))
        self.error, self.gate = error, gate


class AskedTicket:
    """A front's ticket here, as the batcher's listener."""

    __slots__ = ("ended_s", "front", "info", "number", "started_s")

    def __init__(self, front: FrontConnection, number: int) -> None:
        self.front, self.number = front, number
        self.info: BatchInfo | None = None
        self.started_s = self.ended_s = 0.0

    def ran(self, arrived_s: float, started_s: float, ended_s: float, batch: BatchInfo) -> None:  # noqa: ARG002  (the front knows when it came)
        """See `TicketListener`."""
        self.started_s, self.ended_s, self.info = started_s, ended_s, batch
        self.front.ran(self)

    def reply(self, answers: Answers | Exception) -> None:
        """It has an answer, or has failed."""
        self.front.ended(self, answers)


class HostedVersion(Unobserved):
    """A version in this process: the queue and the batches of all its fronts."""

    def __init__(
        self, proven: ProvenEngine, cores: FairPool, runs: int, max_waiting_rows: int
    ) -> None:
        """`runs`: how many batches run at once on the processor."""
        self.engine = proven.engine
        self.codec = RowCodec(self.engine.specs)
        flow = (self.engine.bundle.name, self.engine.bundle.version)
        self._runner = BatchRunner(self.engine, proven.admitted.pace, cores, flow)
        self.slots = self.engine.slots or runs
        self.fronts: set[FrontConnection] = set()
        self._ended: list[tuple[AskedTicket, Answers | Exception]] = []
        self._latest: AskedTicket | None = None
        self._ran: list[AskedTicket] = []
        """A ticket of each batch that has answers, and is not counted yet."""
        self.batcher: Batcher[Part, Answers] = Batcher(
            proven.rule, lambda parts: self._runner.run(parts, self.batcher.until_s),
            slots=self.slots, max_waiting_rows=max_waiting_rows, observe=self,
        )  # fmt: skip

    def out_of_memory(self, rows: int) -> None:
        """See `Observe`: the fronts are told, of whom one counts it."""
        cost = self.batcher.rule.max_cost
        assert cost is not None  # it was shrunk just now
        counted_here = True
        for front in self.fronts:
            told = {"rows": rows, "cost": 2 * cost, "counted_here": counted_here}
            front.write(json_frame(Kind.SHRUNK, told))
            counted_here = False

    def ran(self, ticket: AskedTicket) -> None:
        """A ticket was in a batch, which `batch` tells of once more where it has answers."""
        self._latest = ticket

    def batch(self, *_: object) -> None:
        """See `Observe`: one of the fronts counts it, whether or not its clients have left."""
        if self._latest is not None:
            self._tell_soon()
            self._ran.append(self._latest)

    def ended(self, ticket: AskedTicket, answers: Answers | Exception) -> None:
        """Tell the ticket's front, in one go with those that end in this turn of the loop."""
        self._tell_soon()
        self._ended.append((ticket, answers))

    def _tell_soon(self) -> None:
        if not self._ended and not self._ran:
            asyncio.get_running_loop().call_soon(self._tell)

    def _tell(self) -> None:
        ended, self._ended = self._ended, []
        ran, self._ran = self._ran, []
        batches: dict[int, dict[FrontConnection, list[tuple[AskedTicket, Answers]]]] = {}
        for ticket, answers in ended:
            if isinstance(answers, Exception):
                ticket.front.write(failed_frame(ticket, answers))
            else:
                fronts = batches.setdefault(id(answers.outputs), {})
                fronts.setdefault(ticket.front, []).append((ticket, answers))
        for fronts in batches.values():
            counted_here = True
            for front, answered in fronts.items():
                try:
                    front.writelines(packed_ran(ran_of(answered, counted_here=counted_here)))
                except Exception as error:  # nobody waits for ever, whatever goes wrong here
                    for ticket, _ in answered:
                        front.write(failed_frame(ticket, error))
                counted_here = False
        told = {id(ticket.info) for ticket, _ in ended}
        anyone = next(iter(self.fronts), None)
        for ticket in ran:
            if id(ticket.info) not in told and anyone is not None:
                anyone.writelines(packed_ran(of_nobody(ticket)))

    async def close(self) -> None:
        """Answer what waits, and let go of the engine."""
        await self.batcher.close()
        self._runner.close()


def ran_of(answered: list[tuple[AskedTicket, Answers]], *, counted_here: bool) -> Ran:
    """What a front is told of a batch: of its own tickets in it, the answers."""
    first, answers = answered[0]
    assert first.info is not None
    counts, faults, place = [], dict[int, OutputFault](), 0
    slices: list[slice] = []
    for _, each in answered:
        counts.append(each.stop - each.start)
        for row, fault in each.faults.items():
            faults[place + row - each.start] = fault
        place += each.stop - each.start
        if slices and slices[-1].stop == each.start:
            slices[-1] = slice(slices[-1].start, each.stop)
        else:
            slices.append(slice(each.start, each.stop))
    outputs = {
        name: array[slices[0]]
        if len(slices) == 1
        else np.concatenate([array[some] for some in slices])
        for name, array in answers.outputs.items()
    }
    return Ran(
        first.started_s, first.ended_s, first.info.mates, counted_here,
        [ticket.number for ticket, _ in answered], counts, outputs, faults,
    )  # fmt: skip


def of_nobody(ticket: AskedTicket) -> Ran:
    """What a front is told of a batch whose clients have all left, with one of its tickets."""
    assert ticket.info is not None
    return Ran(ticket.started_s, ticket.ended_s, ticket.info.mates, True, (), (), {}, NO_ROWS)


def failed_frame(ticket: AskedTicket, error: Exception) -> bytes:
    """What a front is told of a ticket without an answer."""
    if not isinstance(error, SeatrialError):
        log.error("a batch failed; this is a bug in seatrial", exc_info=error)
    info = ticket.info
    ran = None if info is None else (ticket.started_s, ticket.ended_s, info.mates)
    told = {"numbers": [ticket.number], "error": asdict(told_error(error)), "ran": ran}
    return json_frame(Kind.FAILED, told)


class Found(NamedTuple):
    """A version that a front gets, and what it is told of it."""

    version: HostedVersion
    reply: LoadedReply


@dataclass(eq=False)
class Place:
    """Where a version is, or will be, and how many fronts hold it."""

    loading: asyncio.Task[Found]
    holders: int = 0
    lingers: asyncio.TimerHandle | None = field(default=None)


class EngineHost:
    """The versions of this process, each loaded once for all fronts that ask for it."""

    def __init__(
        self, load: EngineLoader, identities: Identities, pool: Executor, cores: FairPool, *,
        runs: int, max_waiting_rows: int, tidy: Callable[[], None],
    ) -> None:  # fmt: skip
        """`pool`: threads that bound the loads at once; `tidy`: called, in a thread, after one."""
        self._load, self._identities, self._pool, self._cores = load, identities, pool, cores
        self._runs, self._max_waiting_rows, self._tidy = runs, max_waiting_rows, tidy
        self._growths = Growths()
        self._places: dict[tuple[str, str | None], Place] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self.fronts: set[FrontConnection] = set()
        self.alone = asyncio.Event()
        """No front is connected."""
        self.alone.set()

    def connection(self) -> asyncio.Protocol:
        """For a front that connects."""
        return FrontConnection(self)

    async def hold(self, request: LoadRequest) -> tuple[Place, Found]:
        """The version that a front asks for; `release` it. Raises `NotServed`."""
        if request.build != build():
            text = "this worker and the engine process are of two builds; restart the server"
            raise NotServed(ModelError("E_RUNTIME_ANSWER", text))
        key = request.digest, request.variant
        place = self._places.get(key)
        if place is None or (place.loading.done() and place.loading.exception() is not None):
            loading = asyncio.get_running_loop().create_task(self._loaded(request))
            place = self._places[key] = Place(loading)
        if place.lingers is not None:
            place.lingers.cancel()
            place.lingers = None
        place.holders += 1
        try:
            return place, await asyncio.shield(place.loading)
        except BaseException:  # whatever ends it, this front does not hold it
            self.release(place, given_up=True)
            raise

    async def _loaded(self, request: LoadRequest) -> Found:
        found: list[GateResult] = []

        def load() -> tuple[ProvenEngine, int]:
            growth = self._growths.begin()
            try:
                bundle = open_bundle(
                    Path(request.path),
                    self._identities,
                    LoadedGraph(request.variant, self._load.options),
                    request.digest,
                )
                proven = self._load(bundle, request.variant, found.append, request.signer)
                bundle.let_go()
                if not found[-1].kept:
                    trim()  # what the batches of the whole load gate took is not the version's
            finally:
                grown = self._growths.end(growth)
            return proven, footprint(bundle.manifest, proven.engine.variant, grown)

        try:
            proven, memory_bytes = await asyncio.get_running_loop().run_in_executor(
                self._pool, load
            )
        except Exception as error:  # a version that cannot be loaded keeps no other away
            if not isinstance(error, SeatrialError):
                log.exception("%s was not loaded; this is a bug in seatrial", request.name)
            raise NotServed(error, found[-1] if found else None) from error
        version = HostedVersion(proven, self._cores, self._runs, self._max_waiting_rows)
        await asyncio.to_thread(self._tidy)
        shown = proven.engine.bundle
        log.info("%s %s is loaded for all workers", request.name, shown.version)
        reply = LoadedReply.of(
            proven.engine, proven.admitted, proven.rule, slots=version.slots, gate=found[-1],
            memory_bytes=memory_bytes,
        )  # fmt: skip
        return Found(version, reply)

    def release(self, place: Place, *, given_up: bool) -> None:
        """A front holds it no more: it gave it up, or was lost."""
        place.holders -= 1
        if place.holders:
            return
        if given_up:
            self._drop(place)
        else:
            place.lingers = asyncio.get_running_loop().call_later(LINGER_S, self._drop, place)

    def _drop(self, place: Place) -> None:
        """Nobody wants it any more."""
        if place.holders:
            return
        self._places = {key: each for key, each in self._places.items() if each is not place}
        task = asyncio.get_running_loop().create_task(self._close(place))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _close(self, place: Place) -> None:
        try:
            found = await place.loading
        except Exception:  # told to whoever asked
            return
        await found.version.close()
        await asyncio.to_thread(self._tidy)

    async def close(self) -> None:
        """Let go of everything."""
        for front in list(self.fronts):
            front.abort()
        for place in list(self._places.values()):
            if place.lingers is not None:
                place.lingers.cancel()
            place.holders = 0
            self._drop(place)
        if self._closing:
            await asyncio.wait(self._closing)


class FrontConnection(asyncio.Protocol):
    """A front that asks for one version, and then for the answers to its rows."""

    def __init__(self, host: EngineHost) -> None:
        self._host, self._frames = host, Frames()
        self._transport: asyncio.Transport | None = None
        self._place: Place | None = None
        self._version: HostedVersion | None = None
        self._tickets: dict[int, Ticket[Part, Answers]] = {}
        self._joining: asyncio.Task[None] | None = None
        self._given_up = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class
        self._host.fronts.add(self)
        self._host.alone.clear()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        try:
            for frame in self._frames.feed(data):
                self._came(frame)
        except BROKEN:
            log.exception("a worker sent what nobody reads; this is a bug in seatrial")
            self.abort()
        if self._version is not None:
            self._version.batcher.pump_soon()

    def _came(self, frame: Frame) -> None:
        if frame.kind == Kind.LOAD and self._joining is None:
            try:
                request = LoadRequest.model_validate_json(bytes(frame.body))
            except ValidationError as error:
                raise BrokenFrame("a load of another build") from error
            self._joining = asyncio.get_running_loop().create_task(self._join(request))
        elif frame.kind == Kind.RUN and self._version is not None:
            self._queue(self._version, frame)
        elif frame.kind == Kind.LEFT:
            for number in np.frombuffer(frame.body, np.uint64, frame.tickets).tolist():
                ticket = self._tickets.pop(number, None)
                if ticket is not None:
                    ticket.gone = True
        elif frame.kind == Kind.DONE:
            self._given_up = True
        else:
            raise BrokenFrame(f"a frame of kind {frame.kind}")

    async def _join(self, request: LoadRequest) -> None:
        try:
            place, found = await self._host.hold(request)
        except NotServed as refused:
            self._refuse(refused)
            return
        except Exception as error:  # the front must not wait for ever
            log.exception("%s is not served; this is a bug in seatrial", request.name)
            self._refuse(NotServed(error))
            return
        if self._transport is None:  # it left while the version was loaded
            self._host.release(place, given_up=self._given_up)
            return
        self._place, self._version = place, found.version
        found.version.fronts.add(self)
        reply = found.reply.model_copy(update={"rule": asdict(found.version.batcher.rule)})
        self.write(json_frame(Kind.LOADED, reply.model_dump(mode="json")))

    def _refuse(self, refused: NotServed) -> None:
        gate = None if refused.gate is None else ToldGate.of(refused.gate)
        told = NotLoadedReply(error=asdict(told_error(refused.error)), gate=gate)
        self.write(json_frame(Kind.NOT_LOADED, told.model_dump(mode="json")))
        if self._transport is not None:
            self._transport.close()

    def _queue(self, version: HostedVersion, frame: Frame) -> None:
        engine, body, at = version.engine, frame.body, 0
        for _ in range(frame.tickets):
            number, _, deadline_s, flow, size, many, priority, further = ASKED.unpack_from(body, at)
            at += ASKED.size
            rows = version.codec.unpack(body[at : at + size], abs(many), columns=many < 0)
            at += size + -size % UNIT
            asked = AskedTicket(self, number)
            shape, length = (
                engine.batch_key_of_block(rows)
                if isinstance(rows, ColumnBlock)
                else engine.batch_key(rows[0])
            )
            try:
                if len(rows) > version.batcher.rule.rows_of(length):
                    raise OutOfMemory("more rows than a batch holds by now")
                self._tickets[number] = version.batcher.post(
                    rows, asked.reply, shape=shape, length=length, deadline_s=deadline_s,
                    flow=flow, priority=priority, listener=asked, further=further,
                )  # fmt: skip
            except SeatrialError as error:
                version.ended(asked, error)

    def ran(self, ticket: AskedTicket) -> None:
        """A ticket was in a batch."""
        if self._version is not None:
            self._version.ran(ticket)

    def ended(self, ticket: AskedTicket, answers: Answers | Exception) -> None:
        """A ticket has an answer, or has failed."""
        self._tickets.pop(ticket.number, None)
        if self._version is not None and self._transport is not None:
            self._version.ended(ticket, answers)

    def write(self, data: bytes) -> None:
        """Send it, if the front is there."""
        if self._transport is not None:
            self._transport.write(data)

    def writelines(self, pieces: list[Piece]) -> None:
        """Send them, if the front is there."""
        if self._transport is not None:
            self._transport.writelines(pieces)

    def abort(self) -> None:
        """End the connection."""
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002  (it is gone, however)
        """See `asyncio.Protocol`: nobody waits for its answers."""
        self._transport = None
        self._host.fronts.discard(self)
        if not self._host.fronts:
            self._host.alone.set()
        for ticket in self._tickets.values():
            ticket.gone = True
        self._tickets.clear()
        if self._version is not None:
            self._version.fronts.discard(self)
        if self._place is not None:
            self._host.release(self._place, given_up=self._given_up)
            self._place = None
