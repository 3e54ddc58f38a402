"""What the load gate measures, and by which clock."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from support.toys import Feeds, answer, fake_runtimes, toy_bundle

from seatrial_contracts.errors import ModelError
from seatrial_serve.inference import engine, load_gate
from seatrial_serve.inference.engine import load_engine
from seatrial_serve.inference.pace import Pace
from seatrial_serve.runtimes.fake import FakeRuntime
from seatrial_serve.runtimes.runtime import RuntimeOptions


@pytest.mark.parametrize(
    ("inputs", "outputs", "text"),
    [
        (
            {"x": "int64", "word": "string"},
            ["twice", "pair"],
            "input 'x': the graph takes int64, the contract gives float32",
        ),
        (
            {"x": "float32"} | {f"\x1b[{place}": "float32" for place in range(9999)},
            ["twice", "pair"],
            (
                "input 'word': the graph takes no such input, the contract gives string; "
                "9999 inputs more differ"
            ),
        ),
        (
            {"x": "float32", "word": "string"},
            ["other"],
            "the graph does not answer 'pair' and 1 more, which the contract promises",
        ),
    ],
    ids=["another type", "thousands of inputs", "another output"],
)
def test_a_graph_that_does_not_fit_its_contract_is_told_in_few_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inputs: dict[str, str], outputs: list[str],
    text: str,
) -> None:  # fmt: skip
    runtime = FakeRuntime(answer, inputs=inputs, outputs=outputs)
    monkeypatch.setattr(engine, "runtimes", lambda: {"fake": lambda _graph, _options: runtime})
    with pytest.raises(ModelError) as said:
        load_engine(toy_bundle(tmp_path), RuntimeOptions())
    assert (said.value.code, str(said.value)) == ("E_STRUCTURE", text)


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
    loaded = load_engine(toy_bundle(tmp_path), RuntimeOptions())
    loaded.remote, loaded.slots = remote, slots
    monkeypatch.setattr(
        load_gate,
        "time",
        SimpleNamespace(thread_time=lambda: own_s[0], perf_counter=lambda: passed_s[0]),
    )
    pace = load_gate.LoadGate(loaded).measure()
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
    loaded = load_engine(toy_bundle(tmp_path), RuntimeOptions())
    loaded.slots = 2
    monkeypatch.setattr(load_gate, "time", SimpleNamespace(perf_counter=lambda: now_s[0]))
    assert load_gate.LoadGate(loaded).measure() == Pace(
        {size: pytest.approx(0.001) for size in load_gate.MEASURE_SIZES}
    )
