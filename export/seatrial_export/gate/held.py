"""The state that modules hold, by name.

The state is tensors, numbers, containers, closures, defaults, the globals that their code names,
and random numbers.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import random
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from types import CodeType, FunctionType, GeneratorType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seatrial_export.graphs.exporter_messages import is_users

Held = dict[str, str]
PLAIN = (
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    type(None),
    torch.dtype,
    torch.device,
    np.generic,
    range,
    slice,
)
MOST_DEEP, MOST_VALUES = 24, 200_000
LIBRARIES = (sys.stdlib_module_names - {"types", "__main__"}) | {"torch"}
"""Objects of theirs keep caches of their own, a logger for one."""
CACHE = ".cache_info()"
"""How the name of what `functools.lru_cache` keeps ends: how many values, not which."""


def held(modules: Mapping[str, nn.Module]) -> Held:
    """Name -> what stands there, as text that is equal where the values are equal to the bit."""
    found = Walk()
    for name, module in modules.items():
        found.enter(name, module)
    found.held["the random numbers of torch"] = digest(torch.get_rng_state().numpy())
    found.held["the random numbers of numpy"] = repr(np.random.get_state())  # noqa: NPY002  (the global one is what is asked about)
    found.held["the random numbers of random"] = str(hash(random.getstate()))
    return found.held


def changed(before: Held, after: Held) -> list[str]:
    """List the names whose value differs, those that came or went included.

    The names are in order, so that the first one is always the same.
    """
    return [name for name in {**before, **after} if before.get(name) != after.get(name)]


def digest(array: np.ndarray[Any, Any]) -> str:
    """Type, shape and a hash of the bytes."""
    data = np.ascontiguousarray(array)
    whole = repr(data.tolist()).encode() if data.dtype.hasobject else data.reshape(-1).data
    return f"{data.dtype}{list(data.shape)} {hashlib.sha256(whole).hexdigest()[:16]}"


def digest_of(tensor: Tensor) -> str:
    """The same of a tensor, wherever it lies."""
    value = tensor.detach()
    if (
        type(value) not in (Tensor, nn.Parameter)
        or value.layout != torch.strided
        or value.is_quantized
    ):
        return f"{type(tensor).__name__} {tensor.dtype}{list(tensor.shape)}"
    value = value.cpu().contiguous()
    content = digest(value.view(-1).view(torch.uint8).numpy()) if value.numel() else ""
    return f"{tensor.dtype}{list(tensor.shape)} {content}"


class Walk:
    """One look at everything that can be reached from a module."""

    def __init__(self) -> None:
        self.held: Held = {}
        self._seen: dict[int, Any] = {}

    def enter(self, name: str, value: Any, deep: int = 0) -> None:
        """Note a value, and go into it. What was seen under another name is not noted again."""
        if isinstance(value, PLAIN):
            self.held[name] = repr(value)
        elif isinstance(value, Tensor):
            self.held[name] = digest_of(value)
        elif isinstance(value, np.ndarray):
            self.held[name] = digest(value)
        elif id(value) not in self._seen and deep < MOST_DEEP and len(self.held) < MOST_VALUES:
            self._seen[id(value)] = value  # kept, so that no other value takes its id meanwhile
            for part, inner in self._parts(name, value):
                self.enter(part, inner, deep + 1)

    def _parts(self, name: str, value: Any) -> Iterator[tuple[str, Any]]:
        if isinstance(value, nn.Module):
            yield from self._parts_of_module(name, value)
        elif isinstance(value, Mapping):
            yield f"len({name})", len(value)
            yield from ((f"{name}[{key!r}]", inner) for key, inner in list(value.items()))
        elif isinstance(value, (set, frozenset)):
            yield name, repr(sorted(map(repr, value)))
        elif isinstance(value, (list, tuple, deque)):
            yield f"len({name})", len(value)
            yield from ((f"{name}[{place}]", inner) for place, inner in enumerate(list(value)))
        elif isinstance(value, functools.partial):
            yield from (
                (f"{name}.{part}", getattr(value, part)) for part in ("func", "args", "keywords")
            )
        elif hasattr(value, "cache_info"):
            yield name + CACHE, value.cache_info().currsize
            yield f"{name}.__wrapped__", getattr(value, "__wrapped__", None)
        elif isinstance(value, (FunctionType, MethodType)):
            yield from self._parts_of_function(name, value)
        elif isinstance(value, GeneratorType):
            frame = value.gi_frame
            yield f"{name} at", -1 if frame is None else frame.f_lasti
            yield f"{name}'s variables", {} if frame is None else dict(frame.f_locals)
        elif isinstance(value, (random.Random, np.random.Generator, torch.Generator)):
            yield name, state_of(value)
        elif type(value).__module__ == "itertools" or type(value).__name__.endswith("_iterator"):
            yield name, place_of(value)
        elif isinstance(value, type):
            if users(value):
                yield from (
                    (f"{name}.{key}", inner)
                    for key, inner in vars(value).items()
                    if not callable(inner) and not key.startswith("__")
                )
        elif isinstance(value, ModuleType):
            return  # what code names of it is looked at there
        elif (
            hasattr(value, "__dict__") and type(value).__module__.partition(".")[0] not in LIBRARIES
        ):
            yield from ((f"{name}.{key}", inner) for key, inner in list(vars(value).items()))
            yield from (
                (f"{name}.{key}", inner)
                for key, inner in vars(type(value)).items()
                if isinstance(inner, FunctionType)
            )

    def _parts_of_module(self, name: str, module: nn.Module) -> Iterator[tuple[str, Any]]:
        for key, value in list(vars(module).items()):
            if key in ("_parameters", "_buffers", "_modules"):
                yield from ((f"{name}.{part}", inner) for part, inner in list(value.items()))
            else:
                yield f"{name}.{key}", value
        for kind in type(module).__mro__:
            if users(kind):
                yield from (
                    (f"{name}.{key}", inner)
                    for key, inner in vars(kind).items()
                    if not key.startswith("__")
                )

    def _parts_of_function(
        self, name: str, value: FunctionType | MethodType
    ) -> Iterator[tuple[str, Any]]:
        function: Any = value
        if isinstance(value, MethodType):
            yield f"{name}.__self__", value.__self__
            function = value.__func__
        if not isinstance(function, FunctionType) or not is_users(function.__code__.co_filename):
            return
        for variable, cell in zip(
            function.__code__.co_freevars, function.__closure__ or (), strict=True
        ):
            try:
                yield f"{name}'s variable {variable}", cell.cell_contents
            except ValueError:  # not yet given
                continue
        yield f"{name}'s defaults", (function.__defaults__, function.__kwdefaults__)
        yield from ((f"{name}.{key}", inner) for key, inner in vars(function).items())
        named = names_in(function.__code__)
        for variable in named:
            inner = function.__globals__.get(variable)
            if isinstance(inner, ModuleType) and is_users(getattr(inner, "__file__", None) or "<"):
                yield from (
                    (f"{variable}.{key}", vars(inner)[key]) for key in named if key in vars(inner)
                )
            elif inner is not None:
                yield f"global {variable}", inner


def names_in(code: CodeType) -> list[str]:
    """Names of globals and attributes that code speaks of, that of functions inside it too."""
    inner = [
        name for part in code.co_consts if isinstance(part, CodeType) for name in names_in(part)
    ]
    return list(dict.fromkeys([*code.co_names, *inner]))


def users(kind: type) -> bool:
    """Is this a class of the user's?"""
    return is_users(getattr(sys.modules.get(kind.__module__), "__file__", None) or "<")


def place_of(iterator: Any) -> str:
    """Where an iterator stands, as far as it tells."""
    if isinstance(iterator, itertools.count):
        return repr(iterator)
    try:
        return repr(iterator.__reduce__())
    except TypeError:
        return type(iterator).__name__


def state_of(generator: random.Random | np.random.Generator | torch.Generator) -> str:
    """Where a generator of random numbers stands."""
    if isinstance(generator, torch.Generator):
        return digest(generator.get_state().numpy())
    return repr(
        generator.getstate()
        if isinstance(generator, random.Random)
        else generator.bit_generator.state
    )
