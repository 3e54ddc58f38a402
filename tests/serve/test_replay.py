"""Kept failures, and running them again."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pyrage
import pytest
from click.testing import CliRunner
from support.running import Running, run_app
from support.toys import Feeds, answer, fake_runtimes, toy_bundle, toy_files, toy_manifest
from test_log import explodes_at_13

import seatrial as st
from seatrial.main import cli
from seatrial_contracts.bundle import CONTRACT, Bundle, open_bundle, write_bundle
from seatrial_contracts.errors import DeclarationError, OutOfMemory
from seatrial_serve.observers import failures
from seatrial_serve.observers.kept_failure import KeptFailure, redacted
from seatrial_serve.observers.replay import recurs, replay
from seatrial_serve.runtimes.runtime import RuntimeOptions

pytestmark = pytest.mark.slow
BAD = {"x": 13.0, "word": "a"}


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    fake_runtimes(monkeypatch, explodes_at_13)
    return toy_bundle(tmp_path / "bundles")


async def keep_one(tmp_path: Path, rows: list[Any] | None = None, **settings: Any) -> KeptFailure:
    kept = tmp_path / "kept"
    async with run_app(tmp_path / "bundles", keep_failures=kept, **settings) as app:
        await app.ask(rows or [BAD])
        await wait_idle(app)
    (file,) = kept.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    return KeptFailure.read(file)


async def wait_idle(app: Running) -> None:
    assert app.watch.failures is not None
    assert await asyncio.to_thread(app.watch.failures.wait_idle)


async def test_a_failed_request_is_kept_without_its_values(tmp_path: Path, bundle: Bundle) -> None:
    kept = await keep_one(tmp_path)
    assert (kept.model, kept.version, kept.digest, kept.variant) == (
        "toy",
        "1.0.0",
        bundle.digest,
        "fp32",
    )
    assert (kept.code, kept.status, kept.mates, kept.form) == (
        "E_MODEL",
        500,
        ((1, 1),),
        "redacted",
    )
    assert kept.rows == [{"x": "float", "word": "text of 1"}]
    assert "13" not in json.dumps(kept.rows)
    assert {"seatrial", "onnxruntime", "numpy"} == set(kept.machine.packages)
    with pytest.raises(DeclarationError, match="redacted"):
        replay(kept, bundle, RuntimeOptions())


async def test_encrypted_rows_open_with_their_key_alone_and_the_failure_recurs(
    tmp_path: Path, bundle: Bundle
) -> None:
    key, other = pyrage.x25519.Identity.generate(), pyrage.x25519.Identity.generate()
    kept = await keep_one(tmp_path, keep_failures_key=str(key.to_public()))
    assert kept.form == "encrypted"
    assert "word" not in kept.rows
    with pytest.raises(DeclarationError, match="--identity KEY"):
        replay(kept, bundle, RuntimeOptions())
    with pytest.raises(DeclarationError, match="does not open it"):
        replay(kept, bundle, RuntimeOptions(), str(other))
    runs = replay(kept, bundle, RuntimeOptions(), f"# created: today\n{key}\n")
    assert [run.code for run in runs] == ["E_MODEL"]
    assert recurs(kept, runs)


async def test_a_failure_that_is_mended_does_not_recur(
    tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = await keep_one(tmp_path, keep_failures_plain=True)
    assert kept.rows == [BAD]
    fake_runtimes(monkeypatch, answer)
    runs = replay(kept, bundle, RuntimeOptions())
    assert runs[0].predictions == [{"twice": 26.0, "pair": [13.0, 1.0]}]
    assert not recurs(kept, runs)


async def test_a_lack_of_memory_that_was_kept_is_run_again_like_any_failure(
    tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = (await keep_one(tmp_path, keep_failures_plain=True)).model_copy(update={"code": "E_OOM"})

    def too_large(feeds: Feeds) -> dict[str, Any]:
        if 13.0 in feeds["x"]:
            raise OutOfMemory("no room")
        return answer(feeds)

    fake_runtimes(monkeypatch, too_large)
    runs = replay(kept, bundle, RuntimeOptions())
    assert [run.code for run in runs] == ["E_OOM"]
    assert recurs(kept, runs)


@pytest.mark.parametrize(
    ("form", "rows"), [("plain", 7), ("plain", []), ("encrypted", "no base64!"), ("encrypted", 7)]
)
async def test_a_kept_failure_without_rows_says_so(
    form: str, rows: Any, tmp_path: Path, bundle: Bundle
) -> None:
    kept = (await keep_one(tmp_path, keep_failures_plain=True)).model_copy(
        update={"form": form, "rows": rows}
    )
    with pytest.raises(DeclarationError, match="got no rows, want a list of them"):
        replay(kept, bundle, RuntimeOptions(), str(pyrage.x25519.Identity.generate()))


def test_a_pipe_is_no_kept_failure(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "kept.json")
    with pytest.raises(
        DeclarationError, match="got no plain file, want a file that --keep-failures wrote"
    ):
        KeptFailure.read(tmp_path / "kept.json")


async def test_a_failure_that_comes_in_company_alone_is_run_in_company(
    tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = await keep_one(tmp_path, keep_failures_plain=True)
    kept = kept.model_copy(update={"mates": ((1, 1), (3, 1)), "batch_rows": 8})

    def fails_in_batches(feeds: Feeds) -> dict[str, Any]:
        return explodes_at_13(feeds) if len(feeds["x"]) > 1 else answer(feeds)

    runtime = fake_runtimes(monkeypatch, fails_in_batches)
    runs = replay(kept, bundle, RuntimeOptions())
    assert [(run.batch_rows, run.code) for run in runs] == [(1, "ok"), (4, "E_MODEL")]
    assert runtime.batches[-1] == 4
    assert recurs(kept, runs)


async def test_columns_are_kept_as_the_rows_that_clients_send(
    tmp_path: Path, bundle: Bundle
) -> None:
    tensors = [
        {"name": "x", "shape": [2], "datatype": "FP32", "data": [13.0, 2.5]},
        {"name": "word", "shape": [2], "datatype": "BYTES", "data": ["a", "b"]},
    ]
    async with run_app(
        tmp_path / "bundles", keep_failures=tmp_path / "kept", keep_failures_plain=True
    ) as app:
        reply = await app.client.post("/v2/models/toy/infer", json={"inputs": tensors})
        assert reply.status_code == 500
        await wait_idle(app)
    (file,) = (tmp_path / "kept").iterdir()
    kept = KeptFailure.read(file)
    assert kept.rows == [BAD, {"x": 2.5, "word": "b"}]
    assert [run.code for run in replay(kept, bundle, RuntimeOptions())] == ["E_MODEL", "E_MODEL"]


async def test_a_request_beyond_its_objective_is_kept_and_judged_by_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_runtimes(monkeypatch)
    contract = st.Contract.from_json(toy_files()[CONTRACT])
    late = contract.model_copy(update={"objective": st.Objective(p99_s=1e-9)})
    bundle = write_bundle(
        tmp_path / "bundles", toy_manifest(), toy_files() | {CONTRACT: late.to_json()}
    )
    kept = await keep_one(tmp_path, [{"x": 1.0, "word": "b"}], keep_failures_plain=True)
    assert (kept.code, kept.objective_s) == ("ok", 1e-9)
    assert {"front", "queue", "run"} <= set(kept.timings)
    assert recurs(kept, replay(kept, bundle, RuntimeOptions()))
    times = iter(range(10))
    assert not recurs(
        kept.model_copy(update={"objective_s": 2.0}),
        replay(kept, bundle, RuntimeOptions(), clock=lambda: float(next(times))),
    )


async def test_callers_faults_and_good_requests_are_not_kept(
    tmp_path: Path, bundle: Bundle
) -> None:
    async with run_app(tmp_path / "bundles", keep_failures=tmp_path / "kept") as app:
        await app.ask([{"x": 1.0, "word": "a"}])
        await app.ask([{"x": 1e9, "word": "a"}])
        await wait_idle(app)
    assert not list((tmp_path / "kept").iterdir())


async def test_the_folder_holds_so_many_files_and_the_oldest_go(
    tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "MOST_FILES", 3)
    monkeypatch.setattr(failures, "PER_S", 1e6)
    (tmp_path / "kept").mkdir()
    foreign = ["config.json", "2019-01-01.json", "2019-01-01T000000.000Z-notes.failure.json"]
    for name in (
        *(f"2020-01-0{turn}T000000.000Z-toy-1.0.0-abcdefgh.failure.json" for turn in range(4)),
        *foreign,
    ):
        (tmp_path / "kept" / name).write_text("{}")
    async with run_app(tmp_path / "bundles", keep_failures=tmp_path / "kept") as app:
        await app.ask([BAD])
        await wait_idle(app)
    names = sorted(file.name for file in (tmp_path / "kept").iterdir())
    assert set(foreign) < set(names), "what others put there stays"
    kept = [name[:10] for name in names if name not in foreign]
    assert len(kept) == 3
    assert kept[:2] == ["2020-01-02", "2020-01-03"]


async def test_a_full_disk_leaves_nothing_half_written(
    tmp_path: Path,
    bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("seatrial_serve.observers.kept_failure.os.fsync", full)
    async with run_app(tmp_path / "bundles", keep_failures=tmp_path / "kept") as app:
        assert (await app.ask([BAD])).status_code == 500
        await wait_idle(app)
        assert (await app.ask([{"x": 1.0, "word": "a"}])).status_code == 200
    assert not list((tmp_path / "kept").iterdir())
    assert "a failure was not kept: No space left on device" in caplog.text


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"keep_failures_key": "age1nonsense"}, "an age public key"),
        ({"keep_failures_key": "age1nonsense", "keep_failures_plain": True}, "got both"),
    ],
)
async def test_settings_that_cannot_be_stop_the_start(
    tmp_path: Path, bundle: Bundle, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(DeclarationError, match=said):
        async with run_app(tmp_path / "bundles", keep_failures=tmp_path / "kept", **settings):
            pass


async def test_a_folder_that_cannot_be_written_stops_the_start(
    tmp_path: Path, bundle: Bundle
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DeclarationError, match="a folder to write to"):
        async with run_app(tmp_path / "bundles", keep_failures=tmp_path / "file"):
            pass


@pytest.fixture
async def file(tmp_path: Path, bundle: Bundle) -> Path:
    await keep_one(tmp_path, keep_failures_plain=True)
    return next((tmp_path / "kept").iterdir())


def test_the_command_says_what_is_answered_and_whether_it_recurs(
    file: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = CliRunner().invoke(
        cli, ["replay", str(file), "--bundle", str(bundle.path)], standalone_mode=False
    )
    assert again.return_value == 1
    assert "E_MODEL after" in again.output
    assert "the failure recurs" in again.output
    fake_runtimes(monkeypatch, answer)
    mended = CliRunner().invoke(cli, ["replay", str(file), "--bundle", str(bundle.path), "--json"])
    assert mended.exit_code == 0
    said = json.loads(mended.output)
    assert said["recurs"] is False
    assert said["runs"][0]["predictions"][0]["twice"] == 26.0


def test_several_files_are_run_and_one_that_cannot_be_keeps_no_other(
    file: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = file.with_name("broken.json")
    broken.write_text("{}")
    fake_runtimes(monkeypatch, answer)
    words = ["--bundle", str(bundle.path), "--json"]
    both = CliRunner().invoke(cli, ["replay", str(file), str(file), *words])
    assert both.exit_code == 0
    assert [json.loads(line)["recurs"] for line in both.stdout.splitlines()] == [False, False]
    mixed = CliRunner().invoke(cli, ["replay", str(broken), str(file), *words])
    assert mixed.exit_code == 1
    assert len(mixed.stdout.splitlines()) == 1
    assert mixed.stderr.startswith(f"{broken}: ")


def test_another_bundle_and_another_file_are_refused(
    file: Path, tmp_path: Path, bundle: Bundle
) -> None:
    other = toy_bundle(tmp_path / "other", version="1.0.1")
    with pytest.raises(DeclarationError, match="of digest"):
        replay(KeptFailure.read(file), open_bundle(other.path), RuntimeOptions())
    for path in (bundle.path / "manifest.json", tmp_path / "none"):
        with pytest.raises(DeclarationError, match="--keep-failures wrote"):
            KeptFailure.read(path)


def test_of_a_redacted_value_only_kind_and_size_are_known() -> None:
    values = ("secret", b"\x89PNG", np.zeros((3, 4), np.float32), None, 5, True)
    assert [redacted(value) for value in values] == [
        "text of 6",
        "bytes of 4",
        "float32 [3, 4]",
        "missing",
        "int",
        "bool",
    ]
