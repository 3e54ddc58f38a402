"""Live parity on real graphs: an int8 variant that is right, and one that is damaged.

No golden row touches the damaged weight.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, Literal

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from prometheus_client import CollectorRegistry
from support.running import Running, run_app

import seatrial as st
from seatrial_contracts.bundle import CONTRACT, PROFILE, write_bundle
from seatrial_contracts.golden import Golden
from seatrial_contracts.manifest import Manifest, Variant
from seatrial_serve.metrics.families import Families
from seatrial_serve.models.entry import State
from seatrial_serve.observers import live_parity
from seatrial_serve.observers.live_parity import LiveParity, ParityPolicy

pytestmark = pytest.mark.slow
WORDS = ("red", "green", "blue", "rare")
TABLE = np.array([[0.5, -1.0], [1.0, 0.25], [-0.75, 0.5], [0.25, 1.0]], np.float32)
SCALE = np.float32(1 / 127)
GOLDEN = [{"word": word, "x": float(i)} for i, word in enumerate(WORDS[:3] * 3)]
"""No golden row holds the word "rare"."""


class TrialRequest(st.Row):
    word: Literal["red", "green", "blue", "rare"]
    x: Annotated[float, st.Number(ge=-100, le=100)]


class Answered(st.Answer):
    score: st.Tensor[np.float32, 2]


def graph(table: np.ndarray[Any, Any]) -> bytes:
    """The table's row of the word, plus x: the table in float32, or in int8 with a scale."""
    nodes = [
        helper.make_node(
            "LabelEncoder",
            ["word"],
            ["code"],
            domain="ai.onnx.ml",
            keys_strings=WORDS,
            values_int64s=range(4),
            default_int64=0,
        )
    ]
    weights = {"table": table, "scale": SCALE, "last": np.array([1])}
    source = "table"
    if table.dtype == np.int8:
        nodes.append(helper.make_node("DequantizeLinear", ["table", "scale"], ["wide"]))
        source = "wide"
    nodes += [
        helper.make_node("Gather", [source, "code"], ["row"]),
        helper.make_node("Unsqueeze", ["x", "last"], ["column"]),
        helper.make_node("Add", ["row", "column"], ["score"]),
    ]
    inputs = [
        helper.make_tensor_value_info(name, kind, ["batch"])
        for name, kind in (("word", TensorProto.STRING), ("x", TensorProto.FLOAT))
    ]
    output = helper.make_tensor_value_info("score", TensorProto.FLOAT, ["batch", 2])
    kept = [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()]
    sets = [helper.make_opsetid("", 20), helper.make_opsetid("ai.onnx.ml", 4)]
    model = helper.make_model(
        helper.make_graph(nodes, "g", inputs, [output], kept), opset_imports=sets, ir_version=10
    )
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def seal(folder: Path, version: str = "1.0.0", damage: int = 0) -> None:
    """fp32 and int8, the latter with `damage` added to one weight of the word "rare"."""
    narrow = np.round(TABLE / SCALE).astype(np.int8)
    narrow[3, 1] -= damage
    golden = Golden(
        tuple(GOLDEN),
        tuple({"score": TABLE[WORDS.index(row["word"])] + np.float32(row["x"])} for row in GOLDEN),
    )
    variants = (
        Variant(name="fp32", graph="graphs/fp32.onnx"),
        Variant(name="int8", graph="graphs/int8.onnx", promise=st.Promise(max_error=0.01)),
    )
    manifest = Manifest(
        schema=1,
        name="words",
        version=version,
        batchable=True,
        variants=variants,
        files={},
    )
    files = {
        CONTRACT: st.contract_from_rows(TrialRequest, Answered).to_json(),
        PROFILE: b"{}\n",
        **golden.to_files(),
    }
    write_bundle(
        folder,
        manifest,
        files | {"graphs/fp32.onnx": graph(TABLE), "graphs/int8.onnx": graph(narrow)},
    )


async def ask_until(app: Running, word: str, done: Callable[[], bool], most: int = 60) -> None:
    """Ask one row after another, each looked at before the next, until it is done."""
    for turn in range(most):
        await app.ask([{"word": word, "x": float(turn % 7)}], model="words")
        await app.taps.wait_idle()
        assert app.watch.parity is not None
        assert await asyncio.to_thread(app.watch.parity.wait_idle)
        for _ in range(20):
            await asyncio.sleep(0)
        if done():
            return
    raise AssertionError("not done")


def count(app: Running, name: str, variant: str = "int8", version: str = "1.0.0") -> float:
    labels = {"model": "words", "version": version, "variant": variant}
    return app.metrics.registry.get_sample_value(f"seatrial_live_parity_{name}", labels) or 0.0


OFTEN: dict[str, Any] = {"live_parity_per_s": 1e6, "sampled_per_s": 1e6}


async def test_a_variant_that_keeps_its_promise_is_checked_and_found_right(tmp_path: Path) -> None:
    seal(tmp_path)
    async with run_app(tmp_path, variant="int8", **OFTEN) as app:
        await ask_until(app, "rare", lambda: count(app, "checked_total") >= 5)
        assert count(app, "violations_total") == 0
        assert count(app, "error_count") == count(app, "checked_total")
        assert 0 < count(app, "error_sum") / count(app, "error_count") < 0.01
        assert app.repository.ready


