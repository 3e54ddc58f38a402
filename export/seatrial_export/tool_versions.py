"""The tools that graphs are made with, and their versions here."""

from __future__ import annotations

from collections.abc import Sequence

from seatrial_contracts.receipt import installed_versions

TOOLS = ("torch", "onnx", "onnxscript", "onnxruntime", "numpy", "seatrial")


def tool_versions(names: Sequence[str] = TOOLS) -> dict[str, str]:
    """What a manifest and a receipt say of them; those that are not installed had no part in it."""
    return installed_versions(names)
