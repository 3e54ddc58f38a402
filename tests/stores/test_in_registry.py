"""Pulls that go wrong: never half a bundle, one clear message, and nothing of it is kept."""

from __future__ import annotations

import errno
import gc
import io
import json
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.registries import SmallRegistry, digest_of
from support.toys import toy_bundle, toy_golden

from seatrial.bundle import as_bundle
from seatrial_contracts.bundle import Bundle, open_bundle
from seatrial_contracts.errors import BundleError, DeclarationError, SeatrialError, StoreError
from seatrial_serve.stores import received
from seatrial_serve.stores.address import InRegistry
from seatrial_serve.stores.cache import BundleCache
from seatrial_serve.stores.in_registry import push_to_registry
from seatrial_serve.stores.resolve import open_address, pull
from seatrial_serve.stores.store import fetch_into, look_at


@pytest.fixture
def toy(tmp_path: Path, registry: SmallRegistry) -> Bundle:
    """A bundle that the registry holds under the tag 1.0.0."""
    bundle = toy_bundle(tmp_path / "made")
    push_to_registry(bundle, at(registry))
    return bundle


def at(registry: SmallRegistry, tag: str = "1.0.0") -> InRegistry:
    return InRegistry(registry.host, "team/toy", tag, None)


def nothing_is_left(tmp_path: Path) -> bool:
    """No bundle in the cache, nor any part of one."""
    cache = tmp_path / "cache" / "seatrial" / "bundles"
    return not cache.exists() or all(each.suffix == ".lock" for each in cache.iterdir())


def test_a_pushed_bundle_is_pulled_and_cached_byte_for_byte(
    tmp_path: Path, registry: SmallRegistry, toy: Bundle
) -> None:
    pulled, was_there = pull(at(registry), tmp_path / "out")
    assert (pulled.digest, was_there) == (toy.digest, False)
    assert dict(pulled.files) == dict(toy.files)
    assert pull(at(registry), tmp_path / "out") == (pulled, True)
    opened = open_address(at(registry).shown)
    asked = len(registry.asked)
    again = open_address(at(registry).shown)
    assert again.digest == opened.digest == toy.digest
    assert not any("/blobs/" in path for _, path in registry.asked[asked:])


def test_a_bundle_that_is_open_stays_in_a_cache_without_room(
    tmp_path: Path, registry: SmallRegistry, toy: Bundle
) -> None:
    push_to_registry(toy_bundle(tmp_path / "made", version="2.0.0"), at(registry, "2.0.0"))
    cache = BundleCache(0)
    one = as_bundle(open_address(at(registry).shown, cache))
    other = open_address(at(registry, "2.0.0").shown, cache)
    assert dict(one.files) == dict(toy.files)
    path = one.path
    del one
    gc.collect()
    open_address(at(registry, "2.0.0").shown, cache)
    push_to_registry(toy_bundle(tmp_path / "made", version="3.0.0"), at(registry, "3.0.0"))
    open_address(at(registry, "3.0.0").shown, cache)
    assert (path.exists(), other.path.exists()) == (False, True)


def test_a_pinned_address_that_the_cache_holds_needs_no_registry(
    registry: SmallRegistry, toy: Bundle
) -> None:
    pinned = at(registry).pinned(digest_of(registry.manifests["1.0.0"][1])).shown
    assert open_address(pinned).digest == toy.digest
    asked = len(registry.asked)
    assert open_address(pinned).digest == toy.digest
    assert len(registry.asked) == asked
    assert open_address(pinned, signed=True).digest == toy.digest
    assert len(registry.asked) > asked, "signatures may have been added"
    path = open_address(pinned).path / "profile.json"
    path.write_bytes(b"x" * path.stat().st_size)
    assert open_address(pinned).digest == toy.digest, "what the disk damaged is fetched anew"
    registry.manifests.clear()
    for signed in (False, True):
        assert open_address(pinned, signed=signed).digest == toy.digest
    with pytest.raises(StoreError, match="404"):
        open_address(at(registry).shown)


