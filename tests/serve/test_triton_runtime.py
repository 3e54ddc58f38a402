"""Our edge in front of a Triton that dies, comes back, holds requests and lies.

Then it stands in front of the real one.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.fake_triton import FakeTriton
from support.real_triton import RealTriton, needs_triton
from support.running import Running, run_app
from support.toys import ROWS, toy_bundle
from support.waiting import until, until_here

import seatrial as st
from seatrial_parity.runners.runner import TrialRequest
from seatrial_parity.trial import try_bundle
from seatrial_serve.models import lifecycle as lifecycle
from seatrial_serve.runtimes import triton as triton_runtime
from seatrial_serve.triton.config import Placing
from seatrial_serve.triton.repository import write_repository


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_runtime, "PROBE_EVERY_S", 0.02)
    monkeypatch.setattr(lifecycle, "RETRY_S", 0.02)


@pytest.fixture
def bundle(tmp_path: Path) -> st.Bundle:
    return toy_bundle(tmp_path / "bundles")


@pytest.fixture
def fake(bundle: st.Bundle) -> Iterator[FakeTriton]:
    triton = FakeTriton(bundle.digest)
    yield triton
    triton.open.set()
    triton.stop()


def edge(bundle: st.Bundle, triton: FakeTriton, **options: Any) -> Any:
    return run_app(
        bundle.path.parent.parent, runtime="triton", triton_url=triton.address, **options
    )


async def test_golden_rows_pass_through_triton_and_bad_ones_never_reach_it(
    bundle: st.Bundle, fake: FakeTriton
) -> None:
    async with edge(bundle, fake) as app:
        entry = app.repository.find("toy")
        assert entry is not None
        assert entry.state == "READY", entry.reason
        assert entry.ready_model().engine.provider == "Triton fake"
        reply = await app.ask(ROWS)
        assert [row["twice"] for row in reply.json()["predictions"]] == [
            row["x"] * 2 for row in ROWS
        ]
        asked = fake.asked
        refused = await app.ask([{"x": 101.0, "word": "a"}])
        assert (refused.status_code, refused.json()["code"], fake.asked) == (400, "E_RANGE", asked)


async def test_a_triton_that_holds_another_bundle_is_not_served_until_it_holds_this_one(
    bundle: st.Bundle, fake: FakeTriton
) -> None:
    fake.digest = "0" * 64
    async with edge(bundle, fake) as app:
        entry = app.repository.find("toy")
        assert entry is not None
        assert "is of bundle 0000000000000000" in entry.reason
        fake.digest = bundle.digest
        await until_here(lambda: app.repository.ready)


async def test_a_triton_that_answers_golden_rows_wrongly_does_not_pass_the_load_gate(
    bundle: st.Bundle, fake: FakeTriton
) -> None:
    fake.lie = lambda outputs: outputs | {"twice": outputs["twice"] + 1}
    async with edge(bundle, fake) as app:
        entry = app.repository.find("toy")
        assert entry is not None
        assert (entry.code, "output 'twice'" in entry.reason) == ("E_LOAD_GATE", True)


async def test_killed_under_load_it_is_a_clear_503_and_not_ready_until_it_is_back(
    bundle: st.Bundle, fake: FakeTriton
) -> None:
    async with edge(bundle, fake) as app:
        fake.open.clear()
        on_their_way = [asyncio.ensure_future(app.ask([ROWS[i % 9]])) for i in range(12)]
        seen = fake.asked
        await until_here(lambda: fake.asked > seen)
        stopping = asyncio.ensure_future(asyncio.to_thread(fake.stop))
        replies = await asyncio.gather(*on_their_way)
        fake.open.set()
        await stopping
        assert {(reply.status_code, reply.json()["code"]) for reply in replies} == {
            (503, "E_RUNTIME_DOWN")
        }
        assert all(reply.headers["retry-after"] for reply in replies)
        await until_here(lambda: not app.repository.ready)
        waiting = await app.client.get("/v2/health/ready")
        assert (waiting.status_code, waiting.json()["not_ready"][0]["code"]) == (
            503,
            "E_RUNTIME_DOWN",
        )
        assert (await app.client.get("/v2/models/toy/ready")).status_code == 503
        assert (await app.ask([ROWS[0]])).json()["code"] == "E_RUNTIME_DOWN"
        await asyncio.to_thread(fake.start)
        await until_here(lambda: app.repository.ready)
        assert (await app.ask([ROWS[4]])).json()["predictions"][0]["twice"] == 8.0


async def test_a_triton_that_comes_later_than_the_server_is_found(
    bundle: st.Bundle, fake: FakeTriton
) -> None:
    fake.stop()
    async with edge(bundle, fake) as app:
        assert (await app.client.get("/v2/health/ready")).status_code == 503
        refused = await app.ask([ROWS[0]])
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
        fake.start()
        await until_here(lambda: app.repository.ready)
        assert (await app.ask([ROWS[4]])).json()["predictions"][0]["twice"] == 8.0


async def test_restarted_with_another_bundle_it_stays_out(
    bundle: st.Bundle, fake: FakeTriton
) -> None:
    async with edge(bundle, fake) as app:
        fake.stop()
        fake.digest = "1" * 64
        await until_here(lambda: not app.repository.ready)
        fake.start()
        ready = app.repository.find("toy")
        assert ready is not None
        asked = fake.asked
        assert (await app.ask([ROWS[0]])).json()["code"] == "E_RUNTIME_DOWN"
        assert fake.asked == asked


@pytest.mark.parametrize("kind", ["TYPE_BF16", "TYPE_INVALID", 99])
async def test_a_triton_that_answers_oddly_about_itself_is_asked_on_until_it_is_right_again(
    kind: str | int, bundle: st.Bundle, fake: FakeTriton
) -> None:
    async with edge(bundle, fake) as app:
        await until_here(lambda: app.repository.ready)
        fake.type_of_x = kind
        await until_here(lambda: not app.repository.ready)
        fake.type_of_x = "TYPE_FP32"
        await until_here(lambda: app.repository.ready)
        assert (await app.ask([ROWS[4]])).json()["predictions"][0]["twice"] == 8.0


async def test_a_health_thread_outlives_what_nobody_foresaw(
    bundle: st.Bundle,
    fake: FakeTriton,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    learn = triton_runtime.TritonRuntime.learn
    wrong: list[Exception] = []

    def learns(runtime: triton_runtime.TritonRuntime) -> None:
        if wrong:
            raise wrong[0]
        learn(runtime)

    monkeypatch.setattr(triton_runtime.TritonRuntime, "learn", learns)
    async with edge(bundle, fake) as app:
        for error in (TypeError("odd"), ValueError("odd"), OSError("odd")):
            wrong.append(error)
            await until_here(lambda: not app.repository.ready)
            wrong.clear()
            await until_here(lambda: app.repository.ready)
    assert caplog.text.count("toy_graph is not ready; this is a bug in seatrial") == 3


async def test_a_slow_triton_costs_a_request_its_own_deadline_and_no_more(
    bundle: st.Bundle, fake: FakeTriton
) -> None:
    async with edge(bundle, fake) as app:
        fake.open.clear()
        reply = await app.ask([ROWS[0]], headers={"X-Request-Timeout-Ms": "150"})
        assert (reply.status_code, reply.json()["code"]) == (503, "E_RUNTIME_SLOW")
        assert 0 < fake.seen_timeouts[-1] <= 150_000
        fake.open.set()
        assert (await app.ask([ROWS[3]])).json()["predictions"][0]["twice"] == 6.0


LIES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "an output is missing": lambda outputs: {"twice": outputs["twice"]},
    "NaN": lambda outputs: outputs | {"twice": outputs["twice"] * np.float32("nan")},
    "rows too few": lambda outputs: {name: array[:0] for name, array in outputs.items()},
    "another type": lambda outputs: outputs | {"twice": outputs["twice"].astype(np.int64)},
    "another shape": lambda outputs: outputs | {"pair": np.repeat(outputs["pair"], 2, 1)},
}


@pytest.mark.parametrize("lie", LIES)
async def test_an_answer_that_must_not_be_is_a_503_and_the_next_right_one_is_taken(
    lie: str, bundle: st.Bundle, fake: FakeTriton
) -> None:
    async with edge(bundle, fake) as app:
        fake.lie = LIES[lie]
        reply = await app.ask([ROWS[1]])
        assert (reply.status_code, reply.json()["code"]) == (503, "E_RUNTIME_ANSWER")
        fake.lie = lambda outputs: outputs
        assert (await app.ask([ROWS[1]])).json()["predictions"][0]["twice"] == 2.0


@pytest.mark.slow
async def test_every_request_under_load_gets_the_right_answer_or_a_503_while_triton_comes_and_goes(
    bundle: st.Bundle, fake: FakeTriton
) -> None:
    async def ask(app: Running, place: int) -> str:
        row = {"x": float(place % 90), "word": "a"}
        reply = await app.ask([row])
        if reply.status_code == 200:
            assert reply.json()["predictions"][0]["twice"] == row["x"] * 2
            return "answered"
        assert reply.status_code == 503
        return str(reply.json()["code"])

    async with edge(bundle, fake) as app:
        seen: set[str] = set()
        for turn in range(3):
            tasks = [asyncio.ensure_future(ask(app, place)) for place in range(60)]
            if turn < 2:
                await asyncio.to_thread(fake.stop)
                seen |= set(await asyncio.gather(*tasks))
                await asyncio.to_thread(fake.start)
                await until_here(lambda: app.repository.ready)
            else:
                assert set(await asyncio.gather(*tasks)) == {"answered"}
        assert seen <= {"answered", "E_RUNTIME_DOWN", "E_RUNTIME_ANSWER", "E_OVERLOADED"}
        assert "E_RUNTIME_DOWN" in seen


@pytest.fixture(scope="module")
def real(
    examples: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, RealTriton]]:
    folder = tmp_path_factory.mktemp("edge")
    for name in ("penguins", "digits"):
        shutil.copytree(examples / name, folder / "bundles" / name)
    bundles = [
        st.open_bundle(folder / "bundles" / name / "1.0.0") for name in ("penguins", "digits")
    ]
    write_repository(bundles, folder / "repo", Placing(backend="python"))
    with RealTriton(folder / "repo", folder / "triton.log") as triton:
        yield folder / "bundles", triton


@pytest.mark.slow
def test_a_server_that_starts_before_its_triton_loads_the_model_once_that_comes(
    bundle: st.Bundle, fake: FakeTriton, serve: Callable[..., Any]
) -> None:
    fake.stop()
    server = serve(bundle.path.parent.parent, "--runtime", "triton", "--triton-url", fake.address)
    assert server.wait_until_loaded()[0] == 503
    fake.start()
    ready, end = server.wait_until_loaded(), time.monotonic() + 60
    while ready[0] != 200:
        assert time.monotonic() < end, ready
        ready = server.wait_until_loaded()


@needs_triton
@pytest.mark.slow
def test_our_edge_before_the_real_triton_passes_parity_outlives_its_death_and_recovers(
    real: tuple[Path, RealTriton], serve: Callable[..., Any]
) -> None:
    bundles, triton = real
    server = serve(bundles, "--runtime", "triton", "--triton-url", triton.grpc)
    assert server.wait_until_loaded() == (200, server.wait_until_loaded()[1]), "".join(server.log)
    for name in ("penguins", "digits"):
        asked = TrialRequest(
            st.open_bundle(bundles / name / "1.0.0"), url=server.url, grpc=server.grpc
        )
        receipt = try_bundle(asked, ["http v1", "v2 json", "v2 binary", "grpc"])
        assert [trial.finding for trial in receipt.trials if not trial.passed] == []
        assert {trial.provider for trial in receipt.trials} >= {"Triton python"}
    row = st.open_bundle(bundles / "penguins" / "1.0.0").golden.rows[0]
    body = json.dumps({"instances": [row]}).encode()
    answers: list[tuple[int, str]] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            request = urllib.request.Request(
                f"{server.url}/v1/models/penguins:predict",
                body,
                {"Content-Type": "application/json"},
            )
            try:
                with urllib.request.urlopen(request, timeout=30) as reply:
                    answers.append((reply.status, reply.read().decode()))
            except urllib.error.HTTPError as error:
                with error:
                    answers.append((error.code, json.loads(error.read())["code"]))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        until(lambda: len(answers) > 50)
        triton.kill()
        until(lambda: any(code == 503 for code, _ in answers))
        triton.start()
        until(lambda: server.wait_until_loaded()[0] == 200, 90)
        after = len(answers)
        until(lambda: len(answers) > after + 100)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert {code for code, _ in answers} == {200, 503}
    assert len({said for code, said in answers if code == 200 for said in [said[:60]]}) == 1
    assert {said for code, said in answers if code == 503} <= {"E_RUNTIME_DOWN", "E_RUNTIME_ANSWER"}
    assert {code for code, _ in answers[after + 20 :]} == {200}
