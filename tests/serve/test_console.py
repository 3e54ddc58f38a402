"""The console in process: its page and headers, its series, and what the API tells it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.encrypted import make_identity
from support.running import Running, run_app
from support.toys import ROWS, toy_bundle, toy_files, toy_manifest

import seatrial as st
from seatrial_contracts.bundle import write_bundle
from seatrial_contracts.encrypt import encrypt_bundle
from seatrial_contracts.receipt import (
    ERROR_EDGES,
    MAX_RECEIPT_BYTES,
    RECEIPTS_FOLDER,
    Receipt,
    Trial,
    now,
    this_machine,
)
from seatrial_contracts.receipts_folder import NEWEST, read_receipt
from seatrial_contracts.release_notes import NOTES
from seatrial_serve.console.about import MOST_EXAMPLES
from seatrial_serve.console.reading import quantile
from seatrial_serve.console.routes import STATIC
from seatrial_serve.console.series import MODELS, Series
from seatrial_serve.metrics.families import SECONDS
from seatrial_serve.metrics.metrics import Metrics
from seatrial_serve.models import receipt_reader
from seatrial_serve.runtimes.fake import FakeRuntime

KEY = ("toy", "1.0.0")
GOOD = {"x": 3.5, "word": "a"}


class Clock:
    """A time that tests move."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


class Counted(Metrics):
    """Metrics that count how often they are read."""

    reads = 0

    def collect(self):
        self.reads += 1
        return super().collect()


@pytest.mark.parametrize(
    "path", ["/", "/console/static/main.js", "/console/static/vendor/uPlot.esm.js"]
)
async def test_each_file_of_the_console_comes_with_a_strict_policy(
    path: str, running: Running
) -> None:
    reply = await running.client.get(path)
    assert reply.status_code == 200
    policy = dict(
        part.strip().split(" ", 1) for part in reply.headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["referrer-policy"] == "no-referrer"
    head = await running.client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(reply.content))
    again = await running.client.get(path, headers={"if-none-match": reply.headers["etag"]})
    assert again.status_code == 304


async def test_nothing_else_is_served_beside_the_page(running: Running) -> None:
    for path in (
        "/console/static/",
        "/console/static/..%2froutes.py",
        "/console/static/nothing.js",
        "/console",
        "/index.html",
    ):
        reply = await running.client.get(path)
        assert (reply.status_code, reply.json()["code"]) == (404, "E_NOT_FOUND"), path
    assert (await running.client.put("/")).json()["code"] == "E_METHOD"


async def test_it_can_be_switched_off(tmp_path: Path, runtime: FakeRuntime) -> None:
    toy_bundle(tmp_path)
    async with run_app(tmp_path, console=False) as app:
        for path in ("/", "/console/static/main.js", "/console/series?model=toy"):
            assert (await app.client.get(path)).status_code == 404
        assert (await app.ask([GOOD])).status_code == 200


def test_its_files_name_no_other_host_and_hold_nothing_inline() -> None:
    page = (STATIC / "index.html").read_text()
    assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=", page)
    ours = [file for file in STATIC.rglob("*.*") if "vendor" not in file.parts]
    assert len(ours) > 20
    for file in ours:
        text = file.read_text()
        assert not re.search(r"https?://(?!www\.w3\.org/)", text), file
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", text
        ), file
    vendored = {file.name: file.stat().st_size for file in (STATIC / "vendor").iterdir()}
    assert set(vendored) == {"uPlot.esm.js", "uPlot.min.css", "uPlot.LICENSE"}
    assert sum(vendored.values()) < 200_000


