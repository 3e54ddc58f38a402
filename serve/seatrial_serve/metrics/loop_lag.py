"""How late the event loop is, and when what it noted is flushed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Self

from seatrial_serve.metrics.metrics import Metrics
from seatrial_serve.process.clock import now_s

BEAT_S = 0.5


class LoopLag:
    """A task that sleeps and sees how much too late it woke. Use `async with`."""

    def __init__(
        self,
        metrics: Metrics,
        clock: Callable[[], float] = now_s,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._metrics, self._clock, self._sleep = metrics, clock, sleep

    async def _beat(self) -> None:
        while True:
            due = self._clock() + BEAT_S
            await self._sleep(BEAT_S)
            self._metrics.families.lag.observe(max(self._clock() - due, 0.0))
            await asyncio.to_thread(self._metrics.flush)

    async def __aenter__(self) -> Self:
        self._task = (
            asyncio.create_task(self._beat(), name="loop-lag") if self._metrics.on else None
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._metrics.flush()  # a worker's last counts
