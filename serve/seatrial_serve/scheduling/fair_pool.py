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

Made = TypeVar("Made")
NO_PRIORITY = 2**31
"""Where a request names no priority: after all that do."""


class Job(NamedTuple):
    """Work that waits for a thread; jobs compare by priority, then start tag, then arrival."""

    priority: int
    tag: float
    number: int
    work: Callable[[], Any]
    future: asyncio.Future[Any]


class FairPool:
    """A thread pool whose queue is on the event loop.

    The queue's order is that of the batcher's: priority, then fair queueing.

    Start-time fair queueing (Goyal, Vin and Cheng 1996) over `flow`: a client's next job starts
    after its earlier ones, and another client's first job starts at once. Use `with`.
    """

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="seatrial-host-stage")
        self._free = threads + 1
        """Jobs that may be handed to the threads.

        They are one more than the threads, so that no thread waits for the event loop.
        """
        self._queue: list[Job] = []
        self._numbers = count()
        self._turn = 0.0
        self._next_tag: dict[Hashable, float] = {}

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
        if not self._queue:
            self._next_tag.clear()
        tag = max(self._turn, self._next_tag.get(flow, 0.0))
        self._next_tag[flow] = tag + cost
        heappush(self._queue, Job(priority or NO_PRIORITY, tag, next(self._numbers), work, future))
        self._start_jobs()
        return future

    def _start_jobs(self) -> None:
        while self._free and self._queue:
            job = heappop(self._queue)
            if job.future.done():  # its client has left, or it is too late
                continue
            self._free -= 1
            self._turn = max(self._turn, job.tag)
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