async def test_a_damaged_weight_passes_the_load_gate_and_is_found_in_live_answers(
    tmp_path: Path,
) -> None:
    seal(tmp_path, damage=40)
    async with run_app(tmp_path, variant="int8", **OFTEN) as app:
        entry = app.repository.find("words")
        assert entry is not None
        assert entry.state is State.READY
        await ask_until(app, "green", lambda: count(app, "checked_total") >= 5)
        assert count(app, "violations_total") == 0
        await ask_until(app, "rare", lambda: entry.state is State.FAILED)
        assert count(app, "violations_total") == 5
        reply = await app.client.get("/v2/health/ready")
        assert reply.status_code == 503
        said = reply.json()["not_ready"][0]
        assert said["code"] == "E_LIVE_PARITY"
        assert "5 of the last 10 answers" in said["reason"]
        assert "max_error: got 0.31" in said["reason"]
        refused = await app.ask([GOLDEN[0]], model="words")
        assert (refused.status_code, refused.json()["code"]) == (503, "E_NOT_READY")
        app.metrics.flush()
        ready = app.metrics.registry.get_sample_value(
            "seatrial_model_ready", {"model": "words", "version": "1.0.0"}
        )
        assert ready == 0


async def test_the_version_before_follows_where_that_is_configured(tmp_path: Path) -> None:
    seal(tmp_path)
    seal(tmp_path, "1.1.0", damage=40)
    async with run_app(tmp_path, variant="int8", live_parity_action="fall_back", **OFTEN) as app:
        entry = app.repository.find("words")
        assert entry is not None
        assert entry.version == "1.1.0"
        await ask_until(app, "rare", lambda: entry.state is State.FAILED)
        reply = await app.ask([{"word": "rare", "x": 0.0}], model="words")
        assert reply.json()["model_version"] == "1.0.0"
        assert reply.json()["predictions"][0]["score"] == pytest.approx([0.25, 1.0], abs=0.01)
        assert (await app.client.get("/v2/health/ready")).status_code == 200
        # An operator's word: the version is tried again, and its golden rows are right.
        await app.lifecycle.reload()
        assert (await app.ask([GOLDEN[0]], model="words")).json()["model_version"] == "1.1.0"


async def test_violations_are_counted_alone_where_that_is_configured(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seal(tmp_path, damage=40)
    with caplog.at_level(logging.WARNING):
        async with run_app(tmp_path, variant="int8", live_parity_action="report", **OFTEN) as app:
            await ask_until(app, "rare", lambda: count(app, "violations_total") >= 7)
            assert app.repository.ready
    assert "int8: max_error: got 0.31" in caplog.text


async def test_where_fp32_is_served_no_second_graph_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seal(tmp_path)
    monkeypatch.setattr(live_parity, "load_engine", lambda *_: pytest.fail("a second graph"))
    async with run_app(tmp_path, **OFTEN) as app:
        await ask_until(app, "blue", lambda: count(app, "checked_total", "fp32") >= 3)
        assert count(app, "violations_total", "fp32") == 0


async def test_no_reference_is_loaded_that_is_larger_than_allowed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seal(tmp_path)
    with caplog.at_level(logging.WARNING):
        async with run_app(tmp_path, variant="int8", live_parity_bytes=100, **OFTEN) as app:
            await ask_until(app, "rare", lambda: "--live-parity-bytes" in caplog.text, most=3)
            await ask_until(app, "rare", lambda: True)
            assert count(app, "checked_total") == 0
    assert caplog.text.count("--live-parity-bytes") == 1


def test_a_busy_model_takes_no_turn_from_a_quiet_one(monkeypatch: pytest.MonkeyPatch) -> None:
    offered: list[Any] = []
    monkeypatch.setattr(live_parity, "sample_of", lambda answered: answered)
    parity = LiveParity(
        ParityPolicy(per_s=10.0), Families(CollectorRegistry(), shared=False), lambda *_: None
    )
    monkeypatch.setattr(parity._aside, "offer", offered.append)
    busy, quiet = (
        SimpleNamespace(model=SimpleNamespace(backlog=SimpleNamespace(users=users)))
        for users in (1, 0)
    )
    parity.answered([busy, quiet, busy, quiet])  # type: ignore[list-item]
    assert offered == [quiet, quiet]
    parity.close(1.0)


async def test_nothing_is_checked_while_a_request_is_on_its_way(tmp_path: Path) -> None:
    seal(tmp_path)
    async with run_app(tmp_path, variant="int8", **OFTEN) as app:
        entry = app.repository.find("words")
        assert entry is not None
        assert entry.model is not None
        entry.model.backlog.enter()
        await ask_until(app, "rare", lambda: True)
        assert count(app, "checked_total") == 0
        entry.model.backlog.leave()
        await ask_until(app, "rare", lambda: count(app, "checked_total") == 1)