def test_files_that_are_sealed_by_shards_go_through(
    tmp_path: Path, registry: SmallRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seatrial_contracts.shards.SHARD_BYTES", 100)
    bundle = toy_bundle(tmp_path / "made")
    assert bundle.manifest.files["contract.json"].shards
    push_to_registry(bundle, at(registry))
    assert open_address(at(registry).shown).digest == bundle.digest


def test_both_readings_of_the_index_can_be_pulled_by_their_own_digests(
    tmp_path: Path, registry: SmallRegistry, toy: Bundle
) -> None:
    for each in json.loads(registry.manifests["1.0.0"][1])["manifests"]:
        address = InRegistry(registry.host, "team/toy", None, each["digest"])
        assert (
            open_address(address.shown, BundleCache(folder=tmp_path / "own")).digest == toy.digest
        )


def zeros(data: bytes) -> bytes:
    return bytes(len(data))


def flipped(data: bytes) -> bytes:
    """One bit of the last file's last byte."""
    end = len(data.rstrip(b"\0")) - 1
    return data[:end] + bytes([data[end] ^ 1]) + data[end + 1 :]


def other_layer(registry: SmallRegistry, tmp_path: Path) -> bytes:
    """A whole layer of another bundle, of the same name and version."""
    other = toy_bundle(tmp_path / "other", golden=toy_golden([{"x": 1.5, "word": "a"}] * 3))
    push_to_registry(other, at(registry, "other"))
    return registry.blobs[registry.layers[-1]]


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (lambda registry, _: setattr(registry, "blob", flipped), "other bytes than were sealed"),
        (lambda registry, _: setattr(registry, "blob", lambda data: data[:-600]), "of a layer"),
        (lambda registry, _: setattr(registry, "cut", 3000), "of a layer|no connection"),
        (
            lambda registry, _: setattr(registry, "blob", lambda data: bytes(len(data))),
            "manifest none",
        ),
    ],
    ids=["changed byte", "short", "cut", "zeros"],
)
@pytest.mark.parametrize("way", ["pull", "cache"])
def test_a_layer_that_arrives_otherwise_is_no_bundle(
    break_it: Callable[[SmallRegistry, Path], None],
    says: str,
    way: str,
    tmp_path: Path,
    registry: SmallRegistry,
    toy: Bundle,
) -> None:
    break_it(registry, tmp_path)
    with pytest.raises(SeatrialError, match=says):
        fetch(way, registry, tmp_path)
    assert nothing_is_left(tmp_path)
    assert not list((tmp_path / "out").rglob("*.*"))


def fetch(way: str, registry: SmallRegistry, tmp_path: Path) -> Bundle:
    if way == "pull":
        return pull(at(registry), tmp_path / "out")[0]
    return open_address(at(registry).shown)


def replace_layer(registry: SmallRegistry, data: bytes) -> None:
    """Let the manifests of the tag name another layer, with its right digest and size."""
    index = json.loads(registry.manifests["1.0.0"][1])
    registry.blobs[digest_of(data)] = data
    for each in index["manifests"]:
        manifest = json.loads(registry.manifests[each["digest"]][1])
        manifest["layers"][0] |= {"digest": digest_of(data), "size": len(data)}
        put_manifest(registry, each, manifest)
    registry.manifests["1.0.0"] = (index["mediaType"], json.dumps(index).encode())


def put_manifest(registry: SmallRegistry, listed: dict[str, Any], manifest: dict[str, Any]) -> None:
    text = json.dumps(manifest).encode()
    listed |= {"digest": digest_of(text), "size": len(text)}
    registry.manifests[listed["digest"]] = (manifest["mediaType"], text)


def test_a_swapped_layer_is_not_the_bundle_that_the_annotations_name(
    tmp_path: Path, registry: SmallRegistry, toy: Bundle
) -> None:
    replace_layer(registry, other_layer(registry, tmp_path))
    with pytest.raises(BundleError, match=f"want manifest {toy.digest[:16]}"):
        open_address(at(registry).shown)
    assert nothing_is_left(tmp_path)


