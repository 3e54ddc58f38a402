"""`seatrial pull`: a bundle out of a registry or an object store, into a folder."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console


@click.command("pull")
@click.argument("address", metavar="ADDRESS")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("bundles"),
    show_default=True,
    help="Folder of bundles; the bundle goes to NAME/VERSION below it.",
)
def command(address: str, out: Path) -> None:
    """Fetch a bundle, verify every byte, and put it into a folder: whole, or not at all.

    \b
      seatrial pull oci://registry.example/models/churn:1.0.0 --out bundles
    """  # noqa: D301  (click's mark)
    from seatrial_contracts.errors import DeclarationError
    from seatrial_serve.stores.address import Folder, read_address
    from seatrial_serve.stores.resolve import pull

    source = read_address(address)
    if isinstance(source, Folder):
        raise DeclarationError(f"address '{source.shown}'", "a path", "oci://, s3:// or the like")
    with Console(stderr=True).status(f"fetching {source.shown}"):
        bundle, was_there = pull(source, out)
    how = "was there already" if was_there else f"{bundle.size_bytes / 1e6:.2f} MB, verified"
    click.echo(f"{bundle.path}  sha256:{bundle.digest}  ({how})")
