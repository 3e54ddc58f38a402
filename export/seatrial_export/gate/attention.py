"""Attention of three sides, `(batch, tokens, size)`: traced with a head of its own.

torch's exporter writes `scaled_dot_product_attention` of four sides alone (torch 2.13).
"""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor
from torch.nn import functional

THREE = 3
SIGNATURE = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa")
ATTENTION = inspect.Signature(
    [
        inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default)
        for name, default in zip(
            SIGNATURE, (*[inspect.Parameter.empty] * 3, None, 0.0, False, None, False), strict=True
        )
    ]
)


def with_one_head(*args: Any, **kwargs: Any) -> Any:
    """Attention of three sides as that of four with one head; others as they are."""
    said = ATTENTION.bind(*args, **kwargs).arguments
    if {said[name].dim() for name in SIGNATURE[:3]} != {THREE}:
        return NotImplemented
    more = {name: value for name, value in said.items() if name not in SIGNATURE[:4]}
    query, key, value = (said[name].unsqueeze(1) for name in SIGNATURE[:3])
    mask = with_head(said.get("attn_mask"))
    made = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, **more)
    return made.squeeze(1)


def with_head(mask: Tensor | None) -> Tensor | None:
    """A mask `(batch, queries, keys)` with a head; one of two sides is for all."""
    return mask.unsqueeze(1) if mask is not None and mask.dim() == THREE else mask
