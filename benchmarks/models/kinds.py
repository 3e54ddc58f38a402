"""Seal 115 kinds of PyTorch models as people first write them, and judge each by PyTorch.

    python benchmarks/models/kinds.py                 # every kind, a line each, and the count
    python benchmarks/models/kinds.py lstm mask       # kinds with one of the words in the name

Each kind is one that people have: from tabular networks to transformers with random weights, with
the habits and the faults of first versions. The judge is the module itself in eager mode, on each
row alone, at rows that are no golden ones; the engine of the server answers them alone and in
batches of eight. A kind is right, refused (the message is printed), wrong, or a crash. The script
exits with 1 if one is wrong or crashes.
"""

from __future__ import annotations

import collections
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import torch
import transformers
from annotated_types import Interval
from torch import nn
from torch.nn import functional as F

import seatrial as st
from seatrial_serve.inference.engine import load_engine
from seatrial_serve.runtimes.runtime import RuntimeOptions

F32, GOLDEN, TRIED = np.float32, 6, 24
Chance = np.random.Generator
Draw = Callable[[Chance], dict[str, Any]]


class Kind(NamedTuple):
    """How a model is made, what its contract takes and answers, and rows as clients send them."""

    make: Callable[[], Any]
    inputs: type[st.Row]
    outputs: type[st.Answer]
    draw: Draw


class Net(nn.Module):
    """Layers by name, and what forward does with them."""

    def __init__(self, does: Callable[..., Any], **layers: Any) -> None:
        super().__init__()
        self.does = does
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x: Any) -> Any:
        return self.does(self, x)


class TwoInputs(Net):
    def forward(self, a: Any, b: Any) -> Any:
        return self.does(self, a, b)


class Table(Net):
    """A model of single fields."""

    def forward(self, age: Any, income: Any, town: Any, member: Any) -> Any:
        return self.does(self, age, income, town, member)


def row(**hints: Any) -> type[st.Row]:
    return type("In", (st.Row,), {"__annotations__": hints})


def out(**hints: Any) -> type[st.Answer]:
    return type("Out", (st.Answer,), {"__annotations__": hints})


def many(*shape: Any) -> type[st.Answer]:
    return out(y=st.Tensor[(F32, *shape)])


