"""A real server that requires signatures, and bundles that somebody changed: none is served."""

from __future__ import annotations

import json
import random
import re
import signal
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.encrypted import Key, make_identity, seal
from support.foreign_changes import KINDS, Stock, hash_anew
from support.registries import small_registry
from support.servers import Server
from support.signers import Keys, make_key

import seatrial as st
from seatrial_contracts.bundle import folder_bundle, read_manifest
from seatrial_contracts.encrypt import encrypt_bundle
from seatrial_serve.stores.address import InRegistry, read_address
from seatrial_serve.stores.in_registry import push_to_registry
from seatrial_serve.trust.signing import read_signing_key, sign_bundle

WIDTH, STORED = 8, "stored"
WORKERS = 2
ENCRYPTED = (
    "bit-flipped", "swapped between two signed bundles", "manifest hashed anew", "unsigned",
    "re-signed by another key",
)  # fmt: skip
ROW = json.dumps({"instances": [{"x": [1.0] * WIDTH}]}).encode()


class Bundles:
    """Signed bundles, plain or encrypted, in a folder of their own."""

    def __init__(self, folder: Path, keys: Keys, secret: Key | None = None) -> None:
        self.folder, self._keys, self._secret = folder, keys, secret

    def make(self, name: str, version: str, at: Path | None = None) -> Path:
        folder, seed = at or self.folder, int(version.split(".")[1])
        place = folder if self._secret is None else folder / ".plain"
        bundle = seal(place, version, name=name, width=WIDTH, seed=seed)
        sign_bundle(bundle.path, read_signing_key(self._keys.private))
        if self._secret is None:
            return bundle.path
        return encrypt_bundle(st.open_bundle(bundle.path), [self._secret.to], folder)

    def offer_changed(self, name: str, kind: str, stranger: Keys, made: Path) -> None:
        """Lay a changed 1.1.0 beside the 1.0.0 of a model."""
        sealed = self.make(name, "1.1.0", made / "sealed")
        needs = kind in ("swapped between two signed bundles", "signature of another bundle")
        another = self.make(name, "1.2.0", made / "another") if needs else sealed
        stock = Stock(sealed, another, self._keys, stranger)
        KINDS[kind].change(sealed, stock, random.Random(name))
        sealed.rename(self.folder / name / "1.1.0")


def push(folder: Path, address: InRegistry) -> None:
    push_to_registry(folder_bundle(folder, read_manifest(folder)), address)


def until(found: Callable[[], Any], server: Server) -> None:
    end = time.monotonic() + 60
    while not found():
        assert time.monotonic() < end, "".join(server.log)
        time.sleep(0.05)


def version_of(server: Server, name: str) -> str:
    asked = urllib.request.Request(
        f"{server.url}/v1/models/{name}:predict", ROW, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(asked, timeout=30) as reply:
        return str(json.load(reply)["model_version"])


@pytest.mark.slow
def test_workers_with_a_folder_encrypted_bundles_and_a_registry_go_on_with_the_version_before(
    tmp_path: Path,
) -> None:
    keys, stranger = make_key(tmp_path / "keys"), make_key(tmp_path / "stranger")
    secret = make_identity(tmp_path / "identity")
    homes = {
        "plain": Bundles(tmp_path / "bundles", keys),
        "secret": Bundles(tmp_path / "encrypted", keys, secret),
    }
    offered = {f"plain-{place}": ("plain", kind) for place, kind in enumerate(KINDS)}
    offered |= {f"secret-{place}": ("secret", kind) for place, kind in enumerate(ENCRYPTED)}
    stored = Bundles(tmp_path / "stored", keys)
    with small_registry() as registry:
        address = read_address(f"oci://{registry.host}/team/{STORED}:now")
        assert isinstance(address, InRegistry)
        for name, (home, _) in offered.items():
            homes[home].make(name, "1.0.0")
        push(stored.make(STORED, "1.0.0"), address)
        server = Server(
            homes["plain"].folder, str(homes["secret"].folder), address.shown,
            "--require-signature", str(keys.public), "--identity", str(secret.file),
            "--workers", str(WORKERS),
        )  # fmt: skip
        try:
            status, said = server.wait_until_loaded()
            assert status == 200, said
            names = [*offered, STORED]
            until(lambda: all(loaded(server, name) == WORKERS for name in names), server)
            for name, (home, kind) in offered.items():
                homes[home].offer_changed(name, kind, stranger, tmp_path / "made" / name)
            changed = stored.make(STORED, "1.1.0")
            hash_anew(changed, Stock(changed, changed, keys, stranger), random.Random(0))
            push(changed, address)
            server.process.send_signal(signal.SIGHUP)
            until(lambda: all(refused(server, name) == WORKERS for name in names), server)
            for name in names:
                assert {version_of(server, name) for _ in range(2 * WORKERS)} == {"1.0.0"}
            assert not re.search(r"1\.1\.0 passed", "".join(server.log))
        finally:
            assert server.stop() == 0


def loaded(server: Server, name: str) -> int:
    """How many processes have loaded version 1.0.0 of a model."""
    return len(set(re.findall(rf"repository.*: {name} 1\.0\.0 passed", "".join(server.log))))


def refused(server: Server, name: str) -> int:
    """How many processes have refused version 1.1.0 of a model."""
    said = re.findall(rf"repository\[?(\d*)\]?: {name} 1\.1\.0 is not ready", "".join(server.log))
    return len(set(said))
