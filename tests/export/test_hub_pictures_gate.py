"""A picture classifier's folder, adopted by the command and judged by transformers' pipeline.

Other families take some ten minutes: `make test-hub` runs them.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from support.hub_pictures import make_picture_folder
from transformers import AutoModelForImageClassification

from seatrial.main import cli
from seatrial_contracts.bundle import open_bundle

pytestmark = pytest.mark.slow


def test_a_folder_of_pictures_becomes_a_bundle_that_transformers_itself_has_judged(
    tmp_path: Path,
) -> None:
    labels = ("cat", "dog", "ship")
    folder = make_picture_folder(tmp_path / "pets", "vit", AutoModelForImageClassification, labels)
    done = CliRunner().invoke(cli, ["adopt", f"hf:{folder}", "--out", str(tmp_path / "bundles")])
    assert done.exit_code == 0, done.output
    assert "as image-classification, judged by transformers" in done.output
    bundle = open_bundle(tmp_path / "bundles" / "pets" / "1.0.0")
    trials = [trial for receipt in bundle.receipts() for trial in receipt.trials]
    judged = {trial.row_set: trial for trial in trials if trial.runner == "judge"}
    assert judged["golden"].rows == 8
    assert judged["drawn"].rows > 4
    assert all(trial.worst_error < 1e-5 for trial in judged.values())
    assert bundle.manifest.batchable
