"""Versions come and go while the server answers: nothing is lost.

No answer is of two versions.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import shutil
import threading
import weakref
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from support.running import Running, run_app
from support.toys import (
    ROWS,
    answer,
    fake_runtimes,
    toy_bundle,
    toy_files,
    toy_golden,
    toy_manifest,
)
from support.waiting import until_here

from seatrial_contracts.bundle import open_bundle, write_bundle
from seatrial_contracts.contract import Contract
from seatrial_contracts.errors import Unavailable
from seatrial_serve.inference import engine
from seatrial_serve.models.entry import Entry, State
from seatrial_serve.models.folder_rest import FolderRest
from seatrial_serve.models.lifecycle import ModelLifecycle
from seatrial_serve.models.served_model import ServedModel
from seatrial_serve.runtimes.fake import FakeRuntime

GRAPH = "graphs/toy.fake"
ROW = {"x": 3.0, "word": "a"}


def times(factor: int) -> Any:
    return lambda feeds: answer(feeds) | {"twice": feeds["x"] * np.float32(factor)}


def put(folder: Path, version: str, factor: int, *, good: bool = True) -> None:
    """A toy whose answers tell its version: x times `factor`."""
    golden = toy_golden()
    answers = tuple(
        each | {"twice": np.float32(row["x"] * (factor if good else factor + 1))}
        for row, each in zip(ROWS, golden.answers, strict=True)
    )
    shutil.rmtree(folder / "toy" / version, ignore_errors=True)
    write_bundle(
        folder,
        toy_manifest(version=version),
        toy_files(replace(golden, answers=answers)) | {GRAPH: b"%d" % factor},
    )


@pytest.fixture
async def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    def load(graph: bytes, _: Any) -> FakeRuntime:
        return FakeRuntime(
            times(int(graph)), inputs={"x": "float32", "word": "string"}, outputs=["twice", "pair"]
        )

    monkeypatch.setattr(engine, "runtimes", lambda: {"fake": load})
    put(tmp_path, "1.0.0", 2)
    async with run_app(tmp_path, admin=True) as app:
        yield app


class Tidied:
    """Hears when the lifecycle tidies."""

    def __init__(self, lifecycle: ModelLifecycle) -> None:
        self.done, loop = asyncio.Event(), asyncio.get_running_loop()
        lifecycle._tidy = lambda: loop.call_soon_threadsafe(self.done.set)


@pytest.fixture
def frozen() -> Iterator[None]:
    """Let the collector look at nothing, as after `give_memory_back`.

    What is part of a circle stays.
    """
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def asked(running: Running, path: str = "toy") -> tuple[str, float]:
    reply = await running.client.post(f"/v1/models/{path}:predict", json={"instances": [ROW]})
    assert reply.status_code == 200, reply.text
    return reply.json()["model_version"], reply.json()["predictions"][0]["twice"]


async def test_a_new_version_takes_over_and_the_old_one_is_gone(
    running: Running, tmp_path: Path
) -> None:
    put(tmp_path, "1.1.0", 3)
    assert await asked(running) == ("1.0.0", 6)
    await running.lifecycle.reload()
    assert await asked(running) == ("1.1.0", 9)
    assert (
        await running.client.post(
            "/v1/models/toy/versions/1.0.0:predict", json={"instances": [ROW]}
        )
    ).status_code == 404
    assert [entry.version for entry in running.repository] == ["1.1.0"]


async def test_a_retired_version_leaves_memory_with_its_last_holder(
    running: Running, tmp_path: Path, frozen: None
) -> None:
    await asked(running)
    model = running.repository.find("toy").ready_model()
    gone = [weakref.ref(held) for held in (model, model.engine, model.batcher, model.bundle)]
    put(tmp_path, "1.1.0", 3)
    await running.lifecycle.reload()
    await asked(running)
    assert None not in [ref() for ref in gone]
    tidied = Tidied(running.lifecycle)
    del model
    # whoever ends the request may have a hand on it still
    await until_here(lambda: [ref() for ref in gone] == [None] * 4)
    await asyncio.wait_for(tidied.done.wait(), 10)


async def test_a_version_that_fails_its_load_gate_leaves_the_old_one(
    running: Running, tmp_path: Path
) -> None:
    put(tmp_path, "1.1.0", 3, good=False)
    await running.lifecycle.reload()
    assert await asked(running) == ("1.0.0", 6)
    assert running.repository.ready
    states = {
        each["version"]: each["state"]
        for each in (await running.client.post("/v2/repository/index")).json()
    }
    assert states == {"1.0.0": "READY", "1.1.0": "UNAVAILABLE"}
    put(tmp_path, "1.1.0", 3)
    await running.lifecycle.reload()
    assert await asked(running) == ("1.1.0", 9)


async def test_other_bytes_under_the_same_version_are_loaded_anew_or_left(
    running: Running, tmp_path: Path
) -> None:
    put(tmp_path, "1.0.0", 5)
    await running.lifecycle.reload()
    assert await asked(running) == ("1.0.0", 15)
    put(tmp_path, "1.0.0", 6, good=False)
    await running.lifecycle.reload()
    assert await asked(running) == ("1.0.0", 15)
    reply = await running.client.post("/v2/repository/models/toy/load", content=b"{}")
    assert (reply.status_code, reply.json()["code"]) == (500, "E_LOAD")
    assert await asked(running) == ("1.0.0", 15)


async def test_both_digests_are_logged_where_other_bytes_come_under_the_same_version(
    running: Running, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = open_bundle(tmp_path / "toy/1.0.0").digest
    await running.lifecycle.reload()
    assert before not in caplog.text
    put(tmp_path, "1.0.0", 5)
    await running.lifecycle.reload()
    now = open_bundle(tmp_path / "toy/1.0.0").digest
    assert (
        f"toy 1.0.0: other bytes under the same version: {before} before, {now} now" in caplog.text
    )


async def test_labels_pin_and_roll_back(running: Running, tmp_path: Path) -> None:
    put(tmp_path, "1.1.0", 3)
    (tmp_path / "toy/labels.json").write_text(json.dumps({"stable": "1.0.0", "canary": "1.1.0"}))
    await running.lifecycle.reload()
    assert await asked(running) == ("1.0.0", 6)
    assert await asked(running, "toy/labels/canary") == ("1.1.0", 9)
    assert (
        await running.client.post("/v1/models/toy/labels/none:predict", json={"instances": [ROW]})
    ).status_code == 404
    (tmp_path / "toy/labels.json").write_text(json.dumps({"stable": "1.1.0"}))
    await running.lifecycle.reload()
    assert await asked(running) == ("1.1.0", 9)


ODD_FILES: dict[str, Callable[[Path], object]] = {
    "half written": lambda path: path.write_text('{"stable": "1.0'),
    "no object": lambda path: path.write_text("[]"),
    "nested too deeply": lambda path: path.write_text("[" * 10_000),
    "too large": lambda path: path.write_text("{" + " " * 2**16 + "}"),
    "a pipe": os.mkfifo,
    "a folder": Path.mkdir,
}


@pytest.mark.parametrize("file", ["labels.json", "variants.json"])
@pytest.mark.parametrize("odd", ODD_FILES)
async def test_a_bad_file_of_one_model_keeps_that_model_alone_from_serving_and_says_why(
    odd: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_runtimes(monkeypatch)
    toy_bundle(tmp_path)
    toy_bundle(tmp_path, name="other")
    ODD_FILES[odd](tmp_path / "toy" / file)
    async with run_app(tmp_path) as running:
        assert (await running.ask([ROW], "other")).status_code == 200
        assert (await running.ask([ROW])).status_code == 503
        not_ready = (await running.client.get("/v2/health/ready")).json()["not_ready"]
        assert [(each["name"], each["code"]) for each in not_ready] == [("toy", "E_SELECTION")]
        assert not_ready[0]["reason"].startswith(f"{file} of 'toy': got ")
        assert str(tmp_path) not in not_ready[0]["reason"]
        (tmp_path / "toy" / file).rename(tmp_path / "moved")
        await running.lifecycle.reload()
        assert (await running.ask([ROW])).status_code == 200


async def test_a_model_whose_labels_can_be_read_no_more_stays_as_it_was_while_others_follow(
    running: Running, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path, "1.1.0", 3)
    labels = tmp_path / "toy" / "labels.json"
    labels.write_text('{"stable": "1.0.0"}')
    await running.lifecycle.reload()
    labels.write_text('{"stable": "1.1')
    put(tmp_path, "1.2.0", 4)
    write_bundle(tmp_path, toy_manifest("other"), toy_files() | {GRAPH: b"2"})
    await running.lifecycle.reload()
    assert await asked(running) == ("1.0.0", 6)
    assert running.repository.find("toy", "1.2.0") is None
    assert (await running.ask([ROW], "other")).status_code == 200
    assert "toy stays as it was: labels.json of 'toy': got no JSON, or half of it" in caplog.text
    reply = await running.client.post("/v2/repository/models/toy/load", content=b"{}")
    assert (reply.status_code, reply.json()["code"]) == (500, "E_LOAD")
    labels.write_text('{"stable": "1.2.0"}')
    await running.lifecycle.reload()
    assert await asked(running) == ("1.2.0", 12)


async def test_a_link_to_nothing_is_no_missing_file(
    running: Running, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Kubernetes swaps a ConfigMap by its links: for a moment they may lead nowhere."""
    labels = tmp_path / "toy" / "labels.json"
    labels.write_text('{"stable": "1.0.0"}')
    toy_bundle(tmp_path, version="1.1.0")
    await running.lifecycle.reload()
    labels.unlink()
    labels.symlink_to("nowhere")
    await running.lifecycle.reload()
    assert "toy stays as it was: labels.json of 'toy': got a link to nothing" in caplog.text
    served = running.repository.find("toy")
    assert served is not None
    assert served.version == "1.0.0"


