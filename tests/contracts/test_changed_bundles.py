"""A bundle that was changed and hashed anew is served rightly, or refused in our own words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some
from support.changed_bundles import load_fake, make_loader, outcome, seal, try_one
from support.properties import drawing

from seatrial_serve.inference import engine, load_gate
from seatrial_serve.models.loader import Loader
from seatrial_serve.scheduling.fair_pool import FairPool


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return seal(tmp_path_factory.mktemp("bundles")).path


@pytest.fixture(scope="module")
def loader() -> Iterator[Loader]:
    with pytest.MonkeyPatch.context() as patch, FairPool(1) as pool:
        patch.setattr(load_gate, "MEASURE_BUDGET_S", 0.001)
        patch.setattr(engine, "runtimes", lambda: {"fake": load_fake})
        yield make_loader(pool)


def test_the_bundle_is_served_before_it_is_changed(sealed: Path, loader: Loader) -> None:
    assert outcome(sealed, loader) == "served"


@pytest.mark.slow
@drawing(40)
@given(seed=some.integers(0, 2**32))
def test_every_change_is_served_rightly_or_refused_by_an_error_of_ours(
    seed: int, sealed: Path, loader: Loader
) -> None:
    try_one(sealed, seed, loader)