def tar_of(*members: tuple[str, bytes, bytes]) -> bytes:
    """A tar of names, types and contents (of links: their targets)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, kind, content in members:
            info = tarfile.TarInfo(name)
            info.type = kind
            if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
                info.linkname = content.decode()
            info.size = len(content) if kind == tarfile.REGTYPE else 0
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


ROOT = "models/toy/1.0.0"


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ([(f"{ROOT}/../../../evil", tarfile.REGTYPE, b"x")], "a file"),
        ([("/etc/evil", tarfile.REGTYPE, b"x")], "evil' in its layer"),
        ([("models/other/1.0.0/x", tarfile.REGTYPE, b"x")], "in its layer"),
        ([("bin/sh", tarfile.REGTYPE, b"x")], "in its layer"),
        ([(f"{ROOT}/graphs", tarfile.SYMTYPE, b"/tmp")], "is a link"),
        ([(f"{ROOT}/contract.json", tarfile.LNKTYPE, b"/etc/passwd")], "is a link"),
        ([(f"{ROOT}/pipe", tarfile.FIFOTYPE, b"")], "is a link or no plain file"),
        ([(f"{ROOT}/x", tarfile.REGTYPE, b"x"), (f"{ROOT}/x", tarfile.REGTYPE, b"y")], "'x' twice"),
        ([(f"{ROOT}/x", tarfile.REGTYPE, b"x")], "manifest none"),
        ([(f"{ROOT}/manifest.json", tarfile.REGTYPE, b"{}")], "want manifest"),
        ([(f"{ROOT}/{'d/' * 9}x", tarfile.REGTYPE, b"x")], "names of a bundle's files"),
    ],
    ids=["leaves", "absolute", "other bundle", "image", "symlink", "hardlink", "pipe", "twice",
         "no manifest", "wrong manifest", "deep"],
)  # fmt: skip
def test_members_that_leave_the_folder_or_are_links_are_refused(
    members: list[tuple[str, bytes, bytes]],
    says: str,
    tmp_path: Path,
    registry: SmallRegistry,
    toy: Bundle,
) -> None:
    replace_layer(registry, tar_of(*members))
    with pytest.raises(BundleError, match=says):
        open_address(at(registry).shown)
    assert nothing_is_left(tmp_path)
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("data", [b"no tar at all" * 100, b"", b"\x1f\x8b\x08"])
def test_a_layer_that_is_no_tar_is_refused(
    data: bytes, tmp_path: Path, registry: SmallRegistry, toy: Bundle
) -> None:
    replace_layer(registry, data)
    with pytest.raises(BundleError, match=r"no tar|manifest none"):
        open_address(at(registry).shown)


def test_a_header_that_would_take_much_memory_is_refused(
    tmp_path: Path, registry: SmallRegistry, toy: Bundle
) -> None:
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, 2**30
    data = info.tobuf(tarfile.USTAR_FORMAT) + bytes(10240)
    replace_layer(registry, data)
    with pytest.raises(BundleError, match="no tar"):
        open_address(at(registry).shown)


def test_a_tag_that_moves_in_the_middle_of_a_pull_gives_what_it_stood_for_at_first(
    tmp_path: Path, registry: SmallRegistry, toy: Bundle
) -> None:
    newer = toy_bundle(tmp_path / "newer", version="1.1.0")
    push_to_registry(newer, at(registry, "newer"))
    moved = registry.manifests["newer"]

    def move(reference: str) -> None:
        if reference == "1.0.0":
            registry.manifests["1.0.0"] = moved

    registry.after_manifest = move
    assert open_address(at(registry).shown).digest == toy.digest
    assert open_address(at(registry).shown).digest == newer.digest


def test_a_manifest_of_other_bytes_than_its_digest_is_refused(
    tmp_path: Path, registry: SmallRegistry, toy: Bundle
) -> None:
    digest = json.loads(registry.manifests["1.0.0"][1])["manifests"][2]["digest"]
    media_type, text = registry.manifests[digest]
    registry.manifests[digest] = (media_type, text + b" ")
    with pytest.raises(StoreError, match="another manifest"):
        open_address(at(registry).shown)


@pytest.mark.parametrize(
    ("manifest", "says"),
    [
        (b"no json", "no JSON object"),
        (b"[1]", "no JSON object"),
        (b'{"layers": []}', "0 layers"),
        (b'{"layers": [{"digest": "sha256:x", "size": 1}]}', "1 layers"),
        (b'{"mediaType": "application/vnd.oci.image.index.v1+json"}', "without a ModelPack"),
        (json.dumps({"layers": [{"digest": digest_of(b""), "size": 0, "mediaType": "a+zstd"}]})
         .encode(), "a layer of type 'a.zstd'"),
        (json.dumps({"layers": [{"digest": digest_of(b""), "size": 0,
                                 "mediaType": "application/vnd.oci.image.layer.v1.tar"}]})
         .encode(), "annotations that name no bundle"),
    ],
)  # fmt: skip
def test_a_manifest_of_something_else_is_refused(
    manifest: bytes, says: str, registry: SmallRegistry
) -> None:
    registry.manifests["1.0.0"] = ("application/vnd.oci.image.manifest.v1+json", manifest)
    with pytest.raises(BundleError, match=says):
        open_address(at(registry).shown)


def test_a_full_disk_leaves_nothing_and_says_so(
    tmp_path: Path, registry: SmallRegistry, toy: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = 1500

    def write_some(write: Callable[[memoryview], int | None], data: bytes) -> None:
        nonlocal left
        left -= len(data)
        if left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(memoryview(data))

    monkeypatch.setattr(received, "write_all", write_some)
    for way in ("pull", "cache"):
        left = 1500
        with pytest.raises(BundleError, match="No space left on device"):
            fetch(way, registry, tmp_path)
    assert nothing_is_left(tmp_path)
    assert not list((tmp_path / "out").rglob("*.*"))


def test_two_that_fetch_at_once_fetch_once(
    tmp_path: Path, registry: SmallRegistry, toy: Bundle
) -> None:
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(open_address(at(registry).shown).digest))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [toy.digest] * 4
    layers = [path for method, path in registry.asked if method == "GET" and "/blobs/" in path]
    assert len(layers) == 1


def test_a_fetch_that_is_told_to_stop_ends_at_once(
    tmp_path: Path, registry: SmallRegistry, toy: Bundle
) -> None:
    stops = False
    look = look_at(at(registry), lambda: stops)
    offer = look.offer("toy", "1.0.0")
    stops = True
    with pytest.raises(StoreError, match="told to stop"):
        fetch_into(look, offer, tmp_path, "here", lambda: stops)


def test_another_bundle_of_the_same_version_is_not_overwritten(
    tmp_path: Path, registry: SmallRegistry, toy: Bundle
) -> None:
    pull(at(registry), tmp_path / "out")
    other_layer(registry, tmp_path)
    with pytest.raises(BundleError, match="there already"):
        pull(at(registry, "other"), tmp_path / "out")
    assert open_bundle(tmp_path / "out" / "toy" / "1.0.0").digest == toy.digest


@pytest.mark.parametrize("tokens", [False, True])
def test_credentials_of_docker_login_open_a_registry(
    tokens: bool,
    tmp_path: Path,
    registry: SmallRegistry,
    toy: Bundle,
    caplog: pytest.LogCaptureFixture,
) -> None:
    registry.login, registry.tokens = "me:s3cret", tokens
    with pytest.raises(StoreError, match=r"401.*docker login"):
        open_address(at(registry).shown)
    (tmp_path / "docker").mkdir()
    config = {"auths": {registry.host: {"auth": "bWU6czNjcmV0"}}}
    (tmp_path / "docker" / "config.json").write_text(json.dumps(config))
    caplog.set_level("DEBUG")
    assert open_address(at(registry).shown).digest == toy.digest
    push_to_registry(toy, at(registry, "again"))
    assert not any(secret in caplog.text for secret in ("s3cret", "bWU6czNjcmV0"))
    (tmp_path / "docker" / "config.json").write_text(json.dumps(config).replace("bWU6", "YWI6"))
    with pytest.raises(StoreError, match=r"40\d.*those of docker login were sent"):
        look_at(at(registry))


def test_credentials_of_netrc_are_not_sent(
    tmp_path: Path, registry: SmallRegistry, toy: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password s3cret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    look_at(at(registry))
    assert not any("Authorization" in headers for headers in registry.headers)


def test_what_is_not_there_and_a_registry_that_is_down_are_named(
    registry: SmallRegistry, toy: Bundle
) -> None:
    with pytest.raises(StoreError, match="404: nothing of that name"):
        look_at(at(registry, "9.9.9"))
    with pytest.raises(StoreError, match=r"no connection \(Connection refused\)"):
        look_at(InRegistry("127.0.0.1:9", "toy", "1", None))
    with pytest.raises(DeclarationError, match="neither tag nor digest"):
        open_address("oci://127.0.0.1:9/toy")
