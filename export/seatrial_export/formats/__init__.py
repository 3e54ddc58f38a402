"""The formats that a model can be sealed in beside ONNX, which the gate itself makes.

Each format is one file, found by looking into this folder.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING

from seatrial_export.formats.format import Made

if TYPE_CHECKING:
    from seatrial_export.gate.torch_candidate import TorchCandidate

MakeFormat = Callable[["TorchCandidate"], Made]


@cache
def formats() -> Mapping[str, MakeFormat]:
    """Format -> the function that makes it from a candidate that passed the gate.

    The function raises `GateError` where the model has no such form, or answers otherwise in it.
    """
    modules = [
        importlib.import_module(f"{__name__}.{module.name}")
        for module in pkgutil.iter_modules(__path__)
    ]
    return {module.FORMAT: module.make for module in modules if hasattr(module, "FORMAT")}
