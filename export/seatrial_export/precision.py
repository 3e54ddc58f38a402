"""Models of 16 bits, which are sealed in float32, and models of float64, which are sealed as such.

onnxruntime has no product of bfloat16 on the processor, and rounds float16 at other places than
PyTorch. Each number of 16 bits is a number of float32, so raised weights are the same weights.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from typing import Any
from unittest import mock
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from seatrial_contracts.errors import DeclarationError
from seatrial_export.around import Around, naming

NARROW = (torch.bfloat16, torch.float16)
DOUBLE = (torch.float64,)
CASTS = {
    Tensor.bfloat16: torch.bfloat16, Tensor.half: torch.float16, Tensor.double: torch.float64,
}  # fmt: skip
"""Methods that ask for a type -> the type."""
COPIES = frozenset({"_to_copy", "clone", "copy_", "empty_like", "detach", "lift_fresh_copy"})
"""Operators that hold numbers, and compute none."""
PRODUCTS = re.compile(r"mm|mv|dot|linear|convolution|attention")
"""Operators whose sums of float16 PyTorch and onnxruntime round at other places."""
_given: WeakKeyDictionary[nn.Module, nn.Module] = WeakKeyDictionary()
"""Raised module -> the module that it was raised from."""


def raised(module: nn.Module, where: str) -> nn.Module:
    """A copy of the module with its weights of 16 bits in float32, or the module, if it has none.

    Raises `DeclarationError` for a module of such weights that cannot be copied.
    """
    if not narrow_weights(module):
        return module
    try:
        made = copy.deepcopy(module)
    except Exception as error:  # some modules have no copy: locks, files, tensors with gradients
        name = name_of(narrow_weights(module)[0].dtype)
        raise DeclarationError(
            where,
            f"weights of {name} in a module that cannot be copied ({type(error).__name__})",
            "weights of float32, which hold the same numbers",
            "call model.float() before the export",
        ) from error
    for part in made.modules():
        for parameter in part.parameters(recurse=False):
            if parameter.dtype in NARROW:
                parameter.data = parameter.data.float()
        for name, buffer in part.named_buffers(recurse=False):
            if buffer.dtype in NARROW:
                setattr(part, name, buffer.float())
    remember(made, module)
    return made


def remember(made: nn.Module, given: nn.Module) -> None:
    """Keep what a module was raised from."""
    _given[made] = given


def as_given(module: nn.Module) -> nn.Module:
    """The module that this one was raised from, or the module itself."""
    return _given.get(module, module)


def narrow_weights(module: nn.Module) -> list[Tensor]:
    """Weights and buffers of 16 bits."""
    return [
        tensor for tensor in (*module.parameters(), *module.buffers()) if tensor.dtype in NARROW
    ]


def name_of(dtype: torch.dtype) -> str:
    """`bfloat16`."""
    return str(dtype).removeprefix("torch.")


def is_double(module: nn.Module) -> bool:
    """Are all weights that are fractions float64?"""
    types = {tensor.dtype for tensor in module.parameters() if tensor.is_floating_point()}
    return types == {torch.float64}


class Seen(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the first type of 16 bits that something is computed in."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.dtype: torch.dtype | None = None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """One operator."""
        made = func(*args, **(kwargs or {}))
        first = made[0] if isinstance(made, tuple) and made else made
        if self.dtype is None and isinstance(first, Tensor) and departs(func, first.dtype):
            self.dtype = first.dtype
        return made


def departs(operator: Any, dtype: torch.dtype) -> bool:
    """Does onnxruntime compute this operator otherwise than PyTorch, or not at all?"""
    name = operator.overloadpacket.__name__
    if dtype is torch.float16:
        return PRODUCTS.search(name) is not None
    return dtype is torch.bfloat16 and name not in COPIES and not operator.is_view


def computes_in(module: nn.Module, arguments: Sequence[Tensor]) -> str:
    """The type of 16 bits that a module computes in, by casts or `torch.autocast`; else empty.

    What forward raises is for others to tell.
    """
    with torch.no_grad(), Seen() as seen:
        try:
            module(*(argument.clone() for argument in arguments))
        except Exception:  # forward may raise anything
            return ""
    return "" if seen.dtype is None else name_of(seen.dtype)


class Float32(TorchFunctionMode):
    """Within, what asks for one of these types gets float32, and `torch.autocast` does nothing."""

    def __init__(self, types: Sequence[torch.dtype]) -> None:
        super().__init__()
        self._types = types
        self._autocast = mock.patch.multiple(
            torch.autocast, __enter__=lambda own: own, __exit__=lambda *_: None
        )

    def __enter__(self) -> Any:
        self._autocast.start()
        return super().__enter__()  # type: ignore[no-untyped-call]

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        self._autocast.stop()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """One call of torch."""
        if CASTS.get(func) in self._types:
            return args[0].to(torch.float32)
        named = {name: self._single(value) for name, value in (kwargs or {}).items()}
        return func(*map(self._single, args), **named)

    def _single(self, value: Any) -> Any:
        """The value, or float32 in place of one of the types."""
        return torch.float32 if isinstance(value, torch.dtype) and value in self._types else value


class Cast(Around):
    """The user's model at one precision, between tensors of the types that the contract has."""

    def __init__(
        self, model: nn.Module, outputs: Sequence[str], inside: torch.dtype,
        gives: Mapping[str, torch.dtype], instead: Sequence[torch.dtype],
    ) -> None:  # fmt: skip
        super().__init__(model, outputs)
        self._inside, self._gives, self._instead = inside, dict(gives), tuple(instead)

    def taken(self, arguments: Sequence[Tensor]) -> Sequence[Tensor]:
        """The arguments, fractions in the model's own precision."""
        return [each.to(self._inside) if each.is_floating_point() else each for each in arguments]

    def called(self, arguments: Sequence[Tensor]) -> Any:
        """The model's answer, computed in that precision."""
        if self._inside is torch.float64:
            return super().called(arguments)
        with Float32(self._instead):
            return super().called(arguments)

    def given(self, name: str, tensor: Tensor) -> Tensor:
        """The answer in the type that the answer class declares."""
        want = self._gives.get(name, tensor.dtype)
        return tensor.to(want) if tensor.is_floating_point() and want.is_floating_point else tensor


def cast(
    model: nn.Module, arguments: Sequence[str], outputs: Sequence[str], inside: torch.dtype,
    gives: Mapping[str, torch.dtype], instead: Sequence[torch.dtype] = NARROW,
) -> nn.Module:  # fmt: skip
    """The model at one precision; `gives` are the types of the answers by name.

    If that is float32, it stands for the types of `instead` that forward asks for.
    """
    return naming(Cast, arguments)(model, outputs, inside, gives, instead)
