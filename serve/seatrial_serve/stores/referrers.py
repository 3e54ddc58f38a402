"""The signature beside a bundle in a registry: a manifest that names the bundle's as its subject.

Sources: OCI Distribution Specification 1.1, "Listing Referrers" and, for registries without that,
its referrers tag; artifact type and layer are those of Sigstore's bundles in registries.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seatrial_contracts.bundle import MAX_SIGNATURE_BYTES
from seatrial_contracts.canonical import canonical_json, read_json
from seatrial_contracts.errors import StoreError
from seatrial_serve.stores.artifact import INDEX, MANIFEST, Part
from seatrial_serve.stores.registry import Pieces, Registry, referrers_tag

SIGNATURE = "application/vnd.dev.sigstore.bundle.v0.3+json"
EMPTY = Part("application/vnd.oci.empty.v1+json", b"{}")


def find_signature(registry: Registry, subject: str) -> bytes | None:
    """The signature of what has the digest `subject`: the last that is listed; None without one.

    Raises `StoreError`.
    """
    listed = registry.referrers(subject)
    found = [each for each in listed if each.get("artifactType") == SIGNATURE]
    if not found:
        return None
    manifest = read_object(registry.manifest(str(found[-1].get("digest"))).data)
    layers = manifest.get("layers")
    layer = layers[0] if isinstance(layers, list) and len(layers) == 1 else None
    size = layer.get("size") if isinstance(layer, dict) else None
    if not isinstance(layer, dict) or not isinstance(size, int):
        raise StoreError(registry.where, "a signature without its one layer", "that of Sigstore")
    if not 0 < size <= MAX_SIGNATURE_BYTES:
        got, want = f"a signature of {size} bytes", f"at most {MAX_SIGNATURE_BYTES}"
        raise StoreError(registry.where, got, want)
    return registry.whole_blob(str(layer.get("digest")), size)


def put_signature(registry: Registry, subject: Part, data: bytes) -> None:
    """Push a signature of `subject`, in the place of one that is there. Raises `StoreError`."""
    layer = Part(SIGNATURE, data)
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": SIGNATURE,
        "config": EMPTY.descriptor,
        "layers": [layer.descriptor],
        "subject": subject.descriptor,
    }
    part = Part(MANIFEST, canonical_json(manifest))
    for blob in (EMPTY, layer):
        registry.put_blob(blob.digest, Pieces(blob.data))
    if registry.put_manifest(part.digest, part.data, MANIFEST):
        return  # the registry lists it by its subject
    others = [
        each for each in registry.tagged_referrers(subject.digest)
        if each.get("artifactType") != SIGNATURE
    ]  # fmt: skip
    listed = [*others, {**part.descriptor, "artifactType": SIGNATURE}]
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": listed}
    registry.put_manifest(referrers_tag(subject.digest), canonical_json(index), INDEX)


def read_object(data: bytes) -> Mapping[str, Any]:
    """A JSON object; empty where it is none."""
    try:
        found = read_json(data)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