def mlp(*widths: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for one, other in zip(widths, widths[1:], strict=False):
        layers += [nn.Linear(one, other), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def normal(*shape: int, name: str = "x") -> Draw:
    return lambda chance: {name: chance.standard_normal(shape).astype(F32).tolist()}


def series(least: int, most: int, *sides: int) -> Draw:
    def draw(chance: Chance) -> dict[str, Any]:
        length = int(chance.integers(least, most + 1))
        return {"x": chance.standard_normal((length, *sides)).astype(F32).tolist()}

    return draw


def ids(least: int, most: int, count: int) -> Draw:
    return lambda chance: {
        "x": chance.integers(0, count, int(chance.integers(least, most + 1))).tolist()
    }


def picture(least: int, most: int) -> Draw:
    return lambda chance: {
        "x": chance.random(
            (3, int(chance.integers(least, most + 1)), int(chance.integers(least, most + 1))), F32
        ).tolist()
    }


def cells(chance: Chance) -> dict[str, Any]:
    return {
        "age": float(chance.integers(18, 90)),
        "income": None if chance.random() < 0.2 else float(F32(chance.uniform(0, 1e5))),
        "town": str(chance.choice(TOWNS)),
        "member": bool(chance.random() < 0.5),
    }


TOWNS = ("Graz", "Linz", "Wien")
ONE, SCORE = row(x=st.Tensor[F32, 8]), out(y=float)
IDS = row(x=st.Tensor[np.int64, 2:24, Interval(ge=0, lt=50)])
SERIES, CHANNELS = row(x=st.Tensor[F32, 8:64]), row(x=st.Tensor[F32, 8:64, 3])
PICTURE, OPEN = row(x=st.Tensor[F32, 3, 32, 32]), row(x=st.Tensor[F32, 3, 24:64, 24:64])
CELLS = row(
    age=Annotated[float, st.Number(ge=18, le=90)],
    income=Annotated[float | None, st.Number(ge=0, le=1e5)],
    town=Literal[TOWNS],
    member=bool,
)
LABEL = out(y=Annotated[str, st.Label("no", "perhaps", "yes")])
KINDS: dict[str, Kind] = {}


def eight(name: str, does: Any, outputs: type[st.Answer] = SCORE, **layers: Any) -> None:
    """A kind over eight numbers."""
    KINDS[name] = Kind(lambda: Net(does, **{k: v() for k, v in layers.items()}).eval(), ONE,
                       outputs, normal(8))  # fmt: skip


def over(name: str, inputs: Any, draw: Draw, outputs: Any, does: Any, **layers: Any) -> None:
    """A kind over other inputs."""
    KINDS[name] = Kind(
        lambda: Net(does, **{k: v() for k, v in layers.items()}).eval(), inputs, outputs, draw
    )


def tabular() -> None:
    """Networks over numbers."""
    first = lambda m, x: m.net(x)[:, 0]
    eight("mlp", first, net=lambda: mlp(8, 16, 1))
    eight("mlp keeping its last side", lambda m, x: m.net(x), many(1), net=lambda: mlp(8, 4, 1))
    eight("mlp with batch norm and dropout", first, net=lambda: nn.Sequential(
        nn.Linear(8, 8), nn.BatchNorm1d(8), nn.GELU(), nn.Dropout(0.5), nn.Linear(8, 1)))  # fmt: skip
    eight("softmax labels", lambda m, x: m.net(x).softmax(1), LABEL, net=lambda: mlp(8, 8, 3))
    eight("log-softmax", lambda m, x: F.log_softmax(m.net(x), -1), many(3),
          net=lambda: mlp(8, 8, 3))  # fmt: skip
    eight("argmax as a whole number", lambda m, x: m.net(x).argmax(1), out(y=int),
          net=lambda: mlp(8, 8, 3))  # fmt: skip
    eight("top-k values and places", lambda m, x: tuple(m.net(x).softmax(1).topk(2)),
          out(v=st.Tensor[F32, 2], i=st.Tensor[np.int64, 2]), net=lambda: mlp(8, 8, 5))  # fmt: skip
    eight("threshold as a flag", lambda m, x: (m.net(x).sigmoid() > 0.5),
          out(y=st.Tensor[bool, 1]), net=lambda: mlp(8, 8, 1))  # fmt: skip
    eight("several heads by name", lambda m, x: {"a": m.a(x)[:, 0], "b": m.b(x).softmax(1)},
          out(a=float, b=st.Tensor[F32, 3]), a=lambda: mlp(8, 1), b=lambda: mlp(8, 3))  # fmt: skip
    eight("quantiles", lambda m, x: m.net(x).sort(1).values, many(3), net=lambda: mlp(8, 8, 3))
    eight("mixture density", lambda m, x: (
        m.net(x)[:, :3].softmax(1), m.net(x)[:, 3:6], m.net(x)[:, 6:].exp()),
        out(p=st.Tensor[F32, 3], mu=st.Tensor[F32, 3], s=st.Tensor[F32, 3]),
        net=lambda: mlp(8, 9))  # fmt: skip
    eight("autoencoder error", lambda m, x: (m.net(x) - x).pow(2).mean(1),
          net=lambda: mlp(8, 2, 8))  # fmt: skip
    eight("variational, sampled", lambda m, x: (m.net(x) + torch.randn(len(x), 1))[:, 0],
          net=lambda: mlp(8, 1))  # fmt: skip
    eight("monte carlo dropout", lambda m, x: torch.stack(
        [F.dropout(m.net(x)[:, 0]) for _ in range(3)]).mean(0), net=lambda: mlp(8, 1))  # fmt: skip
    eight("factorization machine", lambda m, x: m.lin(x)[:, 0] + 0.5 * (
        (x @ m.v.weight).pow(2) - x.pow(2) @ m.v.weight.pow(2)).sum(1),
        lin=lambda: nn.Linear(8, 1), v=lambda: nn.Embedding(8, 4))  # fmt: skip
    eight("cross network", lambda m, x: m.out(x * m.a(x) + x)[:, 0],
          a=lambda: nn.Linear(8, 1), out=lambda: nn.Linear(8, 1))  # fmt: skip
    eight("dot interactions", lambda m, x: torch.bmm(
        x.view(-1, 4, 2), x.view(-1, 4, 2).transpose(1, 2)).flatten(1), many(16))  # fmt: skip
    eight("survival curve", lambda m, x: (1 - m.net(x).sigmoid()).cumprod(1), many(5),
          net=lambda: mlp(8, 8, 5))  # fmt: skip
    eight("additive model", lambda m, x: sum(
        f(x[:, i : i + 1]) for i, f in enumerate(m.fs))[:, 0],
        fs=lambda: nn.ModuleList(mlp(1, 4, 1) for _ in range(8)))  # fmt: skip
    eight("feature tokens", lambda m, x: m.head(m.enc(x[..., None] * m.e.weight).mean(1))[:, 0],
          e=lambda: nn.Embedding(8, 8), head=lambda: nn.Linear(8, 1),
          enc=lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True))  # fmt: skip
    eight("weight norm", first, net=lambda: nn.Sequential(
        nn.utils.parametrizations.weight_norm(nn.Linear(8, 1))))  # fmt: skip
    eight("spectral norm", first, net=lambda: nn.Sequential(
        nn.utils.parametrizations.spectral_norm(nn.Linear(8, 1))))  # fmt: skip
    eight("pruned", first, net=lambda: nn.Sequential(
        nn.utils.prune.l1_unstructured(nn.Linear(8, 1), "weight", 0.5)))  # fmt: skip
    eight("ensemble", lambda m, x: torch.stack([f(x)[:, 0] for f in m.fs]).mean(0),
          fs=lambda: nn.ModuleList(mlp(8, 4, 1) for _ in range(3)))  # fmt: skip
    eight("standardised by constants", lambda m, x: m.net(
        (x - torch.arange(8.0)) / torch.linspace(1, 2, 8))[:, 0], net=lambda: mlp(8, 1))  # fmt: skip
    eight("whitened by its batch", lambda m, x: m.net((x - x.mean(0)) / (x.std(0) + 1))[:, 0],
          net=lambda: mlp(8, 1))  # fmt: skip
    eight("branch on a value", lambda m, x: m.net(x)[:, 0] if x.sum() > 0 else -m.net(x)[:, 0],
          net=lambda: mlp(8, 1))  # fmt: skip
    eight("numpy inside", lambda m, x: torch.from_numpy(np.tanh(m.net(x).detach().numpy()))[:, 0],
          net=lambda: mlp(8, 1))  # fmt: skip
    eight("double weights", lambda m, x: m.net(x.double()).float()[:, 0],
          net=lambda: mlp(8, 1).double())  # fmt: skip
    eight("bfloat16 weights", first, net=lambda: mlp(8, 1).bfloat16())
    eight("radial basis", lambda m, x: torch.exp(-torch.cdist(x, m.c.weight)).sum(1),
          c=lambda: nn.Embedding(4, 8))  # fmt: skip
    eight("nearest prototypes", lambda m, x: torch.cdist(x, m.c.weight).argmin(1), out(y=int),
          c=lambda: nn.Embedding(4, 8))  # fmt: skip
    eight("fourier features", lambda m, x: m.net(torch.fft.rfft(x).abs())[:, 0],
          net=lambda: mlp(5, 1))  # fmt: skip
    eight("einsum attention", lambda m, x: torch.einsum(
        "bi,ij,bj->b", x, m.w.weight, x), w=lambda: nn.Embedding(8, 8))  # fmt: skip
    eight("actor and critic", lambda m, x: (m.a(x).tanh(), m.c(x)[:, 0]),
          out(action=st.Tensor[F32, 2], value=float),
          a=lambda: mlp(8, 2), c=lambda: mlp(8, 1))  # fmt: skip
    eight("hypersphere", lambda m, x: F.normalize(m.net(x)), many(4), net=lambda: mlp(8, 4))
    eight("mixture of experts", lambda m, x: (
        m.gate(x).softmax(1)[:, :, None] * torch.stack([f(x) for f in m.fs], 1)).sum(1)[:, 0],
        gate=lambda: nn.Linear(8, 3),
        fs=lambda: nn.ModuleList(mlp(8, 1) for _ in range(3)))  # fmt: skip
    eight("experts by top-1", lambda m, x: torch.stack([f(x) for f in m.fs], 1).gather(
        1, m.gate(x).argmax(1)[:, None, None])[:, 0, 0], gate=lambda: nn.Linear(8, 3),
        fs=lambda: nn.ModuleList(mlp(8, 1) for _ in range(3)))  # fmt: skip
    eight("in place", lambda m, x: m.net(x.clamp_(min=0))[:, 0], net=lambda: mlp(8, 1))
    eight("compiled", first, net=lambda: torch.compile(mlp(8, 1)))
    KINDS["data parallel"] = KINDS["mlp"]._replace(make=lambda: nn.DataParallel(mlp(8, 4, 1)),
                                                   outputs=many(1))  # fmt: skip
    KINDS["scripted"] = KINDS["data parallel"]._replace(
        make=lambda: torch.jit.script(mlp(8, 1)).eval()
    )
    KINDS["left in training mode"] = KINDS["mlp"]._replace(
        make=lambda: nn.Sequential(nn.Linear(8, 1), nn.Dropout(), nn.Flatten(0)))  # fmt: skip
    joined = lambda a, i, t, m: torch.stack(
        [a / 90, i.nan_to_num(3e4) / 1e5, i.isnan().float(), m.float()], 1
    )
    table = lambda name, does, outputs, **layers: KINDS.update({name: Kind(
        lambda: Table(does, **{k: v() for k, v in layers.items()}).eval(), CELLS, outputs, cells)})  # fmt: skip
    table("fields, embedded words", lambda m, a, i, t, f: m.net(
        torch.cat([joined(a, i, t, f), m.e(t)], 1))[:, 0], SCORE,
        e=lambda: nn.Embedding(3, 2), net=lambda: mlp(6, 8, 1))  # fmt: skip
    table("fields, one-hot words", lambda m, a, i, t, f: m.net(
        torch.cat([joined(a, i, t, f), F.one_hot(t, 3).float()], 1)).softmax(1), LABEL,
        net=lambda: mlp(7, 8, 3))  # fmt: skip
    table("fields, a rule beside", lambda m, a, i, t, f: torch.where(
        (a > 60) & f, m.net(joined(a, i, t, f))[:, 0], a / 90), SCORE, net=lambda: mlp(4, 1))  # fmt: skip
    table("fields, missing not seen to", lambda m, a, i, t, f: m.net(
        torch.stack([a, i], 1))[:, 0], SCORE, net=lambda: mlp(2, 1))  # fmt: skip
    two = row(a=st.Tensor[F32, 4], b=st.Tensor[F32, 4])
    pair: Draw = lambda chance: normal(4, name="a")(chance) | normal(4, name="b")(chance)
    KINDS["two towers"] = Kind(lambda: TwoInputs(lambda m, a, b: (m.f(a) * m.g(b)).sum(1),
                               f=mlp(4, 4), g=mlp(4, 4)).eval(), two, SCORE, pair)  # fmt: skip
    KINDS["bilinear"] = Kind(lambda: TwoInputs(lambda m, a, b: m.f(a, b)[:, 0],
                             f=nn.Bilinear(4, 4, 1)).eval(), two, SCORE, pair)  # fmt: skip
    users = row(a=Annotated[int, st.Number(ge=0, lt=9)], b=Annotated[int, st.Number(ge=0, lt=7)])
    KINDS["matrix factorisation"] = Kind(
        lambda: TwoInputs(lambda m, a, b: (m.u(a) * m.i(b)).sum(1) + m.bias(b)[:, 0],
                          u=nn.Embedding(9, 4), i=nn.Embedding(7, 4), bias=nn.Embedding(7, 1)
                          ).eval(), users, SCORE,
        lambda c: {"a": int(c.integers(0, 9)), "b": int(c.integers(0, 7))})  # fmt: skip


def sequences() -> None:
    """Networks over series and ids of any length."""
    S, C, T = series(8, 64), series(8, 64, 3), ids(2, 24, 50)
    for name, cell in (("lstm", nn.LSTM), ("gru", nn.GRU), ("rnn", nn.RNN)):
        over(f"{name}, last step", CHANNELS, C, SCORE, lambda m, x: m.head(m.r(x)[0][:, -1])[:, 0],
             r=lambda cell=cell: cell(3, 8, batch_first=True),
             head=lambda: nn.Linear(8, 1))  # fmt: skip
        over(f"{name}, two layers, both ways", CHANNELS, C, SCORE,
             lambda m, x: m.head(m.r(x)[0].mean(1))[:, 0],
             r=lambda cell=cell: cell(3, 4, 2, batch_first=True, bidirectional=True),
             head=lambda: nn.Linear(8, 1))  # fmt: skip
    over("lstm, hidden state", CHANNELS, C, many(8), lambda m, x: m.r(x)[1][0][-1],
         r=lambda: nn.LSTM(3, 8, batch_first=True))  # fmt: skip
    over("lstm over ids", IDS, T, SCORE, lambda m, x: m.head(m.r(m.e(x))[0][:, -1])[:, 0],
         e=lambda: nn.Embedding(50, 4), r=lambda: nn.LSTM(4, 8, batch_first=True),
         head=lambda: nn.Linear(8, 1))  # fmt: skip
    over("lstm, a step loop", row(x=st.Tensor[F32, 6, 3]), normal(6, 3), SCORE, step_loop,
         r=lambda: nn.LSTMCell(3, 4), head=lambda: nn.Linear(4, 1))  # fmt: skip
    over("lstm, time first", CHANNELS, C, SCORE, lambda m, x: m.head(
        m.r(x.transpose(0, 1))[0][-1])[:, 0], r=lambda: nn.LSTM(3, 8),
        head=lambda: nn.Linear(8, 1))  # fmt: skip
    conv = lambda: nn.Sequential(nn.Conv1d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv1d(8, 4, 3))
    swap = lambda m, x: m.c(x.transpose(1, 2))
    over("conv over time, mean", CHANNELS, C, many(4), lambda m, x: swap(m, x).mean(2), c=conv)
    over("conv over time, max", CHANNELS, C, many(4), lambda m, x: swap(m, x).amax(2), c=conv)
    over("conv over time, pooled to one", CHANNELS, C, many(4),
         lambda m, x: F.adaptive_avg_pool1d(swap(m, x), 1).flatten(1), c=conv)  # fmt: skip
    over("conv over time, pooled to four", CHANNELS, C, many(16),
         lambda m, x: F.adaptive_avg_pool1d(swap(m, x), 4).flatten(1), c=conv)  # fmt: skip
    over("causal conv", CHANNELS, C, many(4), lambda m, x: m.c(
        F.pad(x.transpose(1, 2), (4, 0)))[:, :, -1], c=lambda: nn.Conv1d(3, 4, 3, dilation=2))  # fmt: skip
    over("an answer for each step", CHANNELS, C, many(None, 2), lambda m, x: m.r(x)[0],
         r=lambda: nn.GRU(3, 2, batch_first=True))  # fmt: skip
    over("attention pooling", CHANNELS, C, many(3),
         lambda m, x: (m.a(x).softmax(1) * x).sum(1), a=lambda: nn.Linear(3, 1))  # fmt: skip
    layer = lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    over("transformer encoder", CHANNELS, C, many(8), lambda m, x: m.t(m.i(x)).mean(1),
         i=lambda: nn.Linear(3, 8), t=layer)  # fmt: skip
    over("transformer, learned places", IDS, T, many(8), lambda m, x: m.t(
        m.e(x) + m.p(torch.arange(x.shape[1]))).mean(1),
        e=lambda: nn.Embedding(50, 8), p=lambda: nn.Embedding(24, 8), t=layer)  # fmt: skip
    over("transformer, too few places", IDS, T, many(8), lambda m, x: m.t(
        m.e(x) + m.p(torch.arange(x.shape[1]))).mean(1),
        e=lambda: nn.Embedding(50, 8), p=lambda: nn.Embedding(16, 8), t=layer)  # fmt: skip
    over("transformer, causal", IDS, T, many(8), lambda m, x: m.t(m.e(x), src_mask=(
        nn.Transformer.generate_square_subsequent_mask(x.shape[1])))[:, -1],
        e=lambda: nn.Embedding(50, 8), t=layer)  # fmt: skip
    over("transformer, sines", IDS, T, many(8), lambda m, x: m.t(m.e(x) + torch.sin(
        torch.arange(x.shape[1])[:, None] / 10 ** torch.linspace(0, 4, 8))).mean(1),
        e=lambda: nn.Embedding(50, 8), t=layer)  # fmt: skip
    over("next item", IDS, T, many(50), lambda m, x: m.r(m.e(x))[0][:, -1] @ m.e.weight.T,
         e=lambda: nn.Embedding(50, 8), r=lambda: nn.GRU(8, 8, batch_first=True))  # fmt: skip
    over("bag of ids", IDS, T, many(4), lambda m, x: m.e(x), e=lambda: nn.EmbeddingBag(50, 4))
    over("table one row short", IDS, T, many(4), lambda m, x: m.e(x).mean(1),
         e=lambda: nn.Embedding(49, 4))  # fmt: skip
    over("ids without bounds", row(x=st.Tensor[np.int64, 2:24]), T, many(4),
         lambda m, x: m.e(x).mean(1), e=lambda: nn.Embedding(50, 4))  # fmt: skip
    over("masked mean of ids", IDS, T, many(4), lambda m, x: (
        m.e(x) * (x > 0)[..., None]).sum(1) / (x > 0).sum(1, keepdim=True).clamp(min=1),
        e=lambda: nn.Embedding(50, 4))  # fmt: skip
    over("linear forecast", row(x=st.Tensor[F32, 32]), normal(32), many(8),
         lambda m, x: m.f(x - x[:, -1:]) + x[:, -1:], f=lambda: nn.Linear(32, 8))  # fmt: skip
    over("trend and season", row(x=st.Tensor[F32, 32]), normal(32), many(8), lambda m, x: m.t(
        m.pool(x[:, None])[:, 0]) + m.s(x - m.pool(x[:, None])[:, 0]), t=lambda: nn.Linear(32, 8),
        s=lambda: nn.Linear(32, 8), pool=lambda: nn.AvgPool1d(5, 1, 2))  # fmt: skip
    over("patches", row(x=st.Tensor[F32, 32]), normal(32), many(8), lambda m, x: m.h(
        m.t(m.p(x.unfold(1, 8, 4))).flatten(1)), p=lambda: nn.Linear(8, 8), t=layer,
        h=lambda: nn.Linear(56, 8))  # fmt: skip
    over("fed back five times", row(x=st.Tensor[F32, 8]), normal(8), many(5), fed_back,
         f=lambda: nn.Linear(8, 1))  # fmt: skip
    over("recurrence by a sum", SERIES, S, SCORE,
         lambda m, x: (x * 0.9 ** torch.arange(x.shape[1]).flip(0)).cumsum(1)[:, -1])  # fmt: skip
    over("mean and spread of a series", SERIES, S, many(2),
         lambda m, x: torch.stack([x.mean(1), x.std(1)], 1))  # fmt: skip
    over("spectrum of a wave", row(x=st.Tensor[F32, 512:2048]), series(512, 2048), many(33),
         lambda m, x: torch.stft(x, 64, 32, window=torch.hann_window(64), return_complex=True)
         .abs().mean(2))  # fmt: skip
    over("conv on a wave", row(x=st.Tensor[F32, 512:2048]), series(512, 2048), many(4),
         lambda m, x: m.c(x[:, None]).mean(2), c=lambda: nn.Conv1d(1, 4, 16, 8))  # fmt: skip


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


def pictures() -> None:
    """Networks over pictures, points and graphs."""
    P, O = normal(3, 32, 32), picture(24, 64)
    body = lambda: nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(),
                                 nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU())  # fmt: skip
    over("cnn, fixed side", PICTURE, P, LABEL, lambda m, x: m.h(m.b(x).flatten(1)).softmax(1),
         b=body, h=lambda: nn.Linear(512, 3))  # fmt: skip
    over("cnn, open side", OPEN, O, many(3), lambda m, x: m.h(m.b(x).mean((2, 3))), b=body,
         h=lambda: nn.Linear(8, 3))  # fmt: skip
    over("cnn, pooled to one", OPEN, O, many(8), lambda m, x: m.p(m.b(x)).flatten(1), b=body,
         p=lambda: nn.AdaptiveAvgPool2d(1))  # fmt: skip
    over("cnn, pooled to seven", OPEN, O, many(392), lambda m, x: m.p(m.b(x)).flatten(1), b=body,
         p=lambda: nn.AdaptiveAvgPool2d(7))  # fmt: skip
    over("residual", PICTURE, P, many(8), lambda m, x: (m.b(x) + m.s(x)).relu().amax((2, 3)),
         b=body, s=lambda: nn.Conv2d(3, 8, 1, 4))  # fmt: skip
    over("depthwise", PICTURE, P, many(6), lambda m, x: m.b(x).mean((2, 3)), b=lambda:
         nn.Sequential(nn.Conv2d(3, 6, 3, groups=3), nn.Hardswish(), nn.Conv2d(6, 6, 1)))  # fmt: skip
    over("squeeze and excite", PICTURE, P, many(8), lambda m, x: (m.b(x) * m.g(
        m.b(x).mean((2, 3)))[:, :, None, None]).mean((2, 3)), b=body,
        g=lambda: nn.Sequential(nn.Linear(8, 8), nn.Sigmoid()))  # fmt: skip
    over("group norm", PICTURE, P, many(8), lambda m, x: m.n(m.b(x)).mean((2, 3)), b=body,
         n=lambda: nn.GroupNorm(2, 8))  # fmt: skip
    over("instance norm", OPEN, O, many(8), lambda m, x: m.n(m.b(x)).amax((2, 3)), b=body,
         n=lambda: nn.InstanceNorm2d(8))  # fmt: skip
    over("unet", PICTURE, P, many(2, 32, 32), lambda m, x: m.u(m.b(x)), b=body, u=lambda:
         nn.Sequential(nn.ConvTranspose2d(8, 8, 4, 4), nn.Conv2d(8, 2, 1)))  # fmt: skip
    over("mask of classes", OPEN, O, out(y=st.Tensor[np.int64, None, None]),
         lambda m, x: m.c(x).argmax(1), c=lambda: nn.Conv2d(3, 4, 3, padding=1))  # fmt: skip
    over("logits made larger", OPEN, O, many(2, None, None), lambda m, x: F.interpolate(
        m.c(x), x.shape[2:], mode="bilinear"), c=lambda: nn.Conv2d(3, 2, 3, 2, 1))  # fmt: skip
    over("super-resolution", PICTURE, P, many(3, 64, 64), lambda m, x: m.s(m.c(x)),
         c=lambda: nn.Conv2d(3, 12, 3, padding=1), s=lambda: nn.PixelShuffle(2))  # fmt: skip
    over("keypoints by soft argmax", PICTURE, P, many(4), lambda m, x: (
        m.c(x).flatten(2).softmax(2) @ torch.arange(900.0)), c=lambda: nn.Conv2d(3, 4, 3))  # fmt: skip
    over("spatial transformer", PICTURE, P, many(3), lambda m, x: F.grid_sample(x, F.affine_grid(
        m.h(x.mean((2, 3))).view(-1, 2, 3), list(x.shape), align_corners=False),
        align_corners=False).mean((2, 3)), h=lambda: nn.Linear(3, 6))  # fmt: skip
    over("a grid of boxes", PICTURE, P, many(64, 6), lambda m, x: m.c(m.b(x)).flatten(2).transpose(
        1, 2), b=body, c=lambda: nn.Conv2d(8, 6, 1))  # fmt: skip
    over("boxes above a threshold", PICTURE, P, many(None, 4),
         lambda m, x: m.c(x).flatten(2)[:, :, m.c(x).mean((0, 1)).flatten() > 0].transpose(1, 2),
         c=lambda: nn.Conv2d(3, 4, 8, 8))  # fmt: skip
    over("gray and edges", PICTURE, P, many(2), lambda m, x: torch.stack([
        x.mean((1, 2, 3)), (x[:, :, 1:] - x[:, :, :-1]).abs().mean((1, 2, 3))], 1))  # fmt: skip
    over("generator", row(x=st.Tensor[F32, 8]), normal(8), many(3, 8, 8), lambda m, x: m.g(
        x[:, :, None, None]).tanh(), g=lambda: nn.ConvTranspose2d(8, 3, 8))  # fmt: skip
    over("points", row(x=st.Tensor[F32, 8:64, 3]), series(8, 64, 3), many(4),
         lambda m, x: m.f(x).amax(1), f=lambda: mlp(3, 8, 4))  # fmt: skip
    over("a set of vectors", row(x=st.Tensor[F32, 8:64, 3]), series(8, 64, 3), many(2),
         lambda m, x: m.g(m.f(x).sum(1)), f=lambda: mlp(3, 8), g=lambda: mlp(8, 2))  # fmt: skip
    over("a dense graph", row(x=st.Tensor[F32, 6, 6]), normal(6, 6), many(6, 2),
         lambda m, x: x.sigmoid() @ m.f(torch.eye(6)), f=lambda: nn.Linear(6, 2))  # fmt: skip


