"""Lists: declared, validated by row and by column, padded, compared, and drawn."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from annotated_types import Len
from hypothesis import given
from hypothesis import strategies as some
from support.declared import row_of
from support.properties import drawing

import seatrial as st
from seatrial_contracts.contract_changes import compare_contracts
from seatrial_contracts.drawn_rows import draw_rows
from seatrial_contracts.host_stage import HostStage, collate
from seatrial_contracts.profile import DriftFeatures

Word = Literal["tea", "coffee", "milk"]


class Basket(st.Row):
    products: Annotated[list[Word], st.Items(max_items=6)]
    prices: Annotated[list[float | None], st.Items(max_items=6, mark="length")]
    days: Annotated[list[Annotated[int, st.Number(ge=1, le=7)]] | None, Len(1, 3)]
    pair: Annotated[list[bool], st.Items(min_items=2, max_items=2)]


class Out(st.Answer):
    y: float


CONTRACT = st.contract_from_rows(Basket, Out)
ROW: dict[str, Any] = {
    "products": ["tea", "milk"], "prices": [1.5, None, 2.0], "days": [7], "pair": [True, False],
}  # fmt: skip
EMPTY: dict[str, Any] = {"products": [], "prices": [], "days": None, "pair": [False, False]}


def changed(field: str, kind: Any) -> st.Contract:
    return st.contract_from_rows(row_of(Basket, **{field: kind}), Out)


def test_the_contract_comes_back_from_its_json() -> None:
    assert st.Contract.from_json(CONTRACT.to_json()) == CONTRACT


def test_lists_of_unlike_length_share_a_batch_and_a_mask_says_what_counts() -> None:
    front = HostStage(CONTRACT, {})
    feeds = collate(front.specs, [front.encode_row(CONTRACT.validate_row(r)) for r in (ROW, EMPTY)])
    assert feeds["products"].tolist() == [["tea", "milk"], ["tea", "tea"]]
    assert feeds["products_mask"].tolist() == [[True, True], [False, False]]
    np.testing.assert_array_equal(feeds["prices"], np.float32([[1.5, np.nan, 2], [0, 0, 0]]))
    assert feeds["prices_length"].tolist() == [3, 0]
    assert feeds["days"].tolist() == [[7], [1]], "what fills up is within the bounds"
    assert (feeds["days_mask"].tolist(), feeds["days_present"].tolist()) == (
        [[True], [False]], [True, False],
    )  # fmt: skip
    assert feeds["pair"].shape == (2, 2)


def test_no_graph_sees_a_side_of_size_0() -> None:
    front = HostStage(CONTRACT, {})
    feeds = collate(front.specs, [front.encode_row(CONTRACT.validate_row(EMPTY))])
    assert feeds["products"].shape == (1, 1)
    assert CONTRACT.sizes["products_items"] == (1, 6)


@pytest.mark.parametrize(
    ("field", "value", "code", "text"),
    [
        ("products", ["tea"] * 7, "E_LIMIT", "got a list of 7, want a list of 0 to 6 items, each"),
        ("products", ["tea", "te"], "E_CATEGORY", "input 'products', item 1, row 0: got a string"),
        ("products", "tea", "E_TYPE", "got a string of 3 characters, want a list of 0 to 6 items"),
        ("products", None, "E_MISSING", "got null"),
        ("products", ["tea", None], "E_MISSING", "item 1, row 0: got null, want one of 'tea'"),
        ("prices", [1.0, "x"], "E_TYPE", "item 1, row 0: got a string"),
        ("prices", [float("inf")], "E_NONFINITE", "item 0, row 0"),
        ("days", [], "E_LIMIT", "want a list of 1 to 3 items, each a whole number from 1 to 7"),
        ("days", [1, 8], "E_RANGE", "input 'days', item 1, row 0: got 8, want a whole number"),
        ("pair", [True], "E_LIMIT", "got a list of 1, want a list of 2 items, each true or false"),
        ("pair", [True, 1], "E_TYPE", "item 1, row 0: got 1, want true or false"),
    ],
)
def test_a_list_that_the_contract_does_not_take_is_refused_at_its_item(
    field: str, value: Any, code: str, text: str
) -> None:
    with pytest.raises(st.Refusal) as refused:
        CONTRACT.validate_row({**ROW, field: value}, 0)
    assert refused.value.code == code
    assert text in str(refused.value)
    assert (refused.value.field, refused.value.row) == (field, 0)


@pytest.mark.parametrize(
    ("columns", "code", "text"),
    [
        ({"products": [["tea"], ["milk"]]}, None, ""),
        ({"products": [["tea", ""], ["milk", "no"]]}, "E_CATEGORY", "'products', item 1, row 0"),
        (
            {"products": [["tea", ""], ["milk", "no"]], "products_length": [1, 2]},
            "E_CATEGORY", "'products', item 1, row 1: got an unknown word",
        ),
        ({"products": [["tea"], ["milk"]], "products_length": [1, 2]}, "E_SHAPE", "row 1: got the"),
        ({"days": [[1, 2], [3, 9]]}, "E_RANGE", "input 'days', item 1, row 1: got 9"),
        ({"days": [[1, 2], [3, 9]], "days_present": [True, False]}, None, ""),
        ({"days": [[1, 2], [3, 9]], "days_present": [False, True]}, "E_RANGE", "item 1, row 1"),
        ({"days": [[1], [1]], "days_length": [1, 0]}, "E_LIMIT", "input 'days', row 1: got 0"),
    ],
)  # fmt: skip
def test_columns_are_judged_as_rows_are(
    columns: dict[str, Any], code: str | None, text: str
) -> None:
    given_columns = {
        "products": np.array([["tea"]] * 2, object), "prices": np.zeros((2, 0), np.float32),
        "pair": np.zeros((2, 2), bool),
        **{name: np.array(column, object if name == "products" else None)
           for name, column in columns.items()},
    }  # fmt: skip
    if code is None:
        CONTRACT.validate_columns(given_columns, 2)
        return
    with pytest.raises(st.Refusal) as refused:
        CONTRACT.validate_columns(given_columns, 2)
    assert refused.value.code == code
    assert text in str(refused.value)


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (list[int], "got no max_items"),
        (Annotated[list[int], st.Items(max_items=2, min_items=3)], "3 to 2 items"),
        (Annotated[list[list[int]], st.Items(max_items=2)], "the type of an input"),
        (Annotated[list[bool | None], st.Items(max_items=2)], "never missing"),
        (Annotated[list[bytes], st.Items(max_items=2)], "the type of an input"),
        (Annotated[list[Annotated[bytes, st.Image()]], st.Items(max_items=2)], "whose sizes vary"),
        (Annotated[int, st.Items(max_items=2)], "list[...]"),
    ],
)
def test_a_list_that_cannot_be_kept_is_refused_where_it_is_declared(
    annotation: Any, text: str
) -> None:
    with pytest.raises(st.DeclarationError) as refused:
        st.contract_from_rows(row_of(x=annotation), Out)
    assert text in str(refused.value)


@drawing(200)
@given(some.fixed_dictionaries({f.name: f.kind.strategy() for f in CONTRACT.inputs}))
def test_every_drawn_list_is_taken_and_comes_out_of_its_columns_as_it_went_in(
    row: dict[str, Any],
) -> None:
    front = HostStage(CONTRACT, {})
    alone = front.encode_row(CONTRACT.validate_row(row))
    columns = {
        name: np.array([value], object if name == "products" else None)
        for name, value in row.items()
    }
    columns["prices"] = np.array([row["prices"]], np.float32)
    checked = CONTRACT.validate_columns(columns, 1)
    again = front.encode_row({name: column[0] for name, column in checked.items()})
    for one, other in zip(alone, again, strict=True):
        np.testing.assert_array_equal(one, other)


def test_edges_hold_the_shortest_the_longest_and_each_edge_of_an_item() -> None:
    front = HostStage(CONTRACT, {})
    drawn = [each.row for each in draw_rows(front, [ROW])]
    lengths = {len(row["products"]) for row in drawn}
    assert {0, 1, 6} <= lengths
    assert {word for row in drawn for word in row["products"]} == {"tea", "coffee", "milk"}
    assert {day for row in drawn for day in row["days"] or ()} >= {1, 2, 6, 7}
    assert any(row["days"] is None for row in drawn)
    assert any(None in row["prices"] for row in drawn)


@pytest.mark.parametrize(
    ("field", "annotation", "breaking"),
    [
        ("products", Annotated[list[Word], st.Items(max_items=7)], False),
        ("products", Annotated[list[Word], st.Items(max_items=5)], True),
        ("products", Annotated[list[Literal["tea", "coffee"]], st.Items(max_items=6)], True),
        (
            "products",
            Annotated[list[Literal["tea", "coffee", "milk", "soup"]], st.Items(max_items=6)],
            False,
        ),
        ("products", Annotated[list[str], st.Category("tea"), st.Items(max_items=6)], None),
        ("products", Annotated[list[Word] | None, st.Items(max_items=6)], False),
        ("prices", Annotated[list[float], st.Items(max_items=6, mark="length")], True),
        ("pair", Annotated[list[bool], st.Items(min_items=0, max_items=2)], False),
    ],
)
def test_the_difference_says_what_breaks_clients(
    field: str, annotation: Any, breaking: bool | None
) -> None:
    if breaking is None:
        with pytest.raises(st.DeclarationError, match="one kind"):
            changed(field, annotation)
        return
    found = compare_contracts(CONTRACT, changed(field, annotation))
    assert [each.breaking for each in found if each.place == f"input '{field}'"] == [breaking]


def test_drift_sees_how_many_the_first_word_and_the_mean() -> None:
    features = DriftFeatures(HostStage(CONTRACT, {}))
    rows = [CONTRACT.validate_row(row) for row in (ROW, EMPTY)]
    seen = features.inputs({name: [row[name] for row in rows] for name in ROW})
    assert seen["products.items"] == [2, 0]
    assert seen["products.first"] == ["tea", None]
    np.testing.assert_array_equal(seen["prices.mean"], [1.75, np.nan])
    assert seen["days.items"] == [1, None]


def test_what_fills_up_a_list_of_dates_is_within_their_bounds() -> None:
    class Trip(st.Row):
        days: Annotated[list[Annotated[date, st.Date(ge=date(2000, 1, 1))]], st.Items(max_items=3)]

    contract = st.contract_from_rows(Trip, Out)
    front = HostStage(contract, {})
    rows: list[dict[str, Any]] = [{"days": []}, {"days": ["2001-02-03", "2000-01-02"]}]
    feeds = collate(front.specs, [front.encode_row(contract.validate_row(row)) for row in rows])
    first = date(2000, 1, 1).toordinal() - date(1970, 1, 1).toordinal()
    assert feeds["days"].tolist() == [[first, first], [first + 399, first + 1]]
    assert feeds["days_mask"].tolist() == [[False, False], [True, True]]
