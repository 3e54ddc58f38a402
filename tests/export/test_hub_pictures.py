"""Pictures and sounds of hub folders: how processors are read, and what is refused by name."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from support.hub_pictures import make_picture_folder
from support.hub_sounds import make_sound_folder
from transformers import (
    ASTFeatureExtractor,
    AutoModelForAudioClassification,
    AutoModelForCTC,
    AutoModelForDepthEstimation,
    AutoModelForImageClassification,
    AutoModelForObjectDetection,
    AutoModelForSemanticSegmentation,
    AutoProcessor,
    BitImageProcessorPil,
    CLIPImageProcessorPil,
    ConvNextImageProcessorPil,
    DetrImageProcessorPil,
    DPTImageProcessorPil,
    EfficientNetImageProcessorPil,
    LevitImageProcessorPil,
    Mask2FormerImageProcessorPil,
    MobileViTImageProcessorPil,
    SeamlessM4TFeatureExtractor,
    SegformerImageProcessorPil,
    ViTImageProcessorPil,
    YolosImageProcessorPil,
)

import seatrial as st
from seatrial_export.hub.folder import Folder
from seatrial_export.hub.from_pretrained import read_hub_model
from seatrial_export.hub.images import read_image_side

SQUARE = {"height": 32, "width": 32}


def saved(folder: Path, processor: Any, **config: Any) -> Folder:
    """A folder of a processor alone."""
    processor.save_pretrained(folder)
    return Folder(folder, config, preprocessor={"there": True})


READ: dict[str, tuple[Any, dict[str, Any]]] = {
    "both sides": (ViTImageProcessorPil(size=SQUARE), {"size_px": (32, 32), "fit": "stretch"}),
    "the shorter side, then the middle": (
        CLIPImageProcessorPil(size={"shortest_edge": 36}, crop_size=SQUARE),
        {"size_px": (32, 32), "fit": "crop", "shorter_side_px": 36, "resample": "bicubic"},
    ),
    "the shorter side": (
        CLIPImageProcessorPil(size={"shortest_edge": 36}, do_center_crop=False),
        {"size_px": None, "shorter_side_px": 36},
    ),
    "both sides bounded": (
        DetrImageProcessorPil(size={"shortest_edge": 64, "longest_edge": 96}),
        {"size_px": None, "shorter_side_px": 64, "longer_side_px": 96},
    ),
    "multiples of sixteen": (
        YolosImageProcessorPil(size={"shortest_edge": 70, "longest_edge": 100}),
        {"size_px": None, "shorter_side_px": 70, "longer_side_px": 100, "multiple_px": 16},
    ),
    "ConvNeXT's share": (
        ConvNextImageProcessorPil(size={"shortest_edge": 35}, crop_pct=0.875),
        {"size_px": (35, 35), "fit": "crop", "shorter_side_px": 40},
    ),
    "ConvNeXT's warp": (
        ConvNextImageProcessorPil(size={"shortest_edge": 384}),
        {"size_px": (384, 384), "fit": "stretch"},
    ),
    "LeViT's margin": (
        LevitImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}),
        {"size_px": (28, 28), "fit": "crop", "shorter_side_px": 32},
    ),
    "a multiple": (
        DPTImageProcessorPil(size={"height": 30, "width": 45}, ensure_multiple_of=14),
        {"size_px": (28, 42), "resample": "bicubic"},
    ),
    "an aspect kept": (
        DPTImageProcessorPil(
            size={"height": 56, "width": 70}, ensure_multiple_of=14, keep_aspect_ratio=True
        ),
        {"size_px": (56, 70), "fit": "one_side", "multiple_px": 14, "max_aspect": 4 / 3},
    ),
    "an aspect kept, of any pixels": (
        DPTImageProcessorPil(size=SQUARE, keep_aspect_ratio=True),
        {"size_px": (32, 32), "fit": "one_side", "multiple_px": None, "max_aspect": 4.0},
    ),
    "an offset, and the deviation twice": (
        EfficientNetImageProcessorPil(size=SQUARE, resample=0, rescale_offset=True),
        {"resample": "nearest"},
    ),
    "no resizing": (ViTImageProcessorPil(do_resize=False), {"size_px": None}),
    "no normalising, no rescaling": (
        BitImageProcessorPil(do_normalize=False, do_rescale=False, do_center_crop=False),
        {"shorter_side_px": 224},
    ),
}


@pytest.mark.parametrize("case", READ)
def test_an_image_processor_is_read_into_options_that_make_its_very_pixels(
    case: str, tmp_path: Path
) -> None:
    processor, want = READ[case]
    kind = read_image_side(saved(tmp_path, processor)).kind
    assert {name: getattr(kind, name) for name in want} == want


ODD: dict[str, tuple[Any, str]] = {
    "an aspect kept, then padding": (
        DPTImageProcessorPil(size=SQUARE, keep_aspect_ratio=True, do_pad=True, size_divisor=12),
        "[1, 3, 36, 48] of 96 x 72 pixels, not",
    ),
    "padding to multiples": (
        Mask2FormerImageProcessorPil(size={"shortest_edge": 60, "longest_edge": 90}),
        "Mask2FormerImageProcessorPil, which makes",
    ),
    "blue first": (
        MobileViTImageProcessorPil(size={"shortest_edge": 32}, crop_size=SQUARE),
        "values of 96 x 72 pixels that are",
    ),
    "another filter": (ViTImageProcessorPil(size=SQUARE, resample=4), "Pillow's filter 4"),
    "a crop beyond the picture": (
        CLIPImageProcessorPil(size={"shortest_edge": 30}, crop_size=SQUARE),
        "larger than the picture",
    ),
}


@pytest.mark.parametrize("case", ODD)
def test_a_processor_that_pictures_cannot_be_made_by_is_refused_by_its_name(
    case: str, tmp_path: Path
) -> None:
    processor, message = ODD[case]
    with pytest.raises(st.DeclarationError, match="ImageProcessorPil, which makes") as caught:
        read_image_side(saved(tmp_path, processor))
    assert message in str(caught.value)


def test_a_model_of_square_pictures_is_refused_where_its_processor_keeps_the_aspect(
    tmp_path: Path,
) -> None:
    folder = make_picture_folder(tmp_path, "dpt, of square pictures", AutoModelForDepthEstimation)
    with pytest.raises(st.DeclarationError, match="set keep_aspect_ratio to false"):
        read_hub_model(folder)


def test_a_crop_is_refused_where_answers_are_about_places(tmp_path: Path) -> None:
    processor = CLIPImageProcessorPil(size={"shortest_edge": 36}, crop_size=SQUARE)
    with pytest.raises(st.DeclarationError, match="leaves out a part of the picture"):
        read_image_side(saved(tmp_path, processor), whole=True)


def test_a_segmenter_s_processor_crops_nothing(tmp_path: Path) -> None:
    side = read_image_side(saved(tmp_path, SegformerImageProcessorPil(size=SQUARE)), whole=True)
    assert side.kind.size_px == (32, 32)
    assert np.allclose(side.pixels["scale"], 1 / 255 / np.array([0.229, 0.224, 0.225]))


def test_classes_that_a_folder_calls_alike_are_told_apart_by_their_ids(tmp_path: Path) -> None:
    labels = ("N/A", "cat", "N/A", "dog")
    folder = make_picture_folder(tmp_path, "yolos", AutoModelForObjectDetection, labels)
    found = read_hub_model(folder)
    kind = found.reading.outputs["objects"].kind
    assert isinstance(kind, st.Detections)
    assert kind.classes == ("N/A (0)", "cat", "N/A (2)", "dog")
    assert "2 classes are called 'N/A': 'N/A (ID)' now" in found.notes


def test_the_things_that_a_client_sees_are_those_that_the_processor_finds(tmp_path: Path) -> None:
    labels = ("cat", "dog", "ship")
    folder = make_picture_folder(tmp_path, "yolos", AutoModelForObjectDetection, labels)
    pipeline = read_hub_model(folder).pipeline()
    contract, things = pipeline.contract, 0
    [output] = contract.mapped
    for sample in pipeline.golden_samples:
        assert pipeline.judge is not None
        [judged] = pipeline.judge([dict(contract.validate_row(sample.row))])
        arrays = pipeline.answer_encoded(pipeline.encode_row(sample.row))
        note = pipeline.front.notes(sample.row)
        seen = output.client(arrays, note, contract.default_options)
        match = output.kind.match(output.kind.recover(judged["objects"]), seen, pipeline.tolerance)
        assert match.passed, match
        things += len(judged["objects"])
    assert things > 8


@pytest.mark.parametrize(
    ("family", "head", "make"),
    [
        ("deit", AutoModelForImageClassification, make_picture_folder),
        ("yolos", AutoModelForObjectDetection, make_picture_folder),
        ("rt-detr", AutoModelForObjectDetection, make_picture_folder),
        ("segformer", AutoModelForSemanticSegmentation, make_picture_folder),
        ("dpt", AutoModelForDepthEstimation, make_picture_folder),
        ("depth-anything", AutoModelForDepthEstimation, make_picture_folder),
        ("whisper", AutoModelForAudioClassification, make_sound_folder),
        ("ast", AutoModelForAudioClassification, make_sound_folder),
        ("wav2vec2", AutoModelForAudioClassification, make_sound_folder),
        ("wav2vec2, layer norm", AutoModelForCTC, make_sound_folder),
    ],
)
def test_a_written_pipeline_makes_the_same_contract_and_the_same_answer(
    family: str, head: Any, make: Any, tmp_path: Path
) -> None:
    labels = (
        () if head in (AutoModelForDepthEstimation, AutoModelForCTC) else ("up", "down", "stop")
    )
    found = read_hub_model(make(tmp_path / "model", family, head, labels))
    file = tmp_path / "pipeline.py"
    file.write_text(found.written(file))
    made = runpy.run_path(str(file))["pipeline"]()
    read = found.pipeline()
    assert made.contract == read.contract
    assert made.batchable == read.batchable
    row = read.golden_samples[0].row
    [mine], [theirs] = ([one.answer_encoded(one.encode_row(row))] for one in (read, made))
    assert mine.keys() == theirs.keys()
    assert all(np.array_equal(mine[name], theirs[name]) for name in mine)
    judged = [one.judge([dict(one.contract.validate_row(row))]) for one in (read, made)]
    assert judged[0][0].keys() == judged[1][0].keys()


def test_a_folder_of_pictures_without_a_processor_says_so(tmp_path: Path) -> None:
    folder = make_picture_folder(tmp_path / "m", "vit", AutoModelForImageClassification, ("a", "b"))
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(st.DeclarationError, match=r"no preprocessor_config\.json"):
        read_hub_model(folder)


@pytest.mark.parametrize("family", ["whisper", "ast", "wav2vec2", "wav2vec2, layer norm"])
def test_a_feature_extractor_is_read_into_options_that_make_its_very_values(
    family: str, tmp_path: Path
) -> None:
    folder = make_sound_folder(tmp_path, family, AutoModelForAudioClassification, ("a", "b"))
    found = read_hub_model(folder)
    kind = found.reading.inputs["audio"].kind
    assert isinstance(kind, st.Audio)
    assert found.reading.batchable == (family != "wav2vec2")
    assert (kind.log_mel is not None) == (family in ("whisper", "ast"))
    assert kind.normalize == (None if kind.log_mel else "mean_variance")


def test_the_mean_and_spread_of_an_ast_folder_become_part_of_the_graph(tmp_path: Path) -> None:
    folder = make_sound_folder(tmp_path, "ast", AutoModelForAudioClassification, ("a", "b"))
    ASTFeatureExtractor(num_mel_bins=16, max_length=64, mean=-5.0, std=2.0).save_pretrained(folder)
    assert read_hub_model(folder).reading.module.options == {"mean": -5.0, "spread": 4.0}
    plain = ASTFeatureExtractor(num_mel_bins=16, max_length=64, do_normalize=False)
    plain.save_pretrained(folder)
    assert read_hub_model(folder).reading.module.options == {"mean": 0.0, "spread": 1.0}


def test_features_that_no_field_makes_are_refused_by_name(tmp_path: Path) -> None:
    folder = make_sound_folder(tmp_path, "ast", AutoModelForAudioClassification, ("a", "b"))
    SeamlessM4TFeatureExtractor(num_mel_bins=16).save_pretrained(folder)
    with pytest.raises(st.DeclarationError, match="SeamlessM4TFeatureExtractor, which makes feat"):
        read_hub_model(folder)


def test_a_weight_that_training_alone_reads_may_be_missing(tmp_path: Path) -> None:
    folder = make_sound_folder(tmp_path, "wav2vec2", AutoModelForCTC)
    file = folder / "model.safetensors"
    weights = load_file(file)
    del weights["wav2vec2.masked_spec_embed"]
    save_file(weights, file, {"format": "pt"})
    assert read_hub_model(folder).task.name == "automatic-speech-recognition"


def test_a_folder_that_a_whole_processor_saved_is_read_as_one_of_its_parts(tmp_path: Path) -> None:
    parts = make_sound_folder(tmp_path / "parts", "wav2vec2, layer norm", AutoModelForCTC)
    whole = make_sound_folder(tmp_path / "whole", "wav2vec2, layer norm", AutoModelForCTC)
    processor = AutoProcessor.from_pretrained(whole)
    for name in ("preprocessor_config.json", "tokenizer_config.json", "vocab.json"):
        (whole / name).unlink()
    processor.save_pretrained(whole)
    one, other = (read_hub_model(folder).pipeline() for folder in (parts, whole))
    assert one.contract == other.contract
    assert one.front_files == other.front_files


def test_the_text_of_a_sound_is_the_one_that_transformers_finds(tmp_path: Path) -> None:
    pipeline = read_hub_model(
        make_sound_folder(tmp_path, "wav2vec2, layer norm", AutoModelForCTC)
    ).pipeline()
    assert pipeline.judge is not None
    rows = [dict(pipeline.contract.validate_row(each)) for each in pipeline.golden]
    judged = [answer["text"] for answer in pipeline.judge(rows)]
    assert len({*judged}) > 1
    assert min(map(len, judged)) > 0
    feeds = pipeline.batch(pipeline.encoded_golden)
    batched = pipeline.call(feeds)["text"].numpy()
    assert [
        pipeline.contract.describe({"text": batched}, row)["text"] for row in range(len(rows))
    ] == judged
