"""Versions that are loaded when they are asked for, and unloaded when others want their memory."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any, NamedTuple

from seatrial_contracts.bundle import read_manifest
from seatrial_contracts.errors import BundleError, Unavailable, sentence
from seatrial_serve.engines.footprint import footprint
from seatrial_serve.metrics.demand import DemandMetrics
from seatrial_serve.models.entry import Entry
from seatrial_serve.process.clock import now_s

log = logging.getLogger("seatrial.on_demand")
FEWEST_S = 0.05
"""A version is idle at least so long before it is unloaded, however quickly it loads."""
TYPICAL_S, FADE = 1.0, 0.2
"""What a load is assumed to take before one was measured, and the weight of each measured one."""
LOOK_S = 0.25
"""How often a load that waits for room looks for some, at least."""
PATIENCE_S = 10.0
"""How much longer than it was told a client that was turned away may take to come back."""


class NoRoom(Unavailable):
    """A version takes more than models may take together, beside those that stay."""

    def __init__(self, entry: Entry, need_bytes: int, limit_bytes: int, stays_bytes: int) -> None:
        beside = f", {stays_bytes / 1e6:.1f} MB of it for models that stay" if stays_bytes else ""
        text = sentence(
            f"memory of {entry.name} {entry.version}",
            f"about {need_bytes / 1e6:.1f} MB",
            f"at most {limit_bytes / 1e6:.1f} MB for all models{beside}",
            "raise --model-memory-bytes",
        )
        super().__init__("E_MEMORY", text, retry_after_s=30)


class Work(NamedTuple):
    """What loads take together: seconds of those that were measured before, number of the others.

    The others take what a load typically takes by the time that somebody asks.
    """

    measured_s: float = 0.0
    unmeasured: int = 0

    def with_load(self, load_s: float) -> Work:
        """The same and one load more; `load_s`: what it took before, 0 if nobody measured it."""
        return Work(self.measured_s + load_s, self.unmeasured + (not load_s))

    def seconds(self, typical_s: float) -> float:
        """How long the loads take, one after another."""
        return self.measured_s + self.unmeasured * typical_s


class Load:
    """A load that somebody waits for."""

    def __init__(self, entry: Entry, ahead: Work) -> None:
        """`ahead`: all loads that were asked for before it, also those that have ended."""
        self.entry, self.ahead, self.measured_s = entry, ahead, entry.load_s
        self.began_s: float | None = None
        """When its turn came, a time of the clock; None before that."""
        self.wanted_until_s = 0.0
        """When the last of those that wait, or were told to come back, has given up."""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class OnDemand:
    """Who is in memory. It runs on the event loop.

    A crowd waits for one load, and loads wait for each other: a load takes a core. To make room,
    the version goes that is worth least where it is: idle time * bytes / seconds of a load. It has
    no request, and has been idle for at least as long as it takes to load. By that rule (that of
    ski rental: rent until the rent has cost as much as buying) no memory is freed that is wanted
    back at once, and a burst over more models than fit is turned away and does not thrash.
    """

    def __init__(
        self,
        load: Callable[[Entry, Callable[[], bool]], Coroutine[Any, Any, bool]],
        unload: Callable[[Entry], Coroutine[Any, Any, None]],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        limit_bytes: int,
        metrics: DemandMetrics,
        *,
        loads_at_once: int = 1,
        stops: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = now_s,
    ) -> None:
        """`load` and `unload` change one version, if that is still to be done.

        `load` is told how to ask whether somebody still waits, makes `room`, and returns whether it
        has loaded the version. Raises `Unavailable` where that is not there any more.
        `spawn` begins a task of the server's; `stops`: is nothing to be loaded any more?
        `limit_bytes`: what the versions in memory may take together.
        """
        self._load, self._unload, self._spawn = load, unload, spawn
        self._limit_bytes, self._metrics = limit_bytes, metrics
        self._stops, self._clock = stops, clock
        self._slots, self._at_once = asyncio.Semaphore(loads_at_once), loads_at_once
        self._loads: dict[Entry, Load] = {}
        self._running: set[Load] = set()
        self._asked_for, self._ended = Work(), Work()
        """All loads that were ever asked for, and those that have ended."""
        self._held: set[Entry] = set()
        self._reserved_bytes, self._typical_s = 0, TYPICAL_S
        metrics.watch(
            limit_bytes, lambda: self.held_bytes, lambda: len(self._held), lambda: len(self._loads)
        )

    @property
    def held_bytes(self) -> int:
        """What the versions in memory take together. Any thread may ask."""
        return sum(entry.memory_bytes for entry in list(self._held))

    async def wait(self, entry: Entry, deadline_s: float) -> None:
        """Return once a version is loaded, or has failed: see `Demand`.

        Raises `Unavailable` at once if that is expected after the deadline; the load goes on, and
        whoever comes back after `retry_after_s` finds the version loaded.
        """
        begin = self._clock()
        load = self._loads.get(entry) or self._asked(entry)
        left_s = self._left_s(load)
        if begin + max(left_s, 0.0) > deadline_s:
            load.wanted_until_s = max(load.wanted_until_s, begin + 2 * left_s + PATIENCE_S)
            self._metrics.waited("refused", 0.0)
            raise being_loaded(entry, left_s)
        load.wanted_until_s = max(load.wanted_until_s, deadline_s)
        patience_s = deadline_s - begin if deadline_s < math.inf else None
        try:
            async with asyncio.timeout(patience_s):
                await asyncio.shield(load.done)
        except TimeoutError:
            self._metrics.waited("late", self._clock() - begin)
            left_s = max(self._left_s(load), self._expected_s(load))
            raise being_loaded(entry, left_s) from None
        self._metrics.waited("loaded", self._clock() - begin)

    def _asked(self, entry: Entry) -> Load:
        """Begin a load."""
        if self._stops():
            raise Unavailable("E_NOT_READY", "this server stops, and loads nothing any more")
        load = self._loads[entry] = Load(entry, self._asked_for)
        self._asked_for = self._asked_for.with_load(load.measured_s)
        entry.being_loaded = True
        self._spawn(self._run(load))
        return load

    def _expected_s(self, load: Load) -> float:
        """What a load takes once its turn has come."""
        return load.measured_s or self._typical_s

    def _left_s(self, load: Load) -> float:
        """In how many seconds a load ends, by what loads take by now; below zero: it is late."""
        expected_s, now = self._expected_s(load), self._clock()
        if load.began_s is not None:
            return expected_s - (now - load.began_s)
        spent_s = sum(
            min(now - each.began_s, self._expected_s(each))
            for each in self._running
            if each.began_s is not None
        )
        ended_s = self._ended.seconds(self._typical_s) + spent_s
        ahead_s = load.ahead.seconds(self._typical_s) - ended_s
        return max(ahead_s, 0.0) / self._at_once + expected_s

    async def _run(self, load: Load) -> None:
        """Load once it is this load's turn, if somebody still waits; then tell all who do."""
        entry, error = load.entry, None
        try:
            async with self._slots:
                load.began_s = self._clock()
                self._running.add(load)
                if self._wanted(load) and await self._load(entry, partial(self._wanted, load)):
                    self._metrics.loaded(entry.name, entry.version, entry.load_s)
        except Unavailable as unavailable:
            error = unavailable
        except Exception:  # whoever waits is told, and the next one may try again
            log.exception("%s %s: this is a bug in seatrial", entry.name, entry.version)
            error = Unavailable("E_NOT_READY", f"{entry.name} {entry.version} did not load")
        finally:
            del self._loads[entry]
            self._running.discard(load)
            self._ended = self._ended.with_load(load.measured_s)
            entry.being_loaded = False
        if error is not None:
            load.done.set_exception(error)
            load.done.exception()  # it is seen, also where nobody waits any more
        else:
            load.done.set_result(None)

    def _wanted(self, load: Load) -> bool:
        return not self._stops() and load.wanted_until_s >= self._clock()

    async def room(self, entry: Entry, wanted: Callable[[], bool]) -> AbstractContextManager[None]:
        """Make room for a version, and return a context in which it is taken.

        Raises `Unavailable` where none can be made, and once it is not `wanted` any more.
        """
        need_bytes = entry.memory_bytes
        if not 0 < need_bytes <= self._limit_bytes:  # requests may have grown beside its last load
            need_bytes = await asyncio.to_thread(assumed_bytes, entry)
        while self.held_bytes + self._reserved_bytes + need_bytes > self._limit_bytes:
            stays_bytes = sum(held.memory_bytes for held in self._held if held.demand is None)
            if stays_bytes + need_bytes > self._limit_bytes:
                raise NoRoom(entry, need_bytes, self._limit_bytes, stays_bytes)
            victim, in_s = self._least_worth()
            if victim is not None:
                self._metrics.evicted(victim.name, victim.version)
                log.info(
                    "%s %s is unloaded, %.1f MB: %s %s wants the memory",
                    victim.name, victim.version, victim.memory_bytes / 1e6,
                    entry.name, entry.version,
                )  # fmt: skip
                await self._unload(victim)
            elif not wanted():
                raise being_loaded(entry, self._typical_s)
            else:
                await asyncio.sleep(min(in_s, LOOK_S))
        return self._taken(need_bytes)

    @contextmanager
    def _taken(self, need_bytes: int) -> Iterator[None]:
        self._reserved_bytes += need_bytes
        try:
            yield
        finally:
            self._reserved_bytes -= need_bytes

    def _least_worth(self) -> tuple[Entry | None, float]:
        """The version to be unloaded; where there is none, in how many seconds there may be one."""
        now, found, most, soonest_s = self._clock(), None, 0.0, math.inf
        for entry in self._held:
            model = entry.model
            if model is None or entry.demand is None:
                continue
            if model.held:
                soonest_s = min(soonest_s, LOOK_S)
                continue
            idle_s = now - max(model.backlog.since_s, entry.loaded_s)
            stays_s = max(entry.load_s, FEWEST_S) - idle_s
            if stays_s > 0:
                soonest_s = min(soonest_s, stays_s)
                continue
            burden = burden_of(idle_s, entry.memory_bytes, entry.load_s)
            if burden > most:
                found, most = entry, burden
        return found, soonest_s

    def check_fits(self, entry: Entry, need_bytes: int) -> None:
        """Log a version that takes more than models may take together: no request loads it."""
        if need_bytes > self._limit_bytes:
            log.warning("%s", NoRoom(entry, need_bytes, self._limit_bytes, 0))

    def hold(self, entry: Entry) -> None:
        """A version is in memory now, whoever loaded it."""
        entry.loaded_s = self._clock()
        self._held.add(entry)
        self._typical_s += FADE * (entry.load_s - self._typical_s)

    def let_go(self, entry: Entry) -> None:
        """A version is in memory no more."""
        self._held.discard(entry)


def burden_of(idle_s: float, memory_bytes: int, load_s: float) -> float:
    """How little a version is worth where it is: the one with the largest goes.

    Idle time times bytes is what it has cost since its last request; a load is what it saves.
    """
    return idle_s * max(memory_bytes, 1) / max(load_s, FEWEST_S)


def being_loaded(entry: Entry, seconds: float) -> Unavailable:
    """What whoever cannot wait for a version is told."""
    seconds = max(seconds, 0.1)
    text = f"{entry.name} {entry.version} is being loaded, which takes about {seconds:.1f} s"
    return Unavailable("E_NOT_READY", text, retry_after_s=seconds)


def assumed_bytes(entry: Entry) -> int:
    """Bytes that a version is assumed to take until a load measured it.

    They are 0 where its manifest cannot be read: its load says why.
    """
    try:
        return footprint(read_manifest(entry.path), entry.variant)
    except BundleError:
        return 0
