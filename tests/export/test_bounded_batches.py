"""Rows that the gate draws are as long as rows may be: their batches are bounded."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as some

from seatrial_export.graphs.session import bounded


@given(lengths=some.lists(some.integers(0, 50), min_size=1, max_size=20), most=some.integers(1, 99))
def test_each_row_runs_once_in_a_batch_that_is_no_larger_when_filled_up(
    lengths: list[int], most: int
) -> None:
    rows = [(np.zeros(length), np.int64(3)) for length in lengths]
    batches = [*bounded(rows, range(len(rows)), most)]
    assert sorted(place for batch in batches for place in batch) == [*range(len(rows))]
    for batch in batches:
        longest = max(lengths[place] + 1 for place in batch)
        assert len(batch) == 1 or len(batch) * longest <= most
    assert [*bounded(rows, range(len(rows)), None)] == [[*range(len(rows))]]
