"""The runtimes: one file each, found by looking into this folder.

Adding a runtime is adding a file with a `load` function.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache

from seatrial_serve.runtimes.runtime import LoadRuntime


@cache
def runtimes() -> Mapping[str, LoadRuntime]:
    """Graph format -> how to load one, for every runtime in this folder."""
    modules = (
        importlib.import_module(f"{__name__}.{module.name}")
        for module in pkgutil.iter_modules(__path__)
    )
    return {module.FORMAT: module.load for module in modules if hasattr(module, "FORMAT")}
