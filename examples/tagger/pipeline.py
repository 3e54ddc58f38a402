"""Tagger: which parts of a sentence are code, by a small network that is trained here.

It is trained in seconds on Python's own manual, which comes with Python: its authors set code apart
by marks. The marks are taken out of the sentences, and the network finds them again.

Seal it:  seatrial export examples/tagger/pipeline.py:pipeline --out bundles
Ask it:   curl -s localhost:8000/v1/models/tagger:predict -H 'Content-Type: application/json' -d '
              {"instances": [{"text": "The raise statement takes an instance of BaseException."}]}'
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pydoc_data.topics import topics
from typing import Annotated, Any

os.environ["TOKENIZERS_PARALLELISM"] = "false"
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

import seatrial as st

LABELS = ("O", "B-CODE", "I-CODE")
MARK = re.compile(r'"([^"\s][^"]*)"|`([^`]+)`|\*([^*\s][^*]*)\*')
"""Code stands in quotes or backquotes, by the release of Python; stars are for emphasis."""
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
MOST_TOKENS = 128
Span = tuple[int, int]
"""Where code begins, and behind its end, in code points."""


def unmarked(sentence: str) -> tuple[str, list[Span]]:
    """A sentence without its marks, and what of it is code."""
    text, spans, last = "", [], 0
    for mark in MARK.finditer(sentence):
        text += sentence[last : mark.start()]
        inside = mark[1] or mark[2] or mark[3]
        if not mark[3]:
            spans.append((len(text), len(text) + len(inside)))
        text += inside
        last = mark.end()
    return text + sentence[last:], spans


def sentences(names: list[str]) -> list[tuple[str, list[Span]]]:
    """Those of the manual's topics: their text and their spans."""
    return list({text: (text, spans) for text, spans in _sentences(names)}.values())


def _sentences(names: list[str]) -> Iterator[tuple[str, list[Span]]]:
    for name in names:
        for paragraph in re.split(r"\n\s*\n", topics[name]):
            if paragraph.startswith((" ", "*", "=", "-")) or "::=" in paragraph:
                continue
            for sentence in re.split(r"(?<=[.!?]) (?=[A-Z])", " ".join(paragraph.split())):
                text, spans = unmarked(sentence)
                if 20 <= len(text) <= 300 and not set(text) & set('"`|'):
                    yield text, spans


