"""The host stage's threads: whose rows are next."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from functools import partial

import pytest

from seatrial_serve.scheduling.fair_pool import FairPool


class Gate:
    """Jobs that note who they are, the first ones after a signal."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.open = threading.Event()

    def work(self, who: str) -> str:
        self.open.wait(30)
        self.ran.append(who)
        return who


async def test_a_thousand_rows_of_one_client_let_anothers_row_pass() -> None:
    gate = Gate()
    with FairPool(1) as pool:
        large = [pool.run(partial(gate.work, "large"), flow="a") for _ in range(1000)]
        small = pool.run(partial(gate.work, "small"), flow="b")
        gate.open.set()
        assert await small == "small"
        assert gate.ran.index("small") <= 3, "after what the threads had already, and one more"
        await asyncio.gather(*large)
    assert gate.ran.count("large") == 1000


async def test_clients_take_turns_by_the_rows_that_they_ask() -> None:
    gate = Gate()
    with FairPool(1) as pool:
        # These have the thread.
        first = [pool.run(partial(gate.work, "first"), flow="first") for _ in range(2)]
        jobs = [pool.run(partial(gate.work, "eights"), flow="a", cost=8) for _ in range(4)]
        jobs += [pool.run(partial(gate.work, "ones"), flow="b") for _ in range(16)]
        gate.open.set()
        await asyncio.gather(*first, *jobs)
    order = gate.ran[2:]
    assert order[:10].count("eights") == 2, "a job of eight rows to eight jobs of one"
    assert order[:10].count("ones") == 8


async def test_a_higher_priority_goes_first() -> None:
    gate = Gate()
    with FairPool(1) as pool:
        jobs = [pool.run(partial(gate.work, "any"), flow=place) for place in range(10)]
        jobs.append(pool.run(partial(gate.work, "urgent"), flow="c", priority=1))
        gate.open.set()
        await asyncio.gather(*jobs)
    assert gate.ran.index("urgent") == 2


async def test_what_was_cancelled_is_not_run_and_errors_arrive() -> None:
    gate = Gate()

    def fail() -> None:
        raise ValueError("odd")

    with FairPool(1) as pool:
        first = [pool.run(partial(gate.work, "first")) for _ in range(2)]
        left = [pool.run(partial(gate.work, "left")) for _ in range(5)]
        failed = pool.run(fail)
        for each in left:
            each.cancel()
        gate.open.set()
        await asyncio.gather(*first)
        with pytest.raises(ValueError, match="odd"):
            await failed
        assert await pool.run(partial(gate.work, "next")) == "next"
    assert gate.ran == ["first", "first", "next"]


async def test_rows_that_came_together_take_the_turns_of_their_senders() -> None:
    gate = Gate()
    ran: list[list[tuple[str, int]]] = []

    def work(places: Sequence[int]) -> list[int]:
        ran.append([senders[place] for place in places])
        return [*places]

    senders = [("crowd", 0)] * 100 + [("other", 0), ("urgent", 1)]
    with FairPool(1) as pool:
        first = [pool.run(partial(gate.work, "first"), flow="first") for _ in range(2)]
        jobs = pool.run_rows(work, senders, 32)
        later = pool.run(lambda: ran.append([("later", 0)]), flow="later")
        gate.open.set()
        done = [(places, await job) for places, job in jobs]
        await asyncio.gather(*first, later)
    assert [len(places) for places, _ in done] == [32, 32, 32, 6]
    assert all(places == made for places, made in done)
    assert sorted(place for places, _ in done for place in places) == [*range(len(senders))]
    assert ran[0][0] == ("urgent", 1)
    assert ("other", 0) in ran[0], "the rows of one client do not stand before another's"
    assert ran.index([("later", 0)]) <= 2, "nor before those who come later"


async def test_a_pool_that_ends_runs_nothing_of_what_waits_and_says_so() -> None:
    gate, errors = Gate(), list[object]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    with FairPool(1) as pool:
        jobs = [pool.run(partial(gate.work, "any")) for _ in range(5)]
        gate.open.set()
    done = await asyncio.gather(*jobs, return_exceptions=True)
    assert [type(each) for each in done[2:]] == [asyncio.CancelledError] * 3
    await asyncio.sleep(0)
    assert errors == []
