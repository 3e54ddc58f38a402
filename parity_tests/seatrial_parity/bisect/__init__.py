"""Bisecting: the first node of a graph whose value departs from PyTorch's.

The node is named with its origin in the user's model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from seatrial_contracts.bundle import Bundle
from seatrial_contracts.errors import DeclarationError
from seatrial_export.pipeline import Pipeline
from seatrial_parity.bisect.bisect import bisect
from seatrial_parity.bisect.saved import save
from seatrial_parity.bisect.traced import trace


def bisect_bundle(
    bundle: Bundle, pipeline: Pipeline | None, folder: Path, progress: Callable[[str], None]
) -> Iterator[str]:
    """Yield the findings of bisecting every ONNX variant, line by line for people.

    Each departure is saved in `folder`. Raises `DeclarationError` without a pipeline, `GateError`
    where it no longer exports.
    """
    bundle.refuse_encrypted("what --bisect saves")
    if pipeline is None:
        raise DeclarationError(
            "--bisect", "no pipeline", "--pipeline FILE.py:NAME, whose values are the reference"
        )
    progress("tracing the pipeline")
    pipeline = pipeline.calibrated
    traced = trace(pipeline)
    yield from made_otherwise(bundle)
    for variant in (each for each in bundle.manifest.variants if each.format == "onnx"):
        progress(f"bisecting {variant.name}")
        found = bisect(bundle, variant, pipeline, traced)
        yield from found.lines()
        if found.departure is not None:
            yield f"  saved   {save(bundle, found, folder)}"


def made_otherwise(bundle: Bundle) -> Iterator[str]:
    """Yield the versions of the exporter that differ from those of the sealed bundle.

    The graph may differ for that alone.
    """
    from importlib.metadata import version

    for name in ("torch", "onnxscript"):
        sealed, here = bundle.manifest.made_with.get(name), version(name)
        if sealed not in (None, here):
            yield (
                f"sealed with {name} {sealed}, traced here with {here}: "
                "the graphs may differ for that alone"
            )