def word_pieces(texts: list[str]) -> bytes:
    """A tokenizer of 2,000 pieces of words, learnt from these texts; case is kept.

    The pieces are those of BPE: tokenizers 0.23 learns others with WordPiece in each process.
    """
    made = Tokenizer(models.BPE(unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    learn = trainers.BpeTrainer(vocab_size=2000, special_tokens=list(SPECIAL), show_progress=False)
    made.train_from_iterator(texts, learn)
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return made.to_str().encode()


class Tagger(nn.Module):
    """Two convolutions over pieces of words: each sees four pieces to either side."""

    def __init__(self, pieces: int) -> None:
        super().__init__()
        self.pieces = nn.Embedding(pieces, 48)
        self.near, self.far = nn.Conv1d(48, 64, 5, padding=2), nn.Conv1d(64, 64, 5, padding=2)
        self.labels = nn.Linear(64, len(LABELS))

    def logits(self, text_ids: Tensor, text_mask: Tensor) -> Tensor:
        """Scores of each token's labels, (batch, tokens, 3)."""
        mask = text_mask.unsqueeze(1).to(torch.float32)
        near = F.relu(self.near(self.pieces(text_ids).transpose(1, 2) * mask)) * mask
        far = near + F.relu(self.far(near)) * mask
        return self.labels(far.transpose(1, 2))

    def forward(self, text_ids: Tensor, text_mask: Tensor) -> Tensor:
        """Probabilities of each token's labels, (batch, tokens, 3)."""
        return self.logits(text_ids, text_mask).softmax(-1)


def labels_of(tokenizer: Tokenizer, text: str, spans: list[Span]) -> list[int]:
    """Each token's label; -100 of special ones, which no loss counts."""
    encoding = tokenizer.encode(text)
    labels = []
    for (start, end), special in zip(encoding.offsets, encoding.special_tokens_mask, strict=True):
        label = "O"
        for first, last in spans:
            if first <= start and end <= last:
                label = "B-CODE" if start == first else "I-CODE"
        labels.append(-100 if special else LABELS.index(label))
    return labels[:MOST_TOKENS]


def train(
    declared: st.Pipeline, tokenizer: Tokenizer, learnt: list[tuple[str, list[Span]]], epochs: int
) -> None:
    """Seeded mini-batches of sentences of like length."""
    net, order = declared.model, torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam(net.parameters(), 4e-3)
    learnt = sorted(learnt, key=lambda each: len(each[0]))
    batches = []
    for first in range(0, len(learnt), 32):
        few = learnt[first : first + 32]
        rows = [declared.encode([{"text": text}]) for text, _ in few]
        feeds = {name: pad_sequence([row[name][0] for row in rows], True) for name in rows[0]}
        wanted = [torch.tensor(labels_of(tokenizer, text, spans)) for text, spans in few]
        batches.append((feeds, pad_sequence(wanted, True, -100)))
    net.train()
    for _ in range(epochs):
        for place in torch.randperm(len(batches), generator=order).tolist():
            feeds, wanted = batches[place]
            optimiser.zero_grad()
            F.cross_entropy(net.logits(**feeds).flatten(0, 1), wanted.flatten()).backward()
            optimiser.step()
    net.eval()


def f1(declared: st.Pipeline, held_out: list[tuple[str, list[Span]]]) -> float:
    """Of exact spans, as clients get them."""
    right = told = true = 0
    for text, spans in held_out:
        row = {"text": text}
        [answer] = declared.answer([row])
        batch = {name: array[None] for name, array in answer.items()}
        found = declared.contract.describe(batch, 0, declared.front.notes(row))["parts"]
        got = {(each["start"], each["end"]) for each in found}
        right, told, true = right + len(got & set(spans)), told + len(got), true + len(spans)
    return 2 * right / (told + true)


EDGES = (
    "", " ", "a", "e\u0301", "深度学习模型部署", "مرحبا بالعالم", "👩‍👩‍👧‍👦 \t tab\nline",
    "[MASK] [CLS] [SEP] [PAD]", "nul\x00byte", "word " * 600, "x" * 2_000,
)  # fmt: skip


def pipeline() -> st.Pipeline:
    """Read the manual, train, report and declare."""
    torch.manual_seed(0)
    torch.set_num_threads(1)  # so that two exports sum in the same order
    names = sorted(topics)
    held_out = sentences(names[::6])
    seen = {text for text, _ in held_out}
    learnt = [
        each for each in sentences([name for name in names if name not in names[::6]])
        if each[0] not in seen
    ]  # fmt: skip
    pieces = word_pieces([text for text, _ in learnt])
    tokenizer = Tokenizer.from_str(pieces.decode())

    class Sentence(st.Row):
        """A sentence about Python."""

        text: Annotated[
            str,
            st.Text(
                tokenizer=pieces,
                max_chars=10_000,
                max_tokens=MOST_TOKENS,
                overflow="truncate",
                special="words",
            ),
        ]

    class Parts(st.Answer):
        """Code in the sentence, and how far it was read."""

        parts: Annotated[list[dict[str, Any]], st.Spans(*LABELS, of="text", aggregate="first")]
        read: Annotated[dict[str, Any], st.Truncation(of="text")]

    golden = [text for text, _ in held_out[:24]]
    declared = st.Pipeline(
        name="tagger",
        version="1.0.0",
        inputs=Sentence,
        outputs=Parts,
        model=Tagger(tokenizer.get_vocab_size()).eval(),
        golden=[{"text": text} for text in (*golden, *EDGES)],
        held_out=[{"text": text} for text, _ in held_out[24:84]],
        refused=[
            st.Refused({"text": "y" * 10_001}, "E_TEXT_LIMIT"),
            st.Refused({"text": 7}, "E_TYPE"),
            st.Refused({}, "E_MISSING"),
        ],
        reference=[{"text": text} for text, _ in learnt[:200]],
        objective=st.Objective(p99_s=0.1),
    )
    train(declared, tokenizer, learnt, epochs=8)
    score = f1(declared, held_out)
    print(f"tagger: F1 {score:.3f} on {len(held_out)} sentences of topics not trained on")
    return declared
