"""The sampler: it gives answered requests to observers, off the hot path.

It never delays a request.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, Self

from seatrial_serve.models.answer import Answer
from seatrial_serve.models.served_model import ServedModel
from seatrial_serve.process.clock import now_s

log = logging.getLogger("seatrial.taps")
MAX_WAITING, MAX_WAITING_BYTES = 1024, 16 * 2**20
"""What may wait for the observers: beyond either, requests pass unseen."""
MAX_TAKEN, MAX_TAKEN_BYTES = 64, 256 * 2**10
"""Most rows and bytes that the observers take in one go, at least one request.

Rows of a table come by many, images one by one.
"""
PAUSE_S = 0.25
"""Between two looks: many requests at once cost a tenth of what they cost one by one."""
SHARE = 0.02
"""The share of a thread's time that the observers may take.

If they are slower than requests come, they see a sample.
"""


@dataclass(slots=True)
class Answered:
    """A request whose reply is on its way: its rows and its answer.

    It is dropped once the observers have seen it.
    """

    model: ServedModel
    answer: Answer
    """Its `given` is what the request asked, as validated: rows or columns."""
    request_id: str
    seconds: float
    size_bytes: int

    @property
    def variant(self) -> str:
        """The variant that answered."""
        return self.model.engine.variant


class SampleObserver(Protocol):
    """Looks at answered requests: for drift and live parity."""

    def answered(self, seen: Sequence[Answered]) -> None:
        """Take requests in the order of their replies.

        The call comes in the sampler's own thread, of which there is one.
        """
        ...


class Sampler:
    """A bounded queue, a rate limit, and one coroutine that empties the queue.

    It stands between the request path and the observers. Use `async with`.

    Each process takes at most `per_s` requests a second (bursts of one second's worth), and its
    observers at most the share `SHARE` of a thread's time: above either, what they see is a sample
    of the traffic. `offer` costs the request path about a microsecond.
    """

    def __init__(
        self,
        observers: Sequence[SampleObserver],
        per_s: float,
        *,
        clock: Callable[[], float] = now_s,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._observers = tuple(observers)
        self._per_s = per_s
        self._clock = clock
        self._sleep = sleep
        self._allowed, self._since = max(per_s, 1.0), clock()
        self._waiting: deque[Answered] = deque()
        self._waiting_bytes = 0
        self._wake, self._idle = asyncio.Event(), asyncio.Event()
        self._idle.set()
        self._owner: asyncio.Task[None] | None = None

    @property
    def open(self) -> bool:
        """May another request be offered now?"""
        return self._allowed >= 1 and self._owner is not None

    def offer(
        self, model: ServedModel, answer: Answer, request_id: str, seconds: float, body_bytes: int
    ) -> None:
        """Keep an answered request for the observers, or let it pass.

        `offer` never waits and never raises.
        """
        if not self.open or not answer.parts or len(self._waiting) >= MAX_WAITING:
            return
        size_bytes = body_bytes + answer.held_bytes
        if self._waiting_bytes + size_bytes > MAX_WAITING_BYTES:
            return
        self._allowed -= 1
        self._waiting_bytes += size_bytes
        self._waiting.append(Answered(model, answer, request_id, seconds, size_bytes))
        self._idle.clear()
        self._wake.set()

    def forget(self, model: ServedModel) -> None:
        """Drop what waits of a model: as long as it waits, the model is in memory."""
        kept = [each for each in self._waiting if each.model is not model]
        if len(kept) < len(self._waiting):
            self._waiting = deque(kept)
            self._waiting_bytes = sum(each.size_bytes for each in kept)

    def _refill(self) -> None:
        """Allow what the rate allows since the last time.

        It is a token bucket that the request path need not look at the clock for.
        """
        now = self._clock()
        self._allowed = min(
            self._allowed + (now - self._since) * self._per_s, max(self._per_s, 1.0)
        )
        self._since = now

    async def wait_idle(self) -> None:
        """Wait until the observers have seen all that waits."""
        await self._idle.wait()

    async def _own_queue(self, thread: ThreadPoolExecutor) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting or self._allowed < 1:
                await self._sleep(PAUSE_S)
                start = self._clock()
                if self._waiting:
                    await loop.run_in_executor(thread, self._show, self._take())
                self._refill()
                if not self._waiting:
                    self._idle.set()
                await self._sleep((self._clock() - start) * (1 / SHARE - 1))
            self._idle.set()

    def _take(self) -> list[Answered]:
        taken = [self._waiting.popleft()]
        size_bytes = taken[0].size_bytes
        while (
            self._waiting
            and len(taken) < MAX_TAKEN
            and size_bytes + self._waiting[0].size_bytes <= MAX_TAKEN_BYTES
        ):
            taken.append(self._waiting.popleft())
            size_bytes += taken[-1].size_bytes
        self._waiting_bytes -= size_bytes
        return taken

    def _show(self, seen: Sequence[Answered]) -> None:
        for observer in self._observers:
            try:
                observer.answered(seen)
            except Exception:  # one that fails takes neither the others nor any request with it
                log.exception("an observer failed; this is a bug in seatrial")

    async def __aenter__(self) -> Self:
        if self._observers and self._per_s:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="seatrial-taps")
            self._owner = asyncio.create_task(self._own_queue(self._thread), name="sampler")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._owner is None:
            return
        self._owner.cancel()
        await asyncio.wait([self._owner])
        await asyncio.to_thread(self._thread.shutdown)
