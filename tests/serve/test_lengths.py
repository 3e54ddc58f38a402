"""The lengths to which batches are padded on cards."""

from __future__ import annotations

import numpy as np
import pytest

from seatrial_contracts.host_stage import EncodedRow, collate
from seatrial_contracts.kinds.kind import TensorSpec
from seatrial_serve.inference.lengths import (
    MOST,
    STEP,
    each_length,
    lengths_up_to,
    settled_lengths,
)

IDS = TensorSpec(name="ids", dtype="int64", dims=("tokens",), pad=7)
MASK = TensorSpec(name="mask", dtype="int64", dims=("tokens",), pad=0, pad_left=True)
OTHER = TensorSpec(name="other", dtype="float32", dims=("steps", 2), pad=0)
AGE = TensorSpec(name="age", dtype="float32")


def row(tokens: int, steps: int) -> EncodedRow:
    return (
        np.arange(1, tokens + 1), np.ones(tokens, np.int64), np.ones((steps, 2), np.float32), 3.0,
    )  # fmt: skip


SPECS = (IDS, MASK, OTHER, AGE)


@pytest.mark.parametrize(
    ("longest", "want"),
    [(1, (1,)), (7, (7,)), (8, (8,)), (9, (8, 9)), (30, (8, 16, 24, 30))],
)
def test_lengths_are_multiples_up_to_the_longest(longest: int, want: tuple[int, ...]) -> None:
    assert lengths_up_to(longest) == want


@pytest.mark.parametrize("longest", [512, 513, 4_097, 480_000])
def test_long_rows_have_longer_steps(longest: int) -> None:
    found = lengths_up_to(longest)
    assert len(found) <= MOST
    assert found[-1] == longest
    assert all(length % STEP == 0 for length in found[:-1])


def test_an_input_is_never_longer_than_its_own_longest_golden_row() -> None:
    found = settled_lengths(SPECS, [row(20, 3), row(5, 11)])
    assert found == {"ids": (8, 16, 20), "mask": (8, 16, 20), "other": (8, 11)}


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (TensorSpec(name="x", dtype="float32", dims=("tokens",)), "is not padded"),
        (TensorSpec(name="x", dtype="float32", dims=(2, "tokens"), pad=0), "has it behind"),
    ],
)
def test_a_side_that_another_input_shares_unpadded_is_left_as_it_is(
    other: TensorSpec, why: str
) -> None:
    rows = [(np.arange(5), np.ones((2, 5), np.float32))]
    assert settled_lengths((IDS, other), rows) == {}, why


def test_fixed_and_empty_sides_have_no_lengths() -> None:
    fixed = TensorSpec(name="x", dtype="float32", dims=(5,), pad=0)
    assert settled_lengths((fixed, IDS), [(np.ones(5), np.arange(0))]) == {}


def test_padding_goes_on_to_the_next_length_with_the_fields_own_filling() -> None:
    feeds = collate(SPECS, [row(3, 2), row(2, 9)], settled_lengths(SPECS, [row(20, 11)]))
    assert feeds["ids"].tolist() == [[1, 2, 3, 7, 7, 7, 7, 7], [1, 2, 7, 7, 7, 7, 7, 7]]
    assert feeds["mask"].tolist() == [[0, 0, 0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 0, 0, 1, 1]]
    assert feeds["other"].shape == (2, 11, 2)
    assert feeds["other"].sum() == 2 * 2 + 9 * 2
    assert collate(SPECS, [row(21, 1)], {"ids": (8, 20)})["ids"].shape == (1, 21)


def test_each_length_is_run_by_one_row_and_by_as_many_as_fit() -> None:
    lengths = settled_lengths(SPECS, [row(20, 11), row(2, 1)])
    made = list(each_length(SPECS, row(2, 1), lengths, 16, 300))
    # elements of a row: 2 x 8 + 16 + 1, 2 x 16 + 22 + 1, 2 x 20 + 22 + 1
    assert [(*each["ids"].shape, each["other"].shape[1]) for each in made] == [
        (1, 8, 8), (9, 8, 8), (1, 16, 11), (5, 16, 11), (1, 20, 11), (4, 20, 11),
    ]  # fmt: skip
    assert all(each["ids"].dtype == np.int64 for each in made)
