"""Kinds over pictures, points and graphs."""

from __future__ import annotations

import numpy as np
import torch
from kind import F32, LABEL, OPEN, PICTURE, many, mlp, normal, out, over, picture, row, series
from torch import nn
from torch.nn import functional

import seatrial as st


def pictures() -> None:
    """Networks over pictures, points and graphs."""
    fixed, open_ = normal(3, 32, 32), picture(24, 64)
    body = lambda: nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU()
    )
    over(
        "cnn, fixed side",
        PICTURE,
        fixed,
        LABEL,
        lambda m, x: m.h(m.b(x).flatten(1)).softmax(1),
        b=body,
        h=lambda: nn.Linear(512, 3),
    )
    over(
        "cnn, open side",
        OPEN,
        open_,
        many(3),
        lambda m, x: m.h(m.b(x).mean((2, 3))),
        b=body,
        h=lambda: nn.Linear(8, 3),
    )
    over(
        "cnn, pooled to one",
        OPEN,
        open_,
        many(8),
        lambda m, x: m.p(m.b(x)).flatten(1),
        b=body,
        p=lambda: nn.AdaptiveAvgPool2d(1),
    )
    over(
        "cnn, pooled to seven",
        OPEN,
        open_,
        many(392),
        lambda m, x: m.p(m.b(x)).flatten(1),
        b=body,
        p=lambda: nn.AdaptiveAvgPool2d(7),
    )
    over(
        "residual",
        PICTURE,
        fixed,
        many(8),
        lambda m, x: (m.b(x) + m.s(x)).relu().amax((2, 3)),
        b=body,
        s=lambda: nn.Conv2d(3, 8, 1, 4),
    )
    over(
        "depthwise",
        PICTURE,
        fixed,
        many(6),
        lambda m, x: m.b(x).mean((2, 3)),
        b=lambda: nn.Sequential(nn.Conv2d(3, 6, 3, groups=3), nn.Hardswish(), nn.Conv2d(6, 6, 1)),
    )
    over(
        "squeeze and excite",
        PICTURE,
        fixed,
        many(8),
        lambda m, x: (m.b(x) * m.g(m.b(x).mean((2, 3)))[:, :, None, None]).mean((2, 3)),
        b=body,
        g=lambda: nn.Sequential(nn.Linear(8, 8), nn.Sigmoid()),
    )
    over(
        "group norm",
        PICTURE,
        fixed,
        many(8),
        lambda m, x: m.n(m.b(x)).mean((2, 3)),
        b=body,
        n=lambda: nn.GroupNorm(2, 8),
    )
    over(
        "instance norm",
        OPEN,
        open_,
        many(8),
        lambda m, x: m.n(m.b(x)).amax((2, 3)),
        b=body,
        n=lambda: nn.InstanceNorm2d(8),
    )
    over(
        "unet",
        PICTURE,
        fixed,
        many(2, 32, 32),
        lambda m, x: m.u(m.b(x)),
        b=body,
        u=lambda: nn.Sequential(nn.ConvTranspose2d(8, 8, 4, 4), nn.Conv2d(8, 2, 1)),
    )
    over(
        "mask of classes",
        OPEN,
        open_,
        out(y=st.Tensor[np.int64, None, None]),
        lambda m, x: m.c(x).argmax(1),
        c=lambda: nn.Conv2d(3, 4, 3, padding=1),
    )
    over(
        "logits made larger",
        OPEN,
        open_,
        many(2, None, None),
        lambda m, x: functional.interpolate(m.c(x), x.shape[2:], mode="bilinear"),
        c=lambda: nn.Conv2d(3, 2, 3, 2, 1),
    )
    over(
        "super-resolution",
        PICTURE,
        fixed,
        many(3, 64, 64),
        lambda m, x: m.s(m.c(x)),
        c=lambda: nn.Conv2d(3, 12, 3, padding=1),
        s=lambda: nn.PixelShuffle(2),
    )
    over(
        "keypoints by soft argmax",
        PICTURE,
        fixed,
        many(4),
        lambda m, x: m.c(x).flatten(2).softmax(2) @ torch.arange(900.0),
        c=lambda: nn.Conv2d(3, 4, 3),
    )
    over(
        "spatial transformer",
        PICTURE,
        fixed,
        many(3),
        lambda m, x: functional.grid_sample(
            x,
            functional.affine_grid(
                m.h(x.mean((2, 3))).view(-1, 2, 3), list(x.shape), align_corners=False
            ),
            align_corners=False,
        ).mean((2, 3)),
        h=lambda: nn.Linear(3, 6),
    )
    over(
        "a grid of boxes",
        PICTURE,
        fixed,
        many(64, 6),
        lambda m, x: m.c(m.b(x)).flatten(2).transpose(1, 2),
        b=body,
        c=lambda: nn.Conv2d(8, 6, 1),
    )
    over(
        "boxes above a threshold",
        PICTURE,
        fixed,
        many(None, 4),
        lambda m, x: m.c(x).flatten(2)[:, :, m.c(x).mean((0, 1)).flatten() > 0].transpose(1, 2),
        c=lambda: nn.Conv2d(3, 4, 8, 8),
    )
    over(
        "gray and edges",
        PICTURE,
        fixed,
        many(2),
        lambda _, x: torch.stack(
            [x.mean((1, 2, 3)), (x[:, :, 1:] - x[:, :, :-1]).abs().mean((1, 2, 3))], 1
        ),
    )
    over(
        "generator",
        row(x=st.Tensor[F32, 8]),
        normal(8),
        many(3, 8, 8),
        lambda m, x: m.g(x[:, :, None, None]).tanh(),
        g=lambda: nn.ConvTranspose2d(8, 3, 8),
    )
    over(
        "points",
        row(x=st.Tensor[F32, 8:64, 3]),
        series(8, 64, 3),
        many(4),
        lambda m, x: m.f(x).amax(1),
        f=lambda: mlp(3, 8, 4),
    )
    over(
        "a set of vectors",
        row(x=st.Tensor[F32, 8:64, 3]),
        series(8, 64, 3),
        many(2),
        lambda m, x: m.g(m.f(x).sum(1)),
        f=lambda: mlp(3, 8),
        g=lambda: mlp(8, 2),
    )
    over(
        "a dense graph",
        row(x=st.Tensor[F32, 6, 6]),
        normal(6, 6),
        many(6, 2),
        lambda m, x: x.sigmoid() @ m.f(torch.eye(6)),
        f=lambda: nn.Linear(6, 2),
    )
