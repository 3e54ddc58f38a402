"""A server with `--load on-demand` in virtual time: its own queues, loads and order of cores.

What decides is the product's own code: `OnDemand` says what is loaded and unloaded, `Batcher` with
its `BatchRule` forms batches, `FairPool` by `FinishOrder` shares the cores, `Backlog` admits. What
takes time is simulated: a request's way through the front, a batch by its cost line, a load.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, cast

from virtual_time import Turns, VirtualLoop

from seatrial_contracts.errors import SeatrialError
from seatrial_serve.engines.runner import fits_inline
from seatrial_serve.inference.pace import Pace
from seatrial_serve.metrics.demand import DemandMetrics
from seatrial_serve.metrics.metrics import Metrics
from seatrial_serve.models.entry import Entry, State
from seatrial_serve.models.on_demand import NoRoom, OnDemand
from seatrial_serve.process.resources import plan_threads
from seatrial_serve.scheduling.admission import Backlog
from seatrial_serve.scheduling.batch_rule import BatchRule
from seatrial_serve.scheduling.batcher import Batcher
from seatrial_serve.scheduling.fair_order import FinishOrder
from seatrial_serve.scheduling.fair_pool import FairPool
from seatrial_serve.serving import loads_at_once


class ModelFigures(NamedTuple):
    """What a server says of a model that it has loaded."""

    pace: Pace
    rule: BatchRule
    memory_bytes: int
    load_s: float
    memory_seen: tuple[int, ...] = ()
    """What loads of it, or of its like, were measured to take; none: always `memory_bytes`.

    A server that measures a load as less keeps more models, and those that seemed small for longer.
    """


class ServerFigures(NamedTuple):
    """What a server is given, and what was measured of it beside its models."""

    cores: int
    memory_bytes: int
    """What models may take together."""
    request_s: float
    """Processor time of a request beside its batch: parsing, encoding, sockets."""
    wire_s: float = 0.0
    """What an answer takes longer than the server works for it."""
    load_s: float | None = None
    """Processor time of a load and of what it unloads; None: what each model's own load took."""
    card_slots: int = 0
    """How many batches run at once on cards; 0: they run on the cores."""
    timeout_s: float = 30.0


class Came(NamedTuple):
    """What came of a request."""

    at_s: float
    model: str
    seconds: float
    """Until its answer; negative where there was none."""
    cold: bool


class Answered(NamedTuple):
    """As many answers as rows."""

    rows: range

    def part(self, start: int, stop: int) -> Answered:
        """Those from `start` to `stop`."""
        return Answered(self.rows[start:stop])


class CountedDemand(DemandMetrics):
    """Loads and evictions, counted."""

    def __init__(self) -> None:
        super().__init__(Metrics(on=False))
        self.loads = self.evictions = 0

    def loaded(self, *_: object) -> None:
        """See `DemandMetrics.loaded`."""
        self.loads += 1

    def evicted(self, *_: object) -> None:
        """See `DemandMetrics.evicted`."""
        self.evictions += 1


class SimulatedModel:
    """A model in memory: its queue, and how many requests it has. It stands for `ServedModel`."""

    def __init__(self, name: str, figures: ModelFigures, server: SimulatedServer) -> None:
        self._name, self._figures, self._server = name, figures, server
        self._base_s, unit_s = figures.pace.line
        self._row_s = unit_s * figures.pace.length
        slots = server.figures.card_slots or server.threads
        self.backlog = Backlog(
            figures.pace.predict_s(figures.pace.length) / slots, server.loop.time
        )
        self._batcher: Batcher[range, Any] = Batcher(
            figures.rule, self._run, slots=slots,
            clock=server.loop.time, call_later=server.loop.call_later,
        )  # fmt: skip

    @property
    def held(self) -> bool:
        """Has it any request?"""
        return self.backlog.users > 0

    async def answer(self, deadline_s: float) -> None:
        """Answer one row. Raises `Unavailable` where that comes too late."""
        self.backlog.admit(deadline_s)
        self.backlog.enter()
        error: type[BaseException] | None = None
        try:
            length = self._figures.pace.length
            await self._batcher.submit(range(1), length=length, deadline_s=deadline_s)
        except SeatrialError as failed:
            error = type(failed)
            raise
        finally:
            self.backlog.leave(error)

    def _run(self, parts: Sequence[range]) -> asyncio.Future[Any]:
        rows = sum(map(len, parts))
        seconds, server = self._base_s + self._row_s * rows, self._server
        if server.loop.slots is not None:
            work: Callable[[], Any] = partial(server.loop.slots.work, seconds)
        elif fits_inline(self._base_s, self._row_s * rows):
            work = partial(server.front.work, seconds)
        else:
            run = partial(self._batch, partial(server.loop.cores.work, seconds), rows)
            return server.pool.run(run, flow=self._name, cost=seconds)
        return self._batch(work, rows)

    def _batch(self, work: Callable[[], Any], rows: int) -> asyncio.Future[Answered]:
        async def answers() -> Answered:
            await work()
            return Answered(range(rows))

        return asyncio.ensure_future(answers())


