"""What is refused at once: too late, too large together, or blamed too often."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.running import Running, run_app
from support.toys import Feeds, answer, fake_runtimes, toy_bundle

import seatrial as st
from seatrial_contracts.errors import Refusal, Unavailable
from seatrial_serve.api import exchange
from seatrial_serve.process.budget import ARRIVES_BYTES, Budget, Places
from seatrial_serve.runtimes.fake import FakeRuntime
from seatrial_serve.scheduling.admission import REFUSAL_S, Backlog, Quarantine

GOOD = {"x": 3.0, "word": "a"}


def test_pressure_predicts_by_littles_law() -> None:
    now = [0.0]
    backlog = Backlog(0.01, clock=lambda: now[0])
    for _ in range(2000):  # one at a time, 20 ms each
        backlog.enter()
        now[0] += 0.02
        backlog.leave()
    assert backlog.expected_s == pytest.approx(0.02, rel=0.05)
    assert backlog.queue_s == 0.0
    for _ in range(49):
        backlog.enter()
    assert backlog.expected_s == pytest.approx(1.0, rel=0.05)
    assert backlog.queue_s == pytest.approx(0.98, rel=0.05)
    backlog.admit(now[0] + 2.0)
    with pytest.raises(Unavailable) as refused:
        backlog.admit(now[0] + 1.0)
    assert refused.value.code == "E_OVERLOADED"
    assert refused.value.retry_after_s == pytest.approx(1.0, rel=0.05)


def test_the_late_first_answer_of_a_crowd_does_not_make_the_model_look_slow() -> None:
    now = [0.0]
    backlog = Backlog(0.03, clock=lambda: now[0])
    for _ in range(64):
        backlog.enter()
    now[0] = 0.5  # all 64 are decoded first
    backlog.leave()
    assert backlog.expected_s < 64 * 0.035
    backlog.admit(now[0] + 4.0)


def test_an_idle_model_takes_any_request() -> None:
    Backlog(100.0, clock=lambda: 0.0).admit(0.001)


def test_refusals_do_not_make_the_model_look_fast() -> None:
    now = [0.0]
    backlog = Backlog(0.02, clock=lambda: now[0])
    backlog.enter()
    for _ in range(100):
        backlog.enter()
        now[0] += 0.001
        backlog.leave(Refusal)
    now[0] += 100.0
    backlog.leave()
    assert backlog.expected_s == pytest.approx(100.1, rel=0.01)


@pytest.mark.parametrize("others", [0, 1])
@pytest.mark.parametrize("outage_s", [2, 20])
def test_an_outage_does_not_make_the_model_look_slow(others: int, outage_s: int) -> None:
    now = [0.0]
    backlog = Backlog(0.02, clock=lambda: now[0])
    for _ in range(others):
        backlog.enter()
    for _ in range(outage_s * 50):  # the runtime behind it is not there
        backlog.enter()
        now[0] += 0.02
        backlog.leave(Unavailable)
    now[0] += 0.02
    for _ in range(others):
        backlog.leave()
    assert backlog.expected_s == pytest.approx(0.02)


def test_the_budget_is_kept_and_returns_to_zero() -> None:
    budget = Budget(100)
    holds = [budget.begin("a"), budget.begin("b")]
    holds[0].work(60)
    holds[1].work(40)
    late = budget.begin("c")
    with pytest.raises(Unavailable) as refused:
        late.work(1)
    assert (refused.value.code, budget.held_bytes) == ("E_MEMORY", 100)
    for hold in (*holds, late):
        hold.give_back()
    assert (budget.held_bytes, budget.all.at_work, budget._clients) == (0, 0, {})
    alone = budget.begin("a")
    alone.work(1000)  # one alone always has room
    alone.give_back()


def test_what_arrives_is_held_as_it_arrives_and_keeps_nobody_from_being_parsed() -> None:
    budget = Budget(4 * ARRIVES_BYTES)
    slow = [budget.begin(place) for place in range(4)]
    assert budget.held_bytes == 0, "headers alone hold nothing"
    for hold in slow:
        hold.arrived(1)
        hold.arrived(2)
    assert budget.held_bytes == 4 * ARRIVES_BYTES
    with pytest.raises(Unavailable):
        slow[0].arrived(ARRIVES_BYTES + 1)
    good = budget.begin("good")
    good.work(3 * ARRIVES_BYTES)
    second = budget.begin("second")
    with pytest.raises(Unavailable):
        second.work(1)
    for hold in (*slow, good, second):
        hold.give_back()
    assert (budget.held_bytes, budget._clients) == (0, {})


def test_one_client_holds_a_part_of_the_budget_and_others_have_the_rest() -> None:
    budget = Budget(100, client_share=0.5)
    first, second, other = budget.begin("greedy"), budget.begin("greedy"), budget.begin("other")
    first.work(50)
    with pytest.raises(Unavailable, match="one client may"):
        second.work(1)
    other.work(50)
    first.give_back()
    second.work(50)
    for hold in (second, other):
        hold.give_back()
    assert (budget.held_bytes, budget._clients) == (0, {})


def test_places_are_bounded_for_one_client_and_for_all() -> None:
    places = Places(2, 4)
    assert [places.take(client) for client in "aaabbc"] == [True, True, False, True, True, False]
    places.give_back("a")
    assert places.take("c")
    for client in "abbc":
        places.give_back(client)
    assert (places.taken, places._clients) == (0, {})


def test_a_body_is_refused_after_three_blames_and_for_a_while() -> None:
    now = [0.0]
    quarantine = Quarantine(clock=lambda: now[0])
    for _ in range(3):
        quarantine.check(b"bad")
        quarantine.record_failure(b"bad")
    quarantine.check(b"good")
    with pytest.raises(Refusal) as refused:
        quarantine.check(b"bad")
    assert refused.value.code == "E_QUARANTINED"
    now[0] = 61.0
    quarantine.check(b"bad")
    for place in range(2 * Quarantine.KEPT):
        quarantine.record_failure(b"%d" % place)
    assert len(quarantine._blamed) == Quarantine.KEPT


def not_a_number_for_13(feeds: Feeds) -> dict[str, Any]:
    outputs = answer(feeds)
    outputs["twice"] = np.where(feeds["x"] == 13, np.float32(np.nan), outputs["twice"])
    return outputs


async def test_a_row_that_breaks_the_answer_fails_alone_and_is_quarantined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_runtimes(monkeypatch, not_a_number_for_13)
    toy_bundle(tmp_path)
    async with run_app(tmp_path) as running:
        for turn in range(5):
            replies = await asyncio.gather(
                *(running.ask([GOOD | {"x": float(x)}]) for x in range(16))
            )
            assert [reply.status_code for place, reply in enumerate(replies) if place != 13] == [
                200
            ] * 15
            assert [
                reply.json()["predictions"][0]["twice"]
                for place, reply in enumerate(replies)
                if place != 13
            ] == [2.0 * x for x in range(16) if x != 13]
            assert replies[13].json()["code"] == (
                "E_OUTPUT_CONTRACT" if turn < 3 else "E_QUARANTINED"
            )


class Held:
    """A model that waits to be let go, in the pool."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.runtime = fake_runtimes(monkeypatch, self.answer)

    def answer(self, feeds: Feeds) -> dict[str, Any]:
        assert self.gate.wait(5)
        return answer(feeds)


