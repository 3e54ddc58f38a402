"""TorchScript in this process, through the server's engine.

The runner is for people who trust the bundle that they try.
"""

from __future__ import annotations

from collections.abc import Iterator

from seatrial_parity.runners.onnx import OnnxRunner
from seatrial_parity.runners.runner import TrialRequest

NAME = "torchscript"


def runners(asked: TrialRequest) -> Iterator[TorchScriptRunner]:
    """One for each variant of this format; it fails, and says why, where nobody trusts it."""
    for variant in asked.bundle.manifest.variants:
        if variant.format == NAME:
            yield TorchScriptRunner(
                asked.bundle, variant.name, "torch cpu", trust_torchscript=asked.trust_torchscript
            )


class TorchScriptRunner(OnnxRunner):
    """The same engine with torch in it."""

    name = NAME
