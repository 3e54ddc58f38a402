"""What a folder says of its texts: the tokenizer, and how many tokens the model takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import nn

from seatrial_export.hub.faults import MEND_DOWNLOAD, fault
from seatrial_export.hub.folder import Folder, quiet, told

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

VOCABULARIES = (
    "tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model", "sentencepiece.bpe.model",
    "spiece.model", "spm.model",
)  # fmt: skip
"""Files of which a tokenizer is made. Without one, transformers makes one of no words."""
UNSAID = 10**6
"""Larger maximum lengths stand for none: transformers writes 10^30 where nothing is said."""
USUAL_TOKENS = 512
"""The maximum where neither tokenizer nor model has one."""
MOST_CHARS_A_TOKEN = 16
"""Longer texts are refused before they are tokenised. English has some 4.5 a token."""


CUT_CHARS = 20_000
"""Of a text that is cut; to tokenise as many takes some 8 ms."""


@dataclass(frozen=True)
class TextSide:
    """The tokenizer of a folder, and what the contract says of its texts."""

    tokenizer: PreTrainedTokenizerBase
    max_tokens: int

    @property
    def json(self) -> bytes:
        """The tokenizer as transformers uses it, without padding and truncation."""
        backend = self.tokenizer.backend_tokenizer
        backend.no_padding()
        backend.no_truncation()
        return bytes(backend.to_str(), "utf-8")

    @property
    def types(self) -> bool:
        """Does the model take token types?"""
        return "token_type_ids" in self.tokenizer.model_input_names

    @property
    def pad_id(self) -> int:
        """The id that fills rows up; 0 where the tokenizer has none."""
        return int(self.tokenizer.pad_token_id or 0)

    @property
    def max_chars(self) -> int:
        """The most characters of a text."""
        return self.max_tokens * MOST_CHARS_A_TOKEN

    def options(self) -> dict[str, Any]:
        """Options of an `st.Text`, but for what is cut: token types are all zero, and left out."""
        return {
            "model_inputs": ("input_ids", "attention_mask"),
            "tokenizer": self.json,
            "max_chars": self.max_chars,
            "max_tokens": self.max_tokens,
            "pad_id": self.pad_id,
            "padding_side": self.tokenizer.padding_side,
            "truncation_side": self.tokenizer.truncation_side,
        }

    def cut_options(self) -> dict[str, Any]:
        """Options of an `st.Text` that is cut to what the model takes."""
        return self.options() | {"overflow": "truncate", "max_chars": self.cut_chars}

    @property
    def cut_chars(self) -> int:
        """The most characters of a text of which the model may read the beginning."""
        return max(self.max_chars, CUT_CHARS)

    def pair_options(self) -> dict[str, Any]:
        """Options of an `st.TextPair`, but for what is cut."""
        types = ["token_type_ids"] if self.types else []
        return {**self.options(), "model_inputs": ("input_ids", "attention_mask", *types)}


def read_text_side(folder: Folder, model: nn.Module, most: int | None = None) -> TextSide:
    """The tokenizer of a folder, for its model; `most` tokens where a library's file says so.

    Raises `DeclarationError` for a tokenizer that is missing, has no fast form, or has more tokens
    than the model.
    """
    from transformers import AutoTokenizer

    if folder.config.get("model_type") != "canine" and not any(
        (folder.root / name).exists() for name in VOCABULARIES
    ):
        raise fault(folder.path, "no tokenizer", "tokenizer.json", MEND_DOWNLOAD)
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(folder.root, local_files_only=True)
    except Exception as error:  # transformers' own kinds, of no common class
        raise fault(
            folder.path, f"a tokenizer that transformers does not load: {told(error)}",
            "tokenizer.json", MEND_DOWNLOAD,
        ) from error  # fmt: skip
    if not tokenizer.is_fast:
        raise fault(
            folder.path, f"{type(tokenizer).__name__}, a tokenizer without a fast form",
            "one of the tokenizers library, which servers run (tokenizer.json)",
            "no server runs a tokenizer's Python code",
        )  # fmt: skip
    words = folder.loaded_config.get_text_config().vocab_size
    if len(tokenizer) > words:
        raise fault(
            folder.path, f"a tokenizer of {len(tokenizer):,} tokens",
            f"at most {words:,}, as the model has embeddings", MEND_DOWNLOAD,
        )  # fmt: skip
    return TextSide(tokenizer, most_tokens(folder, tokenizer, model, most))


def most_tokens(folder: Folder, tokenizer: Any, model: nn.Module, most: int | None) -> int:
    """How many tokens the model takes, special ones included: the least that anything says."""
    said = [
        most,
        tokenizer.model_max_length,
        positions_of(model),
        folder.config.get("max_position_embeddings") or folder.config.get("n_positions"),
    ]
    known = [int(each) for each in said if each is not None and 0 < each < UNSAID]
    return min(known, default=USUAL_TOKENS)


def positions_of(model: nn.Module) -> int | None:
    """How many places a table of positions has; None where the model has no such table.

    RoBERTa and its kin number places from behind the padding's on, and leave those before unused.
    """
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            unused = 0 if module.padding_idx is None else module.padding_idx + 1
            return module.num_embeddings - unused
    return None
