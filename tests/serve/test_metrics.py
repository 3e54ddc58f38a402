"""Metrics: what requests do is counted.

Nothing that a client sends becomes a series.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import shutil
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.parser import text_string_to_metric_families
from support.running import Running, run_app
from support.toys import ROWS, fake_runtimes, toy_bundle, toy_profile

from seatrial_contracts.errors import ModelError, Refusal, Unavailable
from seatrial_serve.metrics import names
from seatrial_serve.metrics.families import SECONDS, Families
from seatrial_serve.metrics.loop_lag import LoopLag
from seatrial_serve.metrics.metrics import COUNTS_KEPT_S, Metrics
from seatrial_serve.metrics.model_metrics import ModelMetrics, ModelTallies
from seatrial_serve.metrics.tally import BulkHistogram, Tally
from seatrial_serve.monitor.figures import Figures, Windows
from seatrial_serve.monitor.rules import alerts, records
from seatrial_serve.observers.drift import DriftObserver
from seatrial_serve.process.codes import CODES, Kind, cause_of
from seatrial_serve.runtimes.fake import FakeRuntime

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs/reference/metrics.md"
GOOD = ROWS[0]


def scraped(metrics: Metrics) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Sample name -> labels -> value."""
    metrics.flush()
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(generate_latest(metrics.registry).decode()):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return scraped(metrics)[name][
        tuple(sorted({"model": "toy", "version": "1.0.0", **labels}.items()))
    ]


def series(metrics: Metrics) -> set[Any]:
    return {(name, labels) for name, each in scraped(metrics).items() for labels in each}


async def test_ten_thousand_odd_requests_add_no_series(running: Running) -> None:
    odd = random.Random(0)
    for _ in range(300):
        await send_something_strange(running, odd)
    await running.ask([GOOD])
    before = series(running.metrics)
    for _ in range(10_000):
        await send_something_strange(running, odd)
    assert series(running.metrics) == before


async def send_something_strange(running: Running, odd: random.Random) -> None:
    """A method, a path and a header that nobody means, straight into the application."""
    word = "".join(odd.choices('abcxyz0189-._~% é{}"\n', k=odd.randint(1, 30)))
    models = (
        f"/v1/models/{word}:predict",
        f"/v2/models/{word}/infer",
        f"/v1/models/toy/versions/{word}:predict",
        "/v1/models/toy:predict",
        f"/v1/models/toy/labels/{word}:predict",
    )
    path = (
        odd.choice(models)
        if odd.random() < 0.95
        else odd.choice((f"/{word}", f"/v2/models/{word}/ready"))
    )
    body = odd.choice([word.encode(), b"1", b"", b"{}"])
    method = odd.choice(["GET", "POST", "".join(odd.choices("ABCDEF", k=7))])
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "headers": [(b"host", b"toy"), (b"x-request-id", word.encode())],
        "client": ("127.0.0.1", 1),
        "server": ("toy", 80),
    }

    async def receive() -> Any:
        return {"type": "http.request", "body": body}

    async def send(message: Any) -> None:
        assert message.get("status", 404) in (400, 404, 405)

    await running.app(scope, receive, send)


async def test_every_phase_batch_and_refusal_is_counted(running: Running) -> None:
    for rows in (ROWS[:1], ROWS[:3], [{**GOOD, "x": 412.0}], [{**GOOD, "word": "zebra"}]):
        await running.ask(rows)
    await running.ask([GOOD], model="nobody")
    metrics = running.metrics
    for phase in ("front", "queue", "run", "encode"):
        assert value(metrics, "seatrial_request_phase_seconds_count", phase=phase) == 2
    assert value(metrics, "seatrial_request_phase_seconds_count", phase="total") == 4
    assert (
        value(metrics, "seatrial_batch_rows_sum") == value(metrics, "seatrial_batch_cost_sum") == 4
    )
    assert value(metrics, "seatrial_batch_padding_ratio_bucket", le="0.0") == 2
    assert value(metrics, "seatrial_refusals_total", cause="contract") == 2
    assert value(metrics, "seatrial_refusals_total", cause="other", model="", version="") == 1
    assert value(metrics, "seatrial_load_gate") == 1
    assert value(metrics, "seatrial_load_gate_worst_error") == 0
    assert (
        value(
            metrics,
            "seatrial_execution_info",
            asked="CPUExecutionProvider",
            provider="FakeExecutionProvider",
        )
        == 1
    )
    plain = {name: each[()] for name, each in scraped(metrics).items() if () in each}
    assert plain["seatrial_requests_in_flight"] == plain["seatrial_held_bytes"] == 0
    assert plain["seatrial_budget_bytes"] == 2**30
    assert plain["seatrial_resident_memory_bytes"] > 2**20


