"""`seatrial adopt NAME.ortpackage`: a model package of onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from seatrial_contracts.errors import MissingExtra

if TYPE_CHECKING:
    from seatrial_export.packages import Package

PACKAGE_SUFFIX = ".ortpackage"


def in_package(path: Path, out: Path) -> Package | None:
    """The graph of a package; None after the bundle that it was written from was restored.

    Raises `DeclarationError`, `BundleError` and `MissingExtra`.
    """
    try:
        from seatrial_export.packages import read_package, restore
    except ImportError as error:
        raise MissingExtra(f"seatrial adopt {path.name}", "adopt") from error
    found = read_package(path)
    if found.graph is not None:
        return found
    bundle = restore(path, out)
    click.echo(f"restored {bundle.path}  sha256:{bundle.digest}")
    click.echo(f"next: seatrial parity {bundle.path}   then: seatrial serve {out}")
    return None
