"""Kinds over numbers and fields."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from kind import (
    CELLS,
    F32,
    KINDS,
    LABEL,
    SCORE,
    Draw,
    Kind,
    Table,
    TwoInputs,
    cells,
    eight,
    many,
    mlp,
    normal,
    out,
    row,
)
from torch import nn
from torch.nn import functional
from torch.nn.utils import prune

import seatrial as st


def tabular() -> None:
    """Networks over numbers."""
    first = lambda m, x: m.net(x)[:, 0]
    eight("mlp", first, net=lambda: mlp(8, 16, 1))
    eight("mlp keeping its last side", lambda m, x: m.net(x), many(1), net=lambda: mlp(8, 4, 1))
    eight(
        "mlp with batch norm and dropout",
        first,
        net=lambda: nn.Sequential(
            nn.Linear(8, 8), nn.BatchNorm1d(8), nn.GELU(), nn.Dropout(0.5), nn.Linear(8, 1)
        ),
    )
    eight("softmax labels", lambda m, x: m.net(x).softmax(1), LABEL, net=lambda: mlp(8, 8, 3))
    eight(
        "log-softmax",
        lambda m, x: functional.log_softmax(m.net(x), -1),
        many(3),
        net=lambda: mlp(8, 8, 3),
    )
    eight(
        "argmax as a whole number",
        lambda m, x: m.net(x).argmax(1),
        out(y=int),
        net=lambda: mlp(8, 8, 3),
    )
    eight(
        "top-k values and places",
        lambda m, x: tuple(m.net(x).softmax(1).topk(2)),
        out(v=st.Tensor[F32, 2], i=st.Tensor[np.int64, 2]),
        net=lambda: mlp(8, 8, 5),
    )
    eight(
        "threshold as a flag",
        lambda m, x: m.net(x).sigmoid() > 0.5,
        out(y=st.Tensor[bool, 1]),
        net=lambda: mlp(8, 8, 1),
    )
    eight(
        "several heads by name",
        lambda m, x: {"a": m.a(x)[:, 0], "b": m.b(x).softmax(1)},
        out(a=float, b=st.Tensor[F32, 3]),
        a=lambda: mlp(8, 1),
        b=lambda: mlp(8, 3),
    )
    eight("quantiles", lambda m, x: m.net(x).sort(1).values, many(3), net=lambda: mlp(8, 8, 3))
    eight(
        "mixture density",
        lambda m, x: (m.net(x)[:, :3].softmax(1), m.net(x)[:, 3:6], m.net(x)[:, 6:].exp()),
        out(p=st.Tensor[F32, 3], mu=st.Tensor[F32, 3], s=st.Tensor[F32, 3]),
        net=lambda: mlp(8, 9),
    )
    eight("autoencoder error", lambda m, x: (m.net(x) - x).pow(2).mean(1), net=lambda: mlp(8, 2, 8))
    eight(
        "variational, sampled",
        lambda m, x: (m.net(x) + torch.randn(len(x), 1))[:, 0],
        net=lambda: mlp(8, 1),
    )
    eight(
        "monte carlo dropout",
        lambda m, x: torch.stack([functional.dropout(m.net(x)[:, 0]) for _ in range(3)]).mean(0),
        net=lambda: mlp(8, 1),
    )
    eight(
        "factorization machine",
        lambda m, x: (
            m.lin(x)[:, 0] + 0.5 * ((x @ m.v.weight).pow(2) - x.pow(2) @ m.v.weight.pow(2)).sum(1)
        ),
        lin=lambda: nn.Linear(8, 1),
        v=lambda: nn.Embedding(8, 4),
    )
    eight(
        "cross network",
        lambda m, x: m.out(x * m.a(x) + x)[:, 0],
        a=lambda: nn.Linear(8, 1),
        out=lambda: nn.Linear(8, 1),
    )
    eight(
        "dot interactions",
        lambda _, x: torch.bmm(x.view(-1, 4, 2), x.view(-1, 4, 2).transpose(1, 2)).flatten(1),
        many(16),
    )
    eight(
        "survival curve",
        lambda m, x: (1 - m.net(x).sigmoid()).cumprod(1),
        many(5),
        net=lambda: mlp(8, 8, 5),
    )
    eight(
        "additive model",
        lambda m, x: sum(f(x[:, i : i + 1]) for i, f in enumerate(m.fs))[:, 0],
        fs=lambda: nn.ModuleList(mlp(1, 4, 1) for _ in range(8)),
    )
    eight(
        "feature tokens",
        lambda m, x: m.head(m.enc(x[..., None] * m.e.weight).mean(1))[:, 0],
        e=lambda: nn.Embedding(8, 8),
        head=lambda: nn.Linear(8, 1),
        enc=lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
    )


def habits() -> None:
    """What first versions do to their layers, weights and inputs."""
    first = lambda m, x: m.net(x)[:, 0]
    eight(
        "weight norm",
        first,
        net=lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(8, 1))),
    )
    eight(
        "spectral norm",
        first,
        net=lambda: nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(8, 1))),
    )
    eight(
        "pruned",
        first,
        net=lambda: nn.Sequential(prune.l1_unstructured(nn.Linear(8, 1), "weight", 0.5)),
    )
    eight(
        "ensemble",
        lambda m, x: torch.stack([f(x)[:, 0] for f in m.fs]).mean(0),
        fs=lambda: nn.ModuleList(mlp(8, 4, 1) for _ in range(3)),
    )
    eight(
        "standardised by constants",
        lambda m, x: m.net((x - torch.arange(8.0)) / torch.linspace(1, 2, 8))[:, 0],
        net=lambda: mlp(8, 1),
    )
    eight(
        "whitened by its batch",
        lambda m, x: m.net((x - x.mean(0)) / (x.std(0) + 1))[:, 0],
        net=lambda: mlp(8, 1),
    )
    eight(
        "branch on a value",
        lambda m, x: m.net(x)[:, 0] if x.sum() > 0 else -m.net(x)[:, 0],
        net=lambda: mlp(8, 1),
    )
    eight(
        "numpy inside",
        lambda m, x: torch.from_numpy(np.tanh(m.net(x).detach().numpy()))[:, 0],
        net=lambda: mlp(8, 1),
    )
    eight(
        "double weights",
        lambda m, x: m.net(x.double()).float()[:, 0],
        net=lambda: mlp(8, 1).double(),
    )
    eight("bfloat16 weights", first, net=lambda: mlp(8, 1).bfloat16())
    eight(
        "radial basis",
        lambda m, x: torch.exp(-torch.cdist(x, m.c.weight)).sum(1),
        c=lambda: nn.Embedding(4, 8),
    )
    eight(
        "nearest prototypes",
        lambda m, x: torch.cdist(x, m.c.weight).argmin(1),
        out(y=int),
        c=lambda: nn.Embedding(4, 8),
    )
    eight(
        "fourier features", lambda m, x: m.net(torch.fft.rfft(x).abs())[:, 0], net=lambda: mlp(5, 1)
    )
    eight(
        "einsum attention",
        lambda m, x: torch.einsum("bi,ij,bj->b", x, m.w.weight, x),
        w=lambda: nn.Embedding(8, 8),
    )
    eight(
        "actor and critic",
        lambda m, x: (m.a(x).tanh(), m.c(x)[:, 0]),
        out(action=st.Tensor[F32, 2], value=float),
        a=lambda: mlp(8, 2),
        c=lambda: mlp(8, 1),
    )
    eight(
        "hypersphere", lambda m, x: functional.normalize(m.net(x)), many(4), net=lambda: mlp(8, 4)
    )
    eight(
        "mixture of experts",
        lambda m, x: (m.gate(x).softmax(1)[:, :, None] * torch.stack([f(x) for f in m.fs], 1)).sum(
            1
        )[:, 0],
        gate=lambda: nn.Linear(8, 3),
        fs=lambda: nn.ModuleList(mlp(8, 1) for _ in range(3)),
    )
    eight(
        "experts by top-1",
        lambda m, x: torch.stack([f(x) for f in m.fs], 1).gather(
            1, m.gate(x).argmax(1)[:, None, None]
        )[:, 0, 0],
        gate=lambda: nn.Linear(8, 3),
        fs=lambda: nn.ModuleList(mlp(8, 1) for _ in range(3)),
    )
    eight("in place", lambda m, x: m.net(x.clamp_(min=0))[:, 0], net=lambda: mlp(8, 1))
    eight("compiled", first, net=lambda: torch.compile(mlp(8, 1)))
    KINDS["data parallel"] = KINDS["mlp"]._replace(
        make=lambda: nn.DataParallel(mlp(8, 4, 1)).eval(), outputs=many(1)
    )
    KINDS["scripted"] = KINDS["data parallel"]._replace(
        make=lambda: torch.jit.script(mlp(8, 1)).eval()
    )
    KINDS["left in training mode"] = KINDS["mlp"]._replace(
        make=lambda: nn.Sequential(nn.Linear(8, 1), nn.Dropout(), nn.Flatten(0))
    )


def fields() -> None:
    """Networks over fields of unlike kinds."""
    joined = lambda a, i, m: torch.stack(
        [a / 90, i.nan_to_num(3e4) / 1e5, i.isnan().float(), m.float()], 1
    )
    table = lambda name, does, outputs, **layers: KINDS.update(
        {
            name: Kind(
                lambda: Table(does, **{k: v() for k, v in layers.items()}).eval(),
                CELLS,
                outputs,
                cells,
            )
        }
    )
    table(
        "fields, embedded words",
        lambda m, a, i, t, f: m.net(torch.cat([joined(a, i, f), m.e(t)], 1))[:, 0],
        SCORE,
        e=lambda: nn.Embedding(3, 2),
        net=lambda: mlp(6, 8, 1),
    )
    table(
        "fields, one-hot words",
        lambda m, a, i, t, f: m.net(
            torch.cat([joined(a, i, f), functional.one_hot(t, 3).float()], 1)
        ).softmax(1),
        LABEL,
        net=lambda: mlp(7, 8, 3),
    )
    table(
        "fields, a rule beside",
        lambda m, a, i, _, f: torch.where((a > 60) & f, m.net(joined(a, i, f))[:, 0], a / 90),
        SCORE,
        net=lambda: mlp(4, 1),
    )
    table(
        "fields, missing not seen to",
        lambda m, a, i, _, __: m.net(torch.stack([a, i], 1))[:, 0],
        SCORE,
        net=lambda: mlp(2, 1),
    )
    two = row(a=st.Tensor[F32, 4], b=st.Tensor[F32, 4])
    pair: Draw = lambda chance: normal(4, name="a")(chance) | normal(4, name="b")(chance)
    KINDS["two towers"] = Kind(
        lambda: TwoInputs(
            lambda m, a, b: (m.f(a) * m.g(b)).sum(1), f=mlp(4, 4), g=mlp(4, 4)
        ).eval(),
        two,
        SCORE,
        pair,
    )
    KINDS["bilinear"] = Kind(
        lambda: TwoInputs(lambda m, a, b: m.f(a, b)[:, 0], f=nn.Bilinear(4, 4, 1)).eval(),
        two,
        SCORE,
        pair,
    )
    users = row(a=Annotated[int, st.Number(ge=0, lt=9)], b=Annotated[int, st.Number(ge=0, lt=7)])
    KINDS["matrix factorisation"] = Kind(
        lambda: TwoInputs(
            lambda m, a, b: (m.u(a) * m.i(b)).sum(1) + m.bias(b)[:, 0],
            u=nn.Embedding(9, 4),
            i=nn.Embedding(7, 4),
            bias=nn.Embedding(7, 1),
        ).eval(),
        users,
        SCORE,
        lambda c: {"a": int(c.integers(0, 9)), "b": int(c.integers(0, 7))},
    )
