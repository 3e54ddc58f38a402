"""The record beside a manifest that says: the sealed files of this bundle lie here encrypted.

The manifest is that of the plain files, so a bundle has one digest, plain or encrypted. Each sealed
file lies as an age file under its own name and `.age`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from seatrial_contracts.bundle_files import reading
from seatrial_contracts.canonical import canonical_json, sha256
from seatrial_contracts.errors import BundleError
from seatrial_contracts.manifest import (
    ENCRYPTION,
    MAX_DATA_BYTES,
    Manifest,
    SealedFile,
    Sha256,
    check_path,
)
from seatrial_contracts.plain_file import read_plain_file

AGE_SUFFIX = ".age"
MAX_ENCRYPTION_BYTES = 2**20
CHUNK_BYTES, TAG_BYTES, NONCE_BYTES = 2**16, 16, 16
"""Source: the age file format, https://age-encryption.org/v1, "Payload"."""
MAX_HEADER_BYTES = 2**18
"""Of an age file, which grows with its recipients: some hundred bytes for each."""
MAX_CIPHERTEXT_BYTES = MAX_DATA_BYTES + MAX_DATA_BYTES // CHUNK_BYTES * TAG_BYTES + MAX_HEADER_BYTES
MEND = "encrypt the bundle again: seatrial encrypt"


class Ciphertext(BaseModel):
    """Digest and size of an encrypted file, as it lies on disk."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: Sha256
    size: int = Field(ge=0, le=MAX_CIPHERTEXT_BYTES, description="in bytes")


class Encryption(BaseModel):
    """`encryption.json`: the encrypted files, for whoever copies them and has no secret key."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = Field(default=1, alias="schema")
    method: Literal["age"] = "age"
    digest: Sha256
    """Of the bundle: SHA-256 of its manifest."""
    files: dict[Annotated[str, AfterValidator(check_path)], Ciphertext] = Field(max_length=1024)
    """Name on disk -> what lies there."""

    def to_json(self) -> bytes:
        """Canonical JSON."""
        return canonical_json(self.model_dump(mode="json", by_alias=True))

    @property
    def record(self) -> Ciphertext:
        """Digest and size of `encryption.json` itself."""
        data = self.to_json()
        return Ciphertext(sha256=sha256(data), size=len(data))

    def fault(self, manifest: Manifest) -> str:
        """Why it is not the record of this bundle; empty where it is."""
        if self.digest != manifest.digest:
            return f"the record of another bundle, {self.digest[:16]}"
        wanted = {encrypted_name(name): file for name, file in manifest.files.items()}
        if odd := self.files.keys() ^ wanted.keys():
            return f"'{min(odd)}' in the record or in the manifest alone"
        for name, file in wanted.items():
            most = file.size + overhead_bytes(file.size)
            if not file.size < self.files[name].size <= most:
                return f"'{name}' of {self.files[name].size} bytes, which hold no {file.size}"
        return ""


def encrypted_name(name: str) -> str:
    """Where a sealed file lies encrypted."""
    return f"{name}{AGE_SUFFIX}"


def overhead_bytes(size: int) -> int:
    """How many bytes more than `size` of plain ones an age file may have."""
    chunks = max(1, -(-size // CHUNK_BYTES))
    return MAX_HEADER_BYTES + NONCE_BYTES + chunks * TAG_BYTES


def parse_encryption(data: bytes, manifest: Manifest, where: str) -> Encryption:
    """The record of a bundle, from its bytes.

    Raises `BundleError` with E_BUNDLE_ENCRYPTION for another one's.
    """
    with reading("E_BUNDLE_ENCRYPTION", where, "a record that seatrial encrypt wrote", MEND):
        found = Encryption.model_validate_json(data)
        if found.to_json() != data:
            raise ValueError("another spelling than canonical JSON")
    if fault := found.fault(manifest):
        raise BundleError("E_BUNDLE_ENCRYPTION", where, fault, "the record of this bundle", MEND)
    return found


def read_encryption(folder: Path, manifest: Manifest) -> Encryption | None:
    """The record in a bundle's folder; None where its files lie there plain.

    Raises `BundleError`.
    """
    where = f"{ENCRYPTION} of bundle {manifest.name} {manifest.version}"
    with reading("E_BUNDLE_ENCRYPTION", where, "a record that seatrial encrypt wrote", MEND):
        try:
            data = read_plain_file(folder / ENCRYPTION, MAX_ENCRYPTION_BYTES)
        except FileNotFoundError:
            return None
    return parse_encryption(data, manifest, where)


def stored_files(
    manifest: Manifest, encryption: Encryption | None
) -> Mapping[str, SealedFile | Ciphertext]:
    """What lies in a bundle's folder beside manifest and record, by its name there."""
    return manifest.files if encryption is None else encryption.files
