"""Signing bundles and receipts, in their folders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from pydantic import ValidationError

from seatrial_contracts.atomic_file import write_whole
from seatrial_contracts.bundle import SIGNATURE_FILE, UNSEALED_SUFFIX, open_bundle
from seatrial_contracts.canonical import sha256
from seatrial_contracts.errors import BundleError, DeclarationError
from seatrial_contracts.plain_file import NotPlainFile, read_plain_file
from seatrial_contracts.receipt import MAX_RECEIPT_BYTES, Receipt
from seatrial_contracts.signature_files import put_signatures
from seatrial_serve.trust.keys import (
    FOR_SIGNING,
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
    where = f"certificate file '{certificates}'"
    chain = certificates_of(read_pem(certificates, where, "certificates in PEM"), where)
    if chain[0].public_key() != private.public_key():
        raise DeclarationError(where, "the certificate of another key first", "that of --key")
    if not certificate_signs(chain[0]):
        raise DeclarationError(where, "a certificate that is not for signing code", FOR_SIGNING)
    return SigningKey(private, chain)


def sign_bundle(folder: Path, key: SigningKey) -> Path:
    """Sign the bundle in a folder, once every byte of it was verified; return the signature's file.

    The signature takes the place of those that are there. Raises `BundleError`.
    """
    manifest = open_bundle(folder).manifest
    data = key.signature(bundle_statement(folder.resolve().name, manifest))
    with writing(folder / SIGNATURE_FILE):
        put_signatures(folder, [data])
    return folder / SIGNATURE_FILE


def sign_receipt(path: Path, key: SigningKey) -> Path:
    """Sign a receipt; return the signature's file.

    Raises `DeclarationError` for a path without a receipt, and `BundleError` where the signature
    cannot be written.
    """
    try:
        data = read_plain_file(path, MAX_RECEIPT_BYTES)
        Receipt.model_validate_json(data)
    except ValidationError:
        got = "a file that is no receipt"
    except FileNotFoundError:
        got = "nothing there"
    except (OSError, NotPlainFile) as error:
        got = getattr(error, "strerror", None) or str(error)
    else:
        digests = {path.name: sha256(data)}
        return _write(receipt_signature(path), key.signature(make_statement(path.name, digests)))
    want = "a bundle's folder, or a receipt: a file in receipts/ of a bundle"
    raise DeclarationError(f"path '{path}'", got, want)


def receipt_signature(path: Path) -> Path:
    """Where the signature of a receipt lies."""
    return path.with_name(f"{path.name}{UNSEALED_SUFFIX}")


def _write(path: Path, data: bytes) -> Path:
    with writing(path):
        return write_whole(path, data)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an `OSError` into a `BundleError` about the file that is written."""
    try:
        yield
    except OSError as error:
        got = error.strerror or "an error"
        raise BundleError("E_BUNDLE_WRITE", f"writing {path}", got, "a writable folder") from None