async def test_a_look_shows_rates_quantiles_and_batches_of_the_seconds_that_were_looked_at() -> (
    None
):
    metrics, clock = Metrics(), Clock()
    series, seen = Series(metrics, clock), metrics.for_model(*KEY)
    seen.answered([0.004], 0.004, "a")
    assert (await series.look(KEY, 0))["points"]["at"] == []
    clock.at += 2
    for _ in range(6):
        seen.answered([0.002], 0.002, "a")
    seen.failed("E_RANGE", 0.002)
    seen.batch(8, 8, 0.0, [0.001] * 3, 0.003)
    seen.waiting(5)
    said = await series.look(KEY, 0)
    points = said["points"]
    assert (points["at"], points["answered"], points["refused"]) == ([1002.0], [3.0], [0.5])
    assert (points["batch_rows"], points["waiting_rows"]) == ([8.0], [5.0])
    assert set(points["p99"]) == {"total", "queue", "run"}
    assert 0.001 < points["p50"]["total"][0] <= points["p99"]["total"][0] <= 0.0025
    assert said["codes"] == {"E_RANGE": 1.0, "ok": 7.0}
    clock.at += 1
    assert (await series.look(KEY, since=1002.0))["points"] == {
        "at": [1003.0],
        "answered": [0.0],
        "refused": [0.0],
        "batch_rows": [None],
        "waiting_rows": [5.0],
        "p50": {},
        "p99": {},
    }


async def test_many_who_look_cost_as_much_as_one_and_a_pause_starts_anew() -> None:
    metrics, clock = Counted(), Clock()
    series = Series(metrics, clock)
    metrics.for_model(*KEY).answered([0.1], 0.1, "a")
    for _ in range(50):
        await series.look(KEY, 0)
    assert metrics.reads == 1
    clock.at += 3600
    assert (await series.look(KEY, 0))["points"]["at"] == []
    clock.at += 1
    assert (await series.look(KEY, 0))["points"]["at"] == [4601.0]


