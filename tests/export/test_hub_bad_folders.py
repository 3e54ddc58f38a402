"""Folders of pictures and sounds with something the matter: one message each, nothing written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.hub_folders import change, cut, half_fetched, pickled
from support.hub_pictures import make_picture_folder
from support.hub_sounds import make_sound_folder
from transformers import AutoModelForCTC, AutoModelForImageClassification

import seatrial as st
from seatrial.main import cli

LABELS = ("cat", "dog", "ship")
PROCESSOR = "preprocessor_config.json"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """A folder of pictures and one of sounds, with nothing the matter."""
    place = tmp_path_factory.mktemp("hub")
    pets = make_picture_folder(place / "pets", "vit", AutoModelForImageClassification, LABELS)
    return {
        "pets": pets,
        "speech": make_sound_folder(place / "speech", "wav2vec2", AutoModelForCTC),
    }


def fewer_letters(folder: Path) -> None:
    path = folder / "vocab.json"
    letters = json.loads(path.read_text())
    path.write_text(json.dumps({letter: at for letter, at in letters.items() if at < 9}))


Spoil = Callable[[Path], object]
ANY: dict[str, tuple[Spoil, str]] = {
    "no config": (lambda at: (at / "config.json").unlink(), "no config.json"),
    "type": (
        lambda at: change(at, "config.json", model_type="brontosaurus"),
        "config.json of model_type 'brontosaurus', want a type that transformers",
    ),
    "remote code": (
        lambda at: change(at, "config.json", auto_map={"AutoModel": "modeling.Mine"}),
        r"config.json that asks for remote code \(auto_map\)",
    ),
    "remote processor": (
        lambda at: change(at, PROCESSOR, auto_map={"AutoProcessor": "mine.Processor"}),
        "preprocessor_config.json that asks for remote code",
    ),
    "no weights": (lambda at: (at / "model.safetensors").unlink(), "no weights, want model.safe"),
    "pickled": (pickled, "pytorch_model.bin and no model.safetensors"),
    "half fetched": (half_fetched, "no 'model-00002-of-00002.safetensors', want every shard"),
    "cut": (cut, r"model.safetensors of [\d,]+ bytes, want [\d,]+, as its header says"),
    "shape": (
        lambda at: change(at, "config.json", intermediate_size=48),
        r"of shape \(64,\), and \d+ weights more, want shape \(48,\), as config.json has it",
    ),
    "no processor": (lambda at: (at / PROCESSOR).unlink(), "no preprocessor_config.json, want"),
    "half a processor": (
        lambda at: (at / PROCESSOR).write_text('{"size": '),
        "preprocessor_config.json that is no JSON, want a JSON object; fetch the folder again",
    ),
    "task": (
        lambda at: change(at, "config.json", architectures=["ViTForPoetry"]),
        "architecture ViTForPoetry, want one that a task is known for; --task NAME",
    ),
}
PETS: dict[str, tuple[Spoil, str]] = {
    "labels": (
        lambda at: change(at, "config.json", id2label={"0": "a", "1": "b"}),
        r"'classifier.bias' of shape \(3,\), and 1 weights more, want shape \(2,\)",
    ),
    "same labels": (
        lambda at: change(at, "config.json", id2label={"0": "a", "1": "a", "2": "b"}),
        "label 'a' of config.json more than once",
    ),
    "another processor": (
        lambda at: change(at, PROCESSOR, image_processor_type="BrontosaurusImageProcessor"),
        "an image processor that transformers does not load",
    ),
    "size": (
        lambda at: change(at, PROCESSOR, size={"longest_edge": 32}),
        "ViTImageProcessorPil, which makes size",
    ),
    "deviation": (
        lambda at: change(at, PROCESSOR, image_std=[0.5, 0.0, 0.5]),
        "ViTImageProcessorPil, which makes an image_std of 0",
    ),
}
SPEECH: dict[str, tuple[Spoil, str]] = {
    "another extractor": (
        lambda at: change(at, PROCESSOR, feature_extractor_type="BrontosaurusFeatureExtractor"),
        "a feature extractor that transformers does not load",
    ),
    "rate": (
        lambda at: change(at, PROCESSOR, sampling_rate=10),
        "Wav2Vec2FeatureExtractor, which makes what st.Audio refuses",
    ),
    "no letters": (lambda at: (at / "vocab.json").unlink(), "no vocabulary, want vocab.json"),
    "half of the letters": (
        lambda at: (at / "vocab.json").write_text('{"<pad>": 0,'),
        "a tokenizer that transformers does not load",
    ),
    "fewer letters": (
        fewer_letters, "a head of 12 classes, of which [34] are '<unk>', want a token of its own",
    ),
    "another head": (
        lambda at: change(at, "config.json", vocab_size=14),
        r"'lm_head.bias' of shape \(12,\), and 1 weights more, want shape \(14,\)",
    ),
    "no blank": (
        lambda at: change(at, "tokenizer_config.json", pad_token="<blank>"),
        "a tokenizer whose padding is no class of the head",
    ),
}  # fmt: skip
CASES = [
    *(("pets", name, *case) for name, case in {**ANY, **PETS}.items()),
    *(("speech", name, *case) for name, case in {**ANY, **SPEECH}.items()),
]


@pytest.mark.parametrize(
    ("which", "spoil", "message"),
    [pytest.param(which, *case, id=f"{which}: {name}") for which, name, *case in CASES],
)
def test_a_bad_folder_is_refused_with_one_message_and_nothing_is_written(
    which: str, spoil: Spoil, message: str, whole: Mapping[str, Path], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    folder = Path(shutil.copytree(whole[which], tmp_path / which))
    spoil(folder)
    monkeypatch.chdir(tmp_path)
    before = {*tmp_path.rglob("*")}
    for write in ([], ["--write", "pipeline.py"]):
        with pytest.raises(st.DeclarationError, match=message) as caught:
            CliRunner().invoke(cli, ["adopt", f"hf:{which}", *write], catch_exceptions=False)
        assert str(tmp_path) not in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1
    assert {*tmp_path.rglob("*")} == before


def test_a_task_whose_head_the_weights_lack_is_refused(whole: Mapping[str, Path]) -> None:
    for which, task in (("pets", "image-segmentation"), ("speech", "audio-classification")):
        with pytest.raises(st.DeclarationError):
            st.from_pretrained(whole[which], task=task)