def transformer(name: str, config: Any, model: str, pick: Any, outputs: Any) -> None:
    """A transformer of the library's own code, small and of random weights, over ids."""

    def make() -> nn.Module:
        built = getattr(transformers, model)(config()).eval()
        return Net(lambda m, x: pick(m.net(x)), net=built).eval()

    KINDS[name] = Kind(make, IDS, outputs, ids(2, 24, 50))


def texts() -> None:
    """Transformers over ids."""
    small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
             "intermediate_size": 32, "vocab_size": 50, "max_position_embeddings": 40}  # fmt: skip
    cls, logits = (lambda made: made.last_hidden_state[:, 0]), (lambda made: made.logits)
    t = transformers
    for name, config, model in (
        ("bert", t.BertConfig, "BertModel"),
        ("electra", t.ElectraConfig, "ElectraModel"),
        ("mpnet", t.MPNetConfig, "MPNetModel"),
        ("roberta", t.RobertaConfig, "RobertaModel"),
        ("albert", lambda **k: t.AlbertConfig(embedding_size=8, **k), "AlbertModel"),
        ("deberta", t.DebertaV2Config, "DebertaV2Model"),
        ("modernbert", lambda **k: t.ModernBertConfig(
            pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2, **k),
         "ModernBertModel"),
    ):  # fmt: skip
        transformer(name, lambda config=config: config(**small), model, cls, many(16))
    transformer("distilbert", lambda: t.DistilBertConfig(
        vocab_size=50, dim=16, n_layers=1, n_heads=2, hidden_dim=32, max_position_embeddings=40),
        "DistilBertModel", cls, many(16))  # fmt: skip
    transformer("bert, classes", lambda: t.BertConfig(num_labels=3, **small),
                "BertForSequenceClassification", lambda made: made.logits.softmax(1), LABEL)  # fmt: skip
    transformer("bert, a class for each token", lambda: t.BertConfig(num_labels=3, **small),
                "BertForTokenClassification", logits, many(None, 3))  # fmt: skip
    transformer("bert, masked words", lambda: t.BertConfig(**small), "BertForMaskedLM", logits,
                many(None, 50))  # fmt: skip
    transformer("gpt-2, next token", lambda: t.GPT2Config(
        vocab_size=50, n_embd=16, n_layer=1, n_head=2, n_positions=40), "GPT2LMHeadModel",
        lambda made: made.logits[:, -1], many(50))  # fmt: skip
    transformer("llama, next token", lambda: t.LlamaConfig(num_key_value_heads=2, **small),
                "LlamaForCausalLM", lambda made: made.logits[:, -1], many(50))  # fmt: skip
    transformer("t5 encoder", lambda: t.T5Config(
        vocab_size=50, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2), "T5EncoderModel",
        lambda made: made.last_hidden_state.mean(1), many(16))  # fmt: skip