async def test_a_version_that_answers_wrongly_shows_by_how_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_runtimes(
        monkeypatch,
        lambda feeds: {
            "twice": feeds["x"] * 2 + 0.5,
            "pair": np.stack([feeds["x"], feeds["word"] == "a"], 1).astype("f4"),
        },
    )
    toy_bundle(tmp_path)
    async with run_app(tmp_path) as running:
        assert (await running.ask([GOOD])).status_code == 503
        assert value(running.metrics, "seatrial_load_gate") == 0
        assert value(running.metrics, "seatrial_load_gate_worst_error") == pytest.approx(0.5)
        assert value(running.metrics, "seatrial_refusals_total", cause="not_ready") == 1


async def test_drift_counts_what_was_answered_and_what_was_refused_for_an_unseen_word(
    tmp_path: Path, runtime: FakeRuntime
) -> None:
    bundle = toy_bundle(tmp_path)
    profile = toy_profile(bundle.contract)
    async with run_app(tmp_path, [DriftObserver()]) as running:
        for rows in (ROWS, ROWS[:1], [{**GOOD, "word": "zebra"}]):
            await running.ask(rows)
        tensors = [{"name": "x", "shape": [3], "datatype": "FP32", "data": [1.0, 2.0, 99.0]},
                   {"name": "word", "shape": [3], "datatype": "BYTES",
                    "data": ["a", "b", "b"]}]  # fmt: skip
        await running.client.post("/v2/models/toy/infer", json={"inputs": tensors})
        await running.taps.wait_idle()
        metrics = running.metrics
        assert value(metrics, "seatrial_drift_sampled_total") == 13
        assert value(metrics, "seatrial_drift_total", field="word", bin="a") == 5
        assert value(metrics, "seatrial_drift_total", field="word", bin="b") == 8
        assert value(metrics, "seatrial_drift_total", field="word", bin="(unseen)") == 1
        for field in profile.fields:
            seen = scraped(metrics)["seatrial_drift_total"]
            assert sum(
                count for labels, count in seen.items() if ("field", field) in labels
            ) == 13 + (field == "word")
            shares = scraped(metrics)["seatrial_drift_reference"]
            assert sum(
                share for labels, share in shares.items() if ("field", field) in labels
            ) == pytest.approx(1)
        await running.lifecycle.unload("toy")
        assert "seatrial_drift_reference" not in scraped(metrics)
        assert value(metrics, "seatrial_drift_total", field="word", bin="a") == 5


async def test_what_a_version_showed_goes_with_it_and_what_it_counted_a_while_later(
    tmp_path: Path, runtime: FakeRuntime
) -> None:
    toy_bundle(tmp_path)
    toy_bundle(tmp_path, name="other")
    now = [0.0]
    async with run_app(tmp_path, [DriftObserver()], clock=lambda: now[0]) as running:
        await running.ask([GOOD])
        await running.ask([GOOD], model="other")
        await running.taps.wait_idle()
        entry = running.repository.find("toy")
        assert entry is not None
        measured, other = entry.ready_model().metrics, of_version(running.metrics, "other")
        await running.lifecycle.unload("toy")
        measured.waiting(3)  # its last request says so when it is gone already
        measured.answered([0.1], 0.1, "a")
        kept = of_version(running.metrics, "toy")
        types_of = {family.name: family.type for family in running.metrics.registry.collect()}
        assert {types_of[name] for name in kept} == {"counter", "histogram"}
        assert value(running.metrics, "seatrial_requests_total", code="ok") == 2
        now[0] += COUNTS_KEPT_S + 1
        assert of_version(running.metrics, "toy") == set()
        assert of_version(running.metrics, "other") == other
        await running.lifecycle.load("toy")
        await running.ask([GOOD])
        assert value(running.metrics, "seatrial_requests_total", code="ok") == 1
        assert value(running.metrics, "seatrial_model_ready") == 1


