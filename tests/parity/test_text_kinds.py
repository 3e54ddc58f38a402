"""A real model that names spans and one that extracts answers: sealed, served, held to parity."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
import torch
from support.parity import hold_to_parity
from support.word_tokenizer import word_tokenizer
from torch import Tensor, nn

import seatrial as st

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefgh", "東京", "🚢"]
LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


TOKENIZER = word_tokenizer(WORDS)


class Row(st.Row):
    text: Annotated[
        str, st.Text(tokenizer=TOKENIZER, max_tokens=12, overflow="truncate", max_chars=100)
    ]
    pair: Annotated[
        dict[str, str],
        st.TextPair(
            "query", "passage", tokenizer=TOKENIZER, max_tokens=16, cut="second", max_chars=100,
            padding_side="left", model_inputs=("input_ids", "attention_mask", "token_type_ids"),
        ),
    ]  # fmt: skip


class Answer(st.Answer):
    spans: Annotated[list[dict], st.Spans(*LABELS, of="text", aggregate="average")]  # type: ignore[type-arg]
    read: Annotated[dict, st.Truncation(of="text")]  # type: ignore[type-arg]
    found: Annotated[list[dict], st.Extract(of="pair", top=2, null_threshold=0.0)]  # type: ignore[type-arg]
    relevance: float


class Net(nn.Module):
    """Seeded: looks at each token and at the mean of its text."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.words = nn.Embedding(len(WORDS), 8)
        self.types = nn.Embedding(2, 8)
        self.labels, self.ends, self.score = nn.Linear(8, 5), nn.Linear(8, 2), nn.Linear(8, 1)

    def forward(
        self, text_ids: Tensor, text_mask: Tensor, input_ids: Tensor, attention_mask: Tensor,
        token_type_ids: Tensor,
    ) -> dict[str, Tensor]:  # fmt: skip
        text = self.mixed(self.words(text_ids), text_mask)
        pair = self.mixed(self.words(input_ids) + self.types(token_type_ids), attention_mask)
        real = attention_mask.unsqueeze(-1).float()
        return {
            "spans": self.labels(text * 3).softmax(-1),
            "found": self.ends(pair * 3),
            "relevance": self.score((pair * real).sum(1) / real.sum(1)).squeeze(1),
        }

    def mixed(self, tokens: Tensor, mask: Tensor) -> Tensor:
        real = mask.unsqueeze(-1).to(tokens.dtype)
        mean = (tokens * real).sum(1, keepdim=True) / real.sum(1, keepdim=True)
        return tokens + mean


def rows() -> list[dict[str, Any]]:
    rng = np.random.default_rng(5)

    def text(most: int) -> str:
        return "  ".join(rng.choice(WORDS[4:], rng.integers(0, most)))

    return [{"text": text(16), "pair": {"query": text(4), "passage": text(20)}} for _ in range(12)]


@pytest.mark.slow
def test_texts_and_pairs_are_answered_alike_by_every_runner(tmp_path: Path) -> None:
    golden = rows()
    pipeline = st.Pipeline(
        name="reader", version="1.0.0", inputs=Row, outputs=Answer, model=Net().eval(),
        golden=golden, reference=golden,
    )  # fmt: skip
    hold_to_parity(pipeline, tmp_path)
