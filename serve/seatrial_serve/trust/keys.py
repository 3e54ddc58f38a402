"""Keys of elliptic curves, and certificates, that sign and verify.

Source: OpenSSF Model Signing 1.0, methods "key" and "certificate". The arithmetic is that of the
library `cryptography`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.plain_file import NotPlainFile, read_plain_file

MAX_KEY_BYTES = 2**20
CURVES: dict[str, type[hashes.HashAlgorithm]] = {
    "secp256r1": hashes.SHA256,
    "secp384r1": hashes.SHA384,
    "secp521r1": hashes.SHA512,
}
"""Curve -> the hash that it signs with."""
WANT = "an elliptic key of P-256, P-384 or P-521, in PEM"
MAKE = "make one: openssl ecparam -name prime256v1 -genkey -noout -out key.pem"
PUBLIC = "openssl ec -in key.pem -pubout -out key.pub.pem"
UNREADABLE: tuple[type[Exception], ...] = (
    ValueError, UnsupportedAlgorithm, x509.InvalidVersion, x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)  # fmt: skip
"""What a certificate raises that is not as RFC 5280 has it."""
ANY_USE = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE
FOR_SIGNING = "one with the extended key usage codeSigning"


class NotTrusted(Exception):
    """A certificate that leads to no authority that counts, or may not sign; the text says why."""


def read_pem(path: Path, where: str, want: str, mend: str | None = None) -> bytes:
    """A file of keys or certificates, which messages call `where`. Raises `DeclarationError`."""
    try:
        return read_plain_file(path, MAX_KEY_BYTES, follow_links=True)
    except (OSError, NotPlainFile) as error:
        got = getattr(error, "strerror", None) or str(error)
        raise DeclarationError(where, got, want, mend) from None


def load_private_key(path: Path, password: bytes | None = None) -> ec.EllipticCurvePrivateKey:
    """The key that signs. Raises `DeclarationError` for a file that holds none that can."""
    where = f"key file '{path}'"
    try:
        key = load_pem_private_key(read_pem(path, where, WANT, MAKE), password)
    except TypeError:
        got, mend = "a key behind a password", "give it: --password-file FILE"
        if password is not None:
            got, mend = "a password for a key without one", "leave it out"
        raise DeclarationError(where, got, WANT, mend) from None
    except (ValueError, UnsupportedAlgorithm):
        got = "no private key" if password is None else "no private key of this password"
        raise DeclarationError(where, got, WANT, MAKE) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name not in CURVES:
        raise DeclarationError(where, "a key of another kind", WANT, MAKE)
    return key


def public_key_of(data: bytes, where: str) -> ec.EllipticCurvePublicKey:
    """The public key in a PEM file. Raises `DeclarationError`."""
    try:
        key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        raise DeclarationError(where, "no public key", WANT, PUBLIC) from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in CURVES:
        raise DeclarationError(where, "a key of another kind", WANT, MAKE)
    if data.count(b"-----BEGIN ") > 1:  # only the first would count
        raise DeclarationError(where, "more than a key", "one key", "a file of its own for each")
    return key


def certificates_of(data: bytes, where: str) -> list[x509.Certificate]:
    """The certificates in a PEM file. Raises `DeclarationError`."""
    try:
        return x509.load_pem_x509_certificates(data)
    except UNREADABLE:
        raise DeclarationError(where, "no certificate", "certificates in PEM") from None


def fingerprint(key: CertificatePublicKeyTypes) -> str:
    """What names a key: SHA-256 of its PEM, in hexadecimal."""
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(pem).hexdigest()


def certificate_fingerprint(certificate: x509.Certificate) -> str:
    """What names a certificate: SHA-256 of its DER, in hexadecimal."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def sign(text: bytes, key: ec.EllipticCurvePrivateKey) -> bytes:
    """ECDSA by the hash of the key's curve, in DER."""
    return key.sign(text, ec.ECDSA(CURVES[key.curve.name]()))


def is_signed(signature: bytes, text: bytes, key: ec.EllipticCurvePublicKey) -> bool:
    """Did this key sign the text?"""
    try:
        key.verify(signature, text, ec.ECDSA(CURVES[key.curve.name]()))
    except InvalidSignature:
        return False
    return True


def names_of(certificate: x509.Certificate) -> list[str]:
    """What a certificate calls its holder: its subject (RFC 4514), and its alternative names."""
    names = [certificate.subject.rfc4514_string()]
    try:
        other = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return names
    for kind in (x509.DNSName, x509.RFC822Name, x509.UniformResourceIdentifier):
        names += other.get_values_for_type(kind)
    return names


def signing_certificate(
    chain: Sequence[bytes], authorities: Sequence[x509.Certificate], now: datetime
) -> tuple[x509.Certificate, ec.EllipticCurvePublicKey, list[str]]:
    """The first certificate of a chain that leads to an authority, its key, and fingerprints.

    The fingerprints are those of all certificates on the way, and of their keys. Each certificate
    must be within its validity period now, since nothing says when a signature was made. Raises
    `NotTrusted`.
    """
    try:
        first, *others = [x509.load_der_x509_certificate(each) for each in chain]
        key = first.public_key()
        way = path_to(first, others, authorities, now)
        may_sign = certificate_signs(first)
    except UNREADABLE as error:
        raise NotTrusted("a certificate that cannot be read") from error
    except VerificationError:
        within = first.not_valid_before_utc <= now < first.not_valid_after_utc
        got = "a certificate that leads to no authority that is trusted now"
        raise NotTrusted(got if within else "a certificate out of its validity period") from None
    if not may_sign:
        raise NotTrusted("a certificate that is not for signing code")
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in CURVES:
        raise NotTrusted("a certificate of a key of another kind")
    keys = [fingerprint(each.public_key()) for each in way]
    return first, key, [*map(certificate_fingerprint, way), *keys]


def path_to(
    first: x509.Certificate,
    others: Sequence[x509.Certificate],
    authorities: Sequence[x509.Certificate],
    time: datetime,
) -> list[x509.Certificate]:
    """The certificates from the first one to an authority. Raises `VerificationError`."""
    authorities_may = ExtensionPolicy.webpki_defaults_ca().may_be_present(
        x509.ExtendedKeyUsage, Criticality.AGNOSTIC, check_may_certify
    )
    verifier = (
        PolicyBuilder()
        .store(Store(list(authorities)))
        .time(time)
        .extension_policies(ca_policy=authorities_may, ee_policy=ExtensionPolicy.permit_all())
        .build_client_verifier()
    )
    return list(verifier.verify(first, list(others)).chain)


def check_may_certify(
    _policy: Policy, _certificate: x509.Certificate, uses: x509.ExtendedKeyUsage | None
) -> None:
    """Raise `ValueError` for an authority of other purposes than signing code.

    An authority without extended key usages may certify for all of them.
    """
    if uses is not None and not {ExtendedKeyUsageOID.CODE_SIGNING, ANY_USE} & set(uses):
        raise ValueError("an authority that may not certify for signing code")


def certificate_signs(certificate: x509.Certificate) -> bool:
    """Is it for signing code, by its extended key usage, and does its key usage let it sign?

    A certificate of a TLS server may make digital signatures too, so that alone says nothing.
    """
    extensions = certificate.extensions
    try:
        if not extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature:
            return False
    except x509.ExtensionNotFound:
        pass  # then nothing limits the key
    try:
        uses = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return False
    return ExtendedKeyUsageOID.CODE_SIGNING in uses
