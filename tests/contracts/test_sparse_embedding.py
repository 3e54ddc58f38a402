"""Sparse embeddings: which terms are told, judged by scipy, and how two answers are matched."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from scipy.sparse import csr_array

import seatrial as st
from seatrial_contracts.compare import Tolerance
from seatrial_contracts.contract_changes import compare_contracts
from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.kinds.sparse_embedding import SparseEmbedding

EXACT = Tolerance()
weights = some.lists(
    some.sampled_from([0.0, 0.0, 0.25, 0.5, 1.0]) | some.floats(0, 8, width=32),
    min_size=1,
    max_size=40,
)


class Row(st.Row):
    x: float


def contract_of(**options: Any) -> st.Contract:
    class Terms(st.Answer):
        terms: Annotated[list[dict[str, float]], SparseEmbedding(8, **options)]

    return st.contract_from_rows(Row, Terms)


@given(weights)
def test_terms_are_the_nonzero_columns_of_a_sparse_row(values: list[float]) -> None:
    row = np.array(values, np.float32)
    indices, found = SparseEmbedding(len(row)).client([row], None, {})
    want = csr_array(row[None])
    want.eliminate_zeros()
    assert indices.tolist() == want.indices.tolist()
    assert np.array_equal(found, want.data)
    kind = SparseEmbedding(len(row))
    back = kind.recover(kind.written((indices, found)))
    assert all(np.array_equal(one, two) for one, two in zip(back, (indices, found), strict=True))


@given(weights, some.integers(1, 40), some.floats(0, 2, width=32))
def test_the_heaviest_are_told_in_the_order_of_the_vocabulary(
    values: list[float], most: int, threshold: float
) -> None:
    row = np.array(values, np.float32)
    kind = SparseEmbedding(len(row), threshold=threshold)
    indices, found = kind.client([row], None, {"top_k": most})
    order = sorted((-value, place) for place, value in enumerate(row.tolist()) if value > threshold)
    assert indices.tolist() == sorted(place for _, place in order[:most])
    assert np.array_equal(found, row[indices])


def pair(*terms: tuple[int, float]) -> tuple[np.ndarray, np.ndarray]:
    return (
        np.array([index for index, _ in terms], np.int32),
        np.array([value for _, value in terms], np.float32),
    )


@pytest.mark.parametrize(
    ("got", "passes"),
    [
        (pair((1, 0.5), (3, 2.0)), True),
        (pair((1, 0.5), (3, 2.0), (7, 1e-6)), True),  # as good as none
        (pair((3, 2.0), (4, 0.5)), True),  # a tie at the end of a full list
        (pair((1, 0.5), (3, 2.1)), False),
        (pair((1, 0.5), (4, 2.0)), False),
        (pair((3, 2.0)), False),
        (pair((1, 0.5), (3, 2.0), (7, 0.5)), False),
    ],
)
def test_two_answers_are_matched_by_index(got: Any, passes: bool) -> None:
    kind = SparseEmbedding(8, max_terms=2)
    found = kind.match(pair((1, 0.5), (3, 2.0)), got, EXACT)
    assert found.passed is passes
    assert passes or "term" in found.mismatch or found.worst_error > 0


def test_a_weight_below_zero_reaches_nobody() -> None:
    outputs = {"terms": np.array([[0, -1, 0, 0, 0, 0, 0, 2]], np.float32)}
    [fault] = contract_of().faulty_rows(outputs, 1).values()
    assert fault.error(0).code == "E_OUTPUT_RANGE"


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (lambda: SparseEmbedding(8).declared(list[float], False), r"list\[dict\[str, float\]\]"),
        (lambda: SparseEmbedding().declared(list[dict[str, float]], False), "no size"),
        (lambda: contract_of(max_terms=9), "at most 8, the size"),
    ],
)
def test_a_declaration_that_cannot_hold_is_refused(declare: Any, message: str) -> None:
    with pytest.raises(DeclarationError, match=message):
        declare()


def test_an_option_that_does_not_fit_is_refused() -> None:
    class Terms(st.Answer):
        terms: Annotated[list[dict[str, float]], SparseEmbedding(8)]

    class Options(st.Options):
        threshold: Annotated[float, st.Option(0.5, ge=0)]

    with pytest.raises(DeclarationError, match="default 0, and ge=0"):
        st.contract_from_rows(Row, Terms, options=Options)


@pytest.mark.parametrize(
    ("old", "new", "breaks"),
    [
        ({}, {"max_terms": 4}, True),
        ({"max_terms": 4}, {}, False),
        ({"max_terms": 4}, {"max_terms": 6}, False),
        ({}, {"threshold": 0.5}, True),
        ({"threshold": 0.5}, {}, False),
    ],
)
def test_fewer_terms_break_clients(old: Any, new: Any, breaks: bool) -> None:
    changes = compare_contracts(contract_of(**old), contract_of(**new))
    assert any(change.breaking for change in changes) is breaks
