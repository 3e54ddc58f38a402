"""The one comparison: the formula, the place it names, and what it must never let pass.

numpy is the judge.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from hypothesis.extra import numpy as arrays

import seatrial as st

floats = some.floats(-1e6, 1e6, width=32)
pairs = some.integers(1, 6).flatmap(
    lambda n: some.tuples(
        arrays.arrays(np.float32, (n, 3), elements=floats),
        arrays.arrays(np.float32, (n, 3), elements=floats),
        some.floats(0, 1),
    )
)


@given(pairs)
def test_it_agrees_with_the_formula_written_out(
    values: tuple[np.ndarray, np.ndarray, float],
) -> None:
    want, other, share = values
    got = (want + (other - want) * np.float32(share) * np.float32(1e-4)).astype(np.float32)
    a, b = got.astype(np.float64), want.astype(np.float64)
    passed = bool((np.abs(a - b) <= 1e-5 * np.abs(b).max() + 1e-4 * np.abs(b)).all())
    found = st.compare_outputs(
        [{"y": row} for row in want], [{"y": row} for row in got], st.Tolerance()
    )
    assert found.passed == passed


def test_it_names_sample_output_and_index_of_the_worst_place() -> None:
    want = [{"a": np.ones(3), "b": np.ones((2, 2))} for _ in range(4)]
    got = [{name: value.copy() for name, value in row.items()} for row in want]
    got[1]["a"][2] += 0.01
    got[2]["b"][1, 0] += 0.5
    found = st.compare_outputs(want, got, st.Tolerance())
    assert not found.passed
    assert (found.sample, found.output, found.index) == (2, "b", (1, 0))
    assert "sample 2, output 'b'[1][0]: got 1.5, want 1, error 5.00e-01" in str(found)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_on_one_side_never_passes(bad: float) -> None:
    for want, got in ((1.0, bad), (bad, 1.0)):
        found = st.compare_outputs(
            [{"y": np.array([want])}], [{"y": np.array([got])}], st.Tolerance(relative=1.0)
        )
        assert not found.passed


def test_shapes_counts_and_names_must_match() -> None:
    row = {"y": np.ones(3)}
    for got in ([{"y": np.ones(2)}], [{"y": np.ones((1, 3))}], [{"z": np.ones(3)}], [], [row, row]):
        assert not st.compare_outputs([row], got, st.Tolerance()).passed


def test_nothing_to_compare_is_a_bug_and_not_a_pass() -> None:
    with pytest.raises(ValueError, match="nothing to compare"):
        st.compare_outputs([], [], st.Tolerance())
