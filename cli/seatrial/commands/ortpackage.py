"""`seatrial ortpackage`: a bundle as a model package of onnxruntime."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("ortpackage")
@click.argument("path", metavar="BUNDLE", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="The package's folder, which must be new.  [default: NAME.ortpackage]",
)
def command(path: Path, out: Path | None) -> None:
    """Write a sealed bundle as a model package of onnxruntime.

    Each graph of the bundle becomes a variant for the CPU, in the bundle's order: onnxruntime
    takes the first one that fits. Contract, golden rows, host stage and manifest ride along as a
    shared asset: `seatrial adopt NAME.ortpackage` gives the same bundle back, to the byte.
    Graphs of other formats stay in that asset. The package takes the graph's tensors: what the
    contract refuses, and what the host stage makes of raw rows, is `seatrial serve`'s.

    \b
      seatrial ortpackage bundles/churn/1.0.0
    """  # noqa: D301  (click's mark)
    from seatrial_contracts.bundle import open_plain_bundle
    from seatrial_contracts.errors import MissingExtra

    try:
        from seatrial_export.packages import SUFFIX, write_package
    except ImportError as error:
        raise MissingExtra("seatrial ortpackage", "serve") from error
    bundle = open_plain_bundle(path, "a model package")
    written = write_package(bundle, out or Path(f"{bundle.name}{SUFFIX}"))
    click.echo(f"wrote {written}")
    click.echo(f"back again: seatrial adopt {written}")
