"""What somebody changes between the check of a bundle and the use of its bytes is not used."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pyrage
import pytest
from support.encrypted import DATA, GRAPH, encrypted, make_identity, seal
from support.foreign_changes import rehash
from support.signers import Keys

import seatrial as st
from seatrial import signed_bundle
from seatrial_contracts.bundle import CONTRACT
from seatrial_contracts.errors import BundleError
from seatrial_serve.inference.engine import load_engine
from seatrial_serve.metrics.metrics import Metrics
from seatrial_serve.models.entry import Entry
from seatrial_serve.models.loader import Loader
from seatrial_serve.models.repository import Repository
from seatrial_serve.models.scan import stamp_of
from seatrial_serve.process.resources import ThreadPlan
from seatrial_serve.runtimes import onnx
from seatrial_serve.runtimes.runtime import RuntimeOptions
from seatrial_serve.scheduling.fair_pool import FairPool
from seatrial_serve.settings import Settings
from seatrial_serve.trust import trust
from seatrial_serve.trust.check import check_signature
from seatrial_serve.trust.policy import TrustPolicy, read_policy
from seatrial_serve.trust.signed import Signed
from seatrial_serve.trust.signing import read_signing_key, sign_bundle


def write_over(path: Path, data: bytes) -> None:
    """Write a file's bytes in place, with the times that it had."""
    status = path.stat()
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def lay_over(path: Path, data: bytes) -> None:
    """Lay another file in the place of one, with the times that it had."""
    status, other = path.stat(), path.with_name("other")
    other.write_bytes(data)
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(path)


CHANGES = [write_over, lay_over]
Change = Callable[[Path, bytes], None]


@pytest.mark.parametrize("change", CHANGES)
def test_weights_that_were_changed_once_they_were_verified_are_not_mapped(
    change: Change, tmp_path: Path
) -> None:
    bundle = st.open_bundle(seal(tmp_path).path)
    data = bundle.path / DATA
    change(data, bytes(data.stat().st_size))
    with pytest.raises(BundleError) as refused:
        bundle.weights(GRAPH)
    assert refused.value.code == "E_BUNDLE_CHANGED"


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("cached", [False, True])
def test_weights_that_are_others_only_while_they_are_loaded_are_not_served_nor_kept(
    cached: bool, change: Change, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = st.open_bundle(seal(tmp_path / "bundles").path)
    data, cache = bundle.path / DATA, tmp_path / "graphs"
    sealed, reader = data.read_bytes(), "_optimise_aside" if cached else "_opened"
    reads = getattr(onnx, reader)

    def swapped(*arguments: Any) -> Any:
        change(data, bytes(len(sealed)))
        found = reads(*arguments)
        change(data, sealed)
        return found

    options = RuntimeOptions(cache=cache if cached else None)
    with monkeypatch.context() as patch:
        patch.setattr(onnx, reader, swapped)
        with pytest.raises(BundleError, match=f"'{DATA}' changed while it was loaded") as refused:
            load_engine(bundle, options)
    assert refused.value.code == "E_BUNDLE_CHANGED"
    assert not cached or not list(cache.iterdir())
    load_engine(bundle, options).close()


def test_nothing_is_parsed_of_a_bundle_that_is_laid_there_once_another_was_verified(
    keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed, there = seal(tmp_path / "bundles").path, tmp_path / "unsigned"
    sign_bundle(signed, read_signing_key(keys.private))
    shutil.copytree(signed, there)
    (there / CONTRACT).write_bytes(b"no contract")
    rehash(there)

    def check_and_swap(folder: Path, policy: TrustPolicy) -> Signed:
        found = check_signature(folder, policy)
        shutil.copytree(there, folder, dirs_exist_ok=True)
        return found

    def refused(opens: Callable[[], object]) -> str:
        with monkeypatch.context() as patch, pytest.raises(BundleError) as caught:
            for module in (trust, signed_bundle):
                patch.setattr(module, "check_signature", check_and_swap)
            opens()
        shutil.copytree(whole, signed, dirs_exist_ok=True)
        return caught.value.code

    whole = shutil.copytree(signed, tmp_path / "whole")
    policy = read_policy(keys.public)
    assert refused(lambda: signed_bundle.open_signed(signed, policy)) == "E_BUNDLE_CHANGED"
    settings = Settings(require_signature=keys.public)
    with FairPool(1) as pool:
        metrics, repository = Metrics(on=False), Mock(spec=Repository)
        loader = Loader(settings, ThreadPlan(runs=1), pool, pool, metrics, repository)
        for load in (loader, loader.describe, loader.manifest):
            entry = Entry("net", "1.0.0", signed, stamp_of(signed))
            assert refused(partial(load, entry)) == "E_BUNDLE_CHANGED"
            entry = Entry("net", "1.0.0", signed, stamp_of(there))
            if load != loader:  # a load takes what is signed, whatever was found
                assert refused(partial(load, entry)) == "E_BUNDLE_CHANGED"


def test_weights_are_decrypted_and_verified_in_one_reading(tmp_path: Path) -> None:
    """Whoever knows the recipient can encrypt others to it."""
    key = make_identity(tmp_path / "key")
    path = encrypted(tmp_path / "bundles", key)
    bundle = st.open_bundle(path, key.identities)
    assert bundle.weights(GRAPH) is not None
    there, zeros = path / f"{DATA}.age", bytes(bundle.manifest.files[DATA].size)
    others = iter(lambda: pyrage.encrypt(zeros, [key.to]), None)  # of headers of chance lengths
    write_over(there, next(each for each in others if len(each) == there.stat().st_size))
    with pytest.raises(BundleError, match="with other bytes than were sealed"):
        bundle.weights(GRAPH)
