"""Take off wrappers of a user's module that change how it runs and not what it computes.

Others are refused by name.
"""

from __future__ import annotations

import copy
from typing import Any

from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import parametrize
from torch.optim.swa_utils import AveragedModel

from seatrial_contracts.errors import DeclarationError

WRAPPED = (nn.DataParallel, DistributedDataParallel, AveragedModel)
"""Classes whose `module` is the module itself; an averaged one's holds the averaged weights."""
QUANTIZED = ("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized", "bitsandbytes")
"""Packages of modules whose products have no ONNX form."""
MEND_QUANTIZED = (
    "seal the float model, and ask for a quantised variant of it: variants=['int8_per_token']"
)


def unwrapped(module: nn.Module, where: str) -> nn.Module:
    """The module inside of `torch.compile`, `DataParallel`, averaged weights and PEFT's adapters.

    Weights that parametrizations make are made once. An adapter's own layers stay in the module.
    Raises `DeclarationError` for quantised layers, and for a wrapper of PEFT's that adds to the
    input.
    """
    while True:
        inner = inside(module)
        if inner is not None:
            module = inner
        elif _is_of(module, "peft", "PeftModel", "PeftMixedModel"):
            module = _adapted(module, where)
        else:
            break
    module = baked(unwrapped_within(module))
    for path, child in module.named_modules():
        if type(child).__module__.startswith(QUANTIZED):
            kind = f"{type(child).__module__.partition('.modules')[0]}.{type(child).__name__}"
            raise DeclarationError(
                f"{where}.{path}".rstrip("."),
                f"a quantised layer, {kind}",
                "layers of float weights",
                MEND_QUANTIZED,
            )
    return module


def inside(module: nn.Module) -> nn.Module | None:
    """The module that `torch.compile`, `DataParallel` or averaged weights wrap; else None."""
    compiled: Any = getattr(module, "_orig_mod", None)
    if isinstance(compiled, nn.Module):
        return compiled
    return module.module if isinstance(module, WRAPPED) else None


def unwrapped_within(module: nn.Module) -> nn.Module:
    """The module without such wrappers of its parts: a copy that shares its weights.

    The module itself where it has none, or has no copy.
    """
    parts: dict[int, Any] = {}
    for part in module.modules():
        inner = inside(part)
        while inner is not None and inside(inner) is not None:
            inner = inside(inner)
        if inner is not None:
            parts[id(part)] = inner
    if not parts:
        return module
    kept = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
    try:
        return copy.deepcopy(module, kept | parts)
    except Exception:  # some modules have no copy: locks, files, tensors with gradients
        return module


def baked(module: nn.Module) -> nn.Module:
    """The module with the weights that its parametrizations make: a copy, computed once.

    The module itself where it has none, is in training mode, or has no copy.
    """
    parts = [part for part in module.modules() if parametrize.is_parametrized(part)]
    if not parts or any(part.training for part in module.modules()):
        return module
    try:
        made = copy.deepcopy(module)
        for part in list(made.modules()):
            if parametrize.is_parametrized(part):
                own_class(part)
            for name in list(getattr(part, "parametrizations", {})):
                parametrize.remove_parametrizations(part, name, leave_parametrized=True)
    except Exception:  # a parametrization may raise anything; the graph computes it then
        return module
    return made


def own_class(copied: nn.Module) -> None:
    """Give the copy of a parametrized module a class of its own.

    The property that computes a weight is the class's, which torch makes for each module and a deep
    copy shares. Removed from the copy, it would be gone from the module too.
    """
    shared = type(copied)
    copied.__class__ = type(shared.__name__, shared.__bases__, dict(vars(shared)))


def _adapted(module: Any, where: str) -> nn.Module:
    """The module that PEFT put adapters into (LoRA and its kin, which call it as it is)."""
    tuner = module.base_model
    if _is_of(tuner, "peft", "BaseTuner"):
        inner: nn.Module = tuner.model
        return inner
    raise DeclarationError(
        where,
        f"PEFT's {type(module).__name__}, whose prompts are added to the input",
        "a module whose forward takes the contract's tensors",
        "write an nn.Module whose forward calls it",
    )


def _is_of(module: nn.Module, package: str, *names: str) -> bool:
    """Is the module of one of a package's classes, or of a class made of one?"""
    return any(
        cls.__name__ in names and cls.__module__.partition(".")[0] == package
        for cls in type(module).__mro__
    )
