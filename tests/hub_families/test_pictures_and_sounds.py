"""Families of pictures and sounds through the export gate, judged by transformers from raw files.

`make test-hub` runs them. The table of docs/how-to/hub-pictures.md is what this prints.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.hub_pictures import make_picture_folder
from support.hub_sounds import make_sound_folder
from transformers import (
    AutoModel,
    AutoModelForAudioClassification,
    AutoModelForCTC,
    AutoModelForDepthEstimation,
    AutoModelForImageClassification,
    AutoModelForObjectDetection,
    AutoModelForSemanticSegmentation,
    AutoModelForUniversalSegmentation,
)

from seatrial_export.export import export_pipeline
from seatrial_export.hub.folder import quiet
from seatrial_export.hub.from_pretrained import read_hub_model

pytestmark = pytest.mark.hub

Make = Callable[..., Path]
HEADS: dict[str, tuple[Make, Any, tuple[str, ...]]] = {
    "image-classification": (
        make_picture_folder, AutoModelForImageClassification, ("cat", "dog", "ship"),
    ),
    "object-detection": (make_picture_folder, AutoModelForObjectDetection, ("cat", "dog", "ship")),
    "image-segmentation": (
        make_picture_folder, AutoModelForSemanticSegmentation, ("sky", "sea", "ship"),
    ),
    "depth-estimation": (make_picture_folder, AutoModelForDepthEstimation, ()),
    "image-feature-extraction": (make_picture_folder, AutoModel, ()),
    "text-feature-extraction": (make_picture_folder, AutoModel, ()),
    "audio-classification": (
        make_sound_folder, AutoModelForAudioClassification, ("up", "down", "stop"),
    ),
    "automatic-speech-recognition": (make_sound_folder, AutoModelForCTC, ()),
}  # fmt: skip
PANOPTIC = ("detr, with masks", "maskformer", "maskformer, of one size")
"""Families of segmentation whose masks are those of queries."""
CASES = [
    *((family, "image-classification") for family in (
        "vit", "deit", "swin", "convnext", "dinov2", "mobilenet-v2", "resnet", "efficientnet",
    )),
    ("detr", "object-detection"),
    ("yolos", "object-detection"),
    ("yolos, of its shorter side", "object-detection"),
    *((family, "object-detection") for family in ("rt-detr", "rt-detr-v2", "d-fine")),
    ("segformer", "image-segmentation"),
    *((family, "image-segmentation") for family in PANOPTIC),
    ("dpt", "depth-estimation"),
    ("depth-anything", "depth-estimation"),
    ("depth-anything, of one size", "depth-estimation"),
    *((family, "image-feature-extraction") for family in ("dinov2", "clip", "siglip")),
    ("clip", "text-feature-extraction"),
    ("siglip", "text-feature-extraction"),
    *((family, "audio-classification") for family in (
        "wav2vec2", "wav2vec2, layer norm", "hubert, layer norm", "wavlm, layer norm", "whisper",
        "ast",
    )),
    *((family, "automatic-speech-recognition") for family in (
        "wav2vec2", "wav2vec2, layer norm", "hubert, layer norm", "wavlm, layer norm",
    )),
]  # fmt: skip


# WavLM of transformers gives torch two masks of unlike types.
@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask:UserWarning")
@pytest.mark.parametrize(("family", "task"), CASES)
def test_an_adopted_folder_answers_raw_files_as_transformers_does(
    family: str, task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, head, labels = HEADS[task]
    if family in PANOPTIC:
        head = AutoModelForUniversalSegmentation
    folder = make(tmp_path / "model", family, head, labels)
    with quiet():
        found = read_hub_model(folder, task=task)
        bundle = export_pipeline(found.pipeline(), tmp_path / "bundles")
    trials = [trial for receipt in bundle.receipts() for trial in receipt.trials]
    judged = [trial for trial in trials if trial.runner == "judge"]
    assert [trial.row_set for trial in judged] == ["golden", "drawn"]
    assert all(trial.rows and trial.passed for trial in judged)
    assert [trial.finding for trial in judged] == ["", ""]
    assert bundle.manifest.batchable == found.reading.batchable
    rows, worst = sum(trial.rows for trial in judged), max(trial.worst_error for trial in judged)
    with capsys.disabled():
        print(f"\n| {task} | {family} | {rows} | {worst:.1e} |")
