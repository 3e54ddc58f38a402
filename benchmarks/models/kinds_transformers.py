"""Kinds of the transformers library's own code, small and of random weights."""

from __future__ import annotations

from typing import Any

import transformers
from kind import IDS, KINDS, LABEL, PICTURE, Kind, Net, ids, many, normal
from torch import nn


def transformer(name: str, config: Any, model: str, pick: Any, outputs: Any) -> None:
    """A transformer of the library's own code, small and of random weights, over ids."""

    def make() -> nn.Module:
        built = getattr(transformers, model)(config()).eval()
        return Net(lambda m, x: pick(m.net(x)), net=built).eval()

    KINDS[name] = Kind(make, IDS, outputs, ids(2, 24, 50))


def texts() -> None:
    """Transformers over ids."""
    small = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "vocab_size": 50,
        "max_position_embeddings": 40,
    }
    cls, logits = (lambda made: made.last_hidden_state[:, 0]), (lambda made: made.logits)
    t = transformers
    for name, config, model in (
        ("bert", t.BertConfig, "BertModel"),
        ("electra", t.ElectraConfig, "ElectraModel"),
        ("mpnet", t.MPNetConfig, "MPNetModel"),
        ("roberta", t.RobertaConfig, "RobertaModel"),
        ("albert", lambda **k: t.AlbertConfig(embedding_size=8, **k), "AlbertModel"),
        ("deberta", t.DebertaV2Config, "DebertaV2Model"),
        (
            "modernbert",
            lambda **k: t.ModernBertConfig(
                pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2, **k
            ),
            "ModernBertModel",
        ),
    ):
        transformer(name, lambda config=config: config(**small), model, cls, many(16))
    transformer(
        "distilbert",
        lambda: t.DistilBertConfig(
            vocab_size=50, dim=16, n_layers=1, n_heads=2, hidden_dim=32, max_position_embeddings=40
        ),
        "DistilBertModel",
        cls,
        many(16),
    )
    transformer(
        "bert, classes",
        lambda: t.BertConfig(num_labels=3, **small),
        "BertForSequenceClassification",
        lambda made: made.logits.softmax(1),
        LABEL,
    )
    transformer(
        "bert, a class for each token",
        lambda: t.BertConfig(num_labels=3, **small),
        "BertForTokenClassification",
        logits,
        many(None, 3),
    )
    transformer(
        "bert, masked words",
        lambda: t.BertConfig(**small),
        "BertForMaskedLM",
        logits,
        many(None, 50),
    )
    transformer(
        "gpt-2, next token",
        lambda: t.GPT2Config(vocab_size=50, n_embd=16, n_layer=1, n_head=2, n_positions=40),
        "GPT2LMHeadModel",
        lambda made: made.logits[:, -1],
        many(50),
    )
    transformer(
        "llama, next token",
        lambda: t.LlamaConfig(num_key_value_heads=2, **small),
        "LlamaForCausalLM",
        lambda made: made.logits[:, -1],
        many(50),
    )
    transformer(
        "t5 encoder",
        lambda: t.T5Config(vocab_size=50, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2),
        "T5EncoderModel",
        lambda made: made.last_hidden_state.mean(1),
        many(16),
    )


def vision_transformers() -> None:
    """Transformers of the library over pictures."""
    t = transformers
    shape = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "image_size": 32,
        "patch_size": 8,
    }
    tokens = lambda made: made.last_hidden_state[:, 0]
    for name, make, pick, outputs in (
        ("vit", lambda: t.ViTModel(t.ViTConfig(**shape)), tokens, many(16)),
        ("deit", lambda: t.DeiTModel(t.DeiTConfig(**shape)), tokens, many(16)),
        ("clip vision", lambda: t.CLIPVisionModel(t.CLIPVisionConfig(**shape)), tokens, many(16)),
        (
            "resnet",
            lambda: t.ResNetForImageClassification(
                t.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], num_labels=3)
            ),
            lambda made: made.logits,
            many(3),
        ),
        (
            "convnext",
            lambda: t.ConvNextForImageClassification(
                t.ConvNextConfig(hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1], num_labels=3)
            ),
            lambda made: made.logits,
            many(3),
        ),
        (
            "swin",
            lambda: t.SwinModel(
                t.SwinConfig(
                    image_size=32,
                    patch_size=2,
                    embed_dim=8,
                    depths=[1, 1],
                    num_heads=[1, 2],
                    window_size=4,
                )
            ),
            lambda made: made.pooler_output,
            many(16),
        ),
        (
            "segformer",
            lambda: t.SegformerForSemanticSegmentation(
                t.SegformerConfig(
                    hidden_sizes=[8, 8, 8, 8],
                    depths=[1, 1, 1, 1],
                    num_attention_heads=[1, 1, 1, 1],
                    decoder_hidden_size=8,
                    num_labels=3,
                )
            ),
            lambda made: made.logits,
            many(3, 8, 8),
        ),
    ):
        KINDS[name] = Kind(
            lambda make=make, pick=pick: Net(lambda m, x: pick(m.net(x)), net=make()).eval(),
            PICTURE,
            outputs,
            normal(3, 32, 32),
        )
