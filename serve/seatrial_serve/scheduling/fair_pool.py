"""Threads that are shared fairly: those of the host stage by clients, the cores by models.

A request of a thousand images does not stand before other rows, nor the queue of a slow model
before a quick one: that waits for what the threads have, and for one more that they were handed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from heapq import heappop, heappush
from itertools import count
from typing import Any, NamedTuple, Self, TypeVar

from seatrial_serve.scheduling.fair_order import FairOrder, Order

Made = TypeVar("Made")


Sender = tuple[Hashable, int]
"""The client whose row it is, and the row's priority. See `FairPool.run`."""


class Job(NamedTuple):
    """Work that waits for a thread; jobs compare by their order, then by arrival."""

    order: Order
    number: int
    work: Callable[[], Any]
    future: asyncio.Future[Any]


class FairPool:
    """A thread pool whose queue is on the event loop.

    Use `with`.
    """

    def __init__(
        self, threads: int, name: str = "fair", order: type[FairOrder] = FairOrder
    ) -> None:
        """`name`: what the threads are called; `order`: of what waits for one."""
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=f"seatrial-{name}")
        self._free = threads + 1
        """Jobs that may be handed to the threads.

        They are one more than the threads, so that no thread waits for the event loop.
        """
        self._queue: list[Job] = []
        self._numbers = count()
        self._order = order()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the threads, after what they are doing. What waits is cancelled."""
        for job in self._queue:
            if not job.future.get_loop().is_closed():
                job.future.cancel()
        self._queue.clear()
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

        `flow` is the client, or the model; `priority` 1 is the highest, 0 that of everybody; `cost`
        is in rows, or in seconds: in one unit for all flows of a pool.
        """
        order = self._order.place(flow, cost, priority, empty=not self._queue)
        future = self._put(order, work)
        self._start_jobs()
        return future

    def run_rows(
        self, work: Callable[[Sequence[int]], Made], senders: Sequence[Sender], most: int
    ) -> list[tuple[Sequence[int], asyncio.Future[Made]]]:
        """Return what `work` gives for the places of at most `most` rows at a time.

        Each row costs its own sender, and takes the place that it would have by itself: the rows of
        one client among `senders` do not stand before those of another.
        """
        empty = not self._queue
        orders = [
            self._order.place(flow, 1.0, priority, empty=empty and not place)
            for place, (flow, priority) in enumerate(senders)
        ]
        places = sorted(range(len(senders)), key=orders.__getitem__)
        jobs: list[tuple[Sequence[int], asyncio.Future[Made]]] = []
        for start in range(0, len(places), most):
            some = places[start : start + most]
            jobs.append((some, self._put(orders[some[0]], partial(work, some))))
        self._start_jobs()
        return jobs

    def _put(self, order: Order, work: Callable[[], Made]) -> asyncio.Future[Made]:
        future: asyncio.Future[Made] = asyncio.get_running_loop().create_future()
        heappush(self._queue, Job(order, next(self._numbers), work, future))
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
