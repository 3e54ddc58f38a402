"""What a bundle needs, held against the onnxruntime that is installed, before a graph is opened."""

from __future__ import annotations

import onnxruntime as ort

from seatrial_contracts.bundle import Bundle
from seatrial_contracts.errors import ModelError, sentence
from seatrial_contracts.manifest import Variant
from seatrial_contracts.needs import SAFE_FOREIGN, Needs, numbers

INSTALLED: str = ort.__version__


def check_needs(bundle: Bundle, variant: Variant | None, installed: str = INSTALLED) -> None:
    """Raise `ModelError`, E_NEEDS, if this onnxruntime does not open the bundle's graphs.

    `variant` is the one that it is to run, beside the prepare graph; None where another runtime
    runs the model. Graphs that another tool made want a release that is safe with them.
    """
    prepare = bundle.manifest.prepare
    asked: list[tuple[str, Needs | None]] = [
        ("prepare graph", None if prepare is None else prepare.needs),
        ("", None) if variant is None else (f"variant '{variant.name}'", variant.needs),
    ]
    for where, needs in asked:
        if needs is not None and not needs.met_by(installed):
            raise unmet(
                f"{bundle.shown}, {where}", needs.onnxruntime, str(needs), installed,
                "seal it at a lower opset (Pipeline(opset=20))",
            )  # fmt: skip
    if bundle.manifest.origin.source == "adopted" and numbers(installed) < numbers(SAFE_FOREIGN):
        raise unmet(
            bundle.shown, SAFE_FOREIGN, "an adopted graph", installed,
            "earlier ones read beyond the memory of some operators",
        )  # fmt: skip


def unmet(where: str, release: str, why: str, installed: str, more: str) -> ModelError:
    """Another onnxruntime is wanted."""
    mend = f"mend: pip install 'onnxruntime>={release}'; {more}"
    text = sentence(where, f"onnxruntime {installed}", f"{release} or newer ({why})", mend)
    return ModelError("E_NEEDS", text)
