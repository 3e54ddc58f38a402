"""Calls of torch that are traced as others, which mean the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from seatrial_export.gate.attention import with_one_head
from seatrial_export.gate.bags import opened_bag
from seatrial_export.gate.running import spelled_distances, spelled_product

REPLACEMENTS: Mapping[Callable[..., Any], Callable[..., Any]] = {
    functional.embedding_bag: opened_bag,
    functional.scaled_dot_product_attention: with_one_head,
    torch.cdist: spelled_distances,
    torch.cumprod: spelled_product,
    Tensor.cumprod: spelled_product,
}
"""A function of torch -> what takes its arguments in its place, or gives `NotImplemented`."""


class Replaced(TorchFunctionMode):
    """While it is active, what stands in `REPLACEMENTS` is called in place of torch's own."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """See torch's documentation of the mode."""
        given = kwargs or {}
        if func in REPLACEMENTS:
            made = REPLACEMENTS[func](*args, **given)
            if made is not NotImplemented:
                return made
        return func(*args, **given)