def of_version(metrics: Metrics, model: str) -> set[str]:
    """The families that have a series of this model."""
    metrics.flush()
    families = metrics.registry.collect()
    return {
        each.name
        for each in families
        if any(sample.labels.get("model") == model for sample in each.samples)
    }


async def test_a_model_without_traffic_takes_little_room_and_all_that_alerts_ask_for_begins_at_0(
    running: Running,
) -> None:
    running.metrics.flush()
    text = generate_latest(running.metrics.registry).decode()
    assert sum(len(line) + 1 for line in text.splitlines() if 'model="toy"' in line) <= 4000
    bundle = toy_bundle(running.repository.sources.folders[0])
    counts = re.compile(r"(seatrial_(?:requests|refusals)_total)\{([^}]*)\}")
    figures = Figures(bundle, Windows())
    exprs = [*records(figures).values(), *(alert.expr for alert in alerts(bundle, figures))]
    asked = {found for expr in exprs for found in counts.findall(expr)}
    zeros = {
        (name, labels)
        for name, each in scraped(running.metrics).items()
        for labels, count in each.items()
        if not count
    }
    for name, matchers in asked:
        for label, words in re.findall(r'(code|cause)=~?"([^"]*)"', matchers):
            for word in words.split("|"):
                begun = tuple(sorted({label: word, "model": "toy", "version": "1.0.0"}.items()))
                assert (name, begun) in zeros
    assert len(asked) >= 4
    await running.ask([GOOD])
    assert value(running.metrics, "seatrial_requests_total", code="E_RANGE") == 0, (
        "with traffic all show"
    )