async def held_app(running: Running) -> None:
    """Make the model one that runs in the pool."""
    model = running.repository.find("toy").ready_model()  # type: ignore[union-attr]
    assert model._runner is not None
    model._runner._inline, model.runs_inline = False, False


async def test_a_client_that_leaves_is_dropped_before_its_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(monkeypatch)
    toy_bundle(tmp_path)
    async with run_app(tmp_path) as running:
        await held_app(running)
        held.gate.clear()
        held.runtime.batches.clear()
        model = running.repository.find("toy").ready_model()  # type: ignore[union-attr]
        asked = []
        for slot in (1, 2):
            asked.append(asyncio.ensure_future(running.ask([GOOD])))
            while model.batcher._slots - model.batcher._free < slot:
                await asyncio.sleep(0)
        left = asyncio.Event()
        body = json.dumps({"instances": [GOOD]}).encode()

        coming = [{"type": "http.request", "body": body}]

        async def receive() -> dict[str, Any]:
            if coming:
                return coming.pop()
            await left.wait()
            return {"type": "http.disconnect"}

        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "path": "/v1/models/toy:predict",
            "method": "POST",
            "headers": [(b"content-length", b"%d" % len(body))],
        }
        leaving = asyncio.ensure_future(running.app(scope, receive, send))
        while not model.batcher._queue:
            await asyncio.sleep(0)
        left.set()
        await leaving
        held.gate.set()
        assert [reply.status_code for reply in await asyncio.gather(*asked)] == [200, 200]
        assert (sent, held.runtime.batches, model.backlog.users) == ([], [1, 1], 0)


