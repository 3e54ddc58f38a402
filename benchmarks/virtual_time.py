"""Time that passes only as a simulation waits, and cores and cards that work costs time on.

Under `VirtualLoop`, asyncio's own timers are the heap of events, so that a server's queues and
loads run as they are: an hour of waiting takes no time.
"""

from __future__ import annotations

import asyncio
import selectors
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any


class _Jumps(selectors.SelectSelector):
    """Nothing is ever to be read: a wait lets the clock jump."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("everything waits for ever; this is a bug in the simulation")
        self.now_s += max(timeout, 0.0)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer."""

    def __init__(self, cores: int, card_slots: int = 0) -> None:
        """`card_slots`: how many batches run at once on cards; 0: batches run on the cores."""
        self._jumps = _Jumps()
        super().__init__(self._jumps)
        self.cores = Cores(self, cores)
        self.slots = Slots(self, card_slots) if card_slots else None

    def time(self) -> float:
        """Seconds since the simulation began."""
        return self._jumps.now_s

    def run_in_executor(
        self, _executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Work in a thread: `func` says what is to be worked, and is a future of it."""
        return func(*args)  # type: ignore[no-any-return]


class Cores:
    """Cores that all work in progress shares evenly, as threads of one process do."""

    def __init__(self, loop: VirtualLoop, cores: int) -> None:
        self._loop, self._cores = loop, cores
        self._left: dict[asyncio.Future[None], float] = {}
        self._last_s, self._timer = 0.0, None
        self.busy_s = 0.0
        """Processor time so far, of all cores together."""

    def work(self, seconds: float) -> asyncio.Future[None]:
        """A future of so much processor time of one thread."""
        future = self._loop.create_future()
        self._pass_time()
        self._left[future] = seconds
        self._look_later()
        return future

    def _pass_time(self) -> None:
        now = self._loop.time()
        if self._left:
            busy = min(self._cores, len(self._left))
            worked = (now - self._last_s) * busy
            self.busy_s += worked
            each = worked / len(self._left)
            for future in self._left:
                self._left[future] -= each
        self._last_s = now

    def _look_later(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._left:
            share = min(1.0, self._cores / len(self._left))
            wait_s = max(min(self._left.values()), 0.0) / share
            self._timer = self._loop.call_later(wait_s, self._look)

    def _look(self) -> None:
        self._timer = None
        self._pass_time()
        for future in [future for future, left_s in self._left.items() if left_s <= 1e-9]:
            del self._left[future]
            if not future.done():
                future.set_result(None)
        self._look_later()


class Turns:
    """A thread that does one piece of work after another: an event loop."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop, self._waiting = loop, deque[tuple[float, asyncio.Future[None]]]()
        self._works = False

    def work(self, seconds: float) -> asyncio.Future[None]:
        """A future of so much processor time in its turn."""
        future = self._loop.create_future()
        self._waiting.append((seconds, future))
        if not self._works:
            self._next()
        return future

    def _next(self) -> None:
        self._works = bool(self._waiting)
        if self._works:
            seconds, future = self._waiting.popleft()
            self._loop.cores.work(seconds).add_done_callback(partial(self._ended, future))

    def _ended(self, future: asyncio.Future[None], _: asyncio.Future[None]) -> None:
        if not future.done():
            future.set_result(None)
        self._next()


class Slots:
    """Cards, which take so many batches at once, each for its own time."""

    def __init__(self, loop: VirtualLoop, slots: int) -> None:
        self._loop, self._free, self._waiting = loop, slots, deque[Any]()
        self.busy_s = 0.0
        """The time of all batches so far."""

    def work(self, seconds: float) -> asyncio.Future[None]:
        """A future of a batch that takes so long once a slot is free."""
        future = self._loop.create_future()
        self._waiting.append((seconds, future))
        self._start()
        return future

    def _start(self) -> None:
        while self._free and self._waiting:
            self._free -= 1
            seconds, future = self._waiting.popleft()
            self.busy_s += seconds
            self._loop.call_later(seconds, self._ended, future)

    def _ended(self, future: asyncio.Future[None]) -> None:
        self._free += 1
        if not future.done():
            future.set_result(None)
        self._start()
