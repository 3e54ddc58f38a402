"""What a signature is about: the files of a folder, each by its digest.

Source: OpenSSF Model Signing 1.0, an in-toto Statement v1 with a predicate of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from seatrial_contracts.bundle import MANIFEST, SIGNATURE_FILE
from seatrial_contracts.canonical import canonical_json
from seatrial_contracts.manifest import Manifest, Sha256
from seatrial_contracts.receipt import RECEIPTS_FOLDER
from seatrial_contracts.shards import SHARD_BYTES
from seatrial_contracts.signature_files import PREDICATE, SIGNATURES_FOLDER

STATEMENT = "https://in-toto.io/Statement/v1"
BESIDE = (SIGNATURE_FILE, SIGNATURES_FOLDER, RECEIPTS_FOLDER)
"""What lies in a bundle's folder and is not sealed, so that no signature can be about it."""
Name = Annotated[str, Field(min_length=1, max_length=1024)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class _Open(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class Resource(_Open):
    """One file, or one part of a file, and its digest."""

    name: Name
    digest: Sha256
    algorithm: Literal["sha256"]


class Serialization(_Strict):
    """How files became resources."""

    method: Literal["files", "shards"]
    hash_type: Literal["sha256"]
    allow_symlinks: Literal[False]
    shard_size: int | None = None
    ignore_paths: tuple[Name, ...] = ()

    @model_validator(mode="after")
    def _of_one_form(self) -> Self:
        want = SHARD_BYTES if self.method == "shards" else None
        if self.shard_size != want:
            raise ValueError(f"a shard size of {self.shard_size} bytes, want {want}")
        return self


class Predicate(_Strict):
    """The files, and how they were read."""

    resources: Annotated[tuple[Resource, ...], Field(min_length=1)]
    serialization: Serialization


class Subject(_Open):
    """The folder as a whole; its name is for people."""

    name: Name
    digest: Mapping[str, str]


class Statement(_Strict):
    """What was signed."""

    type: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    predicate_type: Literal["https://model_signing/signature/v1.0"] = Field(alias="predicateType")
    subject: Annotated[tuple[Subject, ...], Field(min_length=1, max_length=1)]
    predicate: Predicate

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        resources = self.predicate.resources
        if len({resource.name for resource in resources}) < len(resources):
            raise ValueError("a file twice")
        if self.subject[0].digest.get("sha256") != root_digest(each.digest for each in resources):
            raise ValueError("a root digest that is not that of its files")
        return self

    @property
    def digests(self) -> dict[str, str]:
        """Name of a resource -> its SHA-256."""
        return {resource.name: resource.digest for resource in self.predicate.resources}

    def difference(self, manifest: Manifest, manifest_bytes: bytes) -> str:
        """What of a bundle was not signed, or what was signed and is not of it; else empty.

        Every sealed file and the manifest itself must be among the signed ones, with the digests
        that the manifest has of them, and nothing else.
        """
        signed = self.digests
        own = resources_of(manifest, manifest_bytes, self.predicate.serialization.method)
        if extra := signed.keys() - own.keys():
            return f"a signed file {ascii(min(extra))[:80]} that the bundle does not have"
        if missing := own.keys() - signed.keys():
            return f"'{min(missing)}' not signed"
        changed = sorted(name for name in own if own[name] != signed[name])
        return f"'{changed[0]}' signed with other bytes" if changed else ""


def root_digest(digests: Iterable[str]) -> str:
    """The digest of all resources: SHA-256 over their digests, in order."""
    whole = hashlib.sha256()
    for digest in digests:
        whole.update(bytes.fromhex(digest))
    return whole.hexdigest()


def resources_of(
    manifest: Manifest, manifest_bytes: bytes, method: Literal["files", "shards"]
) -> dict[str, str]:
    """The resources of a bundle: its sealed files and its manifest, by their digests."""
    own: dict[str, tuple[str, int, Mapping[str, str]]] = {}
    own[MANIFEST] = (hashlib.sha256(manifest_bytes).hexdigest(), len(manifest_bytes), {})
    own |= {name: (file.sha256, file.size, file.shards) for name, file in manifest.files.items()}
    if method == "files":
        return {name: digest for name, (digest, _, _) in own.items()}
    parts: dict[str, str] = {}
    for name, (digest, size, shards) in own.items():
        parts |= shards or ({f"{name}:0:{size}": digest} if size else {})
    return parts


def make_statement(name: str, digests: Mapping[str, str], ignored: Iterable[str] = ()) -> bytes:
    """The payload that is signed, of files by name and SHA-256, as canonical JSON."""
    resources = [
        {"name": file, "digest": digests[file], "algorithm": "sha256"} for file in sorted(digests)
    ]
    serialization = {"method": "files", "hash_type": "sha256", "allow_symlinks": False}
    if paths := list(ignored):
        serialization["ignore_paths"] = paths
    root = root_digest(digests[file] for file in sorted(digests))
    return canonical_json(
        {
            "_type": STATEMENT,
            "subject": [{"name": name, "digest": {"sha256": root}}],
            "predicateType": PREDICATE,
            "predicate": {"resources": resources, "serialization": serialization},
        }
    )


def bundle_statement(folder: str, manifest: Manifest) -> bytes:
    """The payload that is signed of a bundle in a folder of this name."""
    return make_statement(folder, resources_of(manifest, manifest.to_json(), "files"), BESIDE)
