"""Bags of embeddings over rows of items: traced as a lookup and a sum.

torch's own `embedding_bag` turns `(batch, items)` into one long list with the place where each bag
begins. Its trace then holds for batches of two or more alone (torch 2.13).
"""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor
from torch.nn import functional

BAG = inspect.signature(functional.embedding_bag)
OPENED = ("sum", "mean")


def opened_bag(*args: Any, **kwargs: Any) -> Any:
    """`embedding_bag` of rows of items, as a lookup and a sum or a mean; others as they are."""
    given = BAG.bind(*args, **kwargs)
    given.apply_defaults()
    said = given.arguments
    if said["input"].dim() != 2 or said["mode"] not in OPENED or said["max_norm"] is not None:
        return NotImplemented
    return opened(
        said["input"], said["weight"], said["mode"], said["per_sample_weights"],
        said["padding_idx"],
    )  # fmt: skip


def opened(
    items: Tensor, table: Tensor, mode: str, weights: Tensor | None, padding: int | None
) -> Tensor:
    """`torch.nn.functional.embedding_bag` of items `(batch, items)`, by its documentation."""
    found = functional.embedding(items, table)
    if padding is not None:
        counts = (items != padding % table.shape[0]).to(table.dtype)
        weights = counts if weights is None else weights * counts
    total = (found if weights is None else found * weights.unsqueeze(-1)).sum(1)
    if mode == "sum":
        return total
    if padding is None:
        return total / items.shape[1]
    return total / counts.sum(1, keepdim=True).clamp(min=1)
