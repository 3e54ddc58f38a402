"""Encrypted bundles through registries and stores: they travel encrypted, without a key."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.encrypted import DATA, Key, encrypted, make_identity, secrets_of
from support.registries import small_registry

import seatrial as st
from seatrial_contracts.encrypt import encrypt_bundle
from seatrial_contracts.errors import BundleError, StoreError
from seatrial_contracts.manifest import ENCRYPTION
from seatrial_serve.models.sources import Sources
from seatrial_serve.stores.address import Address, InRegistry, InStore, read_address
from seatrial_serve.stores.artifact import modelpack_config
from seatrial_serve.stores.in_files import FileStore, push_to_files
from seatrial_serve.stores.in_registry import push_to_registry
from seatrial_serve.stores.layer import Layer
from seatrial_serve.stores.resolve import open_address, pull


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


def push(bundle: st.Bundle, to: Address) -> None:
    if isinstance(to, InRegistry):
        push_to_registry(bundle, to)
    else:
        assert isinstance(to, InStore)
        push_to_files(bundle, to)


@pytest.mark.parametrize("kind", ["registry", "files"])
def test_it_travels_encrypted_and_is_pulled_without_a_key(
    kind: str, tmp_path: Path, key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = encrypted(tmp_path / "bundles", key)
    opened = st.open_bundle(path, key.identities)
    plain = tmp_path / "bundles-plain/net/1.0.0"
    known = secrets_of(dict(opened.files), (plain / DATA).read_bytes())
    with small_registry() as registry:
        to: Address = InRegistry(registry.host, "team/net", "1.0.0", None)
        if kind == "files":
            to = read_address(f"memory://{tmp_path.name}")
        push(opened, to)
        if kind == "registry":
            config = modelpack_config(opened, Layer(opened))
            assert "capabilities" not in config["config"], "they are of the contract"
            (layer,) = registry.layers
            assert not any(each.search(registry.blobs[layer]) for each in known)
            one = to
        else:
            one = read_address(f"memory://{tmp_path.name}/net/1.0.0")
        assert isinstance(one, (InRegistry, InStore))
        pulled, _ = pull(one, tmp_path / "pulled")
        assert files(pulled.path) == files(path)
        assert pull(one, tmp_path / "pulled")[1], "it was there already, and no key was wanted"
        shown = str(one.shown)
        with pytest.raises(BundleError, match="no identity"):
            open_address(shown)
        monkeypatch.setenv("SEATRIAL_IDENTITY", str(key.file))
        assert open_address(shown).digest == opened.digest
    assert not any(
        each.search(data) for each in known for data in files(tmp_path / "cache").values()
    )


@pytest.mark.parametrize("kind", ["registry", "files"])
def test_one_digest_for_other_recipients_is_fetched_anew(
    kind: str, tmp_path: Path, key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache that took the digest for the whole would keep what the old key alone opens."""
    new = make_identity(tmp_path / "new")
    first = st.open_bundle(encrypted(tmp_path / "bundles", key), key.identities)
    second = st.open_bundle(encrypt_bundle(first, [new.to], tmp_path / "second"), new.identities)
    plain = st.open_bundle(tmp_path / "bundles-plain/net/1.0.0")
    assert first.digest == second.digest == plain.digest
    with small_registry() as registry:
        to: Address = InRegistry(registry.host, "team/net", "1.0.0", None)
        if kind == "files":
            to = read_address(f"memory://{tmp_path.name}-again")
        address = str(to.shown)
        paths = []
        for bundle, opens in ((first, key.file), (second, new.file), (plain, tmp_path / "none")):
            if kind == "files" and paths:
                with pytest.raises(BundleError, match="plain or encrypted otherwise"):
                    push(bundle, to)
                forget(address)
            push(bundle, to)
            monkeypatch.setenv("SEATRIAL_IDENTITY", str(opens))
            found = open_address(address)
            assert (found.digest, found.encryption) == (bundle.digest, bundle.encryption)
            paths.append(found.path)
            sources = Sources([address])
            sources.look()
            assert [home.paths["1.0.0"] for home in sources.homes().values()] == [found.path]
        assert len(set(paths)) == 3


def test_an_encrypted_bundle_whose_record_may_not_be_read_is_not_taken_for_a_plain_one(
    tmp_path: Path, key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store says 403 of what is absent to whoever may not list, and of what may not be read."""
    bundle = st.open_bundle(encrypted(tmp_path / "bundles", key), key.identities)
    address = f"memory://{tmp_path.name}"
    push(bundle, read_address(address))
    monkeypatch.setenv("SEATRIAL_IDENTITY", str(key.file))
    opened = FileStore.opened

    @contextmanager
    def forbidden(store: FileStore, name: str) -> Iterator[Any]:
        with store._naming_faults():
            if name.endswith(ENCRYPTION):
                raise PermissionError
        with opened(store, name) as read:
            yield read

    monkeypatch.setattr(FileStore, "opened", forbidden)
    with pytest.raises(StoreError, match=r"neither '.*' nor 'encryption.json'"):
        open_address(address)
    assert not list((tmp_path / "cache").rglob("manifest.json"))


def forget(address: str) -> None:
    import fsspec

    store = fsspec.filesystem("memory")
    store.rm(address.removeprefix("memory:/"), recursive=True)


def test_what_a_disk_damaged_in_the_cache_is_fetched_once_more(
    tmp_path: Path, key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = st.open_bundle(encrypted(tmp_path / "bundles", key), key.identities)
    monkeypatch.setenv("SEATRIAL_IDENTITY", str(key.file))
    with small_registry() as registry:
        to = InRegistry(registry.host, "team/net", "1.0.0", None)
        push(bundle, to)
        kept = open_address(str(to.shown)).path / f"{DATA}.age"
        data = kept.read_bytes()
        kept.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        assert open_address(str(to.shown)).digest == bundle.digest
        assert kept.read_bytes() == data
        shutil.rmtree(tmp_path / "cache")
        registry.blob = lambda blob: blob.replace(data[-40:], bytes(40))
        with pytest.raises(BundleError, match="other bytes") as caught:
            pull(to, tmp_path / "pulled")
        assert caught.value.code == "E_BUNDLE_CHANGED"
