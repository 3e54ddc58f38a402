"""Closed loop and open loop against one URL, on an event loop of their own."""

from __future__ import annotations

import asyncio
import random
import selectors
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import cycle

from seatrial.bench.connection import LOST, TIMED_OUT, Connection
from seatrial.bench.steps import Step, Tally, step_of

MOST_CLOSED, MOST_CONNECTIONS = 900, 256
"""Of an open loop. An arrival that finds all of them busy waits, and its latency counts on."""
RECONNECT_S = 0.02
"""The pause after a connection that could not be made."""


def event_loop() -> asyncio.AbstractEventLoop:
    """An event loop whose timers are finer than a millisecond: select(2) takes microseconds.

    epoll, which asyncio and uvloop choose, rounds up to whole milliseconds; arrivals would be late.
    """
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


@dataclass(frozen=True)
class Load:
    """What is sent, where to, and how long each client waits."""

    url: str
    requests: Sequence[bytes]
    """Whole HTTP/1.1 requests, sent in turn."""
    deadline_s: float

    async def closed(self, connections: int, seconds: float, tell: Callable[[Step], None]) -> None:
        """Each of `connections` sends its next request when the one before is answered.

        `tell` is given the step, also where this is cancelled.
        """
        tally, requests = Tally(), cycle(self.requests)
        loop = asyncio.get_running_loop()

        async def client() -> None:
            async with self._kept() as connected:
                while True:
                    begun = loop.time()
                    status = await self._ask(connected, next(requests), begun + self.deadline_s)
                    tally.count(status, begun, loop.time())

        async with measured(connections, tally, tell):
            begun = loop.time()
            await for_seconds(seconds, [client() for _ in range(connections)])
            if tally.unanswered:  # a server that stands still answers nothing in that time
                tally.until_s = max(tally.until_s, begun + seconds)

    async def open(self, rate: float, seconds: float, tell: Callable[[Step], None]) -> None:
        """Requests arrive at random, `rate` a second on average, whether or not one is answered.

        The pauses between arrivals are exponential (Poisson). Latency counts from the intended
        arrival, so that a request that waited in this process has waited. `tell` is given the
        step, also where this is cancelled.
        """
        tally, requests = Tally(), cycle(self.requests)
        loop = asyncio.get_running_loop()
        arrivals = asyncio.Queue[float]()
        chance = random.Random(0)  # noqa: S311  (the same arrivals each time)
        idle = 0

        async def client() -> None:
            nonlocal idle
            async with self._kept() as connected:
                while True:
                    idle += 1
                    due = await arrivals.get()
                    idle -= 1
                    until = due + self.deadline_s
                    late = loop.time() >= until  # this client has given up before it was its turn
                    status = TIMED_OUT
                    if not late:
                        status = await self._ask(connected, next(requests), until)
                    tally.count(status, due, loop.time())
                    arrivals.task_done()

        clients = [asyncio.create_task(client())]
        try:
            async with measured(rate, tally, tell):
                end = loop.time() + seconds
                due = loop.time() + chance.expovariate(rate)
                while due < end:
                    await asyncio.sleep(max(0.0, due - loop.time()))
                    tally.late_s.append(max(0.0, loop.time() - due))
                    arrivals.put_nowait(due)
                    if arrivals.qsize() > idle and len(clients) < MOST_CONNECTIONS:
                        clients.append(asyncio.create_task(client()))
                    due += chance.expovariate(rate)
                tally.until_s = max(tally.until_s, end)
                await arrivals.join()
        finally:
            await ended(clients)

    async def _ask(self, connected: Connected, request: bytes, until_s: float) -> int:
        try:
            async with asyncio.timeout_at(until_s):
                connection = await connected()
        except TimeoutError:
            return TIMED_OUT
        except OSError:
            await asyncio.sleep(RECONNECT_S)
            return LOST
        return await connection.exchange(request, until_s)

    @asynccontextmanager
    async def _kept(self) -> AsyncIterator[Connected]:
        """One connection, which is made again where the server ended it."""
        kept: list[Connection] = []

        async def connected() -> Connection:
            if not kept or not kept[0].is_open:
                kept[:] = [await Connection.to(self.url)]
            return kept[0]

        try:
            yield connected
        finally:
            for each in kept:
                each.close()


Connected = Callable[[], Awaitable[Connection]]
"""Gives an open connection. Raises `OSError`."""


@asynccontextmanager
async def measured(load: float, tally: Tally, tell: Callable[[Step], None]) -> AsyncIterator[None]:
    """Tell the step of what runs within, whatever ends it.

    Its time ends with the last arrival or the last answer: clients that wait in vain add none.
    """
    now_s = asyncio.get_running_loop().time
    begun, cpu_s = now_s(), time.process_time()
    try:
        yield
    finally:
        took, used_s = now_s() - begun, time.process_time() - cpu_s
        seconds = max(tally.until_s - begun, 0.0) or took
        tell(step_of(load, seconds, used_s / took if took else 0.0, tally))


async def for_seconds(seconds: float, clients: Sequence[Awaitable[None]]) -> None:
    """Run clients, which never end by themselves, for so long. Raises what one of them raises."""
    tasks = [asyncio.ensure_future(each) for each in clients]
    try:
        done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
    finally:
        await ended(tasks)


async def ended(tasks: Sequence[asyncio.Future[None]]) -> None:
    """End tasks, and wait until each has let go of its connection."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def rates_around(most: float) -> Iterator[float]:
    """Rates up to and beyond the most that a closed loop answered in a second."""
    for share in (0.25, 0.5, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25):
        yield most * share
