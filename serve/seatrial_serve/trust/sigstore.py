"""Signatures that Sigstore vouches for: by its own library, and without the network.

Such a signature brings its certificate and the entry of the transparency log. What is compared with
them are trusted roots: those that the library brings, or a file's.
"""

from __future__ import annotations

import logging

from seatrial_contracts.errors import DeclarationError, MissingExtra
from seatrial_serve.trust.keys import NotTrusted
from seatrial_serve.trust.policy import Sigstore


def check_sigstore(data: bytes, payload: bytes, wanted: Sigstore) -> None:
    """Raise `NotTrusted` unless Sigstore vouches that `wanted` signed the payload.

    `data`: the whole file of the signature. Raises `DeclarationError` for trusted roots that cannot
    be read, and `MissingExtra`.
    """
    try:
        from sigstore.errors import Error
        from sigstore.models import Bundle, ClientTrustConfig
        from sigstore.verify import Verifier
        from sigstore.verify.policy import Identity
    except ImportError:
        raise MissingExtra("a signature by Sigstore", "sigstore") from None
    logging.getLogger("sigstore").setLevel(logging.ERROR)  # it warns that it works offline
    try:
        if wanted.roots is None:
            verifier = Verifier.production(offline=True)
        else:
            config = ClientTrustConfig.from_json(wanted.roots.decode())
            verifier = Verifier(trusted_root=config.trusted_root)
    except (OSError, ValueError, Error) as error:
        where = f"trusted roots '{wanted.trust_config or 'of the library'}'"
        got, want = type(error).__name__, "Sigstore's ClientTrustConfig, in JSON"
        raise DeclarationError(where, got, want) from None
    try:
        _, signed = verifier.verify_dsse(
            Bundle.from_json(data), Identity(identity=wanted.identity, issuer=wanted.issuer)
        )
    except (ValueError, Error) as error:
        raise NotTrusted(f"what Sigstore does not vouch for: {str(error)[:160]}") from None
    if signed != payload:
        raise NotTrusted("a payload other than the signed one")
