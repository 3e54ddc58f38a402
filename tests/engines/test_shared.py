"""Two fronts and a host in one process, over real sockets: what each gets is its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support.toys import Feeds, answer, fake_runtimes, toy_bundle
from support.waiting import until_here

from seatrial_contracts.bundle import Bundle
from seatrial_contracts.errors import ModelError, OutOfMemory, TooLate, Unavailable
from seatrial_contracts.identities import Identities
from seatrial_contracts.kinds.kind import Array
from seatrial_serve.engines import front as front_module
from seatrial_serve.engines import host as host_module
from seatrial_serve.engines.front import NotAdmitted, SharedEngine, open_shared
from seatrial_serve.engines.host import EngineHost
from seatrial_serve.engines.loader import EngineLoader
from seatrial_serve.engines.queue import EngineQueue
from seatrial_serve.engines.spread import SpreadQueue
from seatrial_serve.models.entry import Entry, State
from seatrial_serve.process.clock import now_s
from seatrial_serve.process.resources import ThreadPlan
from seatrial_serve.runtimes.fake import FakeRuntime
from seatrial_serve.runtimes.runtime import Placement, RuntimeOptions
from seatrial_serve.scheduling.fair_pool import FairPool
from seatrial_serve.scheduling.ticket import BatchInfo, Unobserved
from seatrial_serve.settings import Settings

ROW = {"x": 3.0, "word": "a"}


class Told(Unobserved):
    """Keeps what a front's metrics would count."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.waits = self.too_large = 0

    def batch(self, rows: int, cost: int, padding: float, waited_s: Any, run_s: float) -> None:
        self.batches.append(rows)
        self.waits += len(waited_s)

    def queued(self, waited_s: Any) -> None:
        self.waits += len(waited_s)

    def out_of_memory(self, rows: int) -> None:
        self.too_large += 1


class Front:
    """A front with its engine and queue."""

    def __init__(self, engine: SharedEngine, **options: Any) -> None:
        self.engine, self.told = engine, Told()
        self.queue = EngineQueue(engine, engine.joined[0], observe=self.told, **options)

    async def ask(self, *xs: float, **terms: Any) -> list[float]:
        """Twice each of the numbers."""
        engine = self.engine
        rows = [engine.encode({"x": x, "word": "a"}) for x in xs]
        found = await self.queue.submit(rows, **terms)
        return [value for part in found for value in part.outputs["twice"][part.start : part.stop]]


class House:
    """A host at an address, and what is needed to make it anew."""

    def __init__(self, folder: Path, bundle: Bundle, name: str = "engine") -> None:
        self.address, self.bundle = folder / name, bundle
        self.settings = Settings(prove="always", max_wait_s=0.0)
        self.stack = AsyncExitStack()

    async def open(self, *, max_waiting_rows: int = 4096) -> None:
        """Listen."""
        self.stack = AsyncExitStack()
        loads = self.stack.enter_context(ThreadPoolExecutor(2))
        cores = self.stack.enter_context(FairPool(1))
        self.host = EngineHost(
            EngineLoader(self.settings, ThreadPlan(1)), Identities(), loads, cores,
            runs=1, max_waiting_rows=max_waiting_rows, tidy=lambda: None,
        )  # fmt: skip
        self.address.unlink(missing_ok=True)
        loop = asyncio.get_running_loop()
        self.server = await loop.create_unix_server(self.host.connection, str(self.address))

    async def close(self) -> None:
        """As the process that ends."""
        self.server.close()
        await self.host.close()
        await self.stack.aclose()

    async def joined(self) -> SharedEngine:
        """What stands in a front for the engine, once it is loaded here."""
        return await asyncio.to_thread(
            open_shared, [self.address], self.bundle, "toy", None, RuntimeOptions()
        )

    @asynccontextmanager
    async def front(self, **options: Any) -> AsyncIterator[Front]:
        """A front that serves the bundle."""
        engine = await self.joined()
        front = Front(engine, **options)
        async with front.queue:
            yield front
        engine.close()


class Held:
    """The toy model, which answers once the gate is open; `starts` counts its batches."""

    def __init__(self) -> None:
        self.gate, self.closed = threading.Event(), False
        self.gate.set()
        self.seen: list[list[float]] = []

    def answer(self, feeds: Feeds) -> dict[str, Array]:
        self.seen.append(feeds["x"].tolist())
        assert self.gate.wait(10)
        return answer(feeds)


@pytest.fixture
def held() -> Held:
    return Held()


