"""Models that are loaded at their first request, and unloaded when others want their memory."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from support.running import Running, run_app
from support.toys import answer, toy_bundle, toy_manifest

import seatrial as st
from seatrial_contracts.bundle import MANIFEST
from seatrial_contracts.errors import DeclarationError, Unavailable
from seatrial_serve.api import exchange
from seatrial_serve.inference import engine
from seatrial_serve.metrics.demand import DemandMetrics
from seatrial_serve.metrics.metrics import Metrics
from seatrial_serve.models import lifecycle, loader, on_demand
from seatrial_serve.models.entry import Entry, State
from seatrial_serve.models.on_demand import OnDemand
from seatrial_serve.models.request_record import RequestRecord
from seatrial_serve.process.audit_log import recording
from seatrial_serve.process.clock import now_s
from seatrial_serve.runtimes.fake import FakeRuntime
from seatrial_serve.settings import load_settings

MIB = 2**20
ROW = {"x": 3.0, "word": "a"}
NAMES = ("one", "two", "three")


class Loads:
    """Counts loads of graphs, and can hold them up or let them fail."""

    def __init__(self) -> None:
        self.count, self.seconds, self.error = 0, 0.0, ""
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, _graph: Any, _options: Any) -> FakeRuntime:
        self.count += 1
        self.gate.wait(30)
        time.sleep(self.seconds)
        if self.error:
            raise RuntimeError(self.error)
        return FakeRuntime(
            answer, inputs={"x": "float32", "word": "string"}, outputs=["twice", "pair"]
        )


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> Loads:
    """Every toy takes 1 MiB, and may be unloaded 10 ms after its last request."""
    made = Loads()
    monkeypatch.setattr(engine, "runtimes", lambda: {"fake": made})
    monkeypatch.setattr(loader, "footprint", lambda *_: MIB)
    monkeypatch.setattr(on_demand, "assumed_bytes", lambda _: MIB)
    monkeypatch.setattr(on_demand, "FEWEST_S", 0.01)
    return made


@asynccontextmanager
async def serving(folder: Path, **options: Any) -> AsyncIterator[Running]:
    for name in NAMES:
        toy_bundle(folder, name=name)
    async with run_app(folder, **({"load": "on-demand"} | options)) as running:
        yield running


def states(running: Running) -> dict[str, str]:
    return {entry.name: str(entry.state) for entry in running.repository}


async def answered(running: Running, model: str, **options: Any) -> httpx.Response:
    said = await running.ask([ROW], model, **options)
    assert said.status_code == 200, said.text
    assert said.json()["predictions"][0]["twice"] == 6.0
    return said


def samples(running: Running, name: str) -> dict[tuple[str, ...], float]:
    return {
        tuple(sample.labels.values()): sample.value
        for family in running.metrics.collect()
        for sample in family.samples
        if sample.name == name
    }


async def test_a_model_is_loaded_at_its_first_request(tmp_path: Path, loads: Loads) -> None:
    async with serving(tmp_path) as running:
        assert loads.count == 0
        assert states(running) == dict.fromkeys(NAMES, "COLD")
        await answered(running, "two")
        assert states(running) == {"one": "COLD", "two": "READY", "three": "COLD"}
        await answered(running, "two")
        assert loads.count == 1
        assert samples(running, "seatrial_demand_loads_total") == {("two", "1.0.0"): 1}
        assert samples(running, "seatrial_demand_held_bytes") == {(): MIB}


async def test_what_is_known_of_a_model_needs_no_load(tmp_path: Path, loads: Loads) -> None:
    async with serving(tmp_path) as running:
        get = running.client.get
        assert (await get("/v2/health/ready")).status_code == 200
        assert (await get("/v2/models/one/ready")).status_code == 200
        metadata = (await get("/v2/models/one")).json()
        config = (await get("/v2/models/one/config")).json()
        signature = (await get("/v1/models/one/metadata")).json()
        page = (await get("/v1/models/one")).json()
        document = (await get("/openapi.json")).json()
        index = (await running.client.post("/v2/repository/index", json={})).json()
        assert loads.count == 0
        assert [each["name"] for each in metadata["inputs"]] == ["x", "word"]
        assert metadata["properties"]["variant"] == "fp32"
        assert config["dynamic_batching"] == {}
        assert "x" in str(signature)
        assert page["example"].keys() == ROW.keys()
        assert page["versions"][0]["state"] == "COLD"
        assert "load_gate" not in page
        assert "/v1/models/one:predict" in document["paths"]
        assert {each["state"] for each in index} == {"READY"}
        assert samples(running, "seatrial_model_ready")[("one", "1.0.0")] == 1
        await answered(running, "one")
        assert (await get("/v2/models/one")).json() == metadata
        assert (await get("/v1/models/one")).json()["load_gate"]


async def test_a_model_that_is_being_loaded_says_so_and_stays_available(
    tmp_path: Path, loads: Loads
) -> None:
    async with serving(tmp_path) as running:
        get = running.client.get

        async def told() -> list[str]:
            (index,) = [
                each["state"]
                for each in (await running.client.post("/v2/repository/index", json={})).json()
                if each["name"] == "one"
            ]
            version = (await get("/v1/models/one/versions/1.0.0")).json()
            return [version["state"], version["model_version_status"][0]["state"], index]

        assert await told() == ["COLD", "AVAILABLE", "READY"]
        loads.gate.clear()
        asked = asyncio.create_task(answered(running, "one"))
        while not loads.count:
            await asyncio.sleep(0)
        assert await told() == ["LOADING", "LOADING", "LOADING"]
        assert (await get("/v2/models/one/ready")).status_code == 200
        assert (await get("/v1/models")).json()["models"][0]["ready"]
        loads.gate.set()
        await asked
        assert await told() == ["READY", "AVAILABLE", "READY"]


async def test_a_cold_model_has_done_nothing(tmp_path: Path, loads: Loads) -> None:
    async with serving(tmp_path) as running:
        (none,) = (await running.client.get("/v2/models/one/stats")).json()["model_stats"]
        assert (none["name"], none["version"], none["inference_count"]) == ("one", "1.0.0", 0)
        assert loads.count == 0
        await answered(running, "one")
        for path in ("/v2/models/one/versions/1.0.0/stats", "/v2/models/stats"):
            told = (await running.client.get(path)).json()["model_stats"]
            counted = {each["name"]: each["inference_count"] for each in told}
            assert counted["one"] == 1
        assert counted == {"one": 1, "two": 0, "three": 0}
        loads.error = "no such operator"
        await running.ask([ROW], "two")
        assert (await running.client.get("/v2/models/two/stats")).status_code == 503
        told = (await running.client.get("/v2/models/stats")).json()["model_stats"]
        assert {each["name"] for each in told} == {"one", "three"}


@pytest.mark.parametrize(
    ("broken", "code"),
    [
        (b"{", "E_BUNDLE_MANIFEST"),
        (b'{"schema": 1}', "E_BUNDLE_MANIFEST"),
        (None, "E_BUNDLE_MISSING"),
        (toy_manifest("other").to_json(), "E_BUNDLE_NAME"),
    ],
)
async def test_a_cold_model_whose_manifest_is_wrong_says_so_before_it_is_asked(
    broken: bytes | None,
    code: str,
    tmp_path: Path,
    loads: Loads,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def spoil(name: str) -> None:
        manifest = toy_bundle(tmp_path, name=name).path / MANIFEST
        manifest.unlink() if broken is None else manifest.write_bytes(broken)

    spoil("early")
    async with serving(tmp_path) as running:
        spoil("later")
        await running.lifecycle.reload("later")
        assert states(running) == {
            "early": "FAILED", "later": "FAILED", "one": "COLD", "two": "COLD", "three": "COLD",
        }  # fmt: skip
        ready = await running.client.get("/v2/health/ready")
        assert ready.status_code == 200  # they keep no other from being asked
        assert {each["name"]: each["code"] for each in ready.json()["not_ready"]} == {
            "early": code, "later": code,
        }  # fmt: skip
        assert samples(running, "seatrial_model_ready")[("early", "1.0.0")] == 0
        said = [each.getMessage() for each in caplog.records if each.levelname == "ERROR"]
        assert [line.split(":")[0] for line in said] == [
            "early 1.0.0 is not ready", "later 1.0.0 is not ready",
        ]  # fmt: skip
        assert (await running.ask([ROW], "early")).status_code == 503
        assert loads.count == 0
        toy_bundle(tmp_path / "again", name="early")
        whole = (tmp_path / "again" / "early" / "1.0.0" / MANIFEST).read_bytes()
        (tmp_path / "early" / "1.0.0" / MANIFEST).write_bytes(whole)
        await running.lifecycle.reload()
        await answered(running, "early")


async def test_a_model_that_never_fits_is_told_of_at_the_start(
    tmp_path: Path, loads: Loads, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "footprint", lambda manifest, _: manifest.name.count("e") * MIB)
    async with serving(tmp_path, model_memory_bytes=MIB):
        said = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
        (line,) = said
        assert line == (
            "memory of three 1.0.0: got about 2.1 MB, want at most 1.0 MB for all models; "
            "raise --model-memory-bytes"
        )


async def test_a_crowd_waits_for_one_load(tmp_path: Path, loads: Loads) -> None:
    async with serving(tmp_path) as running:
        loads.seconds = 0.05
        await asyncio.gather(*(answered(running, "one") for _ in range(20)))
        assert loads.count == 1
        assert samples(running, "seatrial_demand_wait_seconds_count")[("loaded",)] == 20


async def test_a_load_is_no_delay_of_the_answer(
    tmp_path: Path, loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    records: list[RequestRecord] = []
    monkeypatch.setattr(exchange, "tell_observers", lambda _, ended: records.extend(ended))
    async with serving(tmp_path) as running:
        said = await answered(running, "one", headers={"X-Server-Timing": "1"})
        assert "load;dur=" in said.headers["server-timing"]
        (record,) = records
        assert record.load_s == pytest.approx(record.timings["load"])
        rest_s = record.seconds - record.load_s
        timed = samples(running, "seatrial_request_phase_seconds_sum")
        assert timed["one", "1.0.0", "total"] == pytest.approx(rest_s)
        for objective_s, slow in ((rest_s, False), (rest_s / 2, True)):
            told = replace(record, model=SimpleNamespace(objective_s=objective_s))
            assert told.slow is slow


async def test_the_model_that_is_worth_least_goes(tmp_path: Path, loads: Loads) -> None:
    async with serving(tmp_path, model_memory_bytes=2 * MIB) as running:
        await answered(running, "one")
        await answered(running, "two")
        for entry in running.repository:
            entry.load_s = 0.01  # one is as quickly back as the other
        await asyncio.sleep(0.1)
        await answered(running, "one")
        await answered(running, "three")
        assert states(running) == {"one": "READY", "two": "COLD", "three": "READY"}
        assert samples(running, "seatrial_demand_evictions_total") == {("two", "1.0.0"): 1}
        await answered(running, "two")
        assert loads.count == 4
        assert samples(running, "seatrial_demand_models_held") == {(): 2}


async def test_freed_memory_is_given_back_around_a_load_and_no_full_collection_follows(
    tmp_path: Path, loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    monkeypatch.setattr(loader, "COLLECTED_CONTRACTS", 1)
    monkeypatch.setattr(loader, "trim", lambda: done.append(f"trim {loads.count}"))
    monkeypatch.setattr(loader, "collect", lambda: done.append(f"collect {loads.count}"))
    async with serving(tmp_path, model_memory_bytes=MIB) as running:
        running.lifecycle._tidy = lambda: done.append("a full round")
        await answered(running, "one")
        await asyncio.sleep(0.05)
        await answered(running, "two")
        assert states(running) == {"one": "COLD", "two": "READY", "three": "COLD"}
    assert done == ["trim 0", "trim 1", "collect 1", "trim 1", "trim 2"]


async def test_models_of_one_contract_share_it_and_need_no_collection(
    tmp_path: Path, loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    monkeypatch.setattr(loader, "COLLECTED_CONTRACTS", 2)
    monkeypatch.setattr(loader, "collect", lambda: done.append("collect"))
    async with serving(tmp_path) as running:
        for name in ("one", "two", "three"):
            await answered(running, name)
        models = [entry.model for entry in running.repository if entry.model is not None]
        assert len({id(model.engine.contract) for model in models}) == 1
        assert len({id(model.reader) for model in models}) == 1
    assert (loads.count, done) == (3, [])


async def test_a_model_that_answers_just_now_stays(tmp_path: Path, loads: Loads) -> None:
    async with serving(tmp_path, model_memory_bytes=MIB) as running:
        await answered(running, "one")
        entry = running.repository.find("one")
        assert entry is not None
        assert entry.model is not None
        entry.model.hold()  # as a request does that takes long
        waits = asyncio.create_task(answered(running, "two"))
        late = await running.ask([ROW], "three", headers={"X-Request-Timeout-Ms": "300"})
        assert late.status_code == 503
        assert states(running)["one"] == "READY"
        entry.model.release()
        await waits
        assert states(running)["one"] == "COLD"


async def test_who_cannot_wait_is_told_when_to_come_back(tmp_path: Path, loads: Loads) -> None:
    async with serving(tmp_path) as running:
        loads.gate.clear()
        early = await running.ask([ROW], "one", headers={"X-Request-Timeout-Ms": "50"})
        assert early.status_code == 503
        assert early.json()["code"] == "E_NOT_READY"
        assert "being loaded, which takes about 1.0 s" in early.json()["error"]
        assert int(early.headers["retry-after"]) >= 1
        loads.gate.set()
        await answered(running, "one")
        assert loads.count == 1  # which went on meanwhile


async def test_a_model_that_fails_its_load_says_so(
    tmp_path: Path, loads: Loads, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(tmp_path) as running:
        loads.error = "no such operator"
        said = await running.ask([ROW], "one")
        line = next(each for each in caplog.records if each.name == "seatrial.request")
        assert line.getMessage().startswith("E_NOT_READY 503: one 1.0.0, ")
        assert len(vars(line)["digest"]) == 64
        assert said.status_code == 503
        assert said.json()["code"] == "E_NOT_READY"
        loads.error = ""
        await answered(running, "two")
        assert states(running)["one"] == "FAILED"
        ready = await running.client.get("/v2/health/ready")
        assert ready.status_code == 200  # it keeps no other from being asked
        assert [each["name"] for each in ready.json()["not_ready"]] == ["one"]
        assert (await running.client.get("/v2/models/one/ready")).status_code == 503
        await running.lifecycle.reload()
        await answered(running, "one")


async def test_a_model_larger_than_the_limit_is_refused_and_stays_known(
    tmp_path: Path, loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        on_demand, "assumed_bytes", lambda entry: (9 if entry.name == "one" else 1) * MIB
    )
    async with serving(tmp_path, model_memory_bytes=2 * MIB) as running:
        await answered(running, "two")
        said = await running.ask([ROW], "one")
        assert said.status_code == 503
        assert said.json()["code"] == "E_MEMORY"
        assert said.json()["error"] == (
            "memory of one 1.0.0: got about 9.4 MB, want at most 2.1 MB for all models; "
            "raise --model-memory-bytes"
        )
        assert states(running) == {"one": "COLD", "two": "READY", "three": "COLD"}
        assert loads.count == 1


async def test_pinned_models_are_there_from_the_start_and_stay(
    tmp_path: Path, loads: Loads
) -> None:
    limited = {"load": "pinned", "pins": ("one",), "model_memory_bytes": 2 * MIB}
    async with serving(tmp_path, **limited) as running:
        assert states(running) == {"one": "READY", "two": "COLD", "three": "COLD"}
        for name in ("two", "three", "two"):
            await asyncio.sleep(0.05)
            await answered(running, name)
            assert states(running)["one"] == "READY"
        assert loads.count == 4


async def test_a_new_version_is_proven_before_it_follows_a_cold_one(
    tmp_path: Path, loads: Loads
) -> None:
    async with serving(tmp_path) as running:
        toy_bundle(tmp_path, name="one", version="1.1.0")
        loads.error = "no such operator"
        await running.lifecycle.reload()
        said = running.repository.find("one")
        assert said is not None
        assert said.version == "1.0.0"
        loads.error = ""
        toy_bundle(tmp_path, name="one", version="1.2.0")
        toy_bundle(tmp_path, name="four")
        await running.lifecycle.reload()
        assert states(running) == {"one": "READY", "two": "COLD", "three": "COLD", "four": "COLD"}
        assert (await answered(running, "one")).json()["model_version"] == "1.2.0"
        await answered(running, "four")


async def test_pinned_models_that_do_not_fit_together_are_told_of_and_hold_up_nothing(
    tmp_path: Path, loads: Loads
) -> None:
    limited = {"load": "pinned", "pins": ("one", "two"), "model_memory_bytes": MIB}
    log = tmp_path / "audit.jsonl"
    with recording(log):
        async with serving(tmp_path, **limited) as running:
            await check_pinned(running)
    lines = map(json.loads, log.read_bytes().splitlines())
    loads_told = sorted(line["result"] for line in lines if line["event"] == "load")
    assert loads_told == ["E_MEMORY", "ok"]


async def check_pinned(running: Running) -> None:
    assert sorted(states(running).values()) == ["COLD", "FAILED", "READY"]
    failed = next(each for each in running.repository if each.state is State.FAILED)
    assert failed.code == "E_MEMORY"
    assert "want at most 1.0 MB for all models, 1.0 MB of it for models that stay" in (
        failed.reason
    )


async def test_a_version_that_replaces_one_and_a_request_for_that_wait_for_no_other(
    tmp_path: Path, loads: Loads
) -> None:
    async with serving(tmp_path, model_memory_bytes=MIB) as running:
        for name in ("one", "two"):  # which puts the first one out of memory again
            await answered(running, name)
            await asyncio.sleep(0.05)
        toy_bundle(tmp_path, name="one", version="1.1.0")
        loads.gate.clear()
        reload = asyncio.create_task(running.lifecycle.reload())
        asked = asyncio.create_task(running.ask([ROW], "one"))
        await asyncio.sleep(0.1)
        loads.gate.set()
        await asyncio.wait_for(reload, 30)
        assert (await asked).status_code in (200, 503)  # of 1.0.0, or told that it is gone
        assert (await answered(running, "one")).json()["model_version"] == "1.1.0"
        await asyncio.sleep(0.05)
        await answered(running, "three")


async def test_a_version_takes_no_traffic_before_it_was_proven_nor_breaks_clients(
    tmp_path: Path, loads: Loads
) -> None:
    async with serving(tmp_path) as running:
        await answered(running, "one")
        toy_bundle(tmp_path, name="one", version="1.1.0")
        loads.gate.clear()
        reload = asyncio.create_task(running.lifecycle.reload())
        while running.repository.find("one", "1.1.0") is None and loads.count < 2:
            await asyncio.sleep(0)
        assert (await answered(running, "one")).json()["model_version"] == "1.0.0"
        loads.gate.set()
        await reload
        assert (await answered(running, "one")).json()["model_version"] == "1.1.0"
        toy_bundle(tmp_path, name="one", version="1.2.0", limits=st.Limits(max_rows=1))
        await running.lifecycle.reload()
        assert (await answered(running, "one")).json()["model_version"] == "1.1.0"


async def test_a_request_for_a_version_that_goes_is_told_so_and_loads_nothing(
    tmp_path: Path, loads: Loads
) -> None:
    async with serving(tmp_path) as running:
        gone = running.repository.find("one")
        assert gone is not None
        assert gone.demand is not None
        running.repository.drop(gone)
        with pytest.raises(Unavailable, match="is no longer served"):
            await gone.demand.wait(gone, now_s() + 5)
        assert loads.count == 0
        assert samples(running, "seatrial_demand_loads_total") == {}


async def test_a_measure_beyond_the_limit_is_not_believed_for_ever(
    tmp_path: Path, loads: Loads
) -> None:
    async with serving(tmp_path, model_memory_bytes=2 * MIB) as running:
        entry = running.repository.find("one")
        assert entry is not None
        entry.memory_bytes = 50 * MIB  # what requests took meanwhile counted as its own
        await answered(running, "one")
        assert entry.memory_bytes == MIB


async def test_an_administrator_loads_a_cold_model(tmp_path: Path, loads: Loads) -> None:
    async with serving(tmp_path, admin=True) as running:
        said = await running.client.post("/v2/repository/models/one/load", json={})
        assert said.status_code == 200, said.text
        assert states(running)["one"] == "READY"
        said = await running.client.post("/v2/repository/models/one/unload", json={})
        assert said.status_code == 200, said.text
        assert "one" not in states(running)


async def test_a_client_that_leaves_ends_no_load(tmp_path: Path, loads: Loads) -> None:
    async with serving(tmp_path) as running:
        loads.gate.clear()
        leaves = asyncio.create_task(running.ask([ROW], "one"))
        stays = asyncio.create_task(answered(running, "one"))
        await asyncio.sleep(0.05)
        leaves.cancel()
        loads.gate.set()
        await stays
        assert loads.count == 1


class Simulated:
    """A server of models that all cost the same, by a clock of its own."""

    def __init__(self, models: int, room: int, load_s: float) -> None:
        self.now, self.load_s, self.loads = 0.0, load_s, 0
        self.demand = OnDemand(
            self._load, self._unload, asyncio.ensure_future, room * MIB,
            DemandMetrics(Metrics(on=False)), clock=lambda: self.now,
        )  # fmt: skip
        self.entries = [
            Entry(f"m{place}", "1.0.0", Path(), demand=self.demand, memory_bytes=MIB, load_s=load_s)
            for place in range(models)
        ]

    async def _load(self, entry: Entry, wanted: Callable[[], bool]) -> bool:
        with await self.demand.room(entry, wanted):
            self.now += self.load_s
        self.loads += 1
        entry.model = SimpleNamespace(held=False, backlog=SimpleNamespace(since_s=self.now))  # type: ignore[assignment]
        entry.state = State.READY
        self.demand.hold(entry)
        return True

    async def _unload(self, entry: Entry) -> None:
        entry.model, entry.state = None, State.COLD
        self.demand.let_go(entry)

    async def ask(self, place: int, patience_s: float) -> bool:
        """Was it answered?"""
        entry = self.entries[place]
        if entry.model is None:
            try:
                await self.demand.wait(entry, self.now + patience_s)
            except Unavailable:
                return False
        assert entry.model is not None
        entry.model.backlog.since_s = self.now
        return True


async def test_who_waits_behind_other_loads_is_told_by_what_loads_take_by_now() -> None:
    now, gate = 0.0, asyncio.Semaphore(0)

    async def load(entry: Entry, _wanted: Callable[[], bool]) -> bool:
        nonlocal now
        await gate.acquire()
        now += 0.1
        entry.load_s, entry.memory_bytes = 0.1, MIB
        demand.hold(entry)
        return True

    async def unload(_entry: Entry) -> None:
        raise AssertionError("there is room for all")

    demand = OnDemand(
        load, unload, asyncio.ensure_future, 100 * MIB, DemandMetrics(Metrics(on=False)),
        clock=lambda: now,
    )  # fmt: skip
    entries = [Entry(f"m{place}", "1.0.0", Path(), demand=demand) for place in range(40)]

    async def told_s(entry: Entry) -> float:
        with pytest.raises(Unavailable) as refused:
            await demand.wait(entry, now + 0.01)
        return refused.value.retry_after_s

    first = [await told_s(entry) for entry in entries]
    assert first == [pytest.approx(place + 1) for place in range(40)]  # none was measured yet
    for _ in range(20):
        gate.release()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert demand.held_bytes == 20 * MIB
    assert await told_s(entries[39]) == pytest.approx(2, rel=0.2)  # 20 loads of 0.1 s
    now += 0.07
    assert await told_s(entries[20]) == pytest.approx(0.1)  # it has run for 0.07 s already
    assert await told_s(entries[21]) == pytest.approx(0.14, rel=0.2)
    waits = asyncio.create_task(demand.wait(entries[39], now + 3))
    for _ in range(20):
        gate.release()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    await waits
    assert now == pytest.approx(4.07)


async def test_a_burst_over_more_models_than_fit_does_not_thrash() -> None:
    simulated = Simulated(models=100, room=10, load_s=1.0)
    for place in range(10):
        assert await simulated.ask(place, 60)
    begin = simulated.now
    answers = []
    for second in range(60):
        answers += [await simulated.ask(place, 0.5) for place in range(10)]  # those that are warm
        await simulated.ask(10 + second % 90, 0.5)  # and one of the others, which cannot wait
        await asyncio.sleep(0)
        simulated.now += 0.4
    assert all(answers)
    assert simulated.loads == 10
    assert simulated.now - begin < 60


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"load": "pinned"}, "names of models: --pins NAME,NAME; or --load on-demand"),
        ({"pins": ("churn",)}, "--load pinned as well"),
        ({"model_memory_bytes": MIB}, "--load on-demand, or --load pinned"),
        ({"load": "on-demand", "multi_model": True}, "POST /models and DELETE say what is loaded"),
    ],
)
def test_settings_that_do_not_go_together(options: dict[str, Any], said: str) -> None:
    with pytest.raises(DeclarationError, match=said):
        load_settings(**options)
