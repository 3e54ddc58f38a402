"""What somebody changes between the check of a bundle and the use of its bytes is not used."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyrage
import pytest
from support.encrypted import DATA, GRAPH, encrypted, make_identity, seal

import seatrial as st
from seatrial_contracts.errors import BundleError
from seatrial_serve.inference.engine import load_engine
from seatrial_serve.runtimes import onnx
from seatrial_serve.runtimes.runtime import RuntimeOptions


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
