"""`seatrial encrypt`: a bundle whose graphs and rows only some can read."""

from __future__ import annotations

from pathlib import Path

import click

from seatrial.identity_option import identity_option


@click.command("encrypt")
@click.argument("bundle", metavar="BUNDLE", type=click.Path(path_type=Path))
@click.option(
    "--to",
    "recipients",
    metavar="RECIPIENT|FILE",
    multiple=True,
    required=True,
    help="Who may read it (again for more): age1..., an SSH public key (Ed25519, RSA), or a file "
    "of them.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder of bundles; the encrypted one goes to NAME/VERSION below it.",
)
@identity_option
def command(bundle: Path, recipients: tuple[str, ...], out: Path) -> None:
    """Encrypt every sealed file of a bundle (age). Its manifest stays readable.

    The digest stays the same, since it is that of the plain files: so do its signature and its
    receipts. Each file is verified before. An encrypted BUNDLE, with --identity, is encrypted anew.

    \b
      seatrial encrypt bundles/churn/1.0.0 --to recipients.txt --out encrypted
    """  # noqa: D301  (click's mark)
    from seatrial_contracts.bundle import open_bundle
    from seatrial_contracts.encrypt import encrypt_bundle, read_recipients

    found = read_recipients(recipients)
    opened = open_bundle(bundle)
    written = encrypt_bundle(opened, found, out)
    count = f"{len(found)} recipient{'s' if len(found) > 1 else ''}"
    click.echo(f"{written}  sha256:{opened.digest}  (for {count})")
