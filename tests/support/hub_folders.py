"""Folders as hubs have them: small seeded models of many families, with tokenizers learnt here."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertTokenizer,
    DebertaV2Config,
    DebertaV2Tokenizer,
    DistilBertConfig,
    DistilBertTokenizer,
    ElectraConfig,
    ElectraTokenizer,
    ModernBertConfig,
    MPNetConfig,
    MPNetTokenizer,
    NomicBertConfig,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaTokenizer,
    T5Config,
    T5Tokenizer,
    XLMRobertaConfig,
    XLMRobertaTokenizer,
)

WORDS = 400
"""Pieces of words in each tokenizer."""
BERTS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ROBERTAS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
SMALL = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
    "max_position_embeddings": 66, "initializer_range": 0.4,
}  # fmt: skip
"""Weights so large that an answer depends on every token."""


@cache
def learnt_from() -> list[str]:
    """Pages of Python's own manual."""
    return [topics[name][:4000] for name in sorted(topics)[:12]]


@cache
def word_pieces(special: tuple[str, ...] = tuple(BERTS)) -> dict[str, int]:
    """The vocabulary of a WordPiece tokenizer: letters, then the most frequent words.

    tokenizers 0.23 learns another one in each process.
    """
    normal, cut = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    words = Counter(
        word
        for text in learnt_from()
        for word, _ in cut.pre_tokenize_str(normal.normalize_str(text))
    )
    letters = sorted({letter for word in words for letter in word})
    frequent = sorted(words, key=lambda word: (-words[word], word))
    pieces = [*special, *letters, *(f"##{letter}" for letter in letters)]
    pieces += [word for word in frequent if len(word) > 1]
    return {piece: place for place, piece in enumerate(pieces[:WORDS])}


@cache
def byte_pairs() -> Tokenizer:
    """A byte-level BPE tokenizer with RoBERTa's special tokens."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    learn = trainers.BpeTrainer(
        vocab_size=WORDS, special_tokens=ROBERTAS, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    made.train_from_iterator(learnt_from(), learn)
    return made


@cache
def unigrams(special: tuple[str, ...], unknown: str) -> list[tuple[str, float]]:
    """The pieces of a SentencePiece-like tokenizer with their scores."""
    import json

    made = Tokenizer(models.Unigram())
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    learn = trainers.UnigramTrainer(
        vocab_size=WORDS, special_tokens=list(special), unk_token=unknown, show_progress=False
    )
    made.train_from_iterator(learnt_from(), learn)
    return [(piece, score) for piece, score in json.loads(made.to_str())["model"]["vocab"]]


def roberta_tokenizer() -> Any:
    import json

    model = json.loads(byte_pairs().to_str())["model"]
    return RobertaTokenizer(vocab=model["vocab"], merges=[tuple(each) for each in model["merges"]])


def modern_tokenizer() -> Any:
    made = Tokenizer.from_str(byte_pairs().to_str())
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made, cls_token="<s>", sep_token="</s>", pad_token="<pad>",
        unk_token="<unk>", mask_token="<mask>", model_input_names=["input_ids", "attention_mask"],
    )  # fmt: skip


FAMILIES: dict[str, tuple[Callable[..., Any], Callable[[], Any], dict[str, Any]]] = {
    "bert": (BertConfig, lambda: BertTokenizer(vocab=word_pieces()), SMALL),
    "distilbert": (
        DistilBertConfig,
        lambda: DistilBertTokenizer(vocab=word_pieces()),
        {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64, "max_position_embeddings": 64,
         "initializer_range": 0.4},
    ),
    "electra": (
        ElectraConfig,
        lambda: ElectraTokenizer(vocab=word_pieces()),
        SMALL | {"embedding_size": 16},
    ),
    "mpnet": (
        MPNetConfig,
        lambda: MPNetTokenizer(
            vocab=word_pieces(("<s>", "<pad>", "</s>", "[UNK]", "<mask>")), unk_token="[UNK]"
        ),
        SMALL | {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2},
    ),
    "roberta": (RobertaConfig, roberta_tokenizer, SMALL | {"type_vocab_size": 1}),
    "xlm-roberta": (
        XLMRobertaConfig,
        lambda: XLMRobertaTokenizer(vocab=unigrams(tuple(ROBERTAS), "<unk>")),
        SMALL | {"type_vocab_size": 1},
    ),
    "deberta-v2": (
        DebertaV2Config,
        lambda: DebertaV2Tokenizer(vocab=unigrams(tuple(BERTS), "[UNK]")),
        SMALL | {
            "type_vocab_size": 0, "relative_attention": True, "position_biased_input": False,
            "pos_att_type": ["p2c", "c2p"], "position_buckets": 16, "share_att_key": True,
            "norm_rel_ebd": "layer_norm", "pooler_hidden_size": 32,
        },
    ),
    "modernbert": (
        ModernBertConfig,
        modern_tokenizer,
        SMALL | {
            "num_hidden_layers": 3, "global_attn_every_n_layers": 3, "local_attention": 16,
            "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "cls_token_id": 0,
            "sep_token_id": 2, "initializer_range": 0.4,
        },
    ),
    "nomic-bert": (NomicBertConfig, lambda: BertTokenizer(vocab=word_pieces()), SMALL),
    "t5": (
        T5Config,
        lambda: T5Tokenizer(
            vocab=unigrams(("<pad>", "</s>", "<unk>"), "<unk>"), extra_ids=0
        ),
        # T5 does not scale its attention: with weights of four times the size PyTorch's own float32
        # is 2e-3 from its float64 at 512 tokens, and 1e-6 with these.
        {"d_model": 32, "d_ff": 64, "d_kv": 16, "num_layers": 2, "num_heads": 2},
    ),
}  # fmt: skip
"""Name -> config class, tokenizer, and a small config's options."""


