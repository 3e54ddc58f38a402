"""A bundle as an OCI artifact: an index of two images and a ModelPack manifest over one layer.

Container runtimes mount images alone: they need a configuration of the image's media type with the
layer's diff id (containerd #11907). ModelPack wants a configuration of its own media type. One
manifest has one configuration, so each reading has its own manifest, and all share the layer's
blob.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seatrial_contracts.bundle import CONTRACT, Bundle
from seatrial_contracts.canonical import canonical_json, sha256
from seatrial_contracts.contract import Contract
from seatrial_serve.stores.layer import Layer, layer_root

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
IMAGE_CONFIG = "application/vnd.oci.image.config.v1+json"
IMAGE_LAYER = "application/vnd.oci.image.layer.v1.tar"
MODEL = "application/vnd.cncf.model.manifest.v1+json"
MODEL_CONFIG = "application/vnd.cncf.model.config.v1+json"
MODEL_LAYER = "application/vnd.cncf.model.weight.v1.tar"
LAYERS = (IMAGE_LAYER, MODEL_LAYER)
"""Media types of layers that are read: one tar, uncompressed."""
TITLE, VERSION = "org.opencontainers.image.title", "org.opencontainers.image.version"
REVISION = "org.opencontainers.image.revision"
BUNDLE_DIGEST, CONTRACT_DIGEST = "seatrial.bundle.digest", "seatrial.contract.digest"
ENCRYPTION_DIGEST = "seatrial.encryption.digest"
MODEL_PATH = "org.cncf.model.filepath"
ARCHITECTURES = ("amd64", "arm64")
"""Processors that runtimes and KServe look for in an index; the layer is the same for all."""
SHA256 = "sha256:"
NO_PLATFORM = {"architecture": "unknown", "os": "unknown"}
"""What keeps runtimes from taking a manifest for an image, as BuildKit has it for attestations."""
MODALITIES = {
    "text": "text", "plain_text": "text", "text_terms": "text", "text_pair": "text",
    "image": "image", "picture": "image", "mask": "image", "segments": "image", "audio": "audio",
    "embedding": "embedding", "sparse_embedding": "embedding",
}  # fmt: skip
"""Kind of a field -> its modality in ModelPack's words; all others are "other"."""


@dataclass(frozen=True)
class Part:
    """A manifest or configuration, as it is pushed."""

    media_type: str
    data: bytes

    @property
    def digest(self) -> str:
        """`sha256:` and its digest."""
        return f"sha256:{sha256(self.data)}"

    @property
    def descriptor(self) -> dict[str, Any]:
        """How others refer to it."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.data)}


@dataclass(frozen=True)
class Artifact:
    """All that is pushed beside the layer. It depends on the bundle alone."""

    configs: Sequence[Part]
    manifests: Sequence[Part]
    index: Part
    model: Part
    """The ModelPack manifest, which is one of `manifests`."""


def is_descriptor(found: Mapping[str, Any]) -> bool:
    """Has it a SHA-256 digest and a size?"""
    digest, size = found.get("digest"), found.get("size")
    return isinstance(size, int) and size >= 0 and is_digest(digest)


def is_digest(found: object) -> bool:
    """Is it `sha256:` and 64 hexadecimal digits?"""
    text = found.removeprefix(SHA256) if isinstance(found, str) else ""
    return (
        isinstance(found, str) and found.startswith(SHA256)
        and len(text) == 64 and set(text) <= set("0123456789abcdef")
    )  # fmt: skip


def make_artifact(bundle: Bundle, layer: Layer) -> Artifact:
    """The artifact of a bundle, whose `layer` is read once for its digest."""
    annotations = annotations_of(bundle)
    shared = {"digest": layer.digest, "size": len(layer)}
    image_layers = [{"mediaType": IMAGE_LAYER, **shared}]
    images = [
        Part(IMAGE_CONFIG, canonical_json(image_config(each, layer))) for each in ARCHITECTURES
    ]
    manifests = [manifest_of(config, image_layers, annotations) for config in images]
    model_config = Part(MODEL_CONFIG, canonical_json(modelpack_config(bundle, layer)))
    path = {MODEL_PATH: layer_root(bundle.name, bundle.version)}
    model_layers = [{"mediaType": MODEL_LAYER, **shared, "annotations": path}]
    model = manifest_of(model_config, model_layers, annotations, MODEL)
    listed = [
        *({**image.descriptor, "platform": {"architecture": each, "os": "linux"}}
          for each, image in zip(ARCHITECTURES, manifests, strict=True)),
        {**model.descriptor, "artifactType": MODEL, "platform": NO_PLATFORM},
    ]  # fmt: skip
    index = {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": listed,
        "annotations": annotations,
    }
    return Artifact(
        [*images, model_config], [*manifests, model], Part(INDEX, canonical_json(index)), model
    )


def annotations_of(bundle: Bundle) -> dict[str, str]:
    """What a registry shows of a bundle."""
    commit, encrypted = bundle.manifest.git_commit, dict[str, str]()
    if bundle.encryption is not None:
        encrypted[ENCRYPTION_DIGEST] = f"sha256:{bundle.encryption.record.sha256}"
    return {
        TITLE: bundle.name,
        VERSION: bundle.version,
        BUNDLE_DIGEST: f"sha256:{bundle.digest}",
        CONTRACT_DIGEST: f"sha256:{bundle.manifest.files[CONTRACT].sha256}",
        **encrypted,
        **({REVISION: commit} if commit else {}),
    }


def manifest_of(
    config: Part,
    layers: Sequence[Mapping[str, Any]],
    annotations: Mapping[str, str],
    artifact_type: str | None = None,
) -> Part:
    """A manifest of one configuration and its layers."""
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        **({"artifactType": artifact_type} if artifact_type else {}),
        "config": config.descriptor,
        "layers": layers,
        "annotations": annotations,
    }
    return Part(MANIFEST, canonical_json(manifest))


def image_config(architecture: str, layer: Layer) -> dict[str, Any]:
    """The configuration of an image that nothing runs: it is mounted."""
    return {
        "architecture": architecture,
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [layer.digest]},
    }


def modelpack_config(bundle: Bundle, layer: Layer) -> dict[str, Any]:
    """ModelPack's configuration (schema/config-schema.json of modelpack/model-spec)."""
    commit = bundle.manifest.git_commit
    revision = {"revision": commit} if commit else {}
    variant = bundle.manifest.variants[0]
    shown = {} if bundle.encryption else {"capabilities": capabilities(bundle.contract)}
    return {
        "descriptor": {"name": bundle.name, "version": bundle.version, **revision},
        "modelfs": {"type": "layers", "diffIds": [layer.digest]},
        "config": {
            "format": variant.format,
            "precision": variant.name,
            **shown,
        },
    }


def capabilities(contract: Contract) -> dict[str, list[str]]:
    """What goes in and comes out, each modality once."""
    sides: Mapping[str, Sequence[Any]] = {
        "inputTypes": contract.inputs,
        "outputTypes": contract.outputs,
    }
    return {
        side: sorted({MODALITIES.get(field.kind.kind, "other") for field in fields})
        for side, fields in sides.items()
    }
