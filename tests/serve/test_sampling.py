"""Sampler see what was answered, late, bounded and never in a request's way."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from support.running import run_app
from support.toys import ROWS, toy_bundle

from seatrial_serve.inference.engine import Answers
from seatrial_serve.models.answer import Answer
from seatrial_serve.models.served_model import ServedModel
from seatrial_serve.observers import sampling as tapping
from seatrial_serve.observers.sampling import Answered, Sampler
from seatrial_serve.runtimes.fake import FakeRuntime

MODEL = cast("ServedModel", None)


class Keeping:
    """A tap that keeps what it sees."""

    def __init__(self) -> None:
        self.seen: list[Answered] = []
        self.threads: set[str] = set()

    def answered(self, seen: Sequence[Answered]) -> None:
        self.seen += seen
        self.threads.add(threading.current_thread().name)


def answer_of(rows: int = 1) -> Answer:
    array = np.zeros((rows, 10), np.float32)
    return Answer([{"x": 1.0}] * rows, [Answers({"y": array}, 0, rows)])


def offer(taps: Sampler, count: int = 1, body_bytes: int = 10) -> None:
    for _ in range(count):
        taps.offer(MODEL, answer_of(), "one", 0.001, body_bytes)


def tapping_at(tap: Any, per_s: float, times: list[float]) -> Sampler:
    return Sampler([tap], per_s, clock=lambda: times[-1], sleep=lambda _: asyncio.sleep(0))


async def test_every_protocol_shows_the_taps_what_it_answered(
    tmp_path: Path, runtime: FakeRuntime
) -> None:
    toy_bundle(tmp_path)
    tap = Keeping()
    async with run_app(tmp_path, [tap]) as app:
        await app.ask(ROWS[:3], headers={"X-Request-Id": "one"})
        tensors = [
            {"name": "x", "shape": [2], "datatype": "FP32", "data": [1.0, 2.0]},
            {"name": "word", "shape": [2], "datatype": "BYTES", "data": ["a", "b"]},
        ]
        reply = await app.client.post("/v2/models/toy/infer", json={"id": "two", "inputs": tensors})
        assert reply.status_code == 200
        await app.taps.wait_idle()
    rows, columns = tap.seen
    assert rows.answer.given == ROWS[:3]
    assert rows.answer.array("twice").tolist() == [0.0, 2.0, 4.0]
    assert rows.request_id == "one"
    assert rows.variant == "fp32"
    assert 0 < rows.seconds < 60
    assert np.array_equal(columns.answer.given["x"], [1, 2])  # type: ignore[call-overload,index]
    assert columns.answer.array("twice").tolist() == [2.0, 4.0]
    assert columns.request_id == reply.headers["x-request-id"]
    assert all(name.startswith("seatrial-taps") for name in tap.threads)


async def test_what_is_refused_is_not_shown(tmp_path: Path, runtime: FakeRuntime) -> None:
    toy_bundle(tmp_path)
    tap = Keeping()
    async with run_app(tmp_path, [tap]) as app:
        assert (await app.ask([{"x": 1.0, "word": "c"}])).status_code == 400
        assert (await app.ask(ROWS[:1])).status_code == 200
        await app.taps.wait_idle()
    assert len(tap.seen) == 1


async def test_above_the_rate_limit_the_taps_see_a_sample() -> None:
    times, tap = [0.0], Keeping()
    async with tapping_at(tap, 10, times) as taps:
        offer(taps, 25)
        await taps.wait_idle()
        assert len(tap.seen) == 10
        times.append(0.5)
        while taps._allowed < 1:
            await asyncio.sleep(0)
        offer(taps, 25)
        await taps.wait_idle()
        assert len(tap.seen) == 15


async def test_the_queue_is_bounded_in_requests_and_in_bytes() -> None:
    tap = Keeping()
    async with tapping_at(tap, 1e9, [0.0]) as taps:
        offer(taps, 2 * tapping.MAX_WAITING)
        await taps.wait_idle()
        assert len(tap.seen) == tapping.MAX_WAITING
        tap.seen.clear()
        offer(taps, 20, body_bytes=2**20)
        await taps.wait_idle()
        assert len(tap.seen) == 15
        assert not taps._waiting_bytes


async def test_large_requests_are_looked_at_one_by_one_and_small_ones_by_many() -> None:
    sizes: list[int] = []

    class Counting(Keeping):
        def answered(self, seen: Sequence[Answered]) -> None:
            sizes.append(len(seen))

    async with tapping_at(Counting(), 1e9, [0.0]) as taps:
        offer(taps, 3, body_bytes=2**20)
        offer(taps, 100)
        await taps.wait_idle()
    assert sizes == [1, 1, 1, 64, 36]


async def test_slow_taps_rest_so_long_that_they_take_their_share_alone() -> None:
    times, slept = [0.0], list[float]()

    class Slow(Keeping):
        def answered(self, seen: Sequence[Answered]) -> None:
            times.append(times[-1] + 0.2)

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await asyncio.sleep(0)

    async with Sampler([Slow()], 10, clock=lambda: times[-1], sleep=sleep) as taps:
        offer(taps)
        await taps.wait_idle()
        while len(slept) < 2:
            await asyncio.sleep(0)
    assert slept[1] == pytest.approx(0.2 * (1 / tapping.SHARE - 1))


async def test_a_tap_that_fails_takes_no_other_with_it(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(Keeping):
        def answered(self, seen: Sequence[Answered]) -> None:
            raise ValueError("no")

    tap = Keeping()
    async with Sampler([Failing(), tap], 10, sleep=lambda _: asyncio.sleep(0)) as taps:
        for _ in range(2):
            offer(taps)
            await taps.wait_idle()
    assert len(tap.seen) == 2
    assert [record.name for record in caplog.records if record.levelno == logging.ERROR] == [
        "seatrial.taps"
    ] * 2


async def test_what_waits_of_a_model_that_is_unloaded_is_dropped() -> None:
    tap, gone = Keeping(), cast("ServedModel", object())
    async with Sampler([tap], 100.0) as taps:
        offer(taps, 2)
        taps.offer(gone, answer_of(), "of the one that goes", 0.001, 10)
        taps.forget(gone)
        await taps.wait_idle()
        assert [each.request_id for each in tap.seen] == ["one", "one"]
        taps.offer(gone, answer_of(), "of the one that goes", 0.001, 10)
        taps.forget(gone)
        await taps.wait_idle()
    assert len(tap.seen) == 2


async def test_without_taps_or_a_rate_nothing_is_kept() -> None:
    for taps in (Sampler((), 100), Sampler([Keeping()], 0)):
        async with taps:
            offer(taps, 5)
            assert not taps._waiting
