"""`seatrial verify`: who made a bundle, and is it whole?"""

from __future__ import annotations

from pathlib import Path

import click

from seatrial.identity_option import identity_option


@click.command("verify")
@click.argument("address", metavar="BUNDLE")
@click.argument("signers", metavar="SIGNERS", type=click.Path(path_type=Path))
@identity_option
def command(address: str, signers: Path) -> None:
    """Verify the signature of a bundle, every byte of it, and the signatures of its receipts.

    BUNDLE is a bundle's folder, or its address in a store. SIGNERS is a file with a public key or
    with certificates of authorities, a folder of such files, or a trust policy (.toml). Exits with
    1 where the bundle is unsigned, changed, or signed by somebody else.

    \b
      seatrial verify bundles/churn/1.0.0 release.pub
    """  # noqa: D301  (click's mark)
    from seatrial.signed_bundle import open_signed
    from seatrial_contracts.errors import BundleError
    from seatrial_contracts.receipts_folder import newest_files
    from seatrial_serve.trust.check import check_receipt
    from seatrial_serve.trust.policy import read_policy

    policy = read_policy(signers)
    bundle, signed = open_signed(address, policy)
    click.echo(f"{bundle.name} {bundle.version}  sha256:{bundle.digest}")
    click.echo(f"signed by {signed.signer}, {signed.method} {signed.identity}")
    for file in newest_files(bundle.path):
        try:
            receipt = check_receipt(file.path, policy)
        except BundleError as error:
            if error.code != "E_UNSIGNED":
                raise
            click.echo(f"receipt {file.path.name}: unsigned")
        else:
            if receipt.digest != bundle.digest:
                where, got = f"receipt '{file.path.name}'", "a receipt of another bundle"
                raise BundleError("E_BUNDLE_RECEIPT", where, got, f"one of {bundle.shown}")
            click.echo(f"receipt {file.path.name}: signed by {receipt.signer}")