async def test_a_long_request_is_counted_by_rows_spread_over_it(
    tmp_path: Path, runtime: FakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seatrial_serve.observers.drift.MOST_ROWS", 100)
    toy_bundle(tmp_path)
    async with run_app(tmp_path, [DriftObserver()]) as running:
        await running.ask(
            [
                {"x": float(place % 100), "word": "ab"[place % 2 and place > 500]}
                for place in range(1000)
            ]
        )
        await running.taps.wait_idle()
        assert value(running.metrics, "seatrial_drift_sampled_total") == 100


async def test_without_metrics_nothing_is_measured_and_the_protocols_statistics_stay(
    tmp_path: Path, runtime: FakeRuntime
) -> None:
    toy_bundle(tmp_path)
    async with run_app(tmp_path, metrics=False) as running:
        await running.ask([GOOD])
        await running.ask([{**GOOD, "x": 412.0}])
        assert "seatrial_requests_total" not in scraped(running.metrics)
        statistics = (await running.client.get("/v2/models/toy/stats")).json()["model_stats"][0]
        assert statistics["inference_count"] == 1


async def test_an_openmetrics_scrape_names_the_request_behind_a_bucket(running: Running) -> None:
    given = await running.ask([GOOD], headers={"X-Request-Id": "ship-1"})
    made = await running.ask([GOOD], headers={"X-Request-Id": "not one of ours {}"})
    ids = {reply.headers["x-request-id"] for reply in (given, made)}
    running.metrics.flush()
    lines = [
        line
        for line in openmetrics.generate_latest(running.metrics.registry).decode().splitlines()
        if " # {" in line
    ]
    assert 1 <= len(lines) <= 2, "the last of each bucket"
    assert all(
        any(f'request_id="{each}"' in line for each in ids) and 'phase="total"' in line
        for line in lines
    )
    assert "ship-1" in ids
    assert "not one" not in str(lines)


def test_a_tally_and_a_histogram_of_the_library_say_the_same() -> None:
    values = [*SECONDS, 0.0, 1e-9, 61.0, *np.random.default_rng(0).exponential(0.1, 500).tolist()]
    registries = CollectorRegistry(), CollectorRegistry()
    theirs, ours = (
        Histogram("h", "", buckets=SECONDS, registry=registries[0]),
        BulkHistogram("h", "", buckets=SECONDS, registry=registries[1]),
    )
    tally = Tally(SECONDS)
    for place, seconds in enumerate(values):
        theirs.observe(seconds)
        tally.observe(seconds)
        if place % 100 == 0:
            tally.flush(ours)
    tally.flush(ours)
    tally.flush(ours)
    pairs = zip(*(next(iter(registry.collect())).samples for registry in registries), strict=True)
    assert all(
        mine.name == other.name and mine.value == pytest.approx(other.value)
        for other, mine in pairs
    )


async def test_the_loops_lag_is_what_a_sleeper_overslept() -> None:
    times, metrics = [0.0], Metrics()

    async def oversleep(seconds: float) -> None:
        times.append(times[-1] + seconds + 0.03)
        await asyncio.sleep(0)

    async with LoopLag(metrics, clock=lambda: times[-1], sleep=oversleep):
        while len(times) < 4:
            await asyncio.sleep(0)
    found = scraped(metrics)
    count = found["seatrial_event_loop_lag_seconds_count"][()]
    assert count >= 2
    assert found["seatrial_event_loop_lag_seconds_sum"][()] == pytest.approx(0.03 * count)


class Interrupted:
    """Families at whose `at`-th use a request comes and ends, as one may in another thread."""

    def __init__(self, families: Families, at: int, come: Callable[[], None]) -> None:
        self._families, self._left, self._come = families, at, come

    def __getattr__(self, name: str) -> Any:
        if self._left == 0:
            self._come()
        self._left -= 1
        return getattr(self._families, name)


@pytest.mark.parametrize("at", range(11))
def test_what_is_counted_while_counts_are_handed_over_is_handed_over_the_next_time(at: int) -> None:
    registry, tallies = CollectorRegistry(), ModelTallies()
    metrics, families = ModelMetrics(tallies), Families(registry, shared=False)

    def request() -> None:
        metrics.row_errors(["E_RANGE"])
        metrics.batch(1, 1, 0.0, [0.001], 0.002)
        metrics.answered([0.003], 0.003, "a")

    request()
    interrupted = Interrupted(families, at, request)
    tallies.flush(interrupted, ("a", "1"), there=True)  # type: ignore[arg-type]
    while tallies.stirred:
        tallies.flush(families, ("a", "1"), there=True)
    assert interrupted._left < 0
    shown = dict.fromkeys(
        ("requests_total", "row_errors_total", "batch_rows_count", "total", "queue"), 0.0
    )
    for family in registry.collect():
        for sample in family.samples:
            name = sample.name.removeprefix("seatrial_")
            name = sample.labels["phase"] if name == "request_phase_seconds_count" else name
            if name in shown:
                shown[name] += sample.value
    assert set(shown.values()) == {2.0}


def test_the_memory_of_devices_is_shown_where_nvidias_library_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class NVMLError(Exception):
        pass

    def memory(handle: int) -> Any:
        if handle == 1:
            raise NVMLError
        return types.SimpleNamespace(used=3 * 2**30, total=80 * 2**30, free=77 * 2**30)

    fake = types.SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=int,
        nvmlDeviceGetMemoryInfo=memory,
    )
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    metrics = Metrics()
    assert scraped(metrics)["seatrial_device_memory_bytes"] == {
        (("device", "0"), ("kind", "used")): 3 * 2**30,
        (("device", "0"), ("kind", "total")): 80 * 2**30,
    }
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert "seatrial_device_memory_bytes" not in scraped(Metrics())


@pytest.mark.gpu
def test_the_memory_of_a_real_device_is_shown() -> None:
    pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed: pip install '.[gpu]'")
    found = scraped(Metrics()).get("seatrial_device_memory_bytes", {})
    if not found:
        pytest.skip("no NVIDIA device here")
    assert found[("device", "0"), ("kind", "total")] > found[("device", "0"), ("kind", "used")] > 0


def test_no_metrics_name_is_written_twice() -> None:
    ours = {value for name, value in vars(names).items() if name.isupper()}
    home = ROOT / "serve" / "seatrial_serve" / "metrics" / "names.py"
    files = [*(ROOT / "serve").rglob("*.py"), *(ROOT / "cli").rglob("*.py")]
    written = {
        file: set(re.findall(r"seatrial_\w+", file.read_text())) & ours
        for file in files
        if file != home
    }
    assert len(ours) > 30
    assert {file.name: found for file, found in written.items() if found} == {}


