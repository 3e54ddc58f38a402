"""Kinds over series, waves and ids."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from kind import CHANNELS, F32, IDS, SCORE, SERIES, ids, many, normal, over, row, series
from torch import nn
from torch.nn import functional

import seatrial as st


def sequences() -> None:
    """Networks over series and ids of any length."""
    wave, steps, words = series(8, 64), series(8, 64, 3), ids(2, 24, 50)
    for name, cell in (("lstm", nn.LSTM), ("gru", nn.GRU), ("rnn", nn.RNN)):
        over(
            f"{name}, last step",
            CHANNELS,
            steps,
            SCORE,
            lambda m, x: m.head(m.r(x)[0][:, -1])[:, 0],
            r=lambda cell=cell: cell(3, 8, batch_first=True),
            head=lambda: nn.Linear(8, 1),
        )
        over(
            f"{name}, two layers, both ways",
            CHANNELS,
            steps,
            SCORE,
            lambda m, x: m.head(m.r(x)[0].mean(1))[:, 0],
            r=lambda cell=cell: cell(3, 4, 2, batch_first=True, bidirectional=True),
            head=lambda: nn.Linear(8, 1),
        )
    over(
        "lstm, hidden state",
        CHANNELS,
        steps,
        many(8),
        lambda m, x: m.r(x)[1][0][-1],
        r=lambda: nn.LSTM(3, 8, batch_first=True),
    )
    over(
        "lstm over ids",
        IDS,
        words,
        SCORE,
        lambda m, x: m.head(m.r(m.e(x))[0][:, -1])[:, 0],
        e=lambda: nn.Embedding(50, 4),
        r=lambda: nn.LSTM(4, 8, batch_first=True),
        head=lambda: nn.Linear(8, 1),
    )
    over(
        "lstm, a step loop",
        row(x=st.Tensor[F32, 6, 3]),
        normal(6, 3),
        SCORE,
        step_loop,
        r=lambda: nn.LSTMCell(3, 4),
        head=lambda: nn.Linear(4, 1),
    )
    over(
        "lstm, time first",
        CHANNELS,
        steps,
        SCORE,
        lambda m, x: m.head(m.r(x.transpose(0, 1))[0][-1])[:, 0],
        r=lambda: nn.LSTM(3, 8),
        head=lambda: nn.Linear(8, 1),
    )
    conv = lambda: nn.Sequential(nn.Conv1d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv1d(8, 4, 3))
    swap = lambda m, x: m.c(x.transpose(1, 2))
    over("conv over time, mean", CHANNELS, steps, many(4), lambda m, x: swap(m, x).mean(2), c=conv)
    over("conv over time, max", CHANNELS, steps, many(4), lambda m, x: swap(m, x).amax(2), c=conv)
    over(
        "conv over time, pooled to one",
        CHANNELS,
        steps,
        many(4),
        lambda m, x: functional.adaptive_avg_pool1d(swap(m, x), 1).flatten(1),
        c=conv,
    )
    over(
        "conv over time, pooled to four",
        CHANNELS,
        steps,
        many(16),
        lambda m, x: functional.adaptive_avg_pool1d(swap(m, x), 4).flatten(1),
        c=conv,
    )
    over(
        "causal conv",
        CHANNELS,
        steps,
        many(4),
        lambda m, x: m.c(functional.pad(x.transpose(1, 2), (4, 0)))[:, :, -1],
        c=lambda: nn.Conv1d(3, 4, 3, dilation=2),
    )
    over(
        "an answer for each step",
        CHANNELS,
        steps,
        many(None, 2),
        lambda m, x: m.r(x)[0],
        r=lambda: nn.GRU(3, 2, batch_first=True),
    )
    over(
        "attention pooling",
        CHANNELS,
        steps,
        many(3),
        lambda m, x: (m.a(x).softmax(1) * x).sum(1),
        a=lambda: nn.Linear(3, 1),
    )
    layer = lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    over(
        "transformer encoder",
        CHANNELS,
        steps,
        many(8),
        lambda m, x: m.t(m.i(x)).mean(1),
        i=lambda: nn.Linear(3, 8),
        t=layer,
    )
    over(
        "transformer, learned places",
        IDS,
        words,
        many(8),
        lambda m, x: m.t(m.e(x) + m.p(torch.arange(x.shape[1]))).mean(1),
        e=lambda: nn.Embedding(50, 8),
        p=lambda: nn.Embedding(24, 8),
        t=layer,
    )
    over(
        "transformer, too few places",
        IDS,
        words,
        many(8),
        lambda m, x: m.t(m.e(x) + m.p(torch.arange(x.shape[1]))).mean(1),
        e=lambda: nn.Embedding(50, 8),
        p=lambda: nn.Embedding(16, 8),
        t=layer,
    )
    over(
        "transformer, causal",
        IDS,
        words,
        many(8),
        lambda m, x: m.t(
            m.e(x), src_mask=(nn.Transformer.generate_square_subsequent_mask(x.shape[1]))
        )[:, -1],
        e=lambda: nn.Embedding(50, 8),
        t=layer,
    )
    over(
        "transformer, sines",
        IDS,
        words,
        many(8),
        lambda m, x: m.t(
            m.e(x) + torch.sin(torch.arange(x.shape[1])[:, None] / 10 ** torch.linspace(0, 4, 8))
        ).mean(1),
        e=lambda: nn.Embedding(50, 8),
        t=layer,
    )
    over(
        "next item",
        IDS,
        words,
        many(50),
        lambda m, x: m.r(m.e(x))[0][:, -1] @ m.e.weight.T,
        e=lambda: nn.Embedding(50, 8),
        r=lambda: nn.GRU(8, 8, batch_first=True),
    )
    over("bag of ids", IDS, words, many(4), lambda m, x: m.e(x), e=lambda: nn.EmbeddingBag(50, 4))
    over(
        "table one row short",
        IDS,
        words,
        many(4),
        lambda m, x: m.e(x).mean(1),
        e=lambda: nn.Embedding(49, 4),
    )
    over(
        "ids without bounds",
        row(x=st.Tensor[np.int64, 2:24]),
        words,
        many(4),
        lambda m, x: m.e(x).mean(1),
        e=lambda: nn.Embedding(50, 4),
    )
    over(
        "masked mean of ids",
        IDS,
        words,
        many(4),
        lambda m, x: (
            (m.e(x) * (x > 0)[..., None]).sum(1) / (x > 0).sum(1, keepdim=True).clamp(min=1)
        ),
        e=lambda: nn.Embedding(50, 4),
    )
    over(
        "linear forecast",
        row(x=st.Tensor[F32, 32]),
        normal(32),
        many(8),
        lambda m, x: m.f(x - x[:, -1:]) + x[:, -1:],
        f=lambda: nn.Linear(32, 8),
    )
    over(
        "trend and season",
        row(x=st.Tensor[F32, 32]),
        normal(32),
        many(8),
        lambda m, x: m.t(m.pool(x[:, None])[:, 0]) + m.s(x - m.pool(x[:, None])[:, 0]),
        t=lambda: nn.Linear(32, 8),
        s=lambda: nn.Linear(32, 8),
        pool=lambda: nn.AvgPool1d(5, 1, 2),
    )
    over(
        "patches",
        row(x=st.Tensor[F32, 32]),
        normal(32),
        many(8),
        lambda m, x: m.h(m.t(m.p(x.unfold(1, 8, 4))).flatten(1)),
        p=lambda: nn.Linear(8, 8),
        t=layer,
        h=lambda: nn.Linear(56, 8),
    )
    over(
        "fed back five times",
        row(x=st.Tensor[F32, 8]),
        normal(8),
        many(5),
        fed_back,
        f=lambda: nn.Linear(8, 1),
    )
    over(
        "recurrence by a sum",
        SERIES,
        wave,
        SCORE,
        lambda _, x: (x * 0.9 ** torch.arange(x.shape[1]).flip(0)).cumsum(1)[:, -1],
    )
    over(
        "mean and spread of a series",
        SERIES,
        wave,
        many(2),
        lambda _, x: torch.stack([x.mean(1), x.std(1)], 1),
    )
    over(
        "spectrum of a wave",
        row(x=st.Tensor[F32, 512:2048]),
        series(512, 2048),
        many(33),
        lambda _, x: (
            torch.stft(x, 64, 32, window=torch.hann_window(64), return_complex=True).abs().mean(2)
        ),
    )
    over(
        "conv on a wave",
        row(x=st.Tensor[F32, 512:2048]),
        series(512, 2048),
        many(4),
        lambda m, x: m.c(x[:, None]).mean(2),
        c=lambda: nn.Conv1d(1, 4, 16, 8),
    )


def step_loop(m: Any, x: Any) -> Any:
    h = c = x.new_zeros(len(x), 4)
    for step in range(x.shape[1]):
        h, c = m.r(x[:, step], (h, c))
    return m.head(h)[:, 0]


def fed_back(m: Any, x: Any) -> Any:
    made = []
    for _ in range(5):
        made.append(m.f(x))
        x = torch.cat([x[:, 1:], made[-1]], 1)
    return torch.cat(made, 1)