def vision_transformers() -> None:
    """Transformers of the library over pictures."""
    t = transformers
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
             "intermediate_size": 32, "image_size": 32, "patch_size": 8}  # fmt: skip
    tokens = lambda made: made.last_hidden_state[:, 0]
    for name, make, pick, outputs in (
        ("vit", lambda: t.ViTModel(t.ViTConfig(**shape)), tokens, many(16)),
        ("deit", lambda: t.DeiTModel(t.DeiTConfig(**shape)), tokens, many(16)),
        ("clip vision", lambda: t.CLIPVisionModel(t.CLIPVisionConfig(**shape)), tokens, many(16)),
        ("resnet", lambda: t.ResNetForImageClassification(t.ResNetConfig(
            embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], num_labels=3)),
         lambda made: made.logits, many(3)),
        ("convnext", lambda: t.ConvNextForImageClassification(t.ConvNextConfig(
            hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1], num_labels=3)),
         lambda made: made.logits, many(3)),
        ("swin", lambda: t.SwinModel(t.SwinConfig(
            image_size=32, patch_size=2, embed_dim=8, depths=[1, 1], num_heads=[1, 2],
            window_size=4)), lambda made: made.pooler_output, many(16)),
        ("segformer", lambda: t.SegformerForSemanticSegmentation(t.SegformerConfig(
            hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1], num_attention_heads=[1, 1, 1, 1],
            decoder_hidden_size=8, num_labels=3)), lambda made: made.logits, many(3, 8, 8)),
    ):  # fmt: skip
        KINDS[name] = Kind(
            lambda make=make, pick=pick: Net(lambda m, x: pick(m.net(x)), net=make()).eval(),
            PICTURE, outputs, normal(3, 32, 32))  # fmt: skip


