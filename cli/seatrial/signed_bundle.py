"""A bundle whose signature is verified before it is opened."""

from __future__ import annotations

from pathlib import Path

import seatrial_contracts.bundle as sealed
from seatrial_contracts.errors import BundleError, MissingExtra
from seatrial_contracts.receipt import SignedBy

try:
    from seatrial_serve.stores.resolve import open_address
    from seatrial_serve.trust.check import check_signature
    from seatrial_serve.trust.policy import TrustPolicy, read_policy
    from seatrial_serve.trust.signed import Signed
except ImportError as error:
    raise MissingExtra("verifying signatures", "serve") from error


def open_signed(address: str | Path, policy: TrustPolicy) -> tuple[sealed.Bundle, SignedBy]:
    """The verified bundle of a path or an address, and who of the policy signed it.

    Nothing of it but its manifest is parsed before its signature was verified. Raises
    `BundleError`, also for one that nobody signed whose signature counts, and what `open_address`
    raises.
    """
    found: list[Signed] = []

    def check(folder: Path) -> str:
        found.append(check_signature(folder, policy))
        return found[-1].digest

    bundle = open_address(str(address), check=check, signed=True)
    return bundle, signed_by(bundle, found[-1])


def signed_opened(bundle: sealed.Bundle, signers: Path) -> SignedBy:
    """Who signed a bundle that is open already. Raises as `open_signed` does."""
    return signed_by(bundle, check_signature(bundle.path, read_policy(signers)))


def signed_by(bundle: sealed.Bundle, signed: Signed) -> SignedBy:
    """Who signed this bundle. Raises `BundleError` where the signature is another one's."""
    if bundle.digest != signed.digest:
        got = "another manifest than was signed"
        raise BundleError("E_BUNDLE_CHANGED", bundle.shown, got, "a bundle that rests")
    said = {"signer": signed.signer, "method": signed.method, "identity": signed.identity}
    return SignedBy.model_validate(said)
