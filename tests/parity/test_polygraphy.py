"""Polygraphy's comparison of the same outputs comes to the same verdict as ours.

That is so where both can express the same verdict.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, reject
from hypothesis import strategies as some
from hypothesis.extra.numpy import arrays
from support.properties import drawing

import seatrial as st

comparator = pytest.importorskip("polygraphy.comparator", reason="Polygraphy is not installed")
from polygraphy.logger import G_LOGGER  # noqa: E402  (after the skip)

# Its relative errors near 0.
pytestmark = pytest.mark.filterwarnings(
    "ignore:overflow encountered in divide:RuntimeWarning",
    "ignore:overflow encountered in reduce:RuntimeWarning",
    "ignore:invalid value encountered in reduce:RuntimeWarning",
    "ignore:invalid value encountered in subtract:RuntimeWarning",
)
G_LOGGER.module_severity = G_LOGGER.CRITICAL
NUMBERS = some.floats(-100, 100, width=32)
ERRORS = some.floats(-1, 1, width=32)
VALUES = arrays(np.float32, (4, 3), elements=NUMBERS)
MOVES = arrays(np.float32, (4, 3), elements=ERRORS)


def theirs(want: np.ndarray, got: np.ndarray, *, absolute: float, relative: float) -> bool:
    """Polygraphy's verdict: an element fails where it exceeds both tolerances."""
    results = comparator.RunResults()
    for name, output in (("got", got), ("want", want)):
        results.append(
            (name, [comparator.IterationResult(outputs={"answer": output}, runner_name=name)])
        )
    simple = comparator.SimpleCompareFunc(atol=absolute, rtol=relative)
    return bool(comparator.Comparator.compare_accuracy(results, compare_func=simple))


def ours(want: np.ndarray, got: np.ndarray, tolerance: st.Tolerance) -> bool:
    found = st.compare_outputs(
        [{"answer": row} for row in want], [{"answer": row} for row in got], tolerance
    )
    if abs(found.ratio - 1) < 1e-3:
        reject()  # at the bound itself the two round otherwise
    return found.passed


@given(VALUES, MOVES, some.floats(1e-6, 1e-2))
@drawing(40)
def test_a_bound_by_the_largest_number_is_their_absolute_tolerance(
    want: np.ndarray, moves: np.ndarray, part: float
) -> None:
    got = want + moves * np.float32(2 * part) * np.abs(want).max()
    verdict = ours(want, got, st.Tolerance(relative_to_max=part, relative=0))
    assert verdict == theirs(want, got, absolute=part * float(np.abs(want).max()), relative=0)


@given(VALUES, MOVES, some.floats(1e-6, 1e-2))
@drawing(40)
def test_a_bound_by_each_number_is_their_relative_tolerance(
    want: np.ndarray, moves: np.ndarray, part: float
) -> None:
    want = np.where(np.abs(want) < 1e-3, np.float32(1), want)
    got = want + moves * np.float32(2 * part) * np.abs(want)
    verdict = ours(want, got, st.Tolerance(relative_to_max=0, relative=part))
    assert verdict == theirs(want, got, absolute=0, relative=part)


@given(VALUES, MOVES, some.floats(1e-6, 1e-2), some.floats(1e-6, 1e-2))
@drawing(40)
def test_of_both_bounds_ours_is_the_sum_and_theirs_the_larger(
    want: np.ndarray, moves: np.ndarray, of_max: float, part: float
) -> None:
    got = want + moves * np.float32(3 * (of_max + part)) * np.abs(want).max()
    largest = float(np.abs(want).max())
    found = ours(want, got, st.Tolerance(relative_to_max=of_max, relative=part))
    if theirs(want, got, absolute=of_max * largest, relative=part):
        assert found
    if found:  # the sum is at most twice the larger
        assert theirs(want, got, absolute=2 * of_max * largest, relative=2 * part)


@pytest.mark.parametrize(
    ("want", "got"), [([1.0, np.nan], [1.0, 2.0]), ([1.0, 2.0], [1.0, np.nan])]
)
def test_a_nan_on_one_side_fails_with_both(want: list[float], got: list[float]) -> None:
    mine, its = np.array([want], np.float32), np.array([got], np.float32)
    assert not ours(mine, its, st.Tolerance())
    assert not theirs(mine, its, absolute=1e-5, relative=1e-4)
