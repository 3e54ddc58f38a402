"""A signature: a Sigstore bundle that holds a DSSE envelope of a statement.

Sources: OpenSSF Model Signing 1.0; DSSE 1.0 (the text that is signed); Sigstore's `Bundle`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AliasGenerator, Base64Bytes, BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from seatrial_contracts.bundle import MAX_SIGNATURE_BYTES
from seatrial_contracts.bundle_files import described
from seatrial_contracts.canonical import canonical_json
from seatrial_contracts.errors import BundleError
from seatrial_contracts.plain_file import NotPlainFile, read_plain_file
from seatrial_serve.trust.statement import Statement

MediaType = Literal["application/vnd.dev.sigstore.bundle.v0.3+json"]
PayloadType = Literal["application/vnd.in-toto+json"]
MEDIA_TYPE: MediaType = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE: PayloadType = "application/vnd.in-toto+json"
Fingerprint = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Part(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=AliasGenerator(alias=to_camel),
        validate_by_name=True, validate_by_alias=True, serialize_by_alias=True,
    )  # fmt: skip


class PublicKey(_Part):
    """Which key signed."""

    hint: Fingerprint | None = None
    """SHA-256 of the public key in PEM; None: of a signer before version 1.1, who named it else."""


class Certificate(_Part):
    """A certificate in DER."""

    raw_bytes: Base64Bytes


class CertificateChain(_Part):
    """The certificate of the key that signed, then those of who issued it."""

    certificates: Annotated[tuple[Certificate, ...], Field(min_length=1, max_length=16)]


class Material(_Part):
    """What names the signer: one of three."""

    public_key: PublicKey | None = None
    x509_certificate_chain: CertificateChain | None = None
    certificate: Certificate | None = None
    """Sigstore's, which lives for minutes; a transparency log says when that was."""

    @property
    def method(self) -> Literal["key", "certificate", "sigstore", "none"]:
        """How it was signed."""
        if self.public_key is not None:
            return "key"
        if self.x509_certificate_chain is not None:
            return "certificate"
        return "none" if self.certificate is None else "sigstore"


class EnvelopeSignature(_Part):
    """The signature's bytes."""

    sig: Base64Bytes


class Envelope(_Part):
    """DSSE: a payload and who signed it."""

    payload: Base64Bytes
    payload_type: PayloadType
    signatures: Annotated[tuple[EnvelopeSignature, ...], Field(min_length=1, max_length=1)]

    @property
    def signed_text(self) -> bytes:
        """What the key signed."""
        return signed_text(self.payload)


class Signature(_Part):
    """A signature as it lies in a file. That it can be read says nothing of who made it."""

    media_type: MediaType
    verification_material: Material
    dsse_envelope: Envelope

    @property
    def method(self) -> str:
        """How it was signed."""
        return self.verification_material.method


def signed_text(payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding of a payload."""
    head = f"DSSEv1 {len(PAYLOAD_TYPE)} {PAYLOAD_TYPE} {len(payload)} "
    return head.encode() + payload


def write_signature(payload: bytes, signature: bytes, material: Material) -> bytes:
    """The file of a signature."""
    envelope = Envelope.model_construct(
        payload=payload,
        payload_type=PAYLOAD_TYPE,
        signatures=(EnvelopeSignature.model_construct(sig=signature),),
    )
    whole = Signature.model_construct(
        media_type=MEDIA_TYPE, verification_material=material, dsse_envelope=envelope
    )
    return canonical_json(whole.model_dump(mode="json", exclude_none=True))


def read_signature(path: Path, where: str) -> bytes:
    """The signature of a receipt.

    Raises `BundleError`: E_UNSIGNED if there is none, E_SIGNATURE for a file that cannot be read.
    """
    try:
        return read_plain_file(path, MAX_SIGNATURE_BYTES)
    except FileNotFoundError:
        mend = "sign it: seatrial sign RECEIPT --key KEY"
        raise BundleError("E_UNSIGNED", where, f"no {path.name}", "a signature", mend) from None
    except (OSError, NotPlainFile) as error:
        raise unreadable(where, getattr(error, "strerror", None) or str(error)) from None


def parse_signature(data: bytes, where: str) -> Signature:
    """A signature from its file. Raises `BundleError` with E_SIGNATURE."""
    try:
        return Signature.model_validate_json(data)
    except ValidationError as error:
        raise unreadable(where, described(error)) from None


def read_statement(signature: Signature, where: str) -> Statement:
    """The statement of a signature that was verified. Raises `BundleError` with E_SIGNATURE."""
    try:
        return Statement.model_validate_json(signature.dsse_envelope.payload)
    except ValidationError as error:
        raise unreadable(where, described(error)) from None


def unreadable(where: str, got: str) -> BundleError:
    """The error about a file that is no signature of these forms."""
    return BundleError("E_SIGNATURE", where, got, "a signature of OpenSSF Model Signing 1.0")
