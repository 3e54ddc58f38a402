"""Sizes at which the module itself raises: a finding, or named in the receipt."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

import seatrial as st
from seatrial_contracts.kinds.kind import TensorSpec
from seatrial_export.gate import sizes


def raises(_: Any) -> Any:
    raise ValueError("seven is no size of mine")


def candidate_of(varies: dict[str, tuple[int, int]]) -> Any:
    """One graph whose `n` varies; `varies` has the sizes that the contract itself bounds."""
    spec = TensorSpec(name="x", dtype="float32", dims=("n",))
    graph = SimpleNamespace(specs=[spec], sizes=varies, session=None, feeds={})
    return SimpleNamespace(calls=[("model", raises, graph)], trials=[])


@pytest.fixture(autouse=True)
def another_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes, "other_sizes", lambda _: [({"n"}, {})])
    monkeypatch.setattr(sizes, "sizes_of", lambda _: {"x": [7]})


def test_a_size_of_the_contract_at_which_the_module_raises_is_refused() -> None:
    with pytest.raises(st.GateError, match=r"the model does not: model itself raises at sizes"):
        sizes.check_sizes(candidate_of({"n": (1, 9)}))


def test_a_size_that_prepare_alone_decides_is_passed_over_and_the_receipt_says_so() -> None:
    candidate = candidate_of({})
    sizes.check_sizes(candidate)
    (trial,) = candidate.trials
    assert (trial.runner, trial.passed, trial.rows) == ("other sizes", True, 0)
    assert trial.finding.startswith("not compared, and only prepare knows")
    assert "model itself raises at sizes {'x': [7]}: ValueError: seven is no size" in trial.finding
