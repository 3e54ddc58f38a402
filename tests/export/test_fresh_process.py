"""A pipeline's file run once more in a fresh process.

What depends on the hash seed, the clock or the environment is refused by name.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import seatrial as st
from seatrial_export.gate import fresh
from seatrial_export.gate.torch_candidate import TorchCandidate
from seatrial_export.gate.torch_export import check_torch_export

pytestmark = pytest.mark.slow
FILE = """
import os, time
import numpy as np
import torch
from torch import nn
import seatrial as st

class Row(st.Row):
    x: st.Tensor[np.float32, 4]

class Answer(st.Answer):
    score: float

SCALE = {scale}

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 1)

    def forward(self, x):
        return self.layer(x)[:, 0] * SCALE

def pipeline():
    {seed}
    return st.Pipeline(name="net", version="1.0.0", inputs=Row, outputs=Answer, model=Net().eval(),
                       golden=[{{"x": [float(i)] * 4}} for i in range(4)])
"""
HASHED = 'float(hash("alpha") % 100_003)'


def written(folder: Path, scale: str, seed: str = "torch.manual_seed(0)") -> str:
    file = folder / "pipeline.py"
    file.write_text(FILE.format(scale=scale, seed=seed))
    return f"{file}:pipeline"


def gate(target: str) -> TorchCandidate:
    """The two steps of the gate that matter here."""
    with fresh.fresh_process(target) as runs:
        candidate = TorchCandidate(st.load_pipeline(target), runs)
        check_torch_export(candidate)
        fresh.check_fresh_process(candidate)
    return candidate


def finding(candidate: TorchCandidate) -> str:
    (trial,) = [trial for trial in candidate.trials if trial.runner == "fresh process"]
    return trial.finding


@pytest.mark.timeout(300)
def test_a_file_that_makes_the_same_model_passes_and_the_receipt_has_no_finding(
    tmp_path: Path,
) -> None:
    assert finding(gate(written(tmp_path, "2.0"))) == ""


@pytest.mark.timeout(300)
def test_a_constant_made_of_a_hash_is_refused_and_named(tmp_path: Path) -> None:
    with pytest.raises(
        st.GateError, match=r"model, line .* is another when one changes the hash seed"
    ):
        gate(written(tmp_path, HASHED))


def facts(**changes: Any) -> fresh.Facts:
    return {
        "model, line 0": "mul(x, 2)",
        "model, 'layer.weight'": ["float32[4]", 1.0, 0.5],
        **changes,
    }


def test_the_clock_of_another_process_reaches_every_name_that_the_file_has_for_it_and_no_library(
    tmp_path: Path,
) -> None:
    file = tmp_path / "clocks.py"
    file.write_text(CLOCKS)
    code = (
        "import datetime, time; from seatrial_export.gate.elsewhere import clock, elsewhere; "
        "from seatrial_export.user_file import UserFiles\n"
        "with elsewhere(clock(24 * 400)):\n"
        f"    years = UserFiles().value({f'{file}:years'!r}, 'file', '')\n"
        "    with elsewhere(clock(24 * 400)):\n"
        "        print(datetime.datetime.now().year, *years())"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=250, check=True
    )
    real, *told = map(int, run.stdout.split())
    assert len(told) == 6
    assert all(year > real for year in told)


CLOCKS = """
import datetime, time
import pandas  # whose extension checks the size of datetime's classes when it is imported
from datetime import date
from datetime import datetime as moment
from time import localtime, time as now

def years():
    return (datetime.datetime.now().year, moment.today().year, date.today().year,
            localtime().tm_year, time.gmtime(now()).tm_year, time.gmtime().tm_year)
"""


class Runs:
    """Runs of a file, each told beforehand."""

    def __init__(self, **found: fresh.Facts | None) -> None:
        self.found, self.started = found, ["first"]

    def start(self, name: str, change: Any) -> None:
        self.started.append(name)

    def facts(self, name: str) -> fresh.Facts | None:
        return self.found.get(name.replace("the ", "").replace(" ", "_"), facts())


@pytest.fixture
def candidate(monkeypatch: pytest.MonkeyPatch) -> TorchCandidate:
    class Row(st.Row):
        x: float

    class Answer(st.Answer):
        y: float

    class Same(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * 1.0

    monkeypatch.setattr(fresh, "facts_of", lambda _candidate: facts())
    rows: list[Any] = [{"x": 1.0}, {"x": 2.0}]
    return TorchCandidate(
        st.Pipeline(
            name="n", version="1.0.0", inputs=Row, outputs=Answer, model=Same().eval(), golden=rows
        )
    )


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ({}, ""),
        ({"first": facts(**{"model, 'layer.weight'": ["float32[4]", 1.00001, 0.50001]})}, ""),
        (
            {"first": None, "alike": None, "alike_again": None},
            "not made: the file does not run in a process of its own",
        ),
        ({"first": None, "environment": None}, "not compared with an empty environment"),
        (
            {
                name: facts(**{"model, 'layer.weight'": ["float32[4]", 1.0, share]})
                for name, share in (
                    ("first", 0.1),
                    ("alike", 0.2),
                    ("alike_again", 0.3),
                    ("hash_seed", 0.4),
                )
            },
            "1 values differ from run to run",
        ),
    ],
)
def test_what_was_not_compared_is_told_in_the_receipt(
    candidate: TorchCandidate, found: dict[str, Any], told: str
) -> None:
    candidate.fresh = Runs(**found)  # type: ignore[assignment]
    fresh.check_fresh_process(candidate)
    assert finding(candidate).startswith(told)
    assert bool(finding(candidate)) is bool(told)
    (trial,) = candidate.trials
    assert bool(trial.rows) is bool(trial.batch_sizes)  # a report takes no rows that no batch held


@pytest.mark.parametrize(
    ("change", "told"),
    [("clock", "the clock"), ("environment", "the environment"), ("hash_seed", "the hash seed")],
)
def test_what_the_model_depends_on_is_named_with_the_first_value_that_differs(
    candidate: TorchCandidate, change: str, told: str
) -> None:
    other = facts(**{"model, line 0": "mul(x, 3)"})
    candidate.fresh = Runs(**{"first": other, change: other})  # type: ignore[assignment]
    with pytest.raises(st.GateError, match=f"'?model, line 0 is another when one changes {told}"):
        fresh.check_fresh_process(candidate)


def test_a_model_that_is_trained_without_a_seed_is_made_three_times_and_no_oftener(
    candidate: TorchCandidate,
) -> None:
    shares = {"first": 0.1, "alike": 0.2, "alike_again": 0.3}
    runs = Runs(
        **{
            name: facts(**{"model, 'layer.weight'": ["float32[4]", 1.0, share]})
            for name, share in shares.items()
        }
    )
    candidate.fresh = runs  # type: ignore[assignment]
    fresh.check_fresh_process(candidate)
    assert runs.started == ["first", "alike", "alike again"]
    assert finding(candidate).startswith("1 values differ from run to run")


def test_a_pipeline_without_a_file_says_so_in_the_receipt(candidate: TorchCandidate) -> None:
    fresh.check_fresh_process(candidate)
    assert finding(candidate).startswith("not made: the pipeline was handed over by Python code")