def make_folder(
    folder: Path,
    family: str = "bert",
    head: Any = AutoModelForSequenceClassification,
    labels: tuple[str, ...] = (),
    **options: Any,
) -> Path:
    """A folder of this family with this head, whose weights come from a seed."""
    make_config, make_tokenizer, small = FAMILIES[family]
    tokenizer = make_tokenizer()
    named = {
        "num_labels": len(labels),
        "id2label": dict(enumerate(labels)),
        "label2id": {label: place for place, label in enumerate(labels)},
    }
    config = make_config(
        **{"vocab_size": len(tokenizer)} | small | (named if labels else {}) | options
    )
    torch.manual_seed(0)
    model = head.from_config(config)
    with torch.no_grad():
        # Biases too: zeros would hide a bias that is left out.
        for name, value in model.named_parameters():
            if name.endswith("bias"):
                value.normal_(0, 0.2)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_sentence_folder(folder: Path, family: str, modules: list[str], **options: Any) -> Path:
    """A folder of sentence-transformers: a pooling, and what of Dense and Normalize is named."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling
    from transformers import AutoModel, AutoModelForTextEncoding

    head = AutoModelForTextEncoding if family == "t5" else AutoModel
    plain = make_folder(folder.parent / f"{folder.name}-plain", family, head)
    torch.manual_seed(1)
    pooling, *others = modules
    made = {"Dense": lambda: Dense(32, 16), "Normalize": Normalize}
    SentenceTransformer(
        modules=[
            Transformer(str(plain), max_seq_length=48),
            Pooling(32, pooling),
            *(made[name]() for name in others),
        ],
        device="cpu",
        **options,
    ).save(str(folder), create_model_card=False)
    return folder


def change(folder: Path, name: str, **values: Any) -> None:
    """Other values in a JSON file of a folder."""
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def cut(folder: Path) -> None:
    """Weights without their end."""
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def pickled(folder: Path) -> None:
    """Weights under a pickle's name."""
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def half_fetched(folder: Path) -> None:
    """The first of two shards."""
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
