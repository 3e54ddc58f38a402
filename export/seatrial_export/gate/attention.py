"""Attention of three sides, `(batch, tokens, size)`: traced with a head of its own.

torch's exporter writes `scaled_dot_product_attention` of four sides alone (torch 2.13).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

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


class OneHead(TorchFunctionMode):
    """While it is active, attention of three sides is that of four sides with one head."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """See torch's documentation of the mode."""
        if func is not functional.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        said = ATTENTION.bind(*args, **(kwargs or {})).arguments
        sides = {said[name].dim() for name in SIGNATURE[:3]}
        if sides != {THREE}:
            return func(*args, **(kwargs or {}))
        mask = said.get("attn_mask")
        more = {name: value for name, value in said.items() if name not in SIGNATURE[:4]}
        headed = [said[name].unsqueeze(1) for name in SIGNATURE[:3]]
        return func(*headed, attn_mask=with_head(mask), **more).squeeze(1)


def with_head(mask: Tensor | None) -> Tensor | None:
    """A mask `(batch, queries, keys)` with a head; one of two sides is for all."""
    return mask.unsqueeze(1) if mask is not None and mask.dim() == THREE else mask
