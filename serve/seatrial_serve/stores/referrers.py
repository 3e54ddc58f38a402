"""The signatures of a bundle in a registry: manifests that name the bundle's as their subject.

Sources: OCI Distribution Specification 1.1, "Listing Referrers" and, for registries without that,
its referrers tag; artifact type and annotations are those of Sigstore's bundles in registries
(cosign's BUNDLE_SPEC.md). Such a bundle may also be an attestation, or another tool's signature.
"""

from __future__ import annotations

import logging
from base64 import b64decode
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from seatrial_contracts.bundle import MAX_SIGNATURE_BYTES, Bundle
from seatrial_contracts.canonical import canonical_json, read_json
from seatrial_contracts.errors import BundleError
from seatrial_contracts.receipt import now
from seatrial_contracts.signature_files import MAX_SIGNATURES, PREDICATE, signature_name
from seatrial_serve.stores.artifact import INDEX, MANIFEST, Part, is_descriptor
from seatrial_serve.stores.registry import NotWhole, Pieces, Registry, referrers_tag

log = logging.getLogger("seatrial.stores")
SIGSTORE = "application/vnd.dev.sigstore.bundle.v0.3+json"
CONTENT_NOTE, PREDICATE_NOTE = "dev.sigstore.bundle.content", "dev.sigstore.bundle.predicateType"
CREATED_NOTE = "org.opencontainers.image.created"
SIGN = "sign the bundle: seatrial sign BUNDLE --key KEY"
EMPTY = Part("application/vnd.oci.empty.v1+json", b"{}")


class FoundSignatures(NamedTuple):
    """What a registry has of signatures."""

    signatures: tuple[bytes, ...]
    """Each once, the newest first."""
    passed_over: bool
    """Was there one more that could not be read?"""


def find_signatures(registry: Registry, subject: str) -> FoundSignatures:
    """The signatures of what has the digest `subject`: `MAX_SIGNATURES` at most.

    A registry lists in any order, so the newest is the one whose annotation says so. Sigstore
    bundles of other predicates are passed over, and so is one that is not whole, unless there is no
    other. Raises `StoreError`.
    """
    found: list[bytes] = []
    fault: NotWhole | None = None
    for each in candidates(registry, registry.referrers(subject)):
        try:
            layer = layer_of(registry, each)
            data = registry.whole_blob(layer["digest"], layer["size"])
        except NotWhole as error:
            log.info("a signature that cannot be read is passed over: %s", error)
            fault = error
            continue
        if predicate_of(data) == PREDICATE and data not in found:
            found.append(data)
    if fault is not None and not found:
        raise fault
    return FoundSignatures(tuple(found), passed_over=fault is not None)


def candidates(registry: Registry, listed: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The referrers that may be signatures, newest first; those that say so before the others."""
    may_be = [
        each
        for each in listed
        if each.get("artifactType") == SIGSTORE and note(each, PREDICATE_NOTE) in ("", PREDICATE)
    ]
    may_be.sort(key=lambda each: (note(each, PREDICATE_NOTE), note(each, CREATED_NOTE)))
    newest = may_be[::-1]
    if len(newest) > MAX_SIGNATURES:
        log.warning(
            "%s: %d signatures, of which the newest %d are tried", registry.where, len(newest),
            MAX_SIGNATURES,
        )  # fmt: skip
    return newest[:MAX_SIGNATURES]


def note(descriptor: Mapping[str, Any], name: str) -> str:
    """An annotation of a descriptor; empty where there is none."""
    notes = descriptor.get("annotations")
    found = notes.get(name) if isinstance(notes, dict) else None
    return found if isinstance(found, str) else ""


def layer_of(registry: Registry, descriptor: Mapping[str, Any]) -> Mapping[str, Any]:
    """The descriptor of the one layer of a referrer, a signature. Raises `StoreError`."""
    manifest: Mapping[str, Any] = {}
    if is_descriptor(descriptor):
        manifest = read_object(registry.manifest(descriptor["digest"]).data)
    layers = manifest.get("layers")
    layer = layers[0] if isinstance(layers, list) and len(layers) == 1 else None
    if not isinstance(layer, dict) or not is_descriptor(layer):
        raise NotWhole(registry.where, "a signature without its one layer", "that of Sigstore")
    if not 0 < layer["size"] <= MAX_SIGNATURE_BYTES:
        got, want = f"a signature of {layer['size']} bytes", f"at most {MAX_SIGNATURE_BYTES}"
        raise NotWhole(registry.where, got, want)
    return layer


def check_signatures(bundle: Bundle, signatures: Sequence[bytes]) -> None:
    """Raise `BundleError` with E_SIGNATURE for a signature that no server would find again."""
    for number, data in enumerate(signatures, 1):
        if predicate_of(data) != PREDICATE:
            where = f"{bundle.shown}, {signature_name(number)}"
            want = "a signature of OpenSSF Model Signing 1.0"
            raise BundleError("E_SIGNATURE", where, "another file", want, f"remove it, or {SIGN}")


def put_signature(registry: Registry, subject: Part, data: bytes) -> None:
    """Push a signature of `subject`, beside those that are there, unless it is one of them.

    Raises `StoreError`.
    """
    layer = Part(SIGSTORE, data)
    if is_there(registry, subject, layer):
        return
    notes = {CONTENT_NOTE: "dsse-envelope", PREDICATE_NOTE: predicate_of(data), CREATED_NOTE: now()}
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": SIGSTORE,
        "config": EMPTY.descriptor,
        "layers": [layer.descriptor],
        "subject": subject.descriptor,
        "annotations": notes,
    }
    part = Part(MANIFEST, canonical_json(manifest))
    for blob in (EMPTY, layer):
        registry.put_blob(blob.digest, Pieces(blob.data))
    if registry.put_manifest(part.digest, part.data, MANIFEST):
        return  # the registry lists it by its subject
    own = {**part.descriptor, "artifactType": SIGSTORE, "annotations": notes}
    listed = [*registry.tagged_referrers(subject.digest), own]
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": listed}
    registry.put_manifest(referrers_tag(subject.digest), canonical_json(index), INDEX)


def is_there(registry: Registry, subject: Part, layer: Part) -> bool:
    """Is it one of the signatures that are tried? Raises `StoreError`."""
    for each in candidates(registry, registry.referrers(subject.digest)):
        try:
            if layer_of(registry, each)["digest"] == layer.digest:
                return True
        except NotWhole:
            continue
    return False


def predicate_of(data: bytes) -> str:
    """The type of predicate that a Sigstore bundle's statement has; empty where it has none.

    Nobody has verified the bundle.
    """
    envelope = read_object(data).get("dsseEnvelope")
    payload = envelope.get("payload") if isinstance(envelope, dict) else None
    try:
        statement = read_object(b64decode(payload)) if isinstance(payload, str) else {}
    except ValueError:
        return ""
    found = statement.get("predicateType")
    return found if isinstance(found, str) else ""


def read_object(data: bytes) -> Mapping[str, Any]:
    """A JSON object; empty where it is none."""
    try:
        found = read_json(data)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
