"""Memory that runs out costs one batch its size, never a wrong answer, never the process.

Half the batch is tried, then 503 is answered, and batches are smaller from there on.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from onnx import TensorProto, helper
from refusals import sealed
from support.fake_cards import CUDA, FakeCards, lost
from support.running import Running, run_app
from test_batcher import Log, ask_for, batching, elsewhere, requests

import seatrial as st
from seatrial_contracts.errors import OutOfMemory
from seatrial_serve.runtimes.onnx import devices as onnx_devices
from seatrial_serve.scheduling.batch_rule import BatchRule


class Room(Log):
    """Memory for batches of so many rows; keeps the sizes of those that did not fit."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.room, self.failed = rows, list[int]()

    def run(self, rows: list[int]) -> list[int]:
        if len(rows) > self.room:
            raise OutOfMemory("too large")
        return [row * 10 for row in rows]

    def out_of_memory(self, rows: int) -> None:
        self.failed.append(rows)


@given(requests, some.integers(4, 16), some.booleans(), some.integers(1, 3))
def test_where_half_a_batch_fits_every_request_gets_its_own_rows_back_in_order(
    sizes: list[tuple[int, int, int]], max_rows: int, threads: bool, slots: int
) -> None:
    room = Room(max_rows // 2 + 1)

    async def ask() -> None:
        run = elsewhere(room.run) if threads else room.run
        async with batching(
            BatchRule(max_rows=max_rows, max_padding=1.0), run, slots=slots, observe=room
        ) as batcher:
            asked = [
                [1000 * place + i for i in range(count)]
                for place, (count, _, _) in enumerate(sizes)
            ]
            answers = await asyncio.gather(
                *(
                    ask_for(batcher, rows, shape=shape)
                    for rows, (_, shape, _) in zip(asked, sizes, strict=True)
                )
            )
            assert answers == [[row * 10 for row in rows] for rows in asked]

    asyncio.run(ask())
    assert all(rows > room.room for rows in room.failed)


async def test_a_second_failure_is_refused_and_later_batches_are_smaller() -> None:
    room = Room(3)
    async with batching(BatchRule(max_rows=16), room.run, observe=room) as batcher:
        with pytest.raises(OutOfMemory) as refused:
            await ask_for(batcher, list(range(16)))
        assert (refused.value.code, room.failed[:2], batcher.rule.max_cost) == ("E_OOM", [16, 8], 4)
        with pytest.raises(OutOfMemory):
            room.room = 0
            await ask_for(batcher, [1])
        room.room = 3
        assert await ask_for(batcher, list(range(16))) == [row * 10 for row in range(16)]
        assert batcher.rule.max_cost == 1


async def test_the_limit_counts_padded_length_so_that_short_rows_still_go_together() -> None:
    room = Room(8)
    async with batching(BatchRule(max_rows=16), room.run, observe=room) as batcher:
        await ask_for(batcher, list(range(16)), length=10)
        assert batcher.rule.max_cost == 80
        assert (batcher.rule.rows_of(10), batcher.rule.rows_of(5), batcher.rule.rows_of(200)) == (
            8,
            16,
            1,
        )


async def test_a_batcher_that_closes_meanwhile_refuses_in_place_of_asking_again() -> None:
    room, gate = Room(1), asyncio.Event()

    async def held(rows: list[int]) -> list[int]:
        await gate.wait()
        return room.run(rows)

    async with batching(
        BatchRule(), lambda rows: asyncio.ensure_future(held(rows)), observe=room
    ) as batcher:
        asked = asyncio.ensure_future(ask_for(batcher, [1, 2]))
        for _ in range(3):
            await asyncio.sleep(0)
        closing = asyncio.ensure_future(batcher.close())
        await asyncio.sleep(0)
        gate.set()
        with pytest.raises(OutOfMemory):
            await asked
        await closing


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> FakeCards:
    monkeypatch.setattr(onnx_devices, "RETRY_S", 0.01)
    return FakeCards(monkeypatch, 2)


@pytest.fixture
def bundles(tmp_path: Path) -> Path:
    mean = helper.make_node("ReduceMean", ["v", "axes"], ["score"], keepdims=0)
    graph = sealed.graph(
        [("ids", TensorProto.INT64, [2])],
        helper.make_node("Gather", ["table", "ids"], ["v"]),
        mean,
        table=np.arange(100, dtype=np.float32),
        axes=np.array([1]),
    )
    contract = st.contract_from_rows(sealed.Ids, sealed.Score, limits=st.Limits(max_rows=256))
    sealed.write(tmp_path, "toy", contract, {"ids": [1, 2]}, 1.5, graph)
    return tmp_path


def on_cards(bundles: Path, **options: Any) -> Any:
    return run_app(bundles, providers=(CUDA,), devices=(0, 1), **options)


async def ask(app: Running, count: int) -> tuple[int, Any]:
    reply = await app.ask([{"ids": [place, place + 1]} for place in range(count)])
    found = reply.json()
    return reply.status_code, [
        row["score"] for row in found["predictions"]
    ] if reply.status_code == 200 else found["code"]


def count_of(app: Running, name: str) -> float:
    app.metrics.flush()
    return app.metrics.registry.get_sample_value(name, {"model": "toy", "version": "1.0.0"}) or 0.0


async def test_a_server_on_cards_answers_through_them_and_says_so(
    cards: FakeCards, bundles: Path
) -> None:
    async with on_cards(bundles) as app:
        cards.runs.clear()
        assert await ask(app, 90) == (200, [place + 0.5 for place in range(90)])
        assert {how for _, _, how in cards.runs} == {"plain"}
        said = (await app.client.get("/v1/models/toy/versions/1.0.0")).json()["execution"]
        assert said["provider"] == CUDA
        assert said["placement"] | {"nodes": None} == {
            "asked": CUDA,
            "devices": [0, 1],
            "nodes": None,
            "cuda_graphs": False,
            "slots": 4,
            "most_rows": None,
            "sizes": [],
            "lengths": {},
        }


async def test_a_batch_too_large_for_a_card_is_answered_in_halves_and_then_refused(
    cards: FakeCards, bundles: Path
) -> None:
    async with on_cards(bundles, max_batch_rows=64) as app:
        cards.room_rows = 40
        assert await ask(app, 64) == (200, [place + 0.5 for place in range(64)])
        entry = app.repository.find("toy")
        assert entry is not None
        assert entry.ready_model().batcher.rule.rows_of(1) == 32
        assert entry.ready_model().engine.usual_elements == 32, "a half leaves nothing behind"
        assert count_of(app, "seatrial_batches_out_of_memory_total") == 1
        cards.room_rows = 6
        assert await ask(app, 64) == (503, "E_OOM")
        assert await ask(app, 5) == (200, [place + 0.5 for place in range(5)])
        assert entry.takes_traffic


async def test_a_card_that_holds_few_rows_is_served_in_batches_of_as_many(
    cards: FakeCards, bundles: Path
) -> None:
    cards.room_rows = 6
    async with on_cards(bundles) as app:
        entry = app.repository.find("toy")
        assert entry is not None
        assert entry.takes_traffic, entry.reason
        assert entry.ready_model().batcher.rule.max_rows <= 6
        assert await ask(app, 20) == (200, [place + 0.5 for place in range(20)])
        assert count_of(app, "seatrial_batches_out_of_memory_total") == 0


@pytest.mark.parametrize(
    ("wrong", "code", "why"),
    [
        (
            {"present": {0}},
            "E_PROVIDER",
            "asked for device 1 of CUDAExecutionProvider: the device is not there",
        ),
        ({"libraries": False}, "E_PROVIDER", "onnxruntime runs it on CPUExecutionProvider"),
        ({"lacking": {"Gather"}, "takes": False}, "E_PROVIDER", "takes none of the graph's nodes"),
        ({"room_rows": 0}, "E_LOAD_GATE", "one row alone needs more memory than there is"),
    ],
)
async def test_what_the_cards_cannot_run_is_not_ready_and_says_why(
    cards: FakeCards, bundles: Path, wrong: dict[str, Any], code: str, why: str
) -> None:
    for name, value in wrong.items():
        setattr(cards, name, value)
    async with on_cards(bundles) as app:
        reply = await app.client.get("/v2/health/ready")
        said = reply.json()["not_ready"][0]
        assert (reply.status_code, said["state"], said["code"]) == (503, "FAILED", code)
        assert why in said["reason"]
        assert await ask(app, 1) == (503, "E_NOT_READY")


async def test_lost_cards_make_a_model_not_ready_until_one_is_back(
    cards: FakeCards, bundles: Path
) -> None:
    async with on_cards(bundles) as app:
        cards.failing[0] = lost()
        statuses = {(await ask(app, 1))[0] for _ in range(4)}
        assert statuses == {200, 503}
        assert (await app.client.get("/v2/health/ready")).status_code == 200
        cards.failing[1] = lost()
        assert await ask(app, 1) == (503, "E_RUNTIME_DOWN")
        assert await ask(app, 1) == (503, "E_RUNTIME_DOWN")
        reply = await app.client.get("/v2/health/ready")
        assert (reply.status_code, reply.json()["not_ready"][0]["code"]) == (503, "E_RUNTIME_DOWN")
        cards.failing.clear()
        async with asyncio.timeout(20):
            while (await ask(app, 1))[0] != 200:
                await asyncio.sleep(0)
        assert (await app.client.get("/v2/health/ready")).status_code == 200


SHORT_OF_MEMORY = """
import resource
import numpy as np, onnx
from seatrial_contracts.errors import OutOfMemory
from seatrial_serve.runtimes import runtimes
from seatrial_serve.runtimes.runtime import RuntimeOptions

GRAPH = '''<ir_version: 10, opset_import: ["": 20]> g (float[n] x) => (float[n] y)
    <int64[2] s = {-1, 1}, int64[1] big = {25000}, int64[1] m = {1}>
    { a = Reshape(x, s) r = Concat<axis=0>(m, big) t = Expand(a, r) u = Relu(t)
      y = ReduceMax<keepdims=0>(u, m) }'''
runtime = runtimes()["onnx"](onnx.parser.parse_model(GRAPH).SerializeToString(), RuntimeOptions())
rows = lambda count: {"x": np.arange(count, dtype=np.float32)}
runtime.run(rows(10))
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 170 * 2**20,) * 2)
for _ in range(3):
    try:
        runtime.run(rows(1000))
    except OutOfMemory as error:
        print(error.code, error)
    # Twice 50 MB: fits only where nothing was left behind.
    answers = runtime.run(rows(500), outlier=True)["y"]
    print((answers == rows(500)["x"]).all())
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits a process's memory as Linux does")
def test_onnxruntime_itself_short_of_memory_is_told_apart_and_goes_on() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SHORT_OF_MEMORY],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (
        done.stdout.split("\n")[:-1]
        == ["E_OOM this batch needs more memory than there is", "True"] * 3
    ), done.stderr
