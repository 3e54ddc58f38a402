"""The tools that graphs are made with, and their versions here."""

from __future__ import annotations

from importlib.metadata import version

TOOLS = ("torch", "onnx", "onnxscript", "onnxruntime", "numpy", "seatrial")


def tool_versions() -> dict[str, str]:
    """What a manifest and a receipt say of them."""
    return {name: version(name) for name in TOOLS}
