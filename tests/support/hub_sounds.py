"""Folders as hubs have them: small seeded models of sounds, with their feature extractors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    AutoModelForCTC,
    HubertConfig,
    Wav2Vec2Config,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    WavLMConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
)

from support.hub_pictures import stir

WAVES = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
    "conv_dim": [16, 16, 16, 16], "conv_stride": [5, 4, 4, 4], "conv_kernel": [10, 8, 8, 4],
    "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4, "initializer_range": 0.2,
    "classifier_proj_size": 16, "vocab_size": 12, "num_adapter_layers": 1,
}  # fmt: skip
LETTERS = ("<pad>", "<s>", "</s>", "<unk>", "|", *"etaonih")
"""Of a CTC head, the blank first."""
MASKED = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
"""As the large models are, which are trained with a mask of what is padding."""


class Family(NamedTuple):
    """A small model of one family and its feature extractor."""

    config: Callable[..., Any]
    options: dict[str, Any]
    extractor: Callable[[], Any]


def masked() -> Any:
    return Wav2Vec2FeatureExtractor(return_attention_mask=True)


FAMILIES: dict[str, Family] = {
    "wav2vec2": Family(Wav2Vec2Config, WAVES, Wav2Vec2FeatureExtractor),
    "wav2vec2, layer norm": Family(Wav2Vec2Config, WAVES | MASKED, masked),
    "hubert, layer norm": Family(HubertConfig, WAVES | MASKED, masked),
    "wavlm, layer norm": Family(WavLMConfig, WAVES | MASKED, masked),
    "whisper": Family(
        WhisperConfig,
        {"d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 64,
         "decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 64,
         "num_mel_bins": 16, "max_source_positions": 50, "vocab_size": 64, "init_std": 0.2,
         "classifier_proj_size": 16, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
         "decoder_start_token_id": 1},
        lambda: WhisperFeatureExtractor(feature_size=16, chunk_length=1),
    ),
    "ast": Family(
        ASTConfig,
        {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
         "intermediate_size": 64, "max_length": 64, "num_mel_bins": 16, "initializer_range": 0.2},
        lambda: ASTFeatureExtractor(num_mel_bins=16, max_length=64),
    ),
}  # fmt: skip
"""Name -> config class, a small config's options, and feature extractor."""


def make_sound_folder(
    folder: Path, family: str, head: Any, labels: tuple[str, ...] = (), **options: Any
) -> Path:
    """A folder of this family with this head, whose weights come from a seed."""
    make_config, small, extractor = FAMILIES[family]
    named = {
        "num_labels": len(labels),
        "id2label": dict(enumerate(labels)),
        "label2id": {label: place for place, label in enumerate(labels)},
    }
    torch.manual_seed(0)
    model = head.from_config(make_config(**small | (named if labels else {}) | options))
    stir(model)
    model.save_pretrained(folder)
    extractor().save_pretrained(folder)
    if head is AutoModelForCTC:
        file = folder / "vocab.json"
        file.write_text(json.dumps({letter: place for place, letter in enumerate(LETTERS)}))
        Wav2Vec2CTCTokenizer(str(file)).save_pretrained(folder)
    return folder
