"""The batcher keeps order and count, never mixes rows, and fails only the bad request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from seatrial_contracts.errors import ModelError, OutOfMemory, Unavailable
from seatrial_serve.process.clock import now_s
from seatrial_serve.scheduling.batch_rule import BatchRule
from seatrial_serve.scheduling.batcher import Batcher
from seatrial_serve.scheduling.ticket import BatchInfo


class Flat(list[Any]):
    """Answers of a batch: a list."""

    @property
    def rows(self) -> Sequence[Any]:
        return self

    def part(self, start: int, stop: int) -> Flat:
        return Flat(self[start:stop])


def batching(rule: BatchRule, run: Callable[[list[Any]], Any], **options: Any) -> Batcher[Any, Any]:
    """A batcher whose run sees plain rows."""

    def flat(parts: list[Sequence[Any]]) -> Any:
        found = run([row for part in parts for row in part])
        return asyncio.ensure_future(later(found)) if asyncio.isfuture(found) else Flat(found)

    async def later(found: Any) -> Flat:
        return Flat(await found)

    return Batcher(rule, flat, **options)


async def ask_for(batcher: Batcher[Any, Any], rows: list[Any], **terms: Any) -> list[Any]:
    return [answer for part in await batcher.submit(rows, **terms) for answer in part]


def times_ten(rows: list[int]) -> list[int]:
    return [row * 10 for row in rows]


def elsewhere(run: Callable[[list[Any]], Sequence[Any]]) -> Callable[[list[Any]], Any]:
    """The same run, as if in a thread: it gives an awaitable, and takes a turn of the loop."""

    async def later(rows: list[Any]) -> Sequence[Any]:
        await asyncio.sleep(0)
        return run(rows)

    return lambda rows: asyncio.ensure_future(later(rows))


class Log:
    """What the batcher tells: the size of every batch."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.waited: list[float] = []

    def batch(
        self, rows: int, cost: int, padding: float, waited_s: Sequence[float], run_s: float
    ) -> None:
        self.rows.append(rows)
        self.waited += waited_s

    def waiting(self, rows: int) -> None: ...


requests = some.lists(
    some.tuples(some.integers(1, 9), some.integers(0, 2), some.integers(1, 50)),
    min_size=1,
    max_size=25,
)


@given(requests, some.integers(1, 8), some.booleans(), some.integers(1, 3))
def test_every_request_gets_its_own_rows_back_in_order(
    sizes: list[tuple[int, int, int]], max_rows: int, threads: bool, slots: int
) -> None:
    log = Log()

    async def ask() -> None:
        run = elsewhere(times_ten) if threads else times_ten
        async with batching(BatchRule(max_rows=max_rows), run, slots=slots, observe=log) as batcher:
            asked = [
                [1000 * place + i for i in range(count)]
                for place, (count, _, _) in enumerate(sizes)
            ]
            answers = await asyncio.gather(
                *(
                    ask_for(batcher, rows, shape=shape, length=length)
                    for rows, (_, shape, length) in zip(asked, sizes, strict=True)
                )
            )
            assert answers == [times_ten(rows) for rows in asked]

    asyncio.run(ask())
    assert sum(log.rows) == sum(count for count, _, _ in sizes)
    assert max(log.rows) <= max_rows


@given(some.sets(some.integers(0, 15), max_size=4), some.booleans())
def test_bad_rows_fail_only_their_own_requests(bad: set[int], threads: bool) -> None:
    def run(rows: list[int]) -> list[int]:
        if bad & set(rows):
            raise ModelError("E_MODEL", "a bad row")
        return rows

    async def ask() -> list[Any]:
        async with batching(BatchRule(max_rows=32), elsewhere(run) if threads else run) as batcher:
            return await asyncio.gather(
                *(ask_for(batcher, [i]) for i in range(16)), return_exceptions=True
            )

    answers = asyncio.run(ask())
    assert {i for i, answer in enumerate(answers) if isinstance(answer, ModelError)} == bad
    assert all(answer == [i] for i, answer in enumerate(answers) if i not in bad)


