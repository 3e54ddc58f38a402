"""Whose signatures count, and for which models."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import BaseModel, ConfigDict, Field, Strict, ValidationError, model_validator

from seatrial_contracts.bundle_files import described
from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.manifest import Sha256
from seatrial_contracts.plain_file import NotPlainFile, read_plain_file
from seatrial_serve.trust.keys import PUBLIC, certificates_of, public_key_of, read_pem

MAX_POLICY_BYTES = 2**20
MAX_SIGNERS = 1000
Text = Annotated[str, Field(min_length=1, max_length=500)]
WANT = "a public key or certificates in PEM, a folder of such files, or a policy in TOML"
Moment = Annotated[datetime, Strict()] | Annotated[date, Strict()]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class Sigstore(_Strict):
    """Somebody whom Sigstore vouches for."""

    identity: Text
    """Of the signing certificate: an address, or a workflow's URL."""
    issuer: Text
    """Who proved the identity: an OpenID Connect issuer's URL."""
    trust_config: Path | None = None
    """A file of trusted roots, a ClientTrustConfig; None: Sigstore's own, which its library brings.
    """

    @cached_property
    def roots(self) -> bytes | None:
        """What `trust_config` holds. Raises `DeclarationError`."""
        if self.trust_config is None:
            return None
        where = f"trusted roots '{self.trust_config}'"
        return read_pem(self.trust_config, where, "Sigstore's ClientTrustConfig, in JSON")


class Signer(_Strict):
    """One whose signatures count: by a key, by an authority's certificates, or by Sigstore."""

    name: Text
    """What logs, metrics and readiness call it."""
    key: Path | None = None
    """A file with a public key."""
    authority: Path | None = None
    """A file with certificates of authorities."""
    identities: tuple[Text, ...] = ()
    """With `authority`: names that a certificate may have, as its subject or an alternative name.

    Patterns with `*`; empty: any.
    """
    sigstore: Sigstore | None = None
    models: tuple[Text, ...] = ("*",)
    """Patterns of the model names that it may sign."""
    not_before: Moment | None = None
    not_after: Moment | None = None
    """The signer counts from and until then; a date is its first moment in UTC."""

    @model_validator(mode="after")
    def _of_one_kind(self) -> Self:
        if sum(each is not None for each in (self.key, self.authority, self.sigstore)) != 1:
            raise ValueError("want one of key, authority and sigstore")
        if self.identities and self.authority is None:
            raise ValueError("identities are of an authority")
        return self

    @cached_property
    def public_key(self) -> ec.EllipticCurvePublicKey | None:
        """The key. Raises `DeclarationError`."""
        if self.key is None:
            return None
        return public_key_of(read_signer(self.key), f"key file '{self.key}'")

    @cached_property
    def authorities(self) -> Sequence[x509.Certificate]:
        """The certificates of the authority. Raises `DeclarationError`."""
        if self.authority is None:
            return ()
        return certificates_of(read_signer(self.authority), f"file '{self.authority}'")

    def fault(self, model: str, now: datetime) -> str:
        """Why a signature of this signer does not count for a model now; empty if it does."""
        if not any(fnmatchcase(model, pattern) for pattern in self.models):
            return f"it may sign {', '.join(self.models)} alone"
        if self.not_before is not None and now < moment(self.not_before):
            return f"it counts from {self.not_before} on"
        if self.not_after is not None and now >= moment(self.not_after):
            return f"it counted until {self.not_after}"
        return ""


class TrustPolicy(_Strict):
    """Whose signatures count."""

    signer: tuple[Signer, ...] = Field(min_length=1, max_length=MAX_SIGNERS)
    revoked: frozenset[Sha256] = frozenset()
    """Fingerprints of keys and certificates that count no more, whoever named them above."""

    @model_validator(mode="after")
    def _read(self) -> Self:
        """Read every file now, not at the first signature."""
        for signer in self.signer:
            _ = signer.public_key, signer.authorities, signer.sigstore and signer.sigstore.roots
        return self


def moment(when: Moment) -> datetime:
    """A date, or a time, in UTC where it names no zone."""
    if not isinstance(when, datetime):
        return datetime.combine(when, time.min, UTC)
    return when if when.tzinfo is not None else when.replace(tzinfo=UTC)


def read_policy(path: Path) -> TrustPolicy:
    """The policy of a TOML file, or of public keys and certificates: a file or a folder of them.

    Of such files, each key and each certificate may sign every model. Raises `DeclarationError`.
    """
    if path.suffix == ".toml":
        return toml_policy(path)
    if path.is_dir():
        files = sorted(each for each in path.iterdir() if each.is_file())
        if not 0 < len(files) <= MAX_SIGNERS:
            got, want = f"{len(files) or 'no'} files", f"{WANT}, {MAX_SIGNERS} at most"
            raise DeclarationError(f"folder '{path}'", got, want)
    else:
        files = [path]
    return TrustPolicy(signer=tuple(map(pem_signer, files)))


def read_signer(path: Path) -> bytes:
    """A file with a signer's public key, or an authority's certificates.

    Raises `DeclarationError`.
    """
    return read_pem(path, f"file '{path}'", WANT, f"of a key: {PUBLIC}")


def pem_signer(path: Path) -> Signer:
    """The signer of a file. Raises `DeclarationError`."""
    data, name = read_signer(path), path.name.partition(".")[0] or path.name
    if b"-----BEGIN CERTIFICATE-----" in data and b"PUBLIC KEY-----" not in data:
        return Signer(name=name, authority=path)
    if b"PRIVATE KEY-----" in data:
        raise DeclarationError(f"key file '{path}'", "a private key", "the public one", PUBLIC)
    return Signer(name=name, key=path)


def toml_policy(path: Path) -> TrustPolicy:
    """The policy of a TOML file; paths in it are relative to it. Raises `DeclarationError`."""
    where = f"trust policy '{path}'"
    try:
        text = read_plain_file(path, MAX_POLICY_BYTES, follow_links=True).decode()
        said = tomllib.loads(text)
    except (OSError, NotPlainFile) as error:
        got = getattr(error, "strerror", None) or str(error)
        raise DeclarationError(where, got, WANT) from None
    except ValueError as error:
        raise DeclarationError(where, str(error)[:200], "TOML") from None
    try:
        return TrustPolicy.model_validate(_beside(said, path.parent))
    except ValidationError as error:
        raise DeclarationError(where, described(error), "a policy: docs/how-to/trust.md") from None


def _beside(said: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The same policy with the paths of its files."""
    signers = said.get("signer")
    for signer in signers if isinstance(signers, list) else ():
        holders = [signer, signer.get("sigstore")] if isinstance(signer, dict) else []
        for holder in (each for each in holders if isinstance(each, dict)):
            for file in ("key", "authority", "trust_config"):
                if isinstance(holder.get(file), str):
                    holder[file] = folder / holder[file]
    return said