@pytest.fixture
def runtime(held: Held, monkeypatch: pytest.MonkeyPatch) -> FakeRuntime:
    monkeypatch.setattr(host_module, "LINGER_S", 0.05)
    monkeypatch.setattr("seatrial_serve.engines.runner.INLINE_S", -1.0)  # in threads, as on a card
    return fake_runtimes(monkeypatch, held.answer)


@pytest.fixture
async def house(tmp_path: Path, runtime: FakeRuntime) -> AsyncIterator[House]:
    made = House(tmp_path, toy_bundle(tmp_path / "bundles"))
    await made.open()
    yield made
    await made.close()


async def test_each_front_gets_the_answers_to_its_own_rows_from_shared_batches(
    house: House, held: Held
) -> None:
    async with house.front() as one, house.front() as other:
        held.gate.clear()
        first = asyncio.create_task(one.ask(50))
        await until_here(lambda: held.seen and held.seen[-1] == [50.0])
        asked = [
            asyncio.create_task((one, other)[place % 2].ask(place, place + 0.5))
            for place in range(8)
        ]
        await asyncio.sleep(0.05)
        held.gate.set()
        assert await first == [100]
        found = await asyncio.gather(*asked)
        assert found == [[2 * place, 2 * place + 1] for place in range(8)]
        mixed = held.seen[-1]
        assert len({int(x) % 2 for x in mixed}) == 2, mixed
        counted = one.told.batches + other.told.batches
        assert sum(counted) == 17, "each batch is counted by one front"
        assert one.told.waits + other.told.waits == 9


async def test_a_batch_whose_clients_have_all_left_is_counted_once(
    house: House, held: Held
) -> None:
    async with house.front() as one, house.front() as other:
        held.gate.clear()
        leaves = asyncio.create_task(one.ask(50))
        await until_here(lambda: held.seen and held.seen[-1] == [50.0])
        leaves.cancel()
        await until_here(lambda: not one.queue._asked)
        held.gate.set()
        assert await other.ask(1) == [2]
        await until_here(lambda: sum(one.told.batches + other.told.batches) == 2)
        assert one.told.waits + other.told.waits == 1, "nobody waited for the first"


async def test_one_load_for_all_and_the_last_one_to_give_it_up_closes_it(
    house: House, runtime: FakeRuntime
) -> None:
    async with house.front() as one:
        loads = len(runtime.batches)
        async with house.front() as other:
            assert len(runtime.batches) == loads, "no second load gate"
            assert other.engine.loaded == one.engine.loaded
            assert await other.ask(1) == [2]
        assert not runtime.closed
        assert await one.ask(2) == [4]
    await until_here(lambda: runtime.closed == 1)


async def test_fronts_know_how_the_graph_stands_on_cards(
    house: House, runtime: FakeRuntime
) -> None:
    placed = Placement(
        "CUDAExecutionProvider", (3,), {"CUDAExecutionProvider": 2}, slots=2, sizes=(1, 2),
        lengths={"x": (8, 9)},
    )  # fmt: skip
    runtime.placement = placed
    async with house.front() as front:
        assert front.engine.placement == placed
        assert front.engine.slots == 2


async def test_a_version_lingers_for_the_front_that_follows_a_lost_one(
    house: House, runtime: FakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_module, "LINGER_S", 5.0)
    async with house.front() as lost:
        loads = len(runtime.batches)
        assert lost.queue._transport is not None
        for each in list(house.host.fronts):
            each.connection_lost(None)  # as after a kill -9
        async with house.front() as follower:
            assert await follower.ask(1) == [2]
        assert len(runtime.batches) == loads + 1
        lost.queue._transport.abort()


async def test_a_lingering_version_goes_in_the_end(house: House, runtime: FakeRuntime) -> None:
    engine = await house.joined()
    engine.close()  # without a word, as a process that is killed
    await until_here(lambda: runtime.closed == 1)


async def test_a_worker_of_another_build_is_refused(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front_module, "build", lambda: "older")
    with pytest.raises(NotAdmitted) as refused:
        await house.joined()
    assert isinstance(refused.value.error, ModelError)
    assert (refused.value.error.code, str(refused.value)) == (
        "E_RUNTIME_ANSWER",
        "this worker and the engine process are of two builds; restart the server",
    )


async def test_other_bytes_in_the_folder_than_the_front_verified_are_refused(
    house: House, tmp_path: Path
) -> None:
    other = toy_bundle(tmp_path / "other", version="1.0.1")
    house.bundle.path.rename(tmp_path / "gone")
    other.path.rename(house.bundle.path)
    with pytest.raises(NotAdmitted, match="want a bundle that rests"):
        await house.joined()