async def test_what_queued_while_the_runtime_was_busy_is_the_next_batch() -> None:
    log, gate = Log(), asyncio.Event()

    async def held(rows: list[int]) -> list[int]:
        await gate.wait()
        return rows

    async with batching(
        BatchRule(max_rows=32), lambda rows: asyncio.ensure_future(held(rows)), observe=log
    ) as batcher:
        asked = [asyncio.ensure_future(ask_for(batcher, [i])) for i in range(1)]
        for _ in range(3):
            await asyncio.sleep(0)
        asked += [asyncio.ensure_future(ask_for(batcher, [i])) for i in range(1, 8)]
        for _ in range(3):
            await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(*asked)
    assert log.rows == [1, 7]


async def test_a_passed_deadline_never_runs() -> None:
    ran: list[int] = []
    async with batching(
        BatchRule(), lambda rows: ran.extend(rows) or rows, clock=lambda: 10.0
    ) as batcher:
        with pytest.raises(Unavailable, match="deadline") as refused:
            await ask_for(batcher, [1], deadline_s=9.0)
    assert refused.value.code == "E_DEADLINE"
    assert ran == []


async def test_a_request_that_left_is_dropped_before_the_batch_forms() -> None:
    ran: list[int] = []
    gate = asyncio.Event()

    async def held(rows: list[int]) -> list[int]:
        ran.extend(rows)
        await gate.wait()
        return rows

    async with batching(
        BatchRule(max_rows=1), lambda rows: asyncio.ensure_future(held(rows))
    ) as batcher:
        first, left, last = (asyncio.ensure_future(ask_for(batcher, [i])) for i in (1, 2, 3))
        for _ in range(3):
            await asyncio.sleep(0)
        left.cancel()
        gate.set()
        assert (await first, await last) == ([1], [3])
    assert ran == [1, 3]


async def test_too_many_waiting_rows_are_refused_at_once() -> None:
    gate = asyncio.Event()

    async def held(rows: list[int]) -> list[int]:
        await gate.wait()
        return rows

    async with batching(
        BatchRule(max_rows=1), lambda rows: asyncio.ensure_future(held(rows)), max_waiting_rows=3
    ) as batcher:
        asked = [asyncio.ensure_future(ask_for(batcher, [0]))]
        for _ in range(3):
            await asyncio.sleep(0)
        asked += [asyncio.ensure_future(ask_for(batcher, [i])) for i in range(1, 4)]
        await asyncio.sleep(0)
        with pytest.raises(Unavailable) as refused:
            await ask_for(batcher, [9])
        assert refused.value.code == "E_OVERLOADED"
        gate.set()
        assert await asyncio.gather(*asked) == [[0], [1], [2], [3]]


async def test_closing_answers_what_waits_and_refuses_what_comes() -> None:
    batcher = await batching(BatchRule(), elsewhere(times_ten)).__aenter__()
    asked = [asyncio.ensure_future(ask_for(batcher, [i])) for i in range(5)]
    await asyncio.sleep(0)
    await batcher.close()
    assert await asyncio.gather(*asked) == [[0], [10], [20], [30], [40]]
    with pytest.raises(Unavailable) as refused:
        await ask_for(batcher, [1])
    assert refused.value.code == "E_DRAINING"


async def test_a_wait_for_company_ends_when_the_batch_is_full_or_the_time_is_over() -> None:
    log, slept = Log(), []
    now = [0.0]

    def call_later(seconds: float, ring: Callable[[], None]) -> asyncio.TimerHandle:
        slept.append(seconds)
        later = asyncio.get_running_loop().call_later
        if len(slept) == 1:
            return later(1e6, ring)
        now[0] += seconds
        return later(0.0, ring)

    rule = BatchRule(max_rows=3, max_wait_s=5.0)
    async with batching(
        rule, times_ten, observe=log, clock=lambda: now[0], call_later=call_later
    ) as batcher:
        first = asyncio.ensure_future(ask_for(batcher, [1]))
        for _ in range(3):
            await asyncio.sleep(0)
        assert not first.done()
        assert await ask_for(batcher, [2, 3]) == [20, 30]
        assert await first == [10]
        now[0] = 6.0
        batcher._ring()
        assert await ask_for(batcher, [4]) == [40]
    assert log.rows == [3, 1]
    assert slept == [5.0, 5.0]


async def test_a_row_whose_deadline_passes_is_told_so_then_and_not_when_a_slot_is_free() -> None:
    gate = asyncio.Event()

    async def held(rows: list[int]) -> list[int]:
        await gate.wait()
        return rows

    async with batching(
        BatchRule(max_rows=1), lambda rows: asyncio.ensure_future(held(rows))
    ) as batcher:
        running = asyncio.ensure_future(ask_for(batcher, [1]))
        for _ in range(3):
            await asyncio.sleep(0)
        with pytest.raises(Unavailable) as refused:
            await ask_for(batcher, [2], deadline_s=now_s() + 0.01)
        assert refused.value.code == "E_DEADLINE"
        assert not running.done()
        gate.set()
        assert await running == [1]


