"""`len` of a tensor: traced as the size of its first side.

Python's own `len` makes a number of it, so that `torch.export` fixes the batch (torch 2.13).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from inspect import getattr_static
from types import FunctionType
from typing import Any

from torch import Tensor, nn


@contextmanager
def open_lengths(module: nn.Module) -> Iterator[None]:
    """Inside, the files of what the modules call, those of torch aside, have such a `len`.

    These are the files of `forward`, and of functions that a module holds. A file that has a `len`
    of its own keeps it.
    """
    found = [names for part in module.modules() for names in names_of(part)]
    files = {id(names): names for names in found if "len" not in names and not is_torch(names)}
    for names in files.values():
        names["len"] = length
    try:
        yield
    finally:
        for names in files.values():
            del names["len"]


def names_of(module: nn.Module) -> list[dict[str, Any]]:
    """The global names of the files that a module's `forward` and functions are written in."""
    called = (getattr_static(type(module), "forward", None), *vars(module).values())
    return [each.__globals__ for each in called if isinstance(each, FunctionType)]


def is_torch(names: dict[str, Any]) -> bool:
    """Are they those of a file of torch's?"""
    return str(names.get("__name__", "")).partition(".")[0] == "torch"


def length(value: Any) -> Any:
    """`len`, but for tensors."""
    return value.shape[0] if isinstance(value, Tensor) and value.dim() else len(value)
