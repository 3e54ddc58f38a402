"""A receipt of a passed load gate, kept for the next start.

The tests cover what the receipt saves, and when the receipt is not trusted.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from support.running import Running, run_app
from support.toys import ROWS, Feeds, answer, fake_runtimes, toy_bundle, toy_golden

from seatrial_serve.inference import kept_receipt, load_gate
from seatrial_serve.inference.kept_receipt import KeptReceipts
from seatrial_serve.process.machine import machine_key
from seatrial_serve.runtimes.fake import FakeRuntime
from seatrial_serve.runtimes.runtime import Placement


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache, and no receipt in it."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    monkeypatch.setattr(load_gate, "MEASURE_BUDGET_S", 0.0)  # one row alone is timed, in a moment
    return folder / "seatrial" / "receipts"


@pytest.fixture
def bundles(tmp_path: Path) -> Path:
    toy_bundle(tmp_path / "bundles")
    return tmp_path / "bundles"


async def start(bundles: Path, runtime: FakeRuntime, **options: Any) -> list[int]:
    """The batches that a start runs until its model is ready."""
    runtime.batches.clear()
    async with run_app(bundles, **({"prove": "kept"} | options)) as app:
        assert app.repository.ready
        return list(runtime.batches)


def only_file(folder: Path) -> Path:
    (file,) = folder.iterdir()
    return file


async def test_a_start_with_a_kept_receipt_replays_one_golden_row(
    bundles: Path, runtime: FakeRuntime, cache: Path
) -> None:
    first = await start(bundles, runtime)
    assert sum(first) > 2 * len(ROWS)
    assert await start(bundles, runtime) == [1]
    assert await start(bundles, runtime, prove="always") == first
    assert only_file(cache).stat().st_mode & 0o077 == 0


async def test_what_the_load_gate_found_is_shown_as_before_with_where_it_is_from(
    bundles: Path, runtime: FakeRuntime, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    shown: list[dict[str, Any]] = []
    for proven_by, kept in (("golden rows", 0.0), ("kept receipt", 1.0)):
        async with run_app(bundles, prove="kept") as app:
            ready = (await app.client.get("/v2/health/ready")).json()
            assert ready["kept_receipts"] == ["toy 1.0.0"] * int(kept)
            assert (await app.client.get("/v2/models/toy/ready")).json()["proven_by"] == proven_by
            shown.append((await app.client.get("/v1/models/toy")).json())
            assert gauge(app, "seatrial_load_gate_kept") == kept
            assert gauge(app, "seatrial_load_gate_worst_error") == 0.0
    first, again = shown
    assert again["load_gate"] == first["load_gate"]
    assert again["execution"] == first["execution"]
    assert first["load_gate_kept_at"] is None
    assert again["load_gate_kept_at"] == json.loads(only_file(cache).read_text())["made_at"]
    assert caplog.text.count("toy 1.0.0 passed its load gate after") == 2
    assert caplog.text.count(", by a kept receipt and one golden row") == 1


def gauge(app: Running, name: str) -> float:
    app.metrics.flush()
    families = text_string_to_metric_families(generate_latest(app.metrics.registry).decode())
    (sample,) = [sample for family in families for sample in family.samples if sample.name == name]
    return float(sample.value)


async def test_the_golden_row_that_is_replayed_is_the_one_nearest_to_what_is_allowed(
    bundles: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    def slightly_off(feeds: Feeds) -> Any:
        off = np.where(feeds["x"] == 5.0, np.float32(5e-6), np.float32(1e-6))
        return answer(feeds) | {"twice": feeds["x"] * 2 * (1 + off)}

    runtime = fake_runtimes(monkeypatch, slightly_off)
    await start(bundles, runtime)
    assert ROWS[json.loads(only_file(cache).read_text())["row"]]["x"] == 5.0
    assert await start(bundles, runtime) == [1]


async def test_a_row_that_is_answered_otherwise_now_means_the_whole_gate(
    bundles: Path, runtime: FakeRuntime, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await start(bundles, runtime)
    asked = iter([0])

    def wrong_once(feeds: Feeds) -> Any:
        return answer(feeds) | {"twice": feeds["x"] * 2 + np.float32(next(asked, None) is not None)}

    runtime.answer = wrong_once
    assert sum(await start(bundles, runtime)) > 2 * len(ROWS)
    assert "does not pass now" in caplog.text
    assert runtime.outliers < 4  # the whole gate keeps its memory until it is over
    runtime.answer = lambda feeds: answer(feeds) | {"twice": feeds["x"] * 3}
    async with run_app(bundles, prove="kept") as app:
        assert not app.repository.ready


def another_digest(bundles: Path, monkeypatch: pytest.MonkeyPatch, runtime: FakeRuntime) -> None:
    golden = toy_golden(ROWS[:8])
    (bundles / "toy" / "1.0.0").rename(bundles / "gone")
    toy_bundle(bundles, golden=golden)


def another_processor(bundles: Path, monkeypatch: pytest.MonkeyPatch, runtime: FakeRuntime) -> None:
    monkeypatch.setattr(kept_receipt, "machine_key", lambda: "another")


def another_release(bundles: Path, monkeypatch: pytest.MonkeyPatch, runtime: FakeRuntime) -> None:
    monkeypatch.setattr(kept_receipt, "installed_versions", lambda _: {"seatrial": "0.0.1"})


def another_runtime(bundles: Path, monkeypatch: pytest.MonkeyPatch, runtime: FakeRuntime) -> None:
    runtime.version = "fake 2"


def another_provider(bundles: Path, monkeypatch: pytest.MonkeyPatch, runtime: FakeRuntime) -> None:
    runtime.provider = "AnotherExecutionProvider"


@pytest.mark.parametrize(
    "change",
    [another_digest, another_processor, another_release, another_runtime, another_provider],
)
async def test_a_receipt_of_anything_else_says_nothing(
    bundles: Path,
    runtime: FakeRuntime,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[..., None],
) -> None:
    await start(bundles, runtime)
    change(bundles, monkeypatch, runtime)
    assert len(await start(bundles, runtime)) > 1
    assert len(list(cache.iterdir())) == 2


async def test_a_receipt_under_the_name_of_another_says_nothing(
    bundles: Path, runtime: FakeRuntime, cache: Path
) -> None:
    await start(bundles, runtime)
    file = only_file(cache)
    receipt = json.loads(file.read_text())
    receipt["facts"]["digest"] = "0" * 64
    file.write_text(json.dumps(receipt))
    assert len(await start(bundles, runtime)) > 1


@pytest.mark.parametrize("above", [0, 1], ids=["its folder", "the folder above"])
async def test_a_receipt_from_a_folder_that_others_can_write_is_not_trusted(
    bundles: Path, runtime: FakeRuntime, cache: Path, caplog: pytest.LogCaptureFixture, above: int
) -> None:
    await start(bundles, runtime)
    (cache, cache.parent)[above].chmod(0o777)
    assert len(await start(bundles, runtime)) > 1
    assert (
        f"others may write into the cache folder {(cache, cache.parent)[above]}; mend: chmod go-w"
        in caplog.text
    )


async def test_a_receipt_that_others_can_write_is_not_trusted(
    bundles: Path, runtime: FakeRuntime, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await start(bundles, runtime)
    only_file(cache).chmod(0o660)
    assert len(await start(bundles, runtime)) > 1
    assert "others may write into the file in the cache folder" in caplog.text
    assert await start(bundles, runtime) == [1]  # a private one has taken its place


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("what", ["file", "folder"])
async def test_a_receipt_that_another_user_owns_is_not_trusted(
    bundles: Path, runtime: FakeRuntime, cache: Path, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    await start(bundles, runtime)
    os.chown(only_file(cache) if what == "file" else cache, 4321, 4321)
    assert len(await start(bundles, runtime)) > 1
    assert "another user owns the" in caplog.text


async def test_a_receipt_behind_a_link_is_not_trusted(
    bundles: Path, runtime: FakeRuntime, cache: Path
) -> None:
    await start(bundles, runtime)
    file = only_file(cache)
    file.rename(cache.parent / "elsewhere")
    file.symlink_to(cache.parent / "elsewhere")
    assert len(await start(bundles, runtime)) > 1
    assert not file.is_symlink()
    cache.rename(cache.parent / "moved")
    cache.symlink_to(cache.parent / "moved")
    assert len(await start(bundles, runtime)) > 1


async def test_a_receipt_that_does_not_parse_is_made_anew(
    bundles: Path, runtime: FakeRuntime, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await start(bundles, runtime)
    file = only_file(cache)
    data = file.read_bytes()
    whole = json.loads(data)
    assert KeptReceipts(cache).find(whole["facts"]) is not None
    for damaged in (
        b"",
        b"{}",
        data[: len(data) // 2],
        b" " * (4 * 2**20) + data,
        edited(data, seconds={"2": 0.1}),
        edited(data, seconds={"1": -1.0}),
        edited(data, trials=[]),
        edited(data, trials=[whole["trials"][0] | {"passed": False}]),
        edited(data, more=1),
    ):
        file.write_bytes(damaged)
        assert KeptReceipts(cache).find(whole["facts"]) is None
    assert "a kept receipt cannot be read and is made anew" in caplog.text
    file.write_bytes(edited(data, row=10**6))
    assert len(await start(bundles, runtime)) > 1
    assert await start(bundles, runtime) == [1]


def edited(data: bytes, **changes: Any) -> bytes:
    return json.dumps(json.loads(data) | changes).encode()


async def test_no_receipt_is_kept_of_a_remote_runtime_or_of_cards(
    bundles: Path, runtime: FakeRuntime, cache: Path
) -> None:
    runtime.remote = True
    await start(bundles, runtime)
    runtime.remote, runtime.placement = False, Placement("CUDAExecutionProvider", (0,), slots=2)
    await start(bundles, runtime)
    await start(bundles, replace(runtime), prove="always")
    assert not cache.exists()


def test_no_folder_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert KeptReceipts(tmp_path / "file" / "receipts").find({"digest": "0"}) is None


def test_a_machine_is_known_by_its_processor_and_not_by_its_clock(tmp_path: Path) -> None:
    cpuinfo, identity = tmp_path / "cpuinfo", tmp_path / "machine-id"
    identity.write_text("0123\n")
    text = "processor\t: 0\nmodel name\t: A\ncpu MHz\t\t: 2445.4\nflags\t\t: fpu avx2\n"
    cpuinfo.write_text(text)
    here = machine_key(cpuinfo, identity)
    assert here is not None
    cpuinfo.write_text(text.replace("2445.4", "1800.0"))
    assert machine_key(cpuinfo, identity) == here
    others = set[str | None]()
    for old, new in (("avx2", "avx2 avx512f"), (": A", ": B")):
        cpuinfo.write_text(text.replace(old, new))
        others.add(machine_key(cpuinfo, identity))
    cpuinfo.write_text(text)
    identity.write_text("4567\n")
    others.add(machine_key(cpuinfo, identity))
    assert len(others - {here, None}) == 3
    identity.unlink()
    assert machine_key(cpuinfo, identity) is not None
    cpuinfo.write_text("processor\t: 0\n")
    assert machine_key(cpuinfo, identity) is None
