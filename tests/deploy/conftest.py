"""Replicas of Ray Serve without Ray."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.ray_replica import Replica, replicas
from support.toys import fake_runtimes


@pytest.fixture
def replica(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Replica:
    """Makes replicas of toys, whose caches lie in the test's folder."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    fake_runtimes(monkeypatch)
    return replicas(monkeypatch)
