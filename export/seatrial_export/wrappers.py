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


def unwrapped(module: nn.Module, where: str) -> nn.Module:
    """The module inside of `torch.compile`, `DataParallel` and averaged weights.

    Raises `DeclarationError` for a module that has no Python code left to trace: TorchScript, or
    one that torch.export made.
    """
    while True:
        compiled: Any = getattr(module, "_orig_mod", None)
        if isinstance(compiled, nn.Module):
            module = compiled
        elif isinstance(module, WRAPPED):
            module = module.module
        else:
            break
    want = "the nn.Module that it was made of: the gate traces its Python code itself"
    if isinstance(module, torch.jit.ScriptModule):
        raise DeclarationError(
            where, "a TorchScript module (torch.jit.script or torch.jit.trace)", want
        )
    if isinstance(module, fx.GraphModule) and hasattr(module, "_guards_fn"):
        raise DeclarationError(where, "a module that torch.export made", want)
    return module
