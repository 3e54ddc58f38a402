"""A front's queue over several engine processes: rows go where the fewest of its rows wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from seatrial_contracts.host_stage import Part
from seatrial_serve.engines.front import SharedEngine
from seatrial_serve.engines.queue import EngineQueue
from seatrial_serve.inference.engine import Answers
from seatrial_serve.scheduling.batch_rule import BatchRule
from seatrial_serve.scheduling.ticket import Observe, Ticket


class SpreadQueue:
    """What `Batcher` is to a front whose graph runs in this process."""

    def __init__(
        self, engine: SharedEngine, *, max_waiting_rows: int = 4096, observe: Observe | None = None
    ) -> None:
        """`max_waiting_rows`: of this front in each process, before requests are refused."""
        self._queues = [
            EngineQueue(engine, joined, max_waiting_rows=max_waiting_rows, observe=observe)
            for joined in engine.joined
        ]

    async def __aenter__(self) -> SpreadQueue:
        for each in self._queues:
            await each.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def rule(self) -> BatchRule:
        """By which the processes make batches; of several, that of the smallest ones."""
        return min((each.rule for each in self._queues), key=lambda rule: rule.rows_of(1))

    @property
    def idle(self) -> bool:
        """Is nothing of this front waiting or running?"""
        return all(each.idle for each in self._queues)

    @property
    def requests_running(self) -> int:
        """How many requests of this front run now, at least. Any thread may ask."""
        return sum(each.requests_running for each in self._queues)

    @property
    def _next(self) -> EngineQueue:
        """Where the next rows go: of those that are there, the one with the fewest."""
        if len(self._queues) == 1:
            return self._queues[0]
        return min(self._queues, key=lambda queue: (not queue.up, queue.waiting_rows))

    async def submit(self, rows: Part, **terms: Any) -> list[Answers]:
        """See `EngineQueue.submit`."""
        return await self._next.submit(rows, **terms)

    def post(
        self, rows: Part, reply: Callable[[Answers | Exception], None], **terms: Any
    ) -> Ticket[Part, Answers]:
        """See `EngineQueue.post`."""
        return self._next.post(rows, reply, **terms)

    def run_now(self, rows: Part, **terms: Any) -> None:  # noqa: ARG002  (see `Batcher.run_now`)
        """See `Batcher.run_now`: rows always wait for the other process."""
        return

    def pump(self) -> None:
        """Send what was posted."""
        for each in self._queues:
            each.pump()

    async def close(self) -> None:
        """See `EngineQueue.close`."""
        await asyncio.gather(*(each.close() for each in self._queues))
