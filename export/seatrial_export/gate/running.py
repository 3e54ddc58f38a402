"""Operations that are traced as others, which mean the same at every size.

`torch.cdist` takes another path above 25 rows, and ONNX has no running product before opset 26.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor

Named = inspect.Parameter
PRODUCT = inspect.Signature(
    [
        Named("input", Named.POSITIONAL_OR_KEYWORD),
        Named("dim", Named.POSITIONAL_OR_KEYWORD),
        Named("dtype", Named.KEYWORD_ONLY, default=None),
    ]
)
DISTANCE = inspect.signature(torch.cdist)


def spelled_distances(*args: Any, **kwargs: Any) -> Any:
    """Euclidean distances of `torch.cdist`; others as they are."""
    said = DISTANCE.bind(*args, **kwargs)
    said.apply_defaults()
    if said.arguments["p"] != 2:
        return NotImplemented
    return distances(said.arguments["x1"], said.arguments["x2"])


def spelled_product(*args: Any, **kwargs: Any) -> Any:
    """`torch.cumprod` without a tensor to write to; others as they are."""
    if "out" in kwargs:
        return NotImplemented
    said = PRODUCT.bind(*args, **kwargs)
    said.apply_defaults()
    return running_product(*said.args, **said.kwargs)


def distances(x: Tensor, y: Tensor) -> Tensor:
    """Euclidean distances between the rows of both, `(..., rows of x, rows of y)`."""
    return (x.unsqueeze(-2) - y.unsqueeze(-3)).square().sum(-1).sqrt()


def running_product(values: Tensor, dim: int, dtype: torch.dtype | None = None) -> Tensor:
    """`torch.cumprod`, by products of the first n values for each n: n * n of them in memory."""
    integral = not (values.is_floating_point() or values.is_complex())
    wanted = dtype or (torch.int64 if integral else values.dtype)
    moved = values.to(wanted).movedim(dim, -1)
    count = moved.shape[-1]
    places = torch.arange(count, device=values.device)
    first = places <= places.unsqueeze(-1)
    ones = torch.ones((), dtype=wanted, device=values.device)
    return torch.where(first, moved.unsqueeze(-2), ones).prod(-1).movedim(-1, dim)