async def test_a_label_of_a_version_that_is_not_there_is_told_once(
    running: Running, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "toy" / "labels.json").write_text('{"stable": "1.0.1", "old": "1.0.0"}')
    for _ in range(2):
        await running.lifecycle.reload()
    told = "toy: the label 'stable' stands for 1.0.1, which is not in the folder"
    assert [record.getMessage() for record in caplog.records].count(told) == 1


async def test_labels_are_read_through_the_links_that_kubernetes_mounts(
    running: Running, tmp_path: Path
) -> None:
    put(tmp_path, "1.1.0", 3)
    mounted = tmp_path / "..2026_01_01"
    mounted.mkdir()
    (mounted / "labels.json").write_text('{"stable": "1.0.0"}')
    (tmp_path / "..data").symlink_to(mounted.name)
    (tmp_path / "toy" / "labels.json").symlink_to("../..data/labels.json")
    await running.lifecycle.reload()
    assert await asked(running) == ("1.0.0", 6)


async def test_an_engine_that_does_not_take_traffic_is_closed(
    running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fake(outputs: list[str], inputs: dict[str, str], factor: int = 2) -> FakeRuntime:
        runtime = FakeRuntime(times(factor), inputs=inputs, outputs=outputs)
        monkeypatch.setattr(engine, "runtimes", lambda: {"fake": lambda _graph, _options: runtime})
        return runtime

    inputs = {"x": "float32", "word": "string"}
    put(tmp_path, "1.1.0", 2)
    for runtime, code in (
        (fake(["twice", "pair"], inputs, factor=3), "E_LOAD_GATE"),
        (fake(["twice"], inputs), "E_STRUCTURE"),
    ):
        monkeypatch.setattr(
            engine, "runtimes", lambda runtime=runtime: {"fake": lambda _graph, _options: runtime}
        )
        await running.lifecycle.reload()
        entry = running.repository.find("toy", "1.1.0")
        assert entry is not None
        assert (entry.code, runtime.closed) == (code, 1)
    shutil.rmtree(tmp_path / "toy" / "1.1.0")
    narrow(tmp_path, "1.1.0")
    runtime = fake(["twice", "pair"], inputs)
    await running.lifecycle.reload()
    entry = running.repository.find("toy", "1.1.0")
    assert entry is not None
    assert (entry.code, runtime.batches) == ("E_BREAKING", [])  # found before anything was loaded
    assert await asked(running) == ("1.0.0", 6)


class Clock:
    """A clock that tests wind."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


async def test_a_bundle_that_is_being_copied_is_waited_for_and_tried_once(
    running: Running, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    clock = Clock()
    rest = FolderRest(1.0, clock)

    async def look() -> bool:
        await running.lifecycle.reload(rest=rest)
        clock.now_s += 0.5
        return rest.moving

    put(tmp_path / "aside", "1.1.0", 3)
    source, target = tmp_path / "aside" / "toy" / "1.1.0", tmp_path / "toy" / "1.1.0"
    files = sorted(path.relative_to(source) for path in source.rglob("*") if path.is_file())
    for file in files:  # each comes in two pieces, and the manifest before most others
        (target / file).parent.mkdir(parents=True, exist_ok=True)
        data = (source / file).read_bytes()
        for part in (data[: len(data) // 2], data):
            (target / file).write_bytes(part)
            assert await look()
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]
    assert caplog.text.count("1.1.0 is loaded once it rests, with its manifest") == 1
    assert await asked(running) == ("1.0.0", 6)
    while await look():
        pass
    assert await asked(running) == ("1.1.0", 9)
    (tmp_path / "toy" / "1.2.0").mkdir()  # no manifest: nothing to wait for, and nothing to say
    while await look():
        pass
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]


async def test_a_bad_bundle_is_told_once_while_its_folder_is_watched_and_tried_again_when_it_changes(  # noqa: E501  (a test's name is a sentence)
    running: Running, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    rest = FolderRest(1.0, clock)
    caplog.set_level("INFO")
    put(tmp_path, "1.1.0", 3, good=False)
    for _ in range(6):
        await running.lifecycle.reload(rest=rest)
        clock.now_s += 0.5
    assert caplog.text.count("1.1.0 is not ready") == 1
    assert caplog.text.count("1.1.0 is loaded once it rests") == 1
    put(tmp_path, "1.1.0", 3)
    for _ in range(3):
        await running.lifecycle.reload(rest=rest)
        clock.now_s += 0.5
    assert await asked(running) == ("1.1.0", 9)


async def test_a_change_is_picked_up_while_another_model_is_still_loading(
    running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, loads, rest = threading.Event(), list[str](), FolderRest(0.0)
    build = running.lifecycle._build

    def slow(entry: Entry) -> ServedModel:
        loads.append(f"{entry.name} {entry.version}")
        if entry.name == "toy":
            assert gate.wait(30)
        return build(entry)

    async def until(name: str, version: str) -> None:
        while (
            entry := running.repository.find(name, version)
        ) is None or entry.state is not State.READY:
            await asyncio.sleep(0)

    monkeypatch.setattr(running.lifecycle, "_build", slow)
    put(tmp_path, "1.1.0", 3)
    running.lifecycle._look_soon(rest)
    while not loads:
        await asyncio.sleep(0)
    write_bundle(tmp_path, toy_manifest(name="quick"), toy_files() | {GRAPH: b"2"})
    put(tmp_path, "1.2.0", 4)
    for _ in range(3):
        running.lifecycle._look_soon(rest)
    await until("quick", toy_manifest().version)
    assert loads == ["toy 1.1.0", f"quick {toy_manifest().version}"]
    gate.set()
    await until("toy", "1.2.0")  # which is looked at once its model does not change any more
    assert loads == ["toy 1.1.0", f"quick {toy_manifest().version}", "toy 1.2.0"]
    while rest.look_waits:
        await asyncio.sleep(0)


async def test_a_folder_that_the_system_cannot_watch_is_said_and_reloads_go_on(
    running: Running,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("watchfiles.awatch", Mock(side_effect=OSError("no more watches")))
    await running.lifecycle._follow([tmp_path])
    assert "is watched no more; SIGHUP still reloads" in caplog.text
    put(tmp_path, "1.1.0", 3)
    running.lifecycle.reload_soon()
    while (
        entry := running.repository.find("toy", "1.1.0")
    ) is None or entry.state is not State.READY:
        await asyncio.sleep(0)
    assert await asked(running) == ("1.1.0", 9)


async def test_reloads_that_are_asked_for_while_one_waits_are_that_one(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans: list[int] = []
    scan = running.repository.scan
    monkeypatch.setattr(running.repository, "scan", lambda: (scans.append(1), scan())[1])
    for _ in range(100):
        running.lifecycle.reload_soon()
    await running.lifecycle.unload("toy")  # after what waits
    while not scans:
        await asyncio.sleep(0)
    running.lifecycle.reload_soon()  # what waits no more is another one
    while len(scans) < 2:
        await asyncio.sleep(0)
    assert len(scans) == 2


async def test_a_removed_version_is_rolled_back(running: Running, tmp_path: Path) -> None:
    put(tmp_path, "1.1.0", 3)
    await running.lifecycle.reload()
    shutil.rmtree(tmp_path / "toy/1.1.0")
    await running.lifecycle.reload()
    assert await asked(running) == ("1.0.0", 6)


async def test_the_administrator_unloads_and_loads(running: Running) -> None:
    post = running.client.post
    assert "model_repository" in (await running.client.get("/v2")).json()["extensions"]
    assert (await post("/v2/repository/models/toy/unload", content=b"{}")).status_code == 200
    assert (await post("/v1/models/toy:predict", json={"instances": [ROW]})).status_code == 404
    assert (await post("/v2/repository/models/toy/unload")).status_code == 404
    assert (await post("/v2/repository/models/toy/load", content=b"{}")).status_code == 200
    assert await asked(running) == ("1.0.0", 6)
    assert (await post("/v2/repository/models/other/load")).status_code == 404
    for body in (
        b'{"parameters": {"config": "{}"}}',
        b'{"parameters": {"file:1/model.onnx": "AA=="}}',
    ):
        reply = await post("/v2/repository/models/toy/load", content=body)
        assert (reply.status_code, reply.json()["code"]) == (400, "E_UNSUPPORTED")


async def test_without_admin_nothing_can_be_loaded(tmp_path: Path, running: Running) -> None:
    async with run_app(tmp_path) as plain:
        for verb in ("load", "unload"):
            assert (
                await plain.client.post(f"/v2/repository/models/toy/{verb}", content=b"{}")
            ).status_code == 404
        assert "model_repository" not in (await plain.client.get("/v2")).json()["extensions"]


async def test_a_request_that_has_its_model_gets_its_answer_before_the_model_goes(
    running: Running, tmp_path: Path
) -> None:
    entry = running.repository.find("toy")
    assert entry is not None
    old = entry.ready_model()
    put(tmp_path, "1.1.0", 3)
    old.hold()
    await running.lifecycle.reload()  # which does not wait for that request
    assert await asked(running) == ("1.1.0", 9)
    row = old.engine.encode(old.contract.validate_row(ROW))
    (answers,) = await old.batcher.submit([row])  # still open: the request goes on
    assert answers.outputs["twice"] == [6.0]
    old.release()
    with pytest.raises(Unavailable) as closed:
        while True:
            await old.batcher.submit([row])
    assert closed.value.code == "E_DRAINING"
    assert entry.model is None
    assert entry.state is State.READY  # the entry is out of the repository; nobody finds it


async def test_a_slow_sender_holds_up_neither_its_versions_end_nor_the_load_of_another_model(
    running: Running, tmp_path: Path
) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()
    body = json.dumps({"instances": [ROW]}).encode()

    async def dribbled() -> AsyncIterator[bytes]:
        yield body[:10]
        begun.set()
        await go_on.wait()
        for place in range(10, len(body)):
            yield body[place : place + 1]

    slow = asyncio.ensure_future(running.client.post("/v1/models/toy:predict", content=dribbled()))
    await begun.wait()
    put(tmp_path, "1.1.0", 3)
    await asyncio.wait_for(running.lifecycle.reload(), 60)
    assert await asked(running) == ("1.1.0", 9)
    put_graph(tmp_path, "other", "2")
    await asyncio.wait_for(running.lifecycle.load("other"), 60)
    assert (await running.ask([ROW], "other")).json()["predictions"][0]["twice"] == 6
    await asyncio.wait_for(running.lifecycle.unload("toy"), 60)
    assert not slow.done()
    go_on.set()
    reply = (await slow).json()
    assert (reply["model_version"], reply["predictions"][0]["twice"]) == ("1.0.0", 6)
    while running.lifecycle._draining:
        await asyncio.sleep(0)


async def test_a_server_that_ends_waits_for_no_retired_version(
    tmp_path: Path, runtime: FakeRuntime
) -> None:
    put(tmp_path, "1.0.0", 2)
    async with run_app(tmp_path) as app:
        old = app.repository.find("toy").ready_model()
        old.hold()
        await app.lifecycle.unload("toy")
        assert runtime.closed == 0
    assert runtime.closed == 1


@pytest.fixture
def meeting(monkeypatch: pytest.MonkeyPatch) -> dict[str, threading.Event]:
    """Do the words of a graph at its load: `sets:name` sets an event, `waits:name` waits for it."""
    events: dict[str, threading.Event] = defaultdict(threading.Event)

    def load(graph: bytes, _: Any) -> FakeRuntime:
        for name in graph.decode().split():
            kind, _, event = name.partition(":")
            if kind == "sets":
                events[event].set()
            else:
                assert events[event].wait(60)
        return FakeRuntime(
            answer, inputs={"x": "float32", "word": "string"}, outputs=["twice", "pair"]
        )

    monkeypatch.setattr(engine, "runtimes", lambda: {"fake": load})
    return events


def put_graph(folder: Path, name: str, graph: str) -> None:
    write_bundle(folder, toy_manifest(name=name), toy_files() | {GRAPH: graph.encode()})


async def test_models_are_loaded_beside_each_other(
    tmp_path: Path, meeting: dict[str, threading.Event]
) -> None:
    put_graph(tmp_path, "one", "sets:one waits:two")
    put_graph(tmp_path, "two", "sets:two waits:one")
    async with run_app(tmp_path) as app:
        assert app.repository.ready


@pytest.mark.parametrize(("wanted", "status"), [("all", 503), ("any", 200)])
async def test_the_readiness_of_one_model_does_not_wait_for_another(
    tmp_path: Path, meeting: dict[str, threading.Event], wanted: str, status: int
) -> None:
    put_graph(tmp_path, "slow", "waits:told")
    put_graph(tmp_path, "quick", "")
    async with run_app(tmp_path, loaded=False, ready=wanted) as app:
        ask, ready = app.client.get, "/v2/health/ready"
        assert (await ask(ready)).status_code == 503
        while (await ask("/v2/models/quick/ready")).status_code != 200:
            await asyncio.sleep(0)
        assert (await app.ask([ROW], "quick")).status_code == 200
        assert (await ask("/v2/models/slow/ready")).status_code == 503
        reply = await ask(ready)
        assert (reply.status_code, [each["name"] for each in reply.json()["not_ready"]]) == (
            status,
            ["slow"],
        )
        meeting["told"].set()
        while (await ask("/v2/models/slow/ready")).status_code != 200:
            await asyncio.sleep(0)
        assert (await ask(ready)).status_code == 200


async def test_a_model_that_takes_long_to_load_does_not_hold_up_the_load_of_another(
    tmp_path: Path, meeting: dict[str, threading.Event]
) -> None:
    put_graph(tmp_path, "first", "")
    async with run_app(tmp_path) as app:
        put_graph(tmp_path, "slow", "sets:begun waits:told")
        reloading = asyncio.ensure_future(app.lifecycle.reload())
        while not meeting["begun"].is_set():
            await asyncio.sleep(0)
        put_graph(tmp_path, "quick", "")
        await asyncio.wait_for(app.lifecycle.load("quick"), 60)
        assert (await app.ask([ROW], "quick")).status_code == 200
        assert not reloading.done()
        meeting["told"].set()
        await reloading


async def test_loads_take_no_thread_from_requests(
    tmp_path: Path, meeting: dict[str, threading.Event]
) -> None:
    put_graph(tmp_path, "first", "")
    async with run_app(tmp_path) as app:
        for name in ("one", "two", "three"):
            put_graph(tmp_path, name, f"sets:{name} waits:told")
        reloading = asyncio.ensure_future(app.lifecycle.reload())
        while len([name for name in ("one", "two", "three") if meeting[name].is_set()]) < 2:
            await asyncio.sleep(0)
        # More rows than the event loop encodes itself.
        reply = await asyncio.wait_for(app.ask([ROW] * 100, "first"), 60)
        assert (reply.status_code, len(reply.json()["predictions"])) == (200, 100)
        meeting["told"].set()
        await reloading


@pytest.mark.slow
async def test_reloads_under_load_lose_nothing_and_mix_nothing(
    running: Running, tmp_path: Path
) -> None:
    factors = {"1.0.0": 2}
    seen: list[tuple[str, float]] = []
    stop = asyncio.Event()

    async def client() -> None:
        while not stop.is_set():
            seen.append(await asked(running))
            await asyncio.sleep(0)  # a row that is alone is answered without a turn of the loop

    clients = [asyncio.ensure_future(client()) for _ in range(8)]
    for turn in range(1, 21):
        version = f"1.0.{turn}"
        factors[version] = turn + 2
        put(tmp_path, version, turn + 2)
        await running.lifecycle.reload()
    stop.set()
    await asyncio.gather(*clients)
    assert all(value == 3.0 * factors[version] for version, value in seen)
    assert len({version for version, _ in seen}) > 10


def narrow(folder: Path, version: str) -> None:
    """A version that takes fewer words than the ones before."""
    files = toy_files()
    contract = json.loads(files["contract.json"])
    word = next(field for field in contract["inputs"] if field["name"] == "word")
    word["kind"]["categories"] = ["a"]
    golden = toy_golden([row for row in ROWS if row["word"] == "a"])
    narrowed = Contract.model_validate(contract).to_json()
    write_bundle(
        folder,
        toy_manifest(version=version),
        files | golden.to_files() | {"contract.json": narrowed, GRAPH: b"2"},
    )


async def test_a_version_that_breaks_clients_does_not_take_over_under_the_same_major_number(
    running: Running, tmp_path: Path
) -> None:
    narrow(tmp_path, "1.1.0")
    await running.lifecycle.reload()
    assert (await asked(running))[0] == "1.0.0"
    refused = running.repository.find("toy", "1.1.0")
    assert refused is not None
    assert refused.code == "E_BREAKING"
    assert (
        "would break clients of 1.0.0 under the same major version: input 'word': "
        "categories without 'b'"
    ) in refused.reason
    narrow(tmp_path, "2.0.0")
    await running.lifecycle.reload()
    assert (await asked(running))[0] == "2.0.0"


async def test_a_breaking_version_takes_over_where_the_operator_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_runtimes(monkeypatch)
    put(tmp_path, "1.0.0", 2)
    async with run_app(tmp_path, allow_breaking=True) as running:
        narrow(tmp_path, "1.1.0")
        await running.lifecycle.reload()
        assert (await asked(running))[0] == "1.1.0"


def gauges(running: Running, version: str) -> dict[str, float | None]:
    """How a version stands, as a scrape tells it."""
    running.metrics.flush()
    labels = {"model": "toy", "version": version}
    names = ("model_ready", "load_gate", "load_gate_worst_error")
    return {
        name: running.metrics.registry.get_sample_value(f"seatrial_{name}", labels)
        for name in names
    }


async def test_a_reload_that_fails_changes_no_gauge_of_the_version_that_goes_on(
    running: Running, tmp_path: Path
) -> None:
    before = gauges(running, "1.0.0")
    assert before == {"model_ready": 1, "load_gate": 1, "load_gate_worst_error": 0}
    put(tmp_path, "1.0.0", 6, good=False)
    await running.lifecycle.reload()
    assert gauges(running, "1.0.0") == before
    assert await asked(running) == ("1.0.0", 6)


async def test_a_version_that_is_refused_as_breaking_is_not_ready(
    running: Running, tmp_path: Path
) -> None:
    narrow(tmp_path, "1.1.0")
    await running.lifecycle.reload()
    assert gauges(running, "1.1.0")["model_ready"] == 0
    assert gauges(running, "1.0.0")["model_ready"] == 1
    held = {"model": "toy", "version": "1.1.0"}
    infos = next(
        each for each in running.metrics.registry.collect() if each.name == "seatrial_bundle_info"
    )
    assert not [sample for sample in infos.samples if held.items() <= sample.labels.items()]


async def test_a_version_that_failed_passes_once_it_is_mended(
    running: Running, tmp_path: Path
) -> None:
    put(tmp_path, "1.1.0", 3, good=False)
    await running.lifecycle.reload()
    failed = gauges(running, "1.1.0")
    assert (failed["model_ready"], failed["load_gate"]) == (0, 0)
    assert failed["load_gate_worst_error"]
    put(tmp_path, "1.1.0", 3)
    await running.lifecycle.reload()
    assert gauges(running, "1.1.0") == {
        "model_ready": 1,
        "load_gate": 1,
        "load_gate_worst_error": 0,
    }


async def test_versions_are_listed_in_the_order_of_their_numbers(
    tmp_path: Path, runtime: FakeRuntime
) -> None:
    toy_bundle(tmp_path, version="9.0.0")
    async with run_app(tmp_path, versions="all") as app:
        for version in ("10.0.0", "2.0.0"):
            toy_bundle(tmp_path, version=version)
        await app.lifecycle.reload()
        metadata = (await app.client.get("/v2/models/toy")).json()
        assert metadata["versions"] == ["2.0.0", "9.0.0", "10.0.0"]
        listed = (await app.client.get("/v1/models")).json()["models"][0]["versions"]
        assert [each["version"] for each in listed] == ["10.0.0", "9.0.0", "2.0.0"]
