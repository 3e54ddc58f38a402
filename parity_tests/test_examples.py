"""The suite that runs before a release.

Every example, through every runner, answers as training did, and refuses the rows that it must.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import seatrial as st
from seatrial_contracts.golden import wire_row
from seatrial_parity.runners.runner import TrialRequest
from seatrial_parity.trial import try_bundle

EXAMPLES = ("penguins", "digits", "sentences", "photos")
pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_runner_answers_as_training_did(name: str, examples: Path, server: Any) -> None:
    bundle = st.open_bundle(examples / name / "1.0.0")
    pipeline = st.load_pipeline(f"examples/{name}/pipeline.py:pipeline")
    receipt = try_bundle(TrialRequest(bundle, pipeline, server.url, server.grpc))
    assert [trial.finding for trial in receipt.trials if not trial.passed] == []
    by_runner = {
        runner: [trial for trial in receipt.trials if trial.runner == runner]
        for runner in ("pytorch", "onnxruntime", "http v1")
    }
    for trials in by_runner.values():
        assert sum(trial.rows for trial in trials) >= len(bundle.golden.rows)
        assert sum(trial.refusals for trial in trials) == len(bundle.golden.refusals) > 0
    assert {size for trial in by_runner["http v1"] for size in trial.batch_sizes} >= {1, 2, 8}


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_sealed_answers_are_those_of_the_pipeline_from_raw_rows(
    name: str, examples: Path
) -> None:
    bundle = st.open_bundle(examples / name / "1.0.0")
    pipeline = st.load_pipeline(f"examples/{name}/pipeline.py:pipeline")
    rows = [sample.row for sample in pipeline.golden_samples]
    assert [wire_row(row) for row in rows] == [dict(row) for row in bundle.golden.rows]
    found = st.compare_outputs(
        bundle.golden.answers,
        pipeline.calibrated.answer(rows),
        st.Tolerance(relative_to_max=0, relative=0),
    )
    assert found.passed, str(found)
