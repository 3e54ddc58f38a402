"""Who signed a bundle."""

from __future__ import annotations

from typing import NamedTuple


class Signed(NamedTuple):
    """A signature that counts."""

    signer: str
    """Its name in the policy."""
    method: str
    """"key", "certificate" or "sigstore"."""
    identity: str
    """The fingerprint of the key, or what the certificate calls its holder."""
    digest: str
    """Of the bundle that was signed."""
