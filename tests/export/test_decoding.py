"""Decoding within a graph, judged by a plain Python loop over the same modules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from support.foreign import answers
from support.properties import drawing
from torch import Tensor, nn

import seatrial as st

F32 = np.float32
START, END, MOST, WORDS = 1, 2, 12, 9


class Source(st.Row):
    x: st.Tensor[np.float32, 2:10, 4]


class Tokens(st.Answer):
    tokens: st.Tensor[np.int64, MOST]
    count: int


class Translator(nn.Module):
    """A GRU encoder, and a GRU decoder with attention that is asked step by step."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.encoder = nn.GRU(4, 8, batch_first=True)
        self.words, self.cell = nn.Embedding(WORDS, 8), nn.GRUCell(16, 8)
        self.head = nn.Linear(8, WORDS)
        with torch.no_grad():
            self.head.weight *= 4
        self.eval()

    def encoded(self, x: Tensor) -> tuple[Tensor, Tensor]:
        memory, last = self.encoder(x)
        return memory, last[0]

    def step(self, memory: Tensor, token: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        weights = (memory @ hidden[:, :, None]).softmax(1)
        seen = (weights * memory).sum(1)
        hidden = self.cell(torch.cat([self.words(token), seen], 1), hidden)
        return self.head(hidden), hidden

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        memory, hidden = self.encoded(x)

        def step(token: Tensor, place: Tensor, state: Any) -> Any:
            scores, after = self.step(memory, token, state[0])
            return scores, (after,)

        tokens, count = st.greedy_decode(
            step, (hidden,), rows=x.shape[0], start=START, end=END, most=MOST
        )
        return {"tokens": tokens, "count": count}


def one_by_one(model: Translator, x: np.ndarray[Any, Any]) -> list[int]:
    """Greedy decoding of one row as everybody writes it."""
    with torch.no_grad():
        memory, hidden = model.encoded(torch.as_tensor(x)[None])
        token, made = START, []
        while len(made) < MOST:
            scores, hidden = model.step(memory, torch.tensor([token]), hidden)
            token = int(scores[0].argmax())
            if token == END:
                break
            made.append(token)
    return made


def sources(count: int, seed: int = 0) -> list[dict[str, Any]]:
    draw = np.random.default_rng(seed)
    return [
        {"x": (draw.standard_normal((draw.integers(2, 10), 4)) * 3).astype(F32)}
        for _ in range(count)
    ]


@pytest.mark.slow
def test_a_greedy_decoder_is_one_loop_and_answers_as_a_plain_loop_does(tmp_path: Path) -> None:
    model = Translator(seed=3)
    bundle = st.export(
        st.Pipeline(
            name="m", version="1.0.0", inputs=Source, outputs=Tokens, model=model,
            golden=sources(8),
        ),
        tmp_path,
    )  # fmt: skip
    bundle = st.open_bundle(bundle.path)
    assert bundle.manifest.batchable
    nodes = onnx.load_from_string(bundle.files["graphs/fp32.onnx"]).graph.node
    assert sum(node.op_type == "Loop" for node in nodes) >= 1
    assert len(nodes) < 120, "the steps are not written out"
    rows = sources(20, 7)
    wanted = [one_by_one(model, row["x"]) for row in rows]
    assert len({len(tokens) for tokens in wanted}) > 3, "rows end at unlike places"
    for batch_rows in (1, 7, 20):
        got = answers(bundle, [{"x": row["x"].tolist()} for row in rows], batch_rows)
        for answer, want in zip(got, wanted, strict=True):
            assert answer["tokens"].tolist() == want + [END] * (MOST - len(want))
            assert answer["count"] == len(want)


class Frames(st.Row):
    scores: st.Tensor[np.float32, 1:40, 5]


class Heard(st.Answer):
    tokens: st.Tensor[np.int64, None]
    count: int


class Ctc(nn.Module):
    def forward(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        return st.ctc_greedy_decode(scores)


def collapsed(best: list[int], blank: int = 0) -> list[int]:
    """Repeats collapsed, then blanks dropped."""
    kept = [token for place, token in enumerate(best) if place == 0 or token != best[place - 1]]
    return [token for token in kept if token != blank]


@given(
    some.lists(some.lists(some.integers(0, 4), min_size=1, max_size=30), min_size=1, max_size=5),
    some.integers(0, 4),
)
@drawing(200)
def test_ctc_collapses_repeats_and_drops_blanks(best: list[list[int]], blank: int) -> None:
    longest = max(map(len, best))
    padded = [row + [row[-1]] * (longest - len(row)) for row in best]
    scores = torch.nn.functional.one_hot(torch.tensor(padded), 5).float()
    lengths = torch.tensor([len(row) for row in best])
    tokens, count = st.ctc_greedy_decode(scores, lengths, blank=blank)
    for row, made, number in zip(best, tokens.tolist(), count.tolist(), strict=True):
        want = collapsed(row, blank)
        assert made == want + [blank] * (longest - len(want))
        assert number == len(want)


@pytest.mark.slow
def test_ctc_is_exported_for_every_length_and_batch(tmp_path: Path) -> None:
    draw = np.random.default_rng(2)
    rows = [{"scores": draw.standard_normal((n, 5)).astype(F32)} for n in (3, 9, 9, 1, 33, 9)]
    pipeline = st.Pipeline(
        name="m", version="1.0.0", inputs=Frames, outputs=Heard, model=Ctc().eval(), golden=rows,
    )  # fmt: skip
    bundle = st.open_bundle(st.export(pipeline, tmp_path).path)
    for batch_rows in (1, 4):
        got = answers(bundle, [{"scores": row["scores"].tolist()} for row in rows], batch_rows)
        for row, answer in zip(rows, got, strict=True):
            want = collapsed(row["scores"].argmax(1).tolist())
            assert answer["tokens"][: len(want)].tolist() == want
            assert answer["count"] == len(want)


def test_a_decoder_of_no_step_is_refused() -> None:
    with pytest.raises(st.DeclarationError, match="at least 1"):
        st.greedy_decode(lambda *_: None, (), rows=1, start=0, end=1, most=0)  # type: ignore[arg-type,return-value]
