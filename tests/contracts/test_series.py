"""Series: declared, validated by row and by column, padded on either side, with holes."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from support.declared import row_of
from support.properties import drawing

import seatrial as st
from seatrial_contracts.contract_changes import compare_contracts
from seatrial_contracts.drawn_rows import draw_rows
from seatrial_contracts.host_stage import HostStage, collate
from seatrial_contracts.profile import DriftFeatures

Load = Annotated[list[float], st.Series(length=(2, 6), missing=True, padding_side="left", ge=-5)]
Walk = Annotated[list[list[float]] | None, st.Series(length=(1, 4), channels=2, dtype="float64")]
Fixed = Annotated[list[float], st.Series(length=3)]


class Plant(st.Row):
    load: Load
    walk: Walk
    fixed: Fixed


class Out(st.Answer):
    y: float


CONTRACT = st.contract_from_rows(Plant, Out)
FRONT = HostStage(CONTRACT, {})
ROW: dict[str, Any] = {
    "load": [1.0, None, 3.0], "walk": [[0.0, 1.0], [2.0, 3.0]], "fixed": [1.0, 2.0, 3.0],
}  # fmt: skip
SHORT: dict[str, Any] = {"load": [None, 4.0], "walk": None, "fixed": [0.0, 0.0, 0.0]}


def changed(field: str, annotation: Any) -> st.Contract:
    return st.contract_from_rows(row_of(Plant, **{field: annotation}), Out)


def test_holes_and_filling_are_zeros_that_the_mask_tells_apart_from_numbers() -> None:
    assert st.Contract.from_json(CONTRACT.to_json()) == CONTRACT
    rows = [FRONT.encode_row(CONTRACT.validate_row(row)) for row in (ROW, SHORT)]
    feeds = collate(FRONT.specs, rows)
    assert feeds["load"].tolist() == [[1, 0, 3], [0, 0, 4]]
    assert feeds["load_mask"].tolist() == [[True, False, True], [False, False, True]]
    assert feeds["walk"].shape == feeds["walk_mask"].shape == (2, 2, 2)
    assert not feeds["walk_mask"][1].any()
    assert feeds["walk_present"].tolist() == [True, False]
    assert feeds["fixed"].shape == (2, 3)
    assert "fixed_mask" not in feeds


@pytest.mark.parametrize(
    ("field", "value", "code", "text"),
    [
        ("load", [1.0], "E_SHAPE", "got a list of 1, want a list of 2 to 6 steps, each a number"),
        ("load", [1.0] * 7, "E_SHAPE", "got a list of 7"),
        ("load", [1.0, "x"], "E_TYPE", "got a string at [1]"),
        ("load", [1.0, -6], "E_RANGE", "got -6 at [1], want a list of 2 to 6 steps"),
        ("load", [1.0, float("inf")], "E_NONFINITE", "got inf at [1]"),
        ("fixed", [1.0, None, 2.0], "E_MISSING", "got null at [1]"),
        ("walk", [[1.0]], "E_SHAPE", "got a list of 1, want a list of 1 to 4 steps of 2 numbers"),
        ("walk", [[1.0, 2.0, 3.0]], "E_SHAPE", "got a list of 3"),
        ("walk", [1.0], "E_TYPE", "got 1.0 at [0]"),
    ],
)
def test_a_series_that_the_contract_does_not_take_is_refused(
    field: str, value: Any, code: str, text: str
) -> None:
    with pytest.raises(st.Refusal) as refused:
        CONTRACT.validate_row({**ROW, field: value}, 0)
    assert refused.value.code == code
    assert text in str(refused.value)


@pytest.mark.parametrize(
    ("columns", "code", "text"),
    [
        ({"load": [[1, 2], [np.nan, 3]]}, None, ""),
        ({"load": [[1], [2]]}, "E_SHAPE", "input 'load', row 0: got 1 steps"),
        ({"load": [[1, 2, 3], [4, 5, -9]], "load_length": [3, 2]}, None, ""),
        ({"load": [[1, 2, 3], [4, 5, -9]]}, "E_RANGE", "'load', row 1: got -9 at [2]"),
        ({"load": [[1, 2], [3, np.inf]]}, "E_NONFINITE", "row 1: got an infinity at [1]"),
        ({"fixed": [[1, 2, 3], [1, np.nan, 3]]}, "E_NONFINITE", "'fixed', row 1: got NaN at [1]"),
    ],
)
def test_columns_are_judged_as_rows_are(
    columns: dict[str, Any], code: str | None, text: str
) -> None:
    whole = {"load": [[1, 2], [3, 4]], "fixed": [[1, 2, 3], [4, 5, 6]], **columns}
    arrays = {
        name: np.array(values, np.int64 if name.endswith("length") else np.float32)
        for name, values in whole.items()
    }
    if code is None:
        CONTRACT.validate_columns(arrays, 2)
        return
    with pytest.raises(st.Refusal) as refused:
        CONTRACT.validate_columns(arrays, 2)
    assert refused.value.code == code
    assert text in str(refused.value)


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (Annotated[list[float], st.Series()], "no length"),
        (Annotated[list[float], st.Series(length=(5, 2))], "length (5, 2)"),
        (Annotated[list[int], st.Series(length=5)], "list[float]"),
        (Annotated[list[float], st.Series(length=5, channels=2)], "list[list[float]]"),
        (Annotated[list[float], st.Series(length=5, ge=2, le=1)], "bounds that leave a number"),
    ],
)
def test_a_series_that_cannot_be_kept_is_refused_where_it_is_declared(
    annotation: Any, text: str
) -> None:
    with pytest.raises(st.DeclarationError) as refused:
        st.contract_from_rows(row_of(x=annotation), Out)
    assert text in str(refused.value)


@drawing(200)
@given(some.fixed_dictionaries({f.name: f.kind.strategy() for f in CONTRACT.inputs}))
def test_every_drawn_series_is_taken_and_comes_out_of_its_column_as_it_went_in(
    row: dict[str, Any],
) -> None:
    types = {"load": np.float32, "walk": np.float64, "fixed": np.float32}
    columns = {name: np.array([value], types[name]) for name, value in row.items()}
    checked = CONTRACT.validate_columns(columns, 1)
    again = FRONT.encode_row({name: column[0] for name, column in checked.items()})
    alone = FRONT.encode_row(CONTRACT.validate_row(row))
    for one, other in zip(alone, again, strict=True):
        np.testing.assert_array_equal(one, other)


def test_edges_have_both_lengths_and_holes() -> None:
    drawn = [each.row for each in draw_rows(FRONT, [ROW])]
    assert {len(row["load"]) for row in drawn} >= {2, 3, 6}
    assert any(set(row["load"]) == {None} for row in drawn)
    assert any(row["load"][-1] is None and row["load"][0] is not None for row in drawn)
    assert any(row["walk"] is None for row in drawn)


@pytest.mark.parametrize(
    ("annotation", "breaking"),
    [
        (Annotated[list[float], st.Series(length=(1, 9), missing=True, ge=-5)], [False, False]),
        (Annotated[list[float], st.Series(length=(3, 6), missing=True, ge=-5)], [True, False]),
        (Annotated[list[float], st.Series(length=(2, 6), ge=-6)], [True, False, False]),
    ],
)
def test_the_difference_says_what_breaks_clients(annotation: Any, breaking: list[bool]) -> None:
    found = compare_contracts(CONTRACT, changed("load", annotation))
    assert [each.breaking for each in found if each.place == "input 'load'"] == breaking


def test_drift_sees_numbers_and_holes() -> None:
    rows = [CONTRACT.validate_row(row) for row in (ROW, SHORT)]
    seen = DriftFeatures(FRONT).inputs({name: [row[name] for row in rows] for name in ROW})
    assert seen["load.mean"] == [2, 4]
    assert seen["load.steps"] == [3, 2]
    np.testing.assert_allclose(seen["load.holes"], [1 / 3, 1 / 2])
    assert seen["walk.last"] == [3, None]
