"""Keys and caches of the tests' own; the tests' process stays one that may be debugged."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.encrypted import Key, make_identity

from seatrial_contracts import identities


@pytest.fixture
def key(tmp_path: Path) -> Key:
    return make_identity(tmp_path / "keys" / "key.txt")


@pytest.fixture(autouse=True)
def own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    for name in (identities.FILE_VARIABLE, identities.COMMAND_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(identities, "forbid_core_dumps", lambda: None)