def eager(kind: Kind, model: Any, given: dict[str, Any]) -> list[np.ndarray]:
    """What the module answers to one row, with tensors made by hand."""
    feeds = []
    for name, field in kind.inputs.model_fields.items():
        value = given[name]
        if isinstance(value, str):
            feeds.append(torch.tensor([TOWNS.index(value)]))
        elif value is None:
            feeds.append(torch.tensor([float("nan")]))
        else:
            whole = "int64" in repr(field.metadata) or field.annotation is int
            plain = bool if isinstance(value, bool) else np.int64 if whole else F32
            feeds.append(torch.from_numpy(np.array([value], plain)))
    with torch.no_grad():
        made = model(*feeds)
    made = list(made.values()) if isinstance(made, dict) else made
    return [each[0].numpy() for each in (made if isinstance(made, (tuple, list)) else [made])]


def tried(kind: Kind) -> str:
    """ "right", or what is the matter: "refused: ...", "wrong: ...", "crash: ..."."""
    torch.manual_seed(0)
    chance = np.random.default_rng(0)
    golden = [kind.draw(chance) for _ in range(GOLDEN)]
    others = [kind.draw(chance) for _ in range(TRIED)]
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        try:
            model = kind.make()
            pipeline = st.Pipeline(
                name="kind", version="1.0.0", inputs=kind.inputs, outputs=kind.outputs,
                model=model, golden=golden)  # fmt: skip
            bundle = st.open_bundle(st.export_pipeline(pipeline, Path(folder)).path)
        except st.SeatrialError as error:
            return f"refused: {error}"
        except Exception:  # a crash is what this script counts
            return f"crash: {traceback.format_exc(limit=-3)}"
        try:
            engine = load_engine(bundle, RuntimeOptions())
            answers = [engine.answer(others, 1)]
            if bundle.manifest.batchable:
                answers.append(engine.answer(others, 8))
        except Exception as error:  # whatever it is, a row that was taken has no answer
            return f"wrong: it raises while it serves: {error}"
        want = [eager(kind, model, given) for given in others]
        return judged(want, answers) or ("right" if bundle.manifest.batchable else "right, alone")