async def test_rows_that_were_posted_are_answered_through_their_callback() -> None:
    answered: list[Any] = []
    async with batching(BatchRule(), times_ten) as batcher:
        batcher.post([1, 2], answered.append)
        left = batcher.post([3], answered.append)
        left.gone = True
        assert answered == []
        assert await ask_for(batcher, [4]) == [40]
    assert answered == [[10, 20]]


async def test_a_bug_of_ours_leaves_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    async with batching(BatchRule(), times_ten) as batcher:
        with monkeypatch.context() as patch:
            patch.setattr(BatchRule, "take", lambda self, waiting: 1 / 0)
            with pytest.raises(RuntimeError):
                await ask_for(batcher, [1])
        assert await ask_for(batcher, [2]) == [20]
    assert isinstance(told[0]["exception"], ZeroDivisionError)


class Breaks(Log):
    """An observer that fails at the first batch."""

    def batch(self, rows: int, *told: Any) -> None:
        self.rows.append(rows)
        if len(self.rows) == 1:
            raise ZeroDivisionError


@pytest.mark.parametrize("threads", [False, True])
async def test_a_bug_while_answers_are_handed_out_strands_nobody_and_keeps_no_slot(
    threads: bool,
) -> None:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    run = elsewhere(times_ten) if threads else times_ten
    async with batching(BatchRule(), run, observe=Breaks()) as batcher:
        failed = await asyncio.gather(
            *(ask_for(batcher, [row]) for row in range(3)), return_exceptions=True
        )
        assert [type(each) for each in failed] == [RuntimeError] * 3
        assert await ask_for(batcher, [2]) == [20]
    assert isinstance(told[0]["exception"], ZeroDivisionError)


async def test_if_a_run_is_cancelled_the_other_half_of_its_batch_is_told_so_too() -> None:
    async def run(rows: list[int]) -> list[int]:
        if len(rows) > 1:
            raise ModelError("E_MODEL", "a bad row")
        raise asyncio.CancelledError

    async with batching(BatchRule(), lambda rows: asyncio.ensure_future(run(rows))) as batcher:
        failed = await asyncio.gather(
            *(ask_for(batcher, [row]) for row in range(4)), return_exceptions=True
        )
        assert batcher.idle
    assert [getattr(each, "code", "") for each in failed] == ["E_DRAINING"] * 4


async def test_a_run_that_gives_too_few_answers_is_our_bug_and_not_a_wrong_answer() -> None:
    async with batching(BatchRule(), lambda rows: rows[:-1]) as batcher:
        with pytest.raises(ModelError, match="a bug in seatrial"):
            await ask_for(batcher, [1, 2])


async def test_a_split_request_is_answered_whole_and_cancelled_whole() -> None:
    async with batching(BatchRule(max_rows=2), times_ten) as batcher:
        assert await ask_for(batcher, list(range(7))) == times_ten(list(range(7)))
        leaving = asyncio.ensure_future(ask_for(batcher, list(range(7))))
        await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        assert await ask_for(batcher, [5]) == [50]


