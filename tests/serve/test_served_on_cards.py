"""A server on cards: what a card does at the first run of a size is done before a request comes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import numpy as np
import pytest
from onnx import TensorProto, helper
from refusals import sealed
from support.fake_cards import CPU, CUDA, FakeCards
from support.running import Running, run_app

import seatrial as st
from seatrial_contracts.bundle import CONTRACT, PROFILE, Bundle, write_bundle
from seatrial_contracts.golden import Golden
from seatrial_contracts.manifest import Manifest, Variant
from seatrial_serve.inference.pace import Pace


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> FakeCards:
    return FakeCards(monkeypatch)


@pytest.fixture
def bundles(tmp_path: Path) -> Path:
    """A convolution over pairs of ids: their difference."""
    nodes = [
        helper.make_node("Cast", ["ids"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["x", "one"], ["channel"]),
        helper.make_node("Conv", ["channel", "weight"], ["moved"]),
        helper.make_node("ReduceSum", ["moved", "axes"], ["score"], keepdims=0),
    ]
    graph = sealed.graph(
        [("ids", TensorProto.INT64, [2])],
        *nodes,
        one=np.array([1]),
        axes=np.array([1, 2]),
        weight=np.array([[[1, -1]]], np.float32),
    )
    contract = st.contract_from_rows(sealed.Ids, sealed.Score, limits=st.Limits(max_rows=64))
    sealed.write(tmp_path, "toy", contract, {"ids": [9, 2]}, 7.0, graph)
    return tmp_path


def done(cards: FakeCards) -> tuple[int, int]:
    """How often a size was planned, and how often one was recorded."""
    return len(cards.planned), [how for _, _, how in cards.runs].count("recorded")


async def ask(app: Running, count: int) -> None:
    reply = await app.ask([{"ids": [3 * place, place]} for place in range(count)])
    assert reply.status_code == 200, reply.text
    assert [row["score"] for row in reply.json()["predictions"]] == [
        2.0 * place for place in range(count)
    ]


@pytest.mark.parametrize(
    ("flags", "sizes"), [({}, 7), ({"max_batch_rows": 12}, 5), ({"cuda_graphs": True}, 7)]
)
async def test_no_request_waits_for_a_plan_or_a_recording(
    cards: FakeCards, bundles: Path, flags: dict[str, int], sizes: int
) -> None:
    async with run_app(bundles, providers=(CUDA,), **flags) as app:
        said = (await app.client.get("/v1/models/toy/versions/1.0.0")).json()["execution"][
            "placement"
        ]["sizes"]
        assert len(said) == sizes
        before = done(cards)
        assert max(before) == sizes, "each of them once, by the load gate"
        for count in (1, 3, 11, 2, 1, 40, 12, 5, 1):
            await ask(app, count)
        assert done(cards) == before


async def test_batches_run_in_threads_of_the_models_own(cards: FakeCards, bundles: Path) -> None:
    async with run_app(bundles, providers=(CUDA,)) as app:
        cards.threads.clear()
        await asyncio.gather(*(ask(app, count) for count in range(1, 30)))
        assert cards.threads <= {"seatrial-device_0", "seatrial-device_1"}


@pytest.mark.parametrize(("provider", "free"), [(CUDA, 7), (CPU, 0)])
async def test_padding_is_free_on_cards_alone(
    bundles: Path, monkeypatch: pytest.MonkeyPatch, provider: str, free: int
) -> None:
    if provider == CUDA:
        FakeCards(monkeypatch)
    monkeypatch.setattr(Pace, "free_cost", 7)
    async with run_app(bundles, providers=(provider,)) as app:
        entry = app.repository.find("toy")
        assert entry is not None
        assert entry.ready_model().batcher.rule.free_padding == free


class Steps(st.Row):
    steps: Annotated[np.ndarray, st.Tensor(dims=((0, 40),), pad=0)]


def steps_of(length: int) -> dict[str, list[float]]:
    return {"steps": [1.0] * length}


@pytest.fixture
def summing(tmp_path: Path) -> Bundle:
    """The sum of a row's steps; golden rows of 3 to 37 of them."""
    graph = sealed.graph(
        [("steps", TensorProto.FLOAT, ["n"]), ("steps_mask", TensorProto.BOOL, ["n"])],
        helper.make_node("Cast", ["steps_mask"], ["there"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["steps", "there"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "axes"], ["score"], keepdims=0),
        axes=np.array([1]),
    )
    golden = Golden(
        tuple(steps_of(length) for length in (3, 5, 21, 37)),
        tuple({"score": np.float32(length)} for length in (3, 5, 21, 37)),
        (),
    )
    files = {
        CONTRACT: st.contract_from_rows(Steps, sealed.Score).to_json(),
        PROFILE: b"{}\n",
        "graphs/model.onnx": graph,
        **golden.to_files(),
    }
    manifest = Manifest(
        schema=1, name="toy", version="1.0.0", batchable=True,
        variants=(Variant(name="fp32", format="onnx", graph="graphs/model.onnx"),), files={},
    )  # fmt: skip
    return write_bundle(tmp_path, manifest, files)


def lengths(cards: FakeCards) -> set[int]:
    return {length for _, shapes in cards.shapes for _, length in shapes}


async def ask_steps(app: Running, count: int) -> None:
    reply = await app.ask([steps_of(count)])
    assert reply.status_code == 200, reply.text
    assert reply.json()["predictions"] == [{"score": count}]


async def test_batches_are_padded_to_few_lengths_that_each_ran_before_traffic(
    cards: FakeCards, summing: Bundle
) -> None:
    async with run_app(summing.path, providers=(CUDA,)) as app:
        told = (await app.client.get("/v1/models/toy/versions/1.0.0")).json()
        said = told["execution"]["placement"]["lengths"]
        assert said == {name: [8, 16, 24, 32, 37] for name in ("steps", "steps_mask")}
        assert lengths(cards) == {8, 16, 24, 32, 37}
        assert {rows for _, rows, _ in cards.runs} > {1}
        before = {tuple(shapes) for _, shapes in cards.shapes}
        for count in (0, 1, 8, 9, 17, 33, 37):
            await ask_steps(app, count)
        assert {tuple(shapes) for _, shapes in cards.shapes} == before
        await ask_steps(app, 40)  # longer than any golden row: as long as it is
        assert lengths(cards) == {8, 16, 24, 32, 37, 40}


async def test_on_the_processor_batches_are_as_long_as_their_longest_row(summing: Bundle) -> None:
    async with run_app(summing.path) as app:
        await ask_steps(app, 9)
        entry = app.repository.find("toy")
        assert entry is not None
        assert not entry.ready_model().engine.lengths
