"""Python's own functions in a model's code, traced for sizes that are open.

`len` of a tensor and `int` of a size make numbers, so that `torch.export` fixes the batch or the
size (torch 2.13).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from inspect import getattr_static
from types import FunctionType
from typing import Any
from unittest.mock import patch

import torch
from torch import SymFloat, SymInt, Tensor, nn


@contextmanager
def open_lengths(module: nn.Module) -> Iterator[None]:
    """Inside, `len` of a tensor is its first side, in the files of what the modules call."""
    with with_names(module, {"len": length}):
        yield


@contextmanager
def open_paths(module: nn.Module) -> Iterator[None]:
    """Inside, `int` of a size is that size, and code is told that it is traced.

    Code of transformers that keeps its position embeddings as they are at one size of pictures, and
    resizes them at others, resizes them at every size where `torch.jit.is_tracing` says so.
    """
    with with_names(module, {"int": Whole}), patch.object(torch.jit, "is_tracing", lambda: True):
        yield


@contextmanager
def with_names(module: nn.Module, given: Mapping[str, Any]) -> Iterator[None]:
    """Inside, the files of what the modules call, those of torch aside, have these names.

    These are the files of `forward`, and of functions that a module holds. A file that has such a
    name of its own keeps it.
    """
    found = [names for part in module.modules() for names in names_of(part)]
    files = {id(names): names for names in found if not is_torch(names)}
    added = [(names, name) for names in files.values() for name in given if name not in names]
    for names, name in added:
        names[name] = given[name]
    try:
        yield
    finally:
        for names, name in added:
            del names[name]


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


class AnyInteger(type):
    """The class of a class whose instances are all integers."""

    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance(value, int)

    def __subclasscheck__(cls, other: type) -> bool:
        return issubclass(other, int)


class Whole(int, metaclass=AnyInteger):
    """`int`, but for sizes."""

    def __new__(cls, *given: Any) -> Any:
        """An integer, or the size."""
        if len(given) == 1 and isinstance(given[0], (SymInt, SymFloat)):
            return torch.sym_int(given[0])  # type: ignore[no-untyped-call]  # torch has no types
        return int(*given)