async def test_small_requests_pass_between_the_parts_of_a_large_one() -> None:
    ran: list[list[int]] = []
    gate = asyncio.Event()

    async def held(rows: list[int]) -> list[int]:
        ran.append(rows)
        await gate.wait()
        return rows

    async with batching(
        BatchRule(max_rows=2), lambda rows: asyncio.ensure_future(held(rows))
    ) as batcher:
        large = asyncio.ensure_future(ask_for(batcher, list(range(10)), flow="large"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        small = asyncio.ensure_future(ask_for(batcher, [100, 101], flow="small"))
        await asyncio.sleep(0)
        gate.set()
        assert await small == [100, 101]
        assert await large == list(range(10))
    assert ran.index([100, 101]) <= 2


async def test_a_flow_that_asks_ten_times_as_much_does_not_hold_up_another() -> None:
    ran: list[int] = []
    gate = asyncio.Event()

    async def held(rows: list[int]) -> list[int]:
        ran.extend(rows)
        await gate.wait()
        return rows

    async with batching(
        BatchRule(max_rows=1), lambda rows: asyncio.ensure_future(held(rows))
    ) as batcher:
        asked = [asyncio.ensure_future(ask_for(batcher, [i], flow="greedy")) for i in range(20)]
        await asyncio.sleep(0)
        asked += [
            asyncio.ensure_future(ask_for(batcher, [100 + i], flow="modest")) for i in range(2)
        ]
        await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(*asked)
    assert ran.index(101) <= 4


async def test_the_higher_priority_runs_first() -> None:
    ran: list[int] = []
    gate = asyncio.Event()

    async def held(rows: list[int]) -> list[int]:
        ran.extend(rows)
        await gate.wait()
        return rows

    async with batching(
        BatchRule(max_rows=1), lambda rows: asyncio.ensure_future(held(rows))
    ) as batcher:
        first = asyncio.ensure_future(ask_for(batcher, [0]))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        asked = [asyncio.ensure_future(ask_for(batcher, [i], priority=i)) for i in (0, 3, 1)]
        await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(first, *asked)
    assert ran == [0, 1, 3, 0]


class Told:
    """A listener who remembers."""

    def __init__(self) -> None:
        self.mates: list[tuple[tuple[int, int], ...]] = []

    def ran(self, arrived_s: float, started_s: float, ended_s: float, batch: BatchInfo) -> None:
        self.mates.append(batch.mates)


async def test_who_is_alone_is_answered_without_a_turn_of_the_loop() -> None:
    log, told = Log(), Told()
    async with batching(BatchRule(), times_ten, observe=log) as batcher:
        assert batcher.run_now([1, 2], listener=told) == [10, 20]
    assert (log.rows, log.waited, told.mates) == ([2], [0.0], [((2, 1),)])


async def test_who_is_alone_and_bad_hears_it_and_so_does_the_passenger() -> None:
    def bad(rows: list[int]) -> list[int]:
        raise ModelError("E_MODEL", "a bad row")

    told = Told()
    async with batching(BatchRule(), bad) as batcher:
        with pytest.raises(ModelError):
            batcher.run_now([1], listener=told)
    assert told.mates == [((1, 1),)]


async def test_who_is_not_alone_or_too_large_for_the_memory_must_submit() -> None:
    def none(rows: list[int]) -> list[int]:
        raise OutOfMemory("too large")

    async with batching(BatchRule(), times_ten) as batcher:
        waiting = asyncio.ensure_future(ask_for(batcher, [1]))
        await asyncio.sleep(0)
        assert batcher.run_now([2]) is None
        assert await waiting == [10]
        assert batcher.run_now([2], deadline_s=0.0) is None
    assert batcher.run_now([3]) is None  # it is closed
    async with batching(BatchRule(), none) as batcher:
        assert batcher.run_now([4]) is None
    gate = asyncio.Event()

    async def held(rows: list[int]) -> list[int]:
        await gate.wait()
        return rows

    async with batching(
        BatchRule(), lambda rows: asyncio.ensure_future(held(rows)), slots=2
    ) as batcher:
        running = asyncio.ensure_future(ask_for(batcher, [5]))
        for _ in range(3):
            await asyncio.sleep(0)
        assert batcher.run_now([6]) is None
        gate.set()
        assert await running == [5]


class Heard:
    """A request that hears of its batches."""

    def ran(self, arrived_s: float, started_s: float, ended_s: float, batch: BatchInfo) -> None:
        """See `TicketListener`."""


async def test_requests_that_run_are_counted_once_and_only_while_they_run() -> None:
    gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def held(rows: list[int]) -> list[int]:
        await gate
        return times_ten(rows)

    rule = BatchRule(max_rows=2)
    async with batching(rule, lambda rows: asyncio.ensure_future(held(rows)), slots=2) as batcher:
        assert batcher.requests_running == 0
        asked = [asyncio.ensure_future(ask_for(batcher, [1, 2, 3, 4], listener=Heard()))]
        await asyncio.sleep(0.01)
        assert batcher.requests_running == 1  # in two batches
        asked.append(asyncio.ensure_future(ask_for(batcher, [5], listener=Heard())))
        await asyncio.sleep(0.01)
        assert batcher.requests_running == 1  # the second one waits
        gate.set_result(None)
        assert await asyncio.gather(*asked) == [[10, 20, 30, 40], [50]]
        assert batcher.requests_running == 0
