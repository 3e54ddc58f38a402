"""Bundles whose weights lie in a file of their own, through a registry and a store of files."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import outside
from support.registries import SmallRegistry

import seatrial as st
from seatrial_export.graphs import weights
from seatrial_serve.stores.address import InRegistry, InStore, read_address
from seatrial_serve.stores.in_files import push_to_files
from seatrial_serve.stores.in_registry import push_to_registry
from seatrial_serve.stores.resolve import pull

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> st.Bundle:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weights, "OUTSIDE_FROM_BYTES", 2**12)
        patch.setattr(weights, "LEAST_BYTES", 2**9)
        sealed = st.export(outside.pipeline(), tmp_path_factory.mktemp("bundles"))
    return st.open_bundle(sealed.path)


def same(pulled: st.Bundle, bundle: st.Bundle) -> bool:
    data = {name: path.read_bytes() for name, path in bundle.data.items()}
    assert data.keys() == {outside.DATA}
    return (
        pulled.digest == bundle.digest
        and {name: path.read_bytes() for name, path in pulled.data.items()} == data
        and st.open_bundle(pulled.path).digest == bundle.digest
    )


def test_through_a_registry(bundle: st.Bundle, registry: SmallRegistry, tmp_path: Path) -> None:
    at = InRegistry(registry.host, "team/net", "1.0.0", None)
    push_to_registry(bundle, at)
    assert same(pull(at, tmp_path)[0], bundle)


def test_through_a_store_of_files(bundle: st.Bundle, tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    at = read_address("memory://outside")
    assert isinstance(at, InStore)
    push_to_files(bundle, at)
    one = read_address("memory://outside/net/1.0.0")
    assert isinstance(one, InStore)
    assert same(pull(one, tmp_path / "pulled")[0], bundle)