async def test_a_request_that_would_come_too_late_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(monkeypatch)
    toy_bundle(tmp_path)
    async with run_app(tmp_path) as running:
        await held_app(running)
        model = running.repository.find("toy").ready_model()  # type: ignore[union-attr]
        model.backlog._ended, model.backlog._busy_s = 1.0, 1.0
        held.gate.clear()
        held.runtime.batches.clear()
        first = asyncio.ensure_future(running.ask([GOOD]))
        while not model.backlog.users:
            await asyncio.sleep(0)
        slept: list[float] = []
        sleep = asyncio.sleep
        monkeypatch.setattr(
            exchange.asyncio, "sleep", lambda seconds: (slept.append(seconds), sleep(0))[1]
        )
        refused = await running.ask([GOOD], headers={"X-Request-Timeout-Ms": "1000"})
        assert REFUSAL_S in slept, (
            "whoever asks again at once would take the processor from those who were let in"
        )
        assert (refused.status_code, refused.json()["code"], refused.headers["retry-after"]) == (
            503,
            "E_OVERLOADED",
            "2",
        )
        held.gate.set()
        assert (await first).status_code == 200
        assert held.runtime.batches == [1]


async def test_an_answer_too_large_to_be_written_down_is_refused(
    tmp_path: Path, runtime: FakeRuntime
) -> None:
    toy_bundle(tmp_path, limits=st.Limits(max_answer_bytes=100))
    async with run_app(tmp_path) as running:
        assert (await running.ask([GOOD] * 8)).status_code == 200
        refused = await running.ask([GOOD] * 9)
        assert (refused.status_code, refused.json()["code"]) == (400, "E_ANSWER_BYTES")
        assert (
            "got 108 bytes, want at most 100; ask for fewer or smaller rows at once"
            in refused.json()["error"]
        )


async def test_the_memory_of_an_outlier_is_not_kept(tmp_path: Path, runtime: FakeRuntime) -> None:
    toy_bundle(tmp_path)
    async with run_app(tmp_path, max_batch_rows=4) as running:
        limited = runtime.outliers
        await running.ask([GOOD] * 4)
        assert runtime.outliers == limited
        entry = running.repository.find("toy")
        assert entry is not None
        engine = entry.ready_model().engine
        engine.run([[engine.encode(GOOD)] * 5])
        assert runtime.outliers == limited + 1


async def test_a_client_that_sends_slowly_does_not_make_the_model_look_slow(
    tmp_path: Path, runtime: FakeRuntime
) -> None:
    toy_bundle(tmp_path)
    async with run_app(tmp_path) as running:
        entry = running.repository.find("toy")
        assert entry is not None
        arriving = asyncio.Event()

        async def body() -> AsyncIterator[bytes]:
            yield b"{"
            arriving.set()
            await asyncio.Event().wait()

        slow = asyncio.create_task(running.client.post("/v1/models/toy:predict", content=body()))
        await arriving.wait()
        assert entry.ready_model().backlog.users == 0
        assert (await running.ask([GOOD])).status_code == 200
        slow.cancel()
