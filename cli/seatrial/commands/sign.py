"""`seatrial sign`: say by a signature who made a bundle, or a receipt."""

from __future__ import annotations

from pathlib import Path

import click

from seatrial.identity_option import identity_option

MAX_PASSWORD_BYTES = 4096


@click.command("sign")
@click.argument(
    "paths", metavar="BUNDLE|RECEIPT...", type=click.Path(path_type=Path), nargs=-1, required=True
)
@click.option(
    "--key",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="The private key, in PEM: P-256, P-384 or P-521.",
)
@click.option(
    "--certificate",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file with the key's certificate, and then those of who issued it.",
)
@click.option(
    "--password-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file whose first line is the key's password.",
)
@identity_option
def command(
    paths: tuple[Path, ...], key: Path, certificate: Path | None, password_file: Path | None
) -> None:
    """Sign bundles, or receipts, as OpenSSF Model Signing 1.0 has it.

    The signature of a bundle covers every sealed file and lies in its folder, as model.sig; that of
    a receipt lies beside the receipt.

    \b
      seatrial sign bundles/churn/1.0.0 --key release.pem
    """  # noqa: D301  (click's mark)
    from seatrial_serve.trust.signing import read_signing_key, sign_bundle, sign_receipt

    password = None if password_file is None else first_line(password_file)
    signing = read_signing_key(key, password, certificate)
    for path in paths:
        written = sign_bundle(path, signing) if path.is_dir() else sign_receipt(path, signing)
        click.echo(f"{written}  ({signing.identity})")


def first_line(path: Path) -> bytes:
    """The password in a file. Raises `DeclarationError` where it cannot be read, or has none."""
    from seatrial_contracts.errors import DeclarationError
    from seatrial_contracts.plain_file import NotPlainFile, read_plain_file

    where, want = f"password file '{path}'", "a file whose first line is the key's password"
    try:
        data = read_plain_file(path, MAX_PASSWORD_BYTES, follow_links=True)
    except (OSError, NotPlainFile) as error:
        got = getattr(error, "strerror", None) or str(error)
        raise DeclarationError(where, got, want) from None
    password = data.partition(b"\n")[0].rstrip(b"\r")
    if not password:
        raise DeclarationError(where, "an empty first line", want)
    return password
