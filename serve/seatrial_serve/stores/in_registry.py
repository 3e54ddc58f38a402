"""Bundles in an OCI registry: pushed as an artifact, and fetched by digest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from seatrial_contracts.bundle import Bundle
from seatrial_contracts.canonical import read_json
from seatrial_contracts.errors import BundleError, StoreError
from seatrial_contracts.manifest import NAME
from seatrial_contracts.manifest import VERSION as VERSION_FORM
from seatrial_contracts.signature_files import read_signatures
from seatrial_serve.stores.address import InRegistry
from seatrial_serve.stores.artifact import (
    BUNDLE_DIGEST,
    ENCRYPTION_DIGEST,
    INDEX,
    LAYERS,
    MODEL,
    SHA256,
    TITLE,
    VERSION,
    Artifact,
    is_descriptor,
    is_digest,
    make_artifact,
)
from seatrial_serve.stores.layer import Layer, layer_root, unpack
from seatrial_serve.stores.received import ReceivedBundle, never
from seatrial_serve.stores.referrers import check_signatures, find_signatures, put_signature
from seatrial_serve.stores.registry import Fetched, Pieces, Registry
from seatrial_serve.stores.store import Offer, Stopped

WANT = "an artifact that seatrial push wrote"


class RegistryLook:
    """What a tag or digest stands for at this moment; whatever is fetched is fetched by digest."""

    single = True

    def __init__(self, address: InRegistry, stopped: Stopped = never) -> None:
        """Ask for the manifests. Raises `StoreError`, and `BundleError` where they hold none."""
        self._address, self._stopped = address, stopped
        with Registry(address, stopped) as registry:
            found = registry.manifest(address.reference)
            manifest = model_manifest(registry, found, address.shown)
            signed = find_signatures(registry, found.digest)
        self._layer = only_layer(manifest, address.shown)
        self._offer = replace(
            offer_of(manifest, self._layer, address.shown),
            signatures=signed.signatures,
            passed_over=signed.passed_over,
        )
        self.versions: Mapping[str, list[str]] = {self._offer.name: [self._offer.version]}

    def selection(self, name: str) -> Mapping[str, bytes]:  # noqa: ARG002  (the seam's signature)
        """A registry keeps none: tags take the place of labels."""
        return {}

    def offer(self, name: str, version: str) -> Offer:  # noqa: ARG002  (the seam's signature)
        """The only one."""
        return self._offer

    def fetch(self, offer: Offer, received: ReceivedBundle) -> None:
        """Unpack the layer as it arrives."""
        digest, size = self._layer["digest"], self._layer["size"]
        root = layer_root(offer.name, offer.version)
        with (
            Registry(self._address, self._stopped) as registry,
            registry.blob(digest, size) as blob,
        ):
            unpack(blob, size, root, received)


def model_manifest(registry: Registry, found: Fetched, where: str) -> Mapping[str, Any]:
    """A manifest that was found, or the ModelPack manifest of its index."""
    manifest = parsed(found.data, where)
    if manifest.get("mediaType", found.media_type) == INDEX:
        listed = [each for each in objects(manifest, "manifests") if is_descriptor(each)]
        models = [each for each in listed if each.get("artifactType") == MODEL]
        if not models:
            got = "an index without a ModelPack manifest"
            raise BundleError("E_BUNDLE_MISSING", where, got, WANT)
        manifest = parsed(registry.manifest(models[0]["digest"]).data, where)
    return manifest


def parsed(data: bytes, where: str) -> Mapping[str, Any]:
    """A JSON object."""
    try:
        found = read_json(data)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise BundleError("E_BUNDLE_MISSING", where, "a manifest that is no JSON object", WANT)
    return found


def objects(manifest: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """The objects of a list; none where it is no list."""
    found = manifest.get(name)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def only_layer(manifest: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The one layer of a manifest. Raises `BundleError`."""
    layers = objects(manifest, "layers")
    if len(layers) != 1 or not is_descriptor(layers[0]):
        raise BundleError("E_BUNDLE_MISSING", where, f"{len(layers)} layers", f"one: {WANT}")
    if layers[0].get("mediaType") not in LAYERS:
        got = f"a layer of type {ascii(layers[0].get('mediaType'))[:80]}"
        raise BundleError("E_BUNDLE_MISSING", where, got, "an uncompressed tar")
    return layers[0]


def offer_of(manifest: Mapping[str, Any], layer: Mapping[str, Any], where: str) -> Offer:
    """The bundle that a manifest's annotations name. Raises `BundleError`."""
    told = manifest.get("annotations")
    told = told if isinstance(told, dict) else {}
    name, version, digest = (told.get(key) for key in (TITLE, VERSION, BUNDLE_DIGEST))
    if not (
        isinstance(name, str) and NAME.fullmatch(name)
        and isinstance(version, str) and VERSION_FORM.fullmatch(version)
        and isinstance(digest, str) and is_digest(digest)
    ):  # fmt: skip
        got = "annotations that name no bundle"
        raise BundleError("E_BUNDLE_MISSING", where, got, WANT)
    encryption = told.get(ENCRYPTION_DIGEST, "")
    if encryption and not is_digest(encryption):
        raise BundleError("E_BUNDLE_MISSING", where, f"an odd {ENCRYPTION_DIGEST}", WANT)
    digest, encryption = (each.removeprefix(SHA256) for each in (digest, encryption))
    return Offer(name, version, digest, layer["size"], encryption=encryption)


def push_to_registry(
    bundle: Bundle, address: InRegistry, tell: Callable[[str], None] = lambda _: None
) -> Artifact:
    """Push a bundle, and the signatures beside it.

    The tag moves last, once everything that it needs is there.

    `tell` is given what is being done. Raises `StoreError`, and `BundleError` where a file is no
    longer as it was sealed.
    """
    if address.tag is None or address.digest is not None:
        raise StoreError(address.shown, "a digest", "a tag to push to")
    tell("reading the bundle")
    signatures = read_signatures(bundle.path)
    check_signatures(bundle, signatures)
    layer = Layer(bundle)
    artifact = make_artifact(bundle, layer)
    with Registry(address) as registry:
        tell(f"pushing a layer of {len(layer) / 1e6:.1f} MB")
        registry.put_blob(layer.digest, layer)
        for config in artifact.configs:
            registry.put_blob(config.digest, Pieces(config.data))
        for manifest in artifact.manifests:
            registry.put_manifest(manifest.digest, manifest.data, manifest.media_type)
        if signatures:
            registry.put_manifest(
                artifact.index.digest, artifact.index.data, artifact.index.media_type
            )
        for signature in reversed(signatures):  # the first one last, as the newest
            put_signature(registry, artifact.index, signature)
        registry.put_manifest(address.tag, artifact.index.data, artifact.index.media_type)
    return artifact