async def test_what_the_load_gate_found_is_told_where_it_is_not_passed(
    house: House, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held, "answer", lambda feeds: {**answer(feeds), "twice": feeds["x"] * 3})
    fake_runtimes(monkeypatch, held.answer)
    with pytest.raises(NotAdmitted, match="golden rows at batch size 1") as refused:
        await house.joined()
    assert refused.value.gate is not None
    assert (refused.value.gate.passed, refused.value.gate.worst_error) == (False, 8.0)
    monkeypatch.setattr(held, "answer", answer)
    fake_runtimes(monkeypatch, answer)
    async with house.front() as front:  # a failed load is tried anew
        assert await front.ask(1) == [2]


async def test_nobody_there_is_unavailable(house: House) -> None:
    await house.close()
    with pytest.raises(Unavailable) as refused:
        await house.joined()
    assert refused.value.code == "E_RUNTIME_DOWN"
    await house.open()


async def test_a_lost_engine_fails_what_it_has_and_is_followed_by_the_next(
    house: House, held: Held
) -> None:
    async with house.front() as front:
        held.gate.clear()
        waiting = asyncio.create_task(front.ask(1))
        await until_here(lambda: held.seen and held.seen[-1] == [1.0])
        house.server.close()
        for each in list(house.host.fronts):
            each.abort()
        with pytest.raises(Unavailable) as lost:
            await waiting
        assert (lost.value.code, lost.value.retry_after_s) == ("E_RUNTIME_DOWN", 2.0)
        assert not front.engine.healthy
        with pytest.raises(Unavailable, match="not there"):
            await front.ask(2)
        model: Any = SimpleNamespace(engine=front.engine)
        entry = Entry("toy", "1.0.0", Path(), state=State.READY, model=model)
        with pytest.raises(Unavailable) as turned_away:
            entry.ready_model()
        assert turned_away.value.retry_after_s == lost.value.retry_after_s
        held.gate.set()
        await house.close()
        await house.open()
        await until_here(lambda: front.engine.healthy)
        assert await front.ask(2) == [4]


