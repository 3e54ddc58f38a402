"""What the load gate measures, and by which clock."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from support.toys import Feeds, answer, fake_runtimes, toy_bundle

from seatrial_serve.inference import load_gate
from seatrial_serve.inference.engine import load_engine
from seatrial_serve.inference.pace import Pace
from seatrial_serve.runtimes.runtime import RuntimeOptions


@pytest.mark.parametrize(
    ("remote", "slots", "best"),
    [(False, None, 2), (True, None, 1), (False, 2, 1)],
    ids=["processor", "remote", "card"],
)
def test_a_batch_that_waits_for_a_core_is_measured_by_what_it_takes_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, remote: bool, slots: int | None, best: int
) -> None:
    own_s, passed_s = [0.0], [0.0]

    def run(feeds: Feeds) -> Feeds:
        rows = len(feeds["x"])
        took = 0.01 * rows if rows < 2 else 0.008 * rows
        own_s[0] += took
        # Longer batches are interrupted by whoever else is here.
        passed_s[0] += took + (0.02 * rows if rows > 1 else 0)
        return answer(feeds)

    fake_runtimes(monkeypatch, run)
    engine = load_engine(toy_bundle(tmp_path), RuntimeOptions())
    engine.remote, engine.slots = remote, slots
    monkeypatch.setattr(
        load_gate,
        "time",
        SimpleNamespace(thread_time=lambda: own_s[0], perf_counter=lambda: passed_s[0]),
    )
    pace = load_gate.LoadGate(engine).measure()
    assert pace.best_rows == best


def test_the_first_run_of_a_size_on_a_card_is_not_its_pace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s, seen = [0.0], set[int]()

    def run(feeds: Feeds) -> Feeds:
        rows = len(feeds["x"])
        now_s[0] += 0.001 if rows in seen else 0.3
        seen.add(rows)
        return answer(feeds)

    fake_runtimes(monkeypatch, run)
    engine = load_engine(toy_bundle(tmp_path), RuntimeOptions())
    engine.slots = 2
    monkeypatch.setattr(load_gate, "time", SimpleNamespace(perf_counter=lambda: now_s[0]))
    assert load_gate.LoadGate(engine).measure() == Pace(
        {size: pytest.approx(0.001) for size in load_gate.MEASURE_SIZES}
    )