class SimulatedServer:
    """Requests to models by name, on the loop that runs."""

    def __init__(self, figures: ServerFigures, models: Mapping[str, ModelFigures]) -> None:
        self.loop = cast("VirtualLoop", asyncio.get_running_loop())
        self.figures, self._models = figures, models
        plan = plan_threads(figures.cores)
        self.threads, self.front = plan.runs, Turns(self.loop)
        self.pool = FairPool(plan.runs, "cores", FinishOrder)
        self.counts, self.came = CountedDemand(), list[Came]()
        self.most_bytes, self._random = 0, Random(0)
        self._tasks = set[asyncio.Task[None]]()
        self.demand = OnDemand(
            self._load, self._unload, self._spawn, figures.memory_bytes, self.counts,
            loads_at_once=loads_at_once(plan), clock=self.loop.time,
        )  # fmt: skip
        self._entries = {
            name: Entry(
                name, "1.0.0", Path(), state=State.COLD, demand=self.demand,
                memory_bytes=model.memory_bytes, load_s=self._load_s(model),
            )
            for name, model in models.items()
        }  # fmt: skip

    @property
    def held(self) -> int:
        """How many models are in memory."""
        return sum(entry.model is not None for entry in self._entries.values())

    def _load_s(self, model: ModelFigures) -> float:
        return model.load_s if self.figures.load_s is None else self.figures.load_s

    def _spawn(self, work: Coroutine[Any, Any, None]) -> object:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _load(self, entry: Entry, wanted: Callable[[], bool]) -> bool:
        limit_bytes = self.figures.memory_bytes
        if entry.memory_bytes > limit_bytes:
            raise NoRoom(entry, entry.memory_bytes, limit_bytes, 0)
        with await self.demand.room(entry, wanted):
            began_s, model = self.loop.time(), self._models[entry.name]
            await self.loop.cores.work(self._load_s(model))
            entry.model = cast("Any", SimulatedModel(entry.name, model, self))
            entry.state, entry.load_s = State.READY, self.loop.time() - began_s
            if model.memory_seen:
                entry.memory_bytes = self._random.choice(model.memory_seen)
            self.demand.hold(entry)
        self.most_bytes = max(self.most_bytes, self.demand.held_bytes)
        return True

    async def _unload(self, entry: Entry) -> None:
        entry.model, entry.state = None, State.COLD
        self.demand.let_go(entry)

    async def ask(self, name: str, at_s: float) -> None:
        """One request, which is due now."""
        deadline_s, entry, cold = at_s + self.figures.timeout_s, self._entries[name], False
        await self.front.work(self.figures.request_s)
        try:
            while entry.model is None:
                cold = True
                await self.demand.wait(entry, deadline_s)
            await cast("SimulatedModel", entry.model).answer(deadline_s)
        except SeatrialError:
            self.came.append(Came(at_s, name, -1.0, cold))
            return
        seconds = self.loop.time() - at_s + self.figures.wire_s
        self.came.append(Came(at_s, name, seconds, cold))


class Outcome(NamedTuple):
    """What came of a trace, from `since_s` on."""

    came: list[Came]
    loads: int
    evictions: int
    most_bytes: int
    """The most that models took together."""
    held: int
    """How many models were in memory at the end."""
    busy_s: float
    """Processor time."""
    cards_busy_s: float
    seconds: float
    """How long it took until the last answer."""


def simulate(
    figures: ServerFigures,
    models: Mapping[str, ModelFigures],
    due: Sequence[tuple[float, str]],
    since_s: float = 0.0,
) -> Outcome:
    """Play requests (seconds from the start, model), and count those that are due from `since_s`.

    What comes before fills the memory.
    """
    loop = VirtualLoop(figures.cores, figures.card_slots)
    try:
        return loop.run_until_complete(_played(loop, figures, models, due, since_s))
    finally:
        loop.close()


async def _played(
    loop: VirtualLoop,
    figures: ServerFigures,
    models: Mapping[str, ModelFigures],
    due: Sequence[tuple[float, str]],
    since_s: float,
) -> Outcome:
    server, begun = SimulatedServer(figures, models), (0, 0, 0.0, 0.0)
    with server.pool:
        async with asyncio.TaskGroup() as requests:
            for at_s, name in due:
                if loop.time() < since_s <= at_s:
                    await asyncio.sleep(max(since_s - loop.time(), 0.0))
                    begun = _counted(server)
                await asyncio.sleep(max(at_s - loop.time(), 0.0))
                requests.create_task(server.ask(name, at_s))
    loads, evictions, busy_s, cards_s = (
        now - then for now, then in zip(_counted(server), begun, strict=True)
    )
    return Outcome(
        [each for each in server.came if each.at_s >= since_s], round(loads), round(evictions),
        server.most_bytes, server.held, busy_s, cards_s, loop.time() - since_s,
    )  # fmt: skip


def _counted(server: SimulatedServer) -> tuple[float, float, float, float]:
    cards = server.loop.slots
    return (
        server.counts.loads, server.counts.evictions, server.loop.cores.busy_s,
        0.0 if cards is None else cards.busy_s,
    )  # fmt: skip
