"""Families and tasks through the export gate, judged by their own libraries (`make test-hub`).

All cases take ten minutes, so the usual tests run two others (`tests/export/test_hub_gate.py`).
The table of docs/how-to/hub.md is what this prints.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.hub_folders import make_folder, make_sentence_folder
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTextEncoding,
    AutoModelForTokenClassification,
)

from seatrial_export.export import export_pipeline
from seatrial_export.hub.folder import quiet
from seatrial_export.hub.from_pretrained import read_hub_model

pytestmark = pytest.mark.hub

TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
NLI = ("contradiction", "neutral", "entailment")
HEADS: dict[str, tuple[Any, dict[str, Any]]] = {
    "text-classification": (
        AutoModelForSequenceClassification,
        {"labels": ("low", "mid", "high")},
    ),
    "text-classification, labels of several": (
        AutoModelForSequenceClassification,
        {"labels": ("a", "b"), "problem_type": "multi_label_classification"},
    ),
    "text-classification, regression": (
        AutoModelForSequenceClassification,
        {"labels": ("amount",), "problem_type": "regression"},
    ),
    "text-pair-classification": (AutoModelForSequenceClassification, {"labels": ("same", "other")}),
    "zero-shot-classification": (AutoModelForSequenceClassification, {"labels": NLI}),
    "text-ranking": (AutoModelForSequenceClassification, {"labels": ("LABEL_0",)}),
    "token-classification": (AutoModelForTokenClassification, {"labels": TAGS}),
    "question-answering": (AutoModelForQuestionAnswering, {}),
    "fill-mask": (AutoModelForMaskedLM, {}),
    "feature-extraction": (AutoModelForTextEncoding, {}),
}
CASES = [
    *((family, "text-classification") for family in (
        "bert", "distilbert", "electra", "mpnet", "roberta", "xlm-roberta", "deberta-v2",
        "modernbert", "nomic-bert",
    )),
    ("bert", "text-classification, labels of several"),
    ("bert", "text-classification, regression"),
    ("roberta", "text-pair-classification"),
    ("deberta-v2", "zero-shot-classification"),
    ("bert", "text-ranking"),
    ("xlm-roberta", "text-ranking"),
    ("bert", "token-classification"),
    ("roberta", "token-classification"),
    ("xlm-roberta", "token-classification"),
    ("bert", "question-answering"),
    ("roberta", "question-answering"),
    ("bert", "fill-mask"),
    ("roberta", "fill-mask"),
    ("modernbert", "fill-mask"),
    ("bert", "feature-extraction"),
    ("t5", "feature-extraction"),
    ("bert", "sentence-similarity, mean, Dense, Normalize"),
    ("mpnet", "sentence-similarity, mean, Normalize"),
    ("roberta", "sentence-similarity, max"),
    ("modernbert", "sentence-similarity, cls, Normalize"),
    ("t5", "sentence-similarity, mean, Dense, Normalize"),
    ("distilbert", "sentence-similarity, lasttoken"),
    ("nomic-bert", "sentence-similarity, mean, Normalize"),
]  # fmt: skip


@pytest.mark.parametrize(("family", "task"), CASES)
def test_an_adopted_folder_answers_raw_rows_as_its_own_library_does(
    family: str, task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, *modules = task.split(", ")
    if name == "sentence-similarity":
        folder = make_sentence_folder(tmp_path / "model", family, modules)
    else:
        head, options = HEADS[task]
        folder = make_folder(tmp_path / "model", family, head, **options)
    with quiet():
        found = read_hub_model(folder, task=name)
        bundle = export_pipeline(found.pipeline(), tmp_path / "bundles")
    trials = [trial for receipt in bundle.receipts() for trial in receipt.trials]
    judged = [trial for trial in trials if trial.runner == "judge"]
    assert [trial.row_set for trial in judged] == ["golden", "drawn"]
    assert all(trial.rows and trial.passed for trial in judged)
    assert [trial.finding for trial in judged] == ["", ""]
    assert bundle.manifest.batchable
    rows, worst = sum(trial.rows for trial in judged), max(trial.worst_error for trial in judged)
    with capsys.disabled():
        print(f"\n| {task} | {family} | {rows} | {worst:.1e} |")
