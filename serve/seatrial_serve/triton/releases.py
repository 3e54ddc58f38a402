"""Releases of Triton, and the onnxruntime in each: what opens a bundle's graph there."""

from __future__ import annotations

from collections.abc import Mapping

from seatrial_contracts.bundle import Bundle
from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.needs import SAFE_FOREIGN, Needs, numbers

RELEASES: Mapping[str, str] = {
    "24.04": "1.17.3", "24.05": "1.18.0", "24.06": "1.18.0", "24.07": "1.18.1", "24.08": "1.18.1",
    "24.09": "1.19.2", "24.10": "1.19.2", "24.11": "1.19.2", "24.12": "1.20.1", "25.01": "1.20.1",
    "25.02": "1.20.1", "25.03": "1.21.0", "25.04": "1.21.0", "25.05": "1.22.0", "25.06": "1.22.0",
    "25.07": "1.22.0", "25.08": "1.23.0", "25.09": "1.23.0", "25.10": "1.23.1", "25.11": "1.23.2",
    "25.12": "1.23.2", "26.01": "1.23.2", "26.02": "1.24.1", "26.03": "1.24.2", "26.04": "1.24.4",
    "26.05": "1.24.4", "26.06": "1.24.4", "26.07": "1.27.0", "26.08": "1.28.0",
}  # fmt: skip
"""Triton -> onnxruntime.

Source: Triton's docs/introduction/compatibility.md, "ONNX Runtime Versions", which begins at 24.04.
"""


def check_release(bundle: Bundle, release: str) -> None:
    """Raise `DeclarationError` if this Triton does not open the bundle's graph."""
    if release not in RELEASES:
        want = f"one of {', '.join(RELEASES)}"
        raise DeclarationError("--triton-version", repr(release)[:60], want)
    needs, here = graph_needs(bundle), RELEASES[release]
    if needs is not None and not needs.met_by(here):
        raise DeclarationError(
            f"{bundle.shown} for Triton {release}",
            f"onnxruntime {here}",
            f"{needs.onnxruntime} or newer ({needs})",
            f"{first_release(needs.onnxruntime)}, or seal it at a lower opset (Pipeline(opset=20))",
        )


def readers(bundle: Bundle) -> str:
    """Which releases of Triton open the bundle's graph, in one line for people."""
    needs = graph_needs(bundle)
    if needs is None:
        return "nobody read off the graph what it needs: seal it anew"
    line = f"needs onnxruntime {needs.onnxruntime} or newer: {first_release(needs.onnxruntime)}"
    if bundle.manifest.origin.source == "adopted":
        safe = first_release(SAFE_FOREIGN)
        line += f"; for an adopted graph better onnxruntime {SAFE_FOREIGN}: {safe}"
    return line


def graph_needs(bundle: Bundle) -> Needs | None:
    """What the graph needs that Triton's onnxruntime backend opens."""
    return bundle.manifest.variants[0].needs


def first_release(onnxruntime: str) -> str:
    """The first Triton known to have it."""
    found = next(
        (name for name, own in RELEASES.items() if numbers(own) >= numbers(onnxruntime)), None
    )
    newest = list(RELEASES)[-1]
    return f"a Triton newer than {newest}" if found is None else f"Triton {found} or newer"
