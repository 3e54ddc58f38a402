"""Take off wrappers of a user's module that change how it runs and not what it computes.

Others are refused by name.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx, nn
from torch.nn.parallel import DistributedDataParallel
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

    An adapter's own layers stay in the module. Raises `DeclarationError` for a module that has no
    Python code left to trace (TorchScript, or one that torch.export made), for quantised layers,
    and for a wrapper of PEFT's that adds to the input.
    """
    while True:
        compiled: Any = getattr(module, "_orig_mod", None)
        if isinstance(compiled, nn.Module):
            module = compiled
        elif isinstance(module, WRAPPED):
            module = module.module
        elif _is_of(module, "peft", "PeftModel", "PeftMixedModel"):
            module = _adapted(module, where)
        else:
            break
    want = "the nn.Module that it was made of: the gate traces its Python code itself"
    if isinstance(module, torch.jit.ScriptModule):
        raise DeclarationError(
            where, "a TorchScript module (torch.jit.script or torch.jit.trace)", want
        )
    if isinstance(module, fx.GraphModule) and hasattr(module, "_guards_fn"):
        raise DeclarationError(where, "a module that torch.export made", want)
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
