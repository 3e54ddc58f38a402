"""Receipts name who signed the bundle, where a signature was verified."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from click.testing import CliRunner
from support.encrypted import seal
from support.registries import small_registry
from support.running import run_app
from support.signers import Keys, make_key
from support.toys import fake_runtimes, toy_bundle

import seatrial as st
import seatrial_contracts.bundle as bundle_module
from seatrial.main import cli
from seatrial_contracts.errors import BundleError
from seatrial_contracts.receipt import SignedBy
from seatrial_contracts.receipts_folder import newest_files, read_receipt
from seatrial_serve.inference import load_gate
from seatrial_serve.stores import resolve
from seatrial_serve.stores.address import InRegistry, read_address
from seatrial_serve.stores.in_registry import push_to_registry
from seatrial_serve.trust.keys import fingerprint, public_key_of
from seatrial_serve.trust.signing import read_signing_key, sign_bundle


def named(keys: Keys) -> SignedBy:
    """What a receipt says of a signature by a key."""
    identity = fingerprint(public_key_of(keys.public.read_bytes(), "a test"))
    return SignedBy(signer="release", method="key", identity=identity)


# --- the receipt of a trial


@pytest.mark.parametrize("how", ["its path", "opened"])
def test_a_trial_names_the_signer_that_it_verified(how: str, tmp_path: Path, keys: Keys) -> None:
    bundle = seal(tmp_path / "bundles")
    sign_bundle(bundle.path, read_signing_key(keys.private))
    tried = st.parity(
        bundle.path if how == "its path" else bundle,
        require_signature=keys.public, runners=("onnxruntime",),
    )  # fmt: skip
    assert tried.receipt.signed_by == named(keys)
    assert read_receipt(tried.path).signed_by == named(keys)


def test_a_trial_that_verifies_nothing_names_nobody(tmp_path: Path, keys: Keys) -> None:
    bundle = seal(tmp_path / "bundles")
    sign_bundle(bundle.path, read_signing_key(keys.private))
    assert st.parity(bundle, runners=("onnxruntime",)).receipt.signed_by is None


@pytest.mark.parametrize("how", ["its path", "opened"])
def test_a_bundle_of_nobody_who_counts_is_not_tried(how: str, tmp_path: Path, keys: Keys) -> None:
    bundle = seal(tmp_path / "bundles")
    sign_bundle(bundle.path, read_signing_key(make_key(tmp_path / "other").private))
    with pytest.raises(BundleError) as refused:
        st.parity(
            bundle.path if how == "its path" else bundle,
            require_signature=keys.public, runners=("onnxruntime",),
        )  # fmt: skip
    assert refused.value.code == "E_SIGNER"
    assert not newest_files(bundle.path)


def test_the_command_says_who_signed(
    tmp_path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    bundle = seal(tmp_path / "bundles")
    sign_bundle(bundle.path, read_signing_key(keys.private))
    words = ["parity", str(bundle.path), "--runner", "onnxruntime", "--require-signature"]
    done = CliRunner().invoke(cli, [*words, str(keys.public)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert f"signed by release, key {named(keys).identity}" in done.output


# --- nothing is opened before its signature was verified


@pytest.fixture
def unsigned(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """An unsigned bundle in a folder, and in a registry."""
    bundle = toy_bundle(tmp_path / "bundles")
    with small_registry() as registry:
        address = read_address(f"oci://{registry.host}/team/toy:now")
        assert isinstance(address, InRegistry)
        push_to_registry(bundle, address)
        yield str(bundle.path), address.shown


@pytest.mark.parametrize("command", ["verify", "parity"])
@pytest.mark.parametrize("place", [0, 1], ids=["in a folder", "in a registry"])
def test_an_unsigned_bundle_is_refused_before_it_is_opened(
    command: str, place: int, unsigned: tuple[str, str], keys: Keys,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    address = unsigned[place]
    opened = Mock(side_effect=AssertionError("it was opened"))
    for module in (resolve, bundle_module):
        monkeypatch.setattr(module, "open_bundle", opened)
    words = {
        "verify": ["verify", address, str(keys.public)],
        "parity": ["parity", address, "--require-signature", str(keys.public)],
    }
    with pytest.raises(BundleError) as refused:
        cli.main(words[command], standalone_mode=False)
    assert refused.value.code == "E_UNSIGNED"


# --- the receipt that a server keeps


async def kept(tmp_path: Path, **options: Any) -> str:
    """How the version of a folder was proven by a server that keeps receipts."""
    async with run_app(tmp_path / "bundles", prove="kept", **options) as running:
        told = (await running.client.get("/v1/models/toy")).json()
        return str(told["versions"][0]["proven_by"])


async def test_a_kept_receipt_names_the_signer_and_counts_for_that_one(
    tmp_path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_runtimes(monkeypatch)
    monkeypatch.setattr(load_gate, "MEASURE_BUDGET_S", 0.0)
    sign_bundle(toy_bundle(tmp_path / "bundles").path, read_signing_key(keys.private))
    policy = tmp_path / "policy.toml"
    policy.write_text(f'[[signer]]\nname = "lab"\nkey = "{keys.public}"\n')
    assert await kept(tmp_path) == "golden rows"
    assert await kept(tmp_path, require_signature=keys.public) == "golden rows"
    assert await kept(tmp_path, require_signature=keys.public) == "kept receipt"
    assert await kept(tmp_path, require_signature=policy) == "golden rows"
    receipts = (tmp_path / "cache" / "seatrial" / "receipts").iterdir()
    signers = [json.loads(each.read_bytes())["facts"].get("signer") for each in receipts]
    assert sorted(signers, key=str) == [None, "lab", "release"]
