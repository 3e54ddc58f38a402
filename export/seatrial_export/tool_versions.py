"""The tools that graphs are made with, and their versions here."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

TOOLS = ("torch", "onnx", "onnxscript", "onnxruntime", "numpy", "seatrial")


def tool_versions(names: Sequence[str] = TOOLS) -> dict[str, str]:
    """What a manifest and a receipt say of them; those that are not installed had no part in it."""
    found = {}
    for name in names:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
