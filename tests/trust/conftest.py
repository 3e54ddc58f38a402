"""A cache, a record of versions and keys of the tests' own."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.signers import Keys, make_key


@pytest.fixture(autouse=True)
def own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return make_key(tmp_path / "keys")