async def test_what_is_kept_is_bounded_in_time_and_in_models(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("seatrial_serve.console.series.KEPT_S", 20.0)
    metrics, clock = Metrics(), Clock()
    series = Series(metrics, clock)
    metrics.for_model(*KEY).answered([0.1], 0.1, "a")
    for _ in range(30):
        clock.at += 1
        await series.look(KEY, 0)
    points = (await series.look(KEY, 0))["points"]["at"]
    assert (len(points), points[-1] - points[0]) == (20, 19)
    for number in range(MODELS):
        await series.look((f"model-{number}", "1.0.0"), 0)
    assert (await series.look(KEY, 0))["points"]["at"] == []


async def test_drift_is_the_share_of_each_bin_now_beside_the_reference() -> None:
    metrics, clock = Metrics(), Clock()
    series = Series(metrics, clock)
    for name, share in (("below 40", 0.25), ("from 40", 0.75)):
        metrics.families.drift_reference.labels(*KEY, "bill", name).set(share)
    (unseen,) = (await series.look(KEY, 0))["drift"]
    assert (unseen["field"], unseen["seen"], unseen["live"], unseen["psi"]) == (
        "bill",
        0,
        None,
        None,
    )
    metrics.families.drift.labels(*KEY, "bill", "below 40").inc(3)
    metrics.families.drift.labels(*KEY, "bill", "from 40").inc(1)
    clock.at += 1
    (shifted,) = (await series.look(KEY, 0))["drift"]
    assert (shifted["bins"], shifted["reference"], shifted["live"]) == (
        ["below 40", "from 40"],
        [0.25, 0.75],
        [0.75, 0.25],
    )
    assert shifted["psi"] == pytest.approx(np.log(3))  # (0.75 - 0.25) * ln(0.75 / 0.25), twice


async def test_live_parity_and_feedback_are_counted_of_all_rows() -> None:
    metrics = Metrics()
    series = Series(metrics, Clock())
    families = metrics.families
    families.parity_checked.labels(*KEY, "int8").inc(3)
    families.parity_violations.labels(*KEY, "int8").inc()
    families.feedback.labels(*KEY, "all", "right").inc(2)
    families.feedback.labels(*KEY, "night", "wrong").inc(9)
    families.feedback_accuracy.labels(*KEY).set(0.5)
    said = await series.look(KEY, 0)
    assert said["live_parity"] == {"answers": 3, "violations": 1}
    assert said["feedback"] == {"right": 2, "accuracy": 0.5}


async def test_where_nothing_is_measured_it_says_so() -> None:
    said = await Series(Metrics(on=False), Clock()).look(KEY, 0)
    assert (said["measured"], said["codes"], said["drift"]) == (False, {}, [])


def test_a_quantile_is_that_of_values_spread_evenly_in_their_bucket() -> None:
    generator = np.random.default_rng(0)
    for _ in range(200):
        counts = np.cumsum(generator.integers(1, 9, len(SECONDS))).tolist()
        for share in (0.01, 0.5, 0.99):
            expected = np.interp(share * counts[-1], [0, *counts], [0, *SECONDS])
            assert quantile(share, [*SECONDS, np.inf], [*counts, counts[-1]]) == pytest.approx(
                expected
            )
    assert quantile(0.99, [0.1, 1.0, float("inf")], [0, 0, 5]) == 1.0


async def test_series_name_unknown_models_and_bad_times_and_show_no_payload(
    running: Running,
) -> None:
    canary = "canary-7f3a"
    await running.ask(
        [{"x": 1.0, "word": canary, canary: canary}], headers={"x-request-id": canary}
    )
    reply = await running.client.get("/console/series?model=toy&version=1.0.0&since=0")
    assert reply.status_code == 200
    assert reply.json()["codes"]
    assert canary not in reply.text
    for query, status, code in (
        ("model=other", 404, "E_MODEL_NOT_FOUND"),
        ("model=toy&version=9.9.9", 404, "E_MODEL_NOT_FOUND"),
        ("", 404, "E_MODEL_NOT_FOUND"),
        ("model=toy&since=yesterday", 400, "E_PARAMETER"),
    ):
        refused = await running.client.get(f"/console/series?{query}")
        assert (refused.status_code, refused.json()["code"]) == (status, code)
    assert (await running.client.head("/console/series?model=toy")).status_code == 200


async def test_examples_are_drawn_from_the_contract_and_accepted(running: Running) -> None:
    told = (await running.client.get("/console/about?model=toy")).json()
    assert told["release_notes"] == ""
    assert told["truth"] == {}  # a number and a tensor are neither right nor wrong
    whats = [each["what"] for each in told["examples"]]
    assert {"input 'x' at -100.0", "input 'word' at 'b'"} <= set(whats)
    assert len(whats) <= MOST_EXAMPLES
    rows = [each["row"] for each in told["examples"]]
    assert (await running.ask(rows)).status_code == 200
    assert not [row for row in rows if row in ROWS[2:]]  # the golden rows
    for query in ("model=other", "model=toy&version=9.9.9", ""):
        refused = await running.client.get(f"/console/about?{query}")
        assert (refused.status_code, refused.json()["code"]) == (404, "E_MODEL_NOT_FOUND")


async def test_examples_of_one_version_have_a_bound_of_bytes(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seatrial_serve.console.about.MOST_BYTES", 60)
    told = (await running.client.get("/console/about?model=toy")).json()
    assert len(told["examples"]) == 2


async def test_release_notes_are_told_but_for_those_of_an_encrypted_bundle(
    tmp_path: Path, runtime: FakeRuntime
) -> None:
    notes = "# toy 1.0.0"
    plain = write_bundle(tmp_path / "plain", toy_manifest(), toy_files() | {NOTES: notes.encode()})
    key = make_identity(tmp_path / "key")
    encrypt_bundle(plain, [key.to], tmp_path / "encrypted")
    for folder, told in (("plain", notes), ("encrypted", "")):
        async with run_app(tmp_path / folder, identity=key.file) as app:
            about = (await app.client.get("/console/about?model=toy")).json()
            assert about["release_notes"] == told
            assert about["examples"]


def claimed(bundle: st.Bundle, made_at: str = "") -> Receipt:
    """What somebody claims of a bundle."""
    trial = Trial(runner="http", variant="fp32", rows=9, worst_error=0.0, allowed=1e-5, passed=True)
    return Receipt(
        schema=1,
        digest=bundle.digest,
        name="toy",
        version="1.0.0",
        made_at=made_at or now(),
        machine=this_machine({}),
        trials=(trial,),
    )


async def test_a_version_shows_its_contract_its_bundle_and_its_receipts(
    running: Running, tmp_path: Path
) -> None:
    url = "/v1/models/toy/versions/1.0.0"
    shown = (await running.client.get(url)).json()
    bundle = st.open_bundle(tmp_path / "toy" / "1.0.0")
    assert st.Contract.from_json(json.dumps(shown["contract"]).encode()) == bundle.contract
    assert shown["digest"] == bundle.digest
    assert shown["bundle"]["batchable"] is True
    assert shown["bundle"]["size_bytes"] == bundle.size_bytes
    assert shown["receipts"] == []
    field = shown["inputs"]["properties"]["x"]
    assert (field["x-kind"], field["x-want"]) == ("number", "a number from -100 to 100")
    receipt = claimed(bundle)
    receipt.write(bundle.path)
    shown = (await running.client.get(url)).json()
    assert shown["error_edges"] == list(ERROR_EDGES)
    (said,) = shown["receipts"]
    assert Receipt.model_validate_json(json.dumps(said)) == receipt
    (bundle.path / RECEIPTS_FOLDER / "other.json").write_text("{")
    shown = (await running.client.get(url)).json()
    assert shown["receipts"] == [said]
    assert "a file that this seatrial cannot read" in shown["receipts_error"]
    assert str(tmp_path) not in json.dumps(shown)


def pipe(path: Path) -> None:
    os.mkfifo(path)


def link(path: Path) -> None:
    path.symlink_to("/dev/zero")


def folder(path: Path) -> None:
    path.mkdir()


def large(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(MAX_RECEIPT_BYTES + 1)


def huge_number(path: Path) -> None:
    path.write_text(
        path.with_name("good.json").read_text().replace('"rows": 9', f'"rows": 1{"0" * 400}')
    )


def no_number(path: Path) -> None:
    path.write_text(path.with_name("good.json").read_text().replace("1e-05", "NaN"))


@pytest.mark.parametrize("make", [pipe, link, folder, large, huge_number, no_number])
@pytest.mark.parametrize("name", ["z.json", os.fsdecode(b"\xff.json")])
async def test_whatever_lies_among_the_receipts_is_named_and_the_others_are_shown(
    make: Callable[[Path], None], name: str, running: Running, tmp_path: Path
) -> None:
    bundle = st.open_bundle(tmp_path / "toy" / "1.0.0")
    claimed(bundle).write(bundle.path).rename(bundle.path / RECEIPTS_FOLDER / "good.json")
    make(bundle.path / RECEIPTS_FOLDER / name)
    reply = await running.client.get("/v1/models/toy")
    assert reply.status_code == 200
    assert len(reply.json()["receipts"]) == 1
    shown = name.encode("ascii", "backslashreplace").decode()
    assert reply.json()["receipts_error"].startswith(f"receipt '{shown}': got ")


async def test_of_a_thousand_receipts_the_newest_are_read_and_each_once(
    running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = st.open_bundle(tmp_path / "toy" / "1.0.0")
    made = [f"2026-11-24T10:00:{place // 1000:02}.{place % 1000:03}Z" for place in range(1000)]
    for made_at in made:
        claimed(bundle, made_at).write(bundle.path)
    read: list[Path] = []
    monkeypatch.setattr(
        receipt_reader, "read_receipt", lambda path: (read.append(path), read_receipt(path))[1]
    )
    for _ in range(3):
        shown = (await running.client.get("/v1/models/toy")).json()
        assert [one["made_at"] for one in shown["receipts"]] == made[: -NEWEST - 1 : -1]
    assert len(read) == NEWEST
    newest = claimed(bundle, "2026-11-25T10:00:00.000Z")
    newest.write(bundle.path)
    shown = (await running.client.get("/v1/models/toy")).json()
    assert shown["receipts"][0]["made_at"] == newest.made_at


async def test_a_disk_that_does_not_answer_holds_up_the_receipts_alone(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = threading.Event()
    monkeypatch.setattr(receipt_reader, "WAIT_S", 0.0)
    monkeypatch.setattr(receipt_reader, "newest_files", lambda _: answer.wait() and [])
    try:
        for reply in await asyncio.gather(
            *(running.client.get("/v1/models/toy") for _ in range(40))
        ):
            assert reply.status_code == 200
            assert "no answer from the disk" in reply.json()["receipts_error"]
        names = await asyncio.gather(
            *(asyncio.to_thread(lambda: threading.current_thread().name) for _ in range(40))
        )
        assert len(names) == 40  # the shared threads are free
        assert sum(thread.name == "seatrial-receipts" for thread in threading.enumerate()) >= 1
    finally:
        answer.set()
