"""Signing bundles and receipts, in their folders."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from seatrial_contracts.atomic_file import write_whole
from seatrial_contracts.bundle import SIGNATURE_FILE, UNSEALED_SUFFIX, open_bundle
from seatrial_contracts.errors import BundleError, DeclarationError
from seatrial_contracts.receipts_folder import read_receipt
from seatrial_serve.trust.keys import (
    certificate_signs,
    certificates_of,
    fingerprint,
    load_private_key,
    read_pem,
    sign,
)
from seatrial_serve.trust.signature import (
    Certificate,
    CertificateChain,
    Material,
    PublicKey,
    signed_text,
    write_signature,
)
from seatrial_serve.trust.statement import bundle_statement, make_statement


class SigningKey(NamedTuple):
    """What signs, and what names it in signatures."""

    key: ec.EllipticCurvePrivateKey
    chain: Sequence[x509.Certificate] = ()
    """The key's certificate, then those of who issued it; empty: the key names itself."""

    @property
    def identity(self) -> str:
        """What messages call it."""
        if self.chain:
            return f"certificate {self.chain[0].subject.rfc4514_string()}"
        return f"key {fingerprint(self.key.public_key())}"

    def signature(self, payload: bytes) -> bytes:
        """The file of a signature of a payload."""
        if self.chain:
            ders = (each.public_bytes(Encoding.DER) for each in self.chain)
            chain = tuple(Certificate.model_construct(raw_bytes=der) for der in ders)
            certificates = CertificateChain.model_construct(certificates=chain)
            material = Material.model_construct(x509_certificate_chain=certificates)
        else:
            hint = fingerprint(self.key.public_key())
            material = Material.model_construct(public_key=PublicKey(hint=hint))
        return write_signature(payload, sign(signed_text(payload), self.key), material)


def read_signing_key(
    key: Path, password: bytes | None = None, certificates: Path | None = None
) -> SigningKey:
    """The key of a file, with its certificate where it has one.

    `certificates`: a file with the key's certificate first. Raises `DeclarationError`.
    """
    private = load_private_key(key, password)
    if certificates is None:
        return SigningKey(private)
    where = f"file '{certificates}'"
    chain = certificates_of(read_pem(certificates), where)
    if chain[0].public_key() != private.public_key():
        raise DeclarationError(where, "the certificate of another key first", "that of --key")
    if not certificate_signs(chain[0]):
        want = "one with the key usage digitalSignature, or the extended one codeSigning"
        raise DeclarationError(where, "a certificate that is not for signing", want)
    return SigningKey(private, chain)


def sign_bundle(folder: Path, key: SigningKey) -> Path:
    """Sign the bundle in a folder, once every byte of it was verified; return the signature's file.

    Raises `BundleError`.
    """
    manifest = open_bundle(folder).manifest
    return _write(
        folder / SIGNATURE_FILE, key.signature(bundle_statement(folder.resolve().name, manifest))
    )


def sign_receipt(path: Path, key: SigningKey) -> Path:
    """Sign a receipt; return the signature's file. Raises `BundleError` for a file that is none."""
    read_receipt(path)
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest()}
    return _write(receipt_signature(path), key.signature(make_statement(path.name, digests)))


def receipt_signature(path: Path) -> Path:
    """Where the signature of a receipt lies."""
    return path.with_name(f"{path.name}{UNSEALED_SUFFIX}")


def _write(path: Path, data: bytes) -> Path:
    try:
        return write_whole(path, data)
    except OSError as error:
        got = error.strerror or "an error"
        raise BundleError("E_BUNDLE_WRITE", f"writing {path}", got, "a writable folder") from None
