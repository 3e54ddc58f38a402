"""The simulation of a server that loads on demand, and the virtual time that it runs in."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))
from plan import drawn, fewest, models_of, read_trace, told  # noqa: E402  (found through the line above)
from simulated_server import ModelFigures, ServerFigures, simulate  # noqa: E402  (as above)
from virtual_time import Turns, VirtualLoop  # noqa: E402  (as above)

from seatrial_serve.inference.pace import Pace  # noqa: E402  (as above)
from seatrial_serve.scheduling.batch_rule import BatchRule  # noqa: E402  (as above)

MB = 10**6
QUICK = ModelFigures(Pace({1: 0.0002, 32: 0.001}), BatchRule(32), MB, 0.02)
SLOW = ModelFigures(Pace({1: 0.05}), BatchRule(1), MB, 0.02)
SERVER = ServerFigures(cores=1, memory_bytes=10 * MB, request_s=0.001)


def test_cores_are_shared_evenly_by_what_works_at_once() -> None:
    for cores, ends in ((1, [2.0, 3.0, 3600.0]), (2, [1.0, 2.0, 3600.0])):
        loop = VirtualLoop(cores)

        async def work(seconds: float, loop: VirtualLoop = loop) -> float:
            await loop.cores.work(seconds)
            return loop.time()

        async def both(work=work) -> list[float]:  # type: ignore[no-untyped-def]
            ended = list(await asyncio.gather(work(1.0), work(2.0)))
            await asyncio.sleep(3600 - asyncio.get_running_loop().time())
            return [*ended, asyncio.get_running_loop().time()]

        assert loop.run_until_complete(both()) == pytest.approx(ends)
        assert loop.cores.busy_s == pytest.approx(3.0)
        loop.close()


def test_an_event_loop_does_one_thing_after_another() -> None:
    loop = VirtualLoop(4)

    async def both() -> float:
        turns = Turns(loop)
        await asyncio.gather(turns.work(1.0), turns.work(2.0))
        return loop.time()

    assert loop.run_until_complete(both()) == pytest.approx(3.0)
    loop.close()


def test_a_simulation_in_which_nothing_can_happen_any_more_says_so() -> None:
    loop = VirtualLoop(1)
    waits = loop.create_future()
    with pytest.raises(RuntimeError, match="waits for ever"):
        loop.run_until_complete(waits)
    loop.close()


def test_models_that_fit_are_loaded_once_and_time_is_that_of_the_figures() -> None:
    models = {f"m{place}": QUICK for place in range(10)}
    due = [(float(second), f"m{second % 10}") for second in range(40)]
    outcome = simulate(SERVER, models, due)
    assert (outcome.loads, outcome.evictions, outcome.held) == (10, 0, 10)
    assert outcome.most_bytes == 10 * MB
    assert Counter(each.cold for each in outcome.came) == {True: 10, False: 30}
    warm = {round(each.seconds, 6) for each in outcome.came if not each.cold}
    assert warm == {0.0012}
    assert {round(each.seconds, 6) for each in outcome.came if each.cold} == {0.0212}
    assert outcome.busy_s == pytest.approx(40 * 0.0012 + 10 * 0.02)


def test_what_does_not_fit_is_evicted_and_memory_stays_within_its_limit() -> None:
    models = {f"m{place}": QUICK for place in range(11)}
    due = [(float(second), f"m{second % 11}") for second in range(110)]
    outcome = simulate(SERVER, models, due)
    assert outcome.loads - outcome.evictions == outcome.held == 10
    assert outcome.evictions > 10
    assert outcome.most_bytes == 10 * MB


def test_a_model_larger_than_the_memory_is_refused_and_keeps_no_other_away(
    caplog: pytest.LogCaptureFixture,
) -> None:
    models = {"large": QUICK._replace(memory_bytes=11 * MB), "m": QUICK}
    outcome = simulate(SERVER, models, [(0.0, "large"), (1.0, "m"), (2.0, "large"), (3.0, "m")])
    answered = [(each.model, each.seconds >= 0) for each in outcome.came]
    assert sorted(answered) == [("large", False)] * 2 + [("m", True)] * 2
    assert (outcome.loads, outcome.held) == (1, 1)
    assert not caplog.records


@pytest.mark.parametrize(
    ("trace", "said"),
    [
        ("0.5,m\n1,n\n", "line 2 of .*: got '1,n', want .* a model that has figures"),
        ("soon,m\n", "line 1 of .*: got 'soon,m', want seconds"),
        ("m\n", "line 1 of .*: got 'm'"),
        ("\n", "got no arrival"),
    ],
)
def test_a_trace_that_is_none_is_told_where(tmp_path: Path, trace: str, said: str) -> None:
    (tmp_path / "trace.csv").write_text(trace)
    with pytest.raises(SystemExit, match=said):
        read_trace(tmp_path / "trace.csv", {"m"})


def test_what_comes_before_a_trace_fills_the_memory_and_is_not_counted() -> None:
    models = {f"m{place}": QUICK for place in range(10)}
    before = [(place / 10, f"m{place}") for place in range(10)]
    outcome = simulate(SERVER, models, [*before, (10.0, "m3")], since_s=5.0)
    assert [each.at_s for each in outcome.came] == [10.0]
    assert (outcome.loads, outcome.held) == (0, 10)
    assert outcome.busy_s == pytest.approx(0.0012)


def test_requests_that_wait_together_make_a_batch() -> None:
    batched = SLOW._replace(rule=BatchRule(8), pace=Pace({1: 0.05, 8: 0.05}))
    due = [(0.0, "m"), *((1.0, "m") for _ in range(9))]
    busy_s = {
        rows: simulate(SERVER, {"m": model}, due, since_s=0.5).busy_s
        for rows, model in ((1, SLOW), (8, batched))
    }
    assert busy_s[1] == pytest.approx(9 * 0.051)
    assert busy_s[8] == pytest.approx(9 * 0.001 + 2 * 0.05)


def test_the_fewest_cores_and_cards_hold_the_p99_and_one_less_does_not() -> None:
    models = {"m": SLOW}
    due = drawn(["m"], rate=50.0, seconds=30.0, exponent=1.0, seed=3)

    def cores(number: int) -> ServerFigures:
        return SERVER._replace(cores=number)

    def cards(number: int) -> ServerFigures:
        return SERVER._replace(cores=2, card_slots=2 * number)

    for server_of in (cores, cards):
        number = fewest(server_of, models, due, 120.0, "warm")
        assert number is not None
        assert number > 1
        p99 = [
            told(simulate(server_of(each), models, due), 30.0)["warm_p99_ms"]
            for each in (number - 1, number)
        ]
        assert p99[1] <= 120.0
        assert p99[0] is None or p99[0] > 120.0


def test_arrivals_have_their_rate_their_popularity_and_their_seed() -> None:
    names = [f"m{place}" for place in range(10)]
    due = drawn(names, rate=100.0, seconds=100.0, exponent=1.0, seed=1)
    assert due == drawn(names, rate=100.0, seconds=100.0, exponent=1.0, seed=1)
    assert due != drawn(names, rate=100.0, seconds=100.0, exponent=1.0, seed=2)
    assert len(due) == pytest.approx(10_000, rel=0.05)
    counts = Counter(name for _, name in due)
    assert counts["m0"] / counts["m9"] == pytest.approx(10, rel=0.2)
    assert [at for at, _ in due] == sorted(at for at, _ in due)
    assert due[-1][0] < 100.0


def test_the_command_plays_a_trace_of_a_file(tmp_path: Path) -> None:
    runs = {
        "batch_seconds": {"1": 0.0002, "32": 0.001}, "cost_seconds": {"row_units": 1},
        "batch_rows": 32, "deep_batch_rows": 0, "batch_cost": None,
    }  # fmt: skip
    page = {
        "execution": runs, "memory_bytes": MB, "load_seconds": 0.02
    }  # fmt: skip
    assert models_of({"m": page}) == {"m": QUICK}
    (tmp_path / "figures.json").write_text(json.dumps({"m": page, "n": page}))
    (tmp_path / "trace.csv").write_text("2,n\n0.5,m\n1,m\n")
    done = subprocess.run(
        [
            sys.executable, "benchmarks/plan.py", "simulate", str(tmp_path / "figures.json"),
            "--model-memory-bytes", str(MB), "--request-seconds", "0.001",
            "--trace", str(tmp_path / "trace.csv"), "--p99-ms", "5",
        ],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert {key: found[key] for key in ("requests", "loads", "evictions", "fewest_cores")} == {
        "requests": 3, "loads": 2, "evictions": 1, "fewest_cores": 1
    }  # fmt: skip
    assert found["warm_p99_ms"] == pytest.approx(1.2)