def raised_codes() -> set[str]:
    """Codes of the refusals, outages and faults that the server and what it stands on raise."""
    raised = re.compile(
        r'(?:Refusal|Unavailable|refuse|refuse_rows)\(\s*"(E_\w+)"|"(E_MODEL|E_OUTPUT_CONTRACT)"'
    )
    places = [ROOT / "contracts", ROOT / "serve/seatrial_serve", ROOT / "serve/seatrial_ray"]
    files = [file for place in places for file in place.rglob("*.py")]
    return {
        code
        for file in files
        for found in raised.findall(file.read_text())
        for code in found
        if code
    }


def test_every_code_that_is_raised_is_one_of_the_closed_set() -> None:
    assert len(raised_codes()) > 50
    assert raised_codes() <= CODES.keys()
    assert {(code.kind, code.status) for code in CODES.values() if code.status < 500} <= {
        *((Kind.REFUSAL, status) for status in range(400, 500)),
        (Kind.UNAVAILABLE, 429),
    }


def test_a_refusal_has_a_cause_and_a_failure_has_none() -> None:
    assert cause_of(Refusal("E_RANGE", "x")) == "contract"
    assert cause_of(Unavailable("E_RUNTIME_SLOW", "x")) == "other"
    assert cause_of(ModelError("E_MODEL", "x")) is None
    assert Refusal("E_RANGE", "input 'bill', row 3").field == "bill"
    assert Refusal("E_JSON", "request body").field is None


@pytest.mark.slow
def test_a_gauge_that_every_worker_has_let_go_of_is_not_shown(tmp_path: Path) -> None:
    program = """
import sys
from prometheus_client import CollectorRegistry, generate_latest
from seatrial_serve.metrics.families import WorkersCollector
from seatrial_serve.metrics.metrics import Metrics
from seatrial_serve.metrics.standing import GateResult, Held, Standing
held = Held("d", "fp32", "CPU", "CPU", 0.1)
there = {("toy", "1.0.0"): Standing(True, GateResult(True, 0.0), held, 1.0)}
metrics, registry = Metrics(), CollectorRegistry()
WorkersCollector(registry, path=sys.argv[1])
metrics.watch_versions(lambda: there, lambda *key: key in there)
for _ in range(2):
    metrics.flush()
    lines = generate_latest(registry).decode().splitlines()
    print(sum('model="toy"' in line for line in lines if "_total" not in line))
    there = {}
"""
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["8", "0"], done.stderr


@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed: apt-get install prometheus"
)
async def test_promtool_has_nothing_to_say(running: Running) -> None:
    await running.ask([GOOD])
    running.metrics.flush()
    done = subprocess.run(
        ["promtool", "check", "metrics"],
        input=generate_latest(running.metrics.registry),
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


async def test_what_waits_for_a_version_is_shown_and_goes_with_it(
    running: Running, runtime: FakeRuntime
) -> None:
    model = running.repository.served["toy"].model
    assert model is not None
    idle = pressure_of(running)
    assert (idle["waiting"], idle["running"], idle["queue"]) == (0.0, 0.0, 0.0)
    assert idle["predicted"] == pytest.approx(model.backlog.expected_s)
    for _ in range(3):
        model.backlog.enter()
    busy = pressure_of(running)
    assert busy["waiting"] == 3.0
    assert busy["predicted"] == pytest.approx(4 * idle["predicted"])
    assert busy["queue"] == pytest.approx(3 * idle["predicted"])
    model.backlog.leave(None, 3)
    await running.lifecycle.unload("toy")
    assert pressure_of(running) == {}


def pressure_of(running: Running) -> dict[str, float]:
    """The gauges of what waits for the only version."""
    running.metrics.flush()
    names = {
        "seatrial_requests_waiting": "waiting",
        "seatrial_requests_running": "running",
        "seatrial_predicted_wait_seconds": "predicted",
        "seatrial_predicted_queue_seconds": "queue",
    }
    return {
        names[sample.name]: sample.value
        for family in running.metrics.registry.collect()
        for sample in family.samples
        if sample.name in names
    }
