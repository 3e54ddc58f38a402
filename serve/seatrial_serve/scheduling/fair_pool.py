"""Threads for the host stage, shared fairly by clients.

A request of a thousand images does not stand before other rows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from heapq import heappop, heappush
from itertools import count
from typing import Any, NamedTuple, Self, TypeVar

from seatrial_serve.scheduling.fair_order import FairOrder, Order

Made = TypeVar("Made")


class Job(NamedTuple):
    """Work that waits for a thread; jobs compare by their order, then by arrival."""

    order: Order
    number: int
    work: Callable[[], Any]
    future: asyncio.Future[Any]


class FairPool:
    """A thread pool whose queue is on the event loop.

    The queue's order is that of the batcher's (`FairOrder`). Use `with`.
    """

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="seatrial-host-stage")
        self._free = threads + 1
        """Jobs that may be handed to the threads.

        They are one more than the threads, so that no thread waits for the event loop.
        """
        self._queue: list[Job] = []
        self._numbers = count()
        self._order = FairOrder()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the threads, after what they are doing."""
        self._pool.shutdown(cancel_futures=True)

    def run(
        self,
        work: Callable[[], Made],
        *,
        flow: Hashable = None,
        priority: int = 0,
        cost: float = 1.0,
    ) -> asyncio.Future[Made]:
        """Return what `work` gives, called in a thread.

        If the future is cancelled before, `work` is not called.

        `flow` is the client; `priority` 1 is the highest, 0 that of everybody; `cost` is in rows.
        """
        future: asyncio.Future[Made] = asyncio.get_running_loop().create_future()
        order = self._order.place(flow, cost, priority, empty=not self._queue)
        heappush(self._queue, Job(order, next(self._numbers), work, future))
        self._start_jobs()
        return future

    def _start_jobs(self) -> None:
        while self._free and self._queue:
            job = heappop(self._queue)
            if job.future.done():  # its client has left, or it is too late
                continue
            self._free -= 1
            self._order.serve(job.order)
            running = job.future.get_loop().run_in_executor(self._pool, job.work)
            running.add_done_callback(partial(self._ended, job.future))

    def _ended(self, future: asyncio.Future[Made], running: asyncio.Future[Made]) -> None:
        self._free += 1
        error = None if running.cancelled() else running.exception()
        if not future.done():
            if running.cancelled():
                future.cancel()
            elif error is not None:
                future.set_exception(error)
            else:
                future.set_result(running.result())
        self._start_jobs()