async def test_deadlines_are_kept_there_and_also_where_it_has_stopped(
    house: House, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house.front() as front:
        held.gate.clear()
        running = asyncio.create_task(front.ask(1))
        await until_here(lambda: held.seen and held.seen[-1] == [1.0])
        with pytest.raises(TooLate):
            await front.ask(77, deadline_s=now_s() + 0.05)
        monkeypatch.setattr(host_module.FrontConnection, "_queue", lambda *_: None)
        begun = now_s()
        with pytest.raises(TooLate):
            await front.ask(3, deadline_s=now_s() + 0.05)
        assert now_s() - begun < 5
        held.gate.set()
        assert await running == [2]
        assert [77.0] not in held.seen


async def test_rows_of_a_client_that_left_never_run(house: House, held: Held) -> None:
    async with house.front() as front:
        held.gate.clear()
        running = asyncio.create_task(front.ask(1))
        await until_here(lambda: held.seen and held.seen[-1] == [1.0])
        leaving = asyncio.create_task(front.ask(66))
        staying = asyncio.create_task(front.ask(7))
        await asyncio.sleep(0.05)
        leaving.cancel()
        await asyncio.sleep(0.05)
        held.gate.set()
        assert (await running, await staying) == ([2], [14])
        assert not any(66.0 in batch for batch in held.seen)


async def test_a_front_that_is_lost_takes_only_its_own_rows_with_it(
    house: House, held: Held
) -> None:
    async with house.front() as one, house.front() as other:
        held.gate.clear()
        running = asyncio.create_task(one.ask(1))
        await until_here(lambda: held.seen and held.seen[-1] == [1.0])
        lost, kept = asyncio.create_task(other.ask(66)), asyncio.create_task(one.ask(7))
        await asyncio.sleep(0.05)
        assert other.queue._transport is not None
        other.queue._transport.abort()
        with pytest.raises(Unavailable):
            await lost
        await until_here(lambda: other.engine.healthy)
        held.gate.set()
        assert (await running, await kept, await other.ask(5)) == ([2], [14], [10])
        assert not any(66.0 in batch for batch in held.seen)


async def test_a_full_queue_refuses_at_once_here_and_there(house: House, held: Held) -> None:
    async with house.front(max_waiting_rows=3) as front:
        held.gate.clear()
        waiting = [asyncio.create_task(front.ask(each)) for each in (1, 2, 3)]
        await asyncio.sleep(0.05)
        with pytest.raises(Unavailable) as refused:
            await front.ask(4)
        assert refused.value.code == "E_OVERLOADED"
        held.gate.set()
        assert await asyncio.gather(*waiting) == [[2], [4], [6]]
    await house.close()
    await house.open(max_waiting_rows=2)
    async with house.front() as front:
        held.gate.clear()
        waiting = [asyncio.create_task(front.ask(1))]
        await until_here(lambda: held.seen[-1] == [1.0])
        waiting += [asyncio.create_task(front.ask(each)) for each in (2, 3)]
        await asyncio.sleep(0.05)
        with pytest.raises(Unavailable) as refused:
            await front.ask(4)
        assert refused.value.code == "E_OVERLOADED"
        held.gate.set()
        assert await asyncio.gather(*waiting) == [[2], [4], [6]]


async def test_a_batch_too_large_for_the_memory_makes_every_front_s_batches_smaller(
    house: House, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house.front() as one, house.front() as other:
        most = one.queue.rule.max_rows
        assert most >= 4
        room = most // 2

        def small(feeds: Feeds) -> dict[str, Array]:
            if len(feeds["x"]) > room:
                raise OutOfMemory("too large")
            return answer(feeds)

        monkeypatch.setattr(one.engine, "batch_key", one.engine.batch_key)
        runtime = next(iter(house.host._places.values())).loading.result().version.engine._model
        monkeypatch.setattr(runtime, "answer", small)
        xs = [float(each) for each in range(most)]
        assert await one.ask(*xs) == [2 * x for x in xs]
        assert one.queue.rule.max_cost is not None
        assert one.queue.rule.max_cost == other.queue.rule.max_cost
        assert (one.told.too_large > 0) != (other.told.too_large > 0)


async def test_a_row_with_a_fault_is_told_as_such_and_its_mates_have_their_answers(
    house: House, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house.front() as one, house.front() as other:
        version = next(iter(house.host._places.values())).loading.result().version

        def sick(feeds: Feeds) -> dict[str, Array]:
            made = answer(feeds)
            made["twice"] = np.where(feeds["x"] == 66, np.float32(np.nan), made["twice"])
            return made

        monkeypatch.setattr(version.engine._model, "answer", sick)
        encode = one.engine.encode
        rows = [encode({"x": x, "word": "a"}) for x in (1.0, 66.0, 3.0)]
        mates = asyncio.create_task(other.ask(5, 6))
        (found,) = await one.queue.submit(rows)
        assert dict(found.faults) == {found.start + 1: found.faults[found.start + 1]}
        assert found.faults[found.start + 1].output == "twice"
        assert await mates == [10, 12]


async def test_what_fails_there_fails_here_and_its_record_says_when_it_ran(
    house: House, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Listener:
        def __init__(self) -> None:
            self.ran_in: list[BatchInfo] = []

        def ran(self, arrived_s: float, started_s: float, ended_s: float, batch: BatchInfo) -> None:
            assert arrived_s <= started_s <= ended_s
            self.ran_in.append(batch)

    async with house.front() as front:
        version = next(iter(house.host._places.values())).loading.result().version

        def failing(feeds: Feeds) -> dict[str, Array]:
            raise ModelError("E_MODEL", "the model failed on this input")

        good, bad = Listener(), Listener()
        assert await front.ask(1, 2, listener=good) == [2, 4]
        monkeypatch.setattr(version.engine._model, "answer", failing)
        with pytest.raises(ModelError, match="the model failed"):
            await front.ask(1, listener=bad)
        assert [each.mates for each in good.ran_in] == [((2, 1),)]
        assert [each.mates for each in bad.ran_in] == [((1, 1),)]


async def test_what_is_no_frame_ends_the_connection_alone(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    async with house.front() as front:
        reader, writer = await asyncio.open_unix_connection(str(house.address))
        writer.write(b"GET / HTTP/1.1\r\n\r\n" * 10)
        assert await reader.read() == b""
        writer.close()
        assert await front.ask(1) == [2]
    assert "sent what nobody reads" in caplog.text


async def test_closing_answers_what_waits_and_refuses_what_comes(house: House, held: Held) -> None:
    async with house.front() as front:
        held.gate.clear()
        waiting = asyncio.create_task(front.ask(1))
        await asyncio.sleep(0.05)
        closing = asyncio.create_task(front.queue.close())
        await asyncio.sleep(0.02)
        with pytest.raises(Unavailable) as refused:
            await front.ask(2)
        assert refused.value.code == "E_DRAINING"
        held.gate.set()
        assert await waiting == [2]
        await closing


async def test_clients_and_priorities_take_turns_over_all_fronts(house: House, held: Held) -> None:
    house.settings = house.settings.model_copy(update={"max_batch_rows": 1})
    await house.close()
    await house.open()
    async with house.front() as one, house.front() as other:
        held.gate.clear()
        before = len(held.seen)
        many = [asyncio.create_task(one.ask(each, flow="many")) for each in range(10, 20)]
        await until_here(lambda: len(held.seen) > before)
        few = [asyncio.create_task(other.ask(each, flow="few")) for each in (60, 61)]
        urgent = asyncio.create_task(other.ask(70, flow="few", priority=1))
        await asyncio.sleep(0.05)
        held.gate.set()
        await asyncio.gather(*many, *few, urgent)
        order = [batch[0] for batch in held.seen[before:]]
    assert order[1] == 70, "the highest priority is next, whichever front it came by"
    assert max(map(order.index, (60, 61))) <= 5, "few requests do not wait for the many"


async def test_rows_go_to_the_process_where_the_fewest_wait_and_to_those_that_are_there(
    house: House, held: Held, tmp_path: Path
) -> None:
    second = House(tmp_path, house.bundle, "second")
    await second.open()
    engine = await asyncio.to_thread(
        open_shared, [house.address, second.address], house.bundle, "toy", None, RuntimeOptions()
    )
    assert engine.slots == 2
    queue = SpreadQueue(engine, observe=Told())

    async def ask(x: float) -> float:
        (found,) = await queue.submit([engine.encode({"x": x, "word": "a"})])
        return float(found.outputs["twice"][found.start])

    async with queue:
        held.gate.clear()
        waiting = [asyncio.create_task(ask(each)) for each in range(20, 28)]
        await asyncio.sleep(0.05)
        assert [each.waiting_rows for each in queue._queues] == [4, 4]
        assert queue.requests_running == 2
        held.gate.set()
        assert await asyncio.gather(*waiting) == [2 * each for each in range(20, 28)]
        await second.close()
        await until_here(lambda: [each.up for each in queue._queues] == [True, False])
        assert engine.healthy
        assert [await ask(each) for each in (1, 2, 3)] == [2, 4, 6]
        await second.open()
        await until_here(lambda: all(each.up for each in queue._queues))
        assert queue.idle
    engine.close()
    await second.close()


async def test_a_request_of_more_rows_than_may_wait_is_answered_where_nobody_else_is(
    house: House,
) -> None:
    house.settings = house.settings.model_copy(update={"max_batch_rows": 2})
    await house.close()
    await house.open(max_waiting_rows=4)
    async with house.front(max_waiting_rows=4) as front:
        xs = [float(each) for each in range(20)]
        assert await front.ask(*xs) == [2 * x for x in xs]


async def test_a_front_that_joins_later_has_the_rule_that_is_left_by_the_memory(
    house: House,
) -> None:
    async with house.front() as one:
        version = next(iter(house.host._places.values())).loading.result().version
        version.batcher.rule = version.batcher.rule.shrunk(4)
        async with house.front() as other:
            assert other.queue.rule.max_cost == 2
            assert await other.ask(1, 2, 3, 4, 5) == [2, 4, 6, 8, 10]
        assert one.queue.rule.max_cost is None


async def test_rows_that_the_engine_does_not_read_are_not_piled_up(house: House) -> None:
    async with house.front() as front:
        front.queue.pause_writing()
        with pytest.raises(Unavailable, match="does not read") as refused:
            await front.ask(1)
        assert refused.value.code == "E_OVERLOADED"
        front.queue.resume_writing()
        assert await front.ask(1) == [2]


async def test_a_load_ends_where_the_server_stops(house: House, held: Held) -> None:
    held.gate.clear()
    stops = False
    loading = asyncio.create_task(
        asyncio.to_thread(
            open_shared, [house.address], house.bundle, "toy", None, RuntimeOptions(), lambda: stops
        )
    )
    await until_here(lambda: held.seen)
    stops = True
    with pytest.raises(Unavailable):
        await loading
    held.gate.set()


async def test_a_bug_of_the_engine_process_ends_a_load_and_a_batch(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise KeyError("a bug")

    async with house.front() as front:
        with monkeypatch.context() as patched:
            patched.setattr(host_module, "ran_of", broken)
            with pytest.raises(RuntimeError, match="its log says why"):
                await front.ask(1)
        assert await front.ask(1) == [2]
    await until_here(lambda: not house.host._places)
    monkeypatch.setattr(host_module, "HostedVersion", broken)
    with pytest.raises(NotAdmitted, match="its log says why"):
        await house.joined()