def judged(want: list[list[np.ndarray]], answers: list[list[Any]]) -> str:
    """Where a batch size departs from the module."""
    for got in answers:
        for row_, one in zip(want, got, strict=True):
            for a, b in zip(row_, one.values(), strict=True):
                if a.shape != np.shape(b):
                    return f"wrong: shape {np.shape(b)} for {a.shape}"
                off = np.abs(a.astype(np.float64) - np.asarray(b, np.float64)).max(initial=0.0)
                if off > 1e-4 * max(1.0, np.abs(a).max(initial=0.0)):
                    return f"wrong: by {off:.3g}"
    return ""


def main() -> int:
    """Try the kinds that the arguments name, or all."""
    for family in (tabular, sequences, pictures, texts, vision_transformers):
        family()
    torch.set_num_threads(1)
    wanted = [name for name in KINDS if not sys.argv[1:] or any(w in name for w in sys.argv[1:])]
    count: collections.Counter[str] = collections.Counter()
    for name in wanted:
        found = tried(KINDS[name])
        count[found.partition(":")[0].partition(",")[0]] += 1
        print(f"{name}: {found}", flush=True)
    print(f"{len(wanted)} kinds: {dict(count)}")
    return 1 if count["wrong"] or count["crash"] else 0


if __name__ == "__main__":
    sys.exit(main())
