"""A small bundle, opened and served."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.animals import animals_bundle

import seatrial as st


@pytest.fixture
def animals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> st.Bundle:
    """A bundle of several sorts of fields, run by a Python function."""
    return animals_bundle(tmp_path / "bundles", monkeypatch)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[st.ThreadServer]:
    """The same bundle, served in a thread."""
    with pytest.MonkeyPatch.context() as patch:
        bundle = animals_bundle(tmp_path_factory.mktemp("served"), patch)
        with st.serve(bundle) as serving:
            yield serving
