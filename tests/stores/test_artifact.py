"""What is pushed: the same for the same bundle, an image and a ModelPack artifact at once."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path

import jsonschema
import pytest
from support.registries import SmallRegistry, digest_of
from support.toys import toy_bundle, toy_golden

from seatrial_contracts.bundle import MANIFEST
from seatrial_serve.stores.address import InRegistry
from seatrial_serve.stores.artifact import make_artifact
from seatrial_serve.stores.in_registry import push_to_registry
from seatrial_serve.stores.layer import Layer, LayerReader, _header

SCHEMA = json.loads((Path(__file__).parent / "modelpack-config-schema.json").read_text())
"""schema/config-schema.json of github.com/modelpack/model-spec (Apache-2.0)."""


def test_the_same_bundle_gives_the_same_digests_whatever_the_disk_says(tmp_path: Path) -> None:
    one, other = (toy_bundle(tmp_path / name) for name in ("one", "other"))
    for file in other.path.rglob("*"):
        os.utime(file, (1, 1))
        file.chmod(0o700)
    made = [make_artifact(bundle, Layer(bundle)) for bundle in (one, other)]
    assert made[0].index == made[1].index
    third = toy_bundle(tmp_path / "third", golden=toy_golden([{"x": 1.5, "word": "a"}] * 3))
    assert make_artifact(third, Layer(third)).index != made[0].index


def test_the_layer_holds_the_bundle_below_models_and_nothing_of_this_machine(
    tmp_path: Path,
) -> None:
    bundle = toy_bundle(tmp_path)
    layer = Layer(bundle)
    data = b"".join(layer)
    assert (digest_of(data), len(data)) == (layer.digest, len(layer))
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        members = tar.getmembers()
        files = [each.name for each in members if each.isfile()]
        manifest = tar.extractfile(f"models/toy/1.0.0/{MANIFEST}")
        assert manifest is not None
        assert manifest.read() == bundle.manifest.to_json()
    assert sorted(files) == sorted(f"models/toy/1.0.0/{n}" for n in [*bundle.files, MANIFEST])
    assert {(each.uid, each.gid, each.mtime, each.uname) for each in members} == {(0, 0, 0, "")}


def test_the_index_has_images_for_runtimes_and_a_modelpack_manifest_over_one_layer(
    tmp_path: Path, registry: SmallRegistry
) -> None:
    bundle = toy_bundle(tmp_path)
    pushed = push_to_registry(bundle, InRegistry(registry.host, "team/toy", "1.0.0", None))
    index = json.loads(registry.manifests["1.0.0"][1])
    assert pushed.index.digest == digest_of(registry.manifests["1.0.0"][1])
    platforms = [
        (each["platform"]["os"], each["platform"]["architecture"]) for each in index["manifests"]
    ]
    assert platforms == [("linux", "amd64"), ("linux", "arm64"), ("unknown", "unknown")]
    manifests = [json.loads(registry.manifests[e["digest"]][1]) for e in index["manifests"]]
    *images, model = manifests
    assert len({each["layers"][0]["digest"] for each in manifests}) == len(registry.layers) == 1
    for image in images:
        config = json.loads(registry.blobs[image["config"]["digest"]])
        assert image["config"]["mediaType"] == "application/vnd.oci.image.config.v1+json"
        assert image["layers"][0]["mediaType"] == "application/vnd.oci.image.layer.v1.tar"
        assert config["rootfs"]["diff_ids"] == registry.layers
    assert model["artifactType"] == "application/vnd.cncf.model.manifest.v1+json"
    assert model["layers"][0]["mediaType"] == "application/vnd.cncf.model.weight.v1.tar"
    config = json.loads(registry.blobs[model["config"]["digest"]])
    jsonschema.Draft202012Validator(SCHEMA).validate(config)
    assert config["modelfs"]["diffIds"] == registry.layers
    for each in (index, *manifests):
        assert each["annotations"] == {
            "org.opencontainers.image.title": "toy",
            "org.opencontainers.image.version": "1.0.0",
            "seatrial.bundle.digest": f"sha256:{bundle.digest}",
            "seatrial.contract.digest": digest_of(bundle.files["contract.json"]),
        }


def test_the_tag_moves_last_and_what_is_there_is_not_sent_again(
    tmp_path: Path, registry: SmallRegistry
) -> None:
    address = InRegistry(registry.host, "team/toy", "1.0.0", None)
    push_to_registry(toy_bundle(tmp_path), address)
    assert registry.asked[-1] == ("PUT", "/v2/team/toy/manifests/1.0.0")
    before = len(registry.asked)
    push_to_registry(toy_bundle(tmp_path), InRegistry(registry.host, "team/toy", "stable", None))
    assert "POST" not in [method for method, _ in registry.asked[before:]]


def test_a_bundle_that_changed_since_it_was_opened_is_not_pushed(
    tmp_path: Path, registry: SmallRegistry
) -> None:
    bundle = toy_bundle(tmp_path)
    (bundle.path / "contract.json").write_bytes(b"{}")
    with pytest.raises(Exception, match=r"contract\.json.*got 2 bytes"):
        push_to_registry(bundle, InRegistry(registry.host, "team/toy", "1.0.0", None))
    assert not registry.manifests


def test_long_names_and_large_sizes_are_read_as_they_were_written(tmp_path: Path) -> None:
    """A size beyond the 8 GiB that a plain header holds is announced alone: it takes no disk."""
    long = "/".join(["a" * 100] * 3)
    for name, size in ((long, 3), (long, 9 * 2**30), ("b", 9 * 2**30), ("b", 3)):
        header = _header(f"models/toy/1.0.0/{name}", size)
        entries = iter(LayerReader(io.BytesIO(header + b"xyz"), len(header) + size + 1024, "here"))
        found, info = next(entries)
        assert (found, info.size) == (f"models/toy/1.0.0/{name}", size)
