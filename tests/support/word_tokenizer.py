"""A tokenizer of whole words, with BERT's special tokens around one text or two."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing


def word_tokenizer(words: Sequence[str]) -> bytes:
    """`tokenizer.json`; the first four words are padding, unknown, and the two special tokens."""
    made = Tokenizer(
        WordLevel({word: place for place, word in enumerate(words)}, unk_token="[UNK]")
    )
    made.pre_tokenizer = Whitespace()
    made.add_special_tokens(list(words[:4]))
    made.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )  # fmt: skip
    return bytes(made.to_str(), "utf-8")
