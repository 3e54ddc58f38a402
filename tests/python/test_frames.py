"""Data frames as rows: column by column they are what their rows are one by one."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as some

import seatrial as st
from seatrial_contracts.host_stage import HostStage
from seatrial_contracts.own_rows import own_rows, validate_own
from seatrial_contracts.own_values import own_value
from seatrial_contracts.tables import columns_of_table, rows_of_table, table_of


class Mixed(st.Row):
    x: Annotated[float, st.Number(ge=-100, le=100)]
    y: float | None
    n: Annotated[int, st.Number(ge=0, le=1000, dtype="int16")]
    m: int | None
    flag: bool
    word: Literal["a", "b"] | None
    code: Literal[1, 2, 3]


class Score(st.Answer):
    score: float


CONTRACT = st.contract_from_rows(Mixed, Score)
FRONT = HostStage(CONTRACT, {})
GOOD = {"x": 1.5, "y": None, "n": 3, "m": 4, "flag": True, "word": "a", "code": 2}
FLOATS = some.sampled_from([0.0, 1.0, 1.5, -100.0, 100.0, 100.1, 1e300, float("nan"), float("inf")])
INTS = some.sampled_from([0, 1, 2, 3, 1000, 1001, -1, 2**24, 2**24 + 1, 2**40])
WORDS = some.sampled_from(["a", "b", "c", "", None, float("nan")])
DTYPES: dict[str, some.SearchStrategy[Any]] = {
    "float64": FLOATS, "float32": FLOATS, "int64": INTS, "bool": some.booleans(),
    "Float64": FLOATS | some.none(), "Int64": INTS | some.none(),
    "boolean": some.booleans() | some.none(), "str": WORDS, "category": WORDS,
    "object": FLOATS | INTS | WORDS | some.booleans() | some.just([1]),
}  # fmt: skip


@some.composite
def frames(draw: some.DrawFn) -> pd.DataFrame:
    """A frame that is right but for some columns, of any element type."""
    rows = draw(some.integers(1, 4))
    frame = pd.DataFrame([GOOD] * rows)
    for name in draw(some.sets(some.sampled_from([*GOOD]), max_size=3)):
        dtype = draw(some.sampled_from([*DTYPES]))
        values = draw(some.lists(DTYPES[dtype], min_size=rows, max_size=rows))
        with np.errstate(over="ignore"):
            frame[name] = pd.Series(values, dtype=object).astype(dtype)
    if draw(some.booleans()):
        frame["y"] = None
    return frame


def by_row(frame: Any) -> list[Any] | str:
    """Each row after the host stage, or the code of the first refusal."""
    table = table_of(frame)
    assert table is not None
    try:
        return [
            FRONT.encode_row(validate_own(CONTRACT, row, place))
            for place, row in enumerate(rows_of_table(table, CONTRACT))
        ]
    except st.Refusal as refusal:
        return refusal.code


@given(frames())
@example(pd.DataFrame([GOOD, {**GOOD, "m": None}]))
@example(pd.DataFrame([GOOD, {**GOOD, "word": None, "y": float("nan")}]))
@example(pd.DataFrame([GOOD]).convert_dtypes())
def test_columns_are_taken_as_their_rows_are_or_not_at_all(frame: pd.DataFrame) -> None:
    table = table_of(frame)
    assert table is not None
    rows = by_row(frame)
    columns = columns_of_table(table, CONTRACT)
    if columns is None:
        return
    block = FRONT.encode_columns(columns)
    assert not isinstance(rows, str), rows
    for spec, column, values in zip(
        FRONT.specs, block.columns, zip(*rows, strict=True), strict=True
    ):
        np.testing.assert_array_equal(column, np.array(values, spec.array_dtype), spec.name)


@pytest.mark.parametrize("gap", [{}, {"y": None, "m": None, "word": None}])
def test_frames_of_both_libraries_go_by_column_and_are_the_same_rows(gap: dict[str, Any]) -> None:
    rows = [GOOD, {**GOOD, **gap}]
    made = []
    for frame in (pd.DataFrame(rows), pl.DataFrame(rows)):
        table = table_of(frame)
        assert table is not None
        assert columns_of_table(table, CONTRACT) is not None
        assert rows_of_table(table, CONTRACT) == rows
        made.append(by_row(frame))
    assert str(made[0]) == str(made[1])


def test_every_missing_value_of_pandas_and_numpy_is_none() -> None:
    for missing in (None, float("nan"), np.nan, np.float32("nan"), pd.NA, pd.NaT):
        assert own_value(missing) is None
    assert own_value(np.int64(3)) == 3
    assert type(own_value(np.int64(3))) is int
    assert own_value(pd.Timestamp("2026-01-02T03:04:05Z")) == "2026-01-02T03:04:05+00:00"
    assert own_value([float("nan")]) != [None]  # within a value, the field's kind decides


@pytest.mark.parametrize(
    ("change", "code", "told"),
    [
        ({"x": 100.5}, "E_RANGE", "input 'x', row 0: got 100.5, want a number from -100 to 100"),
        ({"x": float("nan")}, "E_MISSING", "input 'x', row 0: got nan"),
        ({"word": "Atlantis"}, "E_CATEGORY", "input 'word', row 0: got 'Atlantis'"),
        ({"flag": 1}, "E_TYPE", "input 'flag', row 0: got 1,"),
        ({"wrod": "a"}, "E_UNKNOWN_FIELD", "row 0: got the key 'wrod'"),
        ({"wrod": "a"}, "E_UNKNOWN_FIELD", "did you mean 'word'?"),
        ({"x": "y" * 200}, "E_TYPE", "yyy ...,"),
    ],
)
def test_a_refusal_of_the_users_own_row_shows_the_value_or_the_key(
    change: dict[str, Any], code: str, told: str
) -> None:
    with pytest.raises(st.Refusal) as refused:
        validate_own(CONTRACT, {**GOOD, **change}, 0)
    assert refused.value.code == code
    assert told in str(refused.value)
    with pytest.raises(st.Refusal) as hidden:
        CONTRACT.validate_row({**GOOD, **change}, 0)
    for secret in ("Atlantis", "wrod"):
        assert secret not in str(hidden.value)


def test_a_column_that_the_contract_does_not_have_is_named_with_a_mend_that_works() -> None:
    frame = pd.DataFrame([GOOD]).assign(target=1)
    with pytest.raises(st.Refusal, match=r"columns that the contract does not have: 'target'") as e:
        own_rows(frame, CONTRACT)
    mend = str(e.value).rpartition("; ")[2]
    assert own_rows(eval(mend, {"frame": frame}), CONTRACT) == [GOOD]


def test_labels_that_no_field_can_have_stand_for_the_names_that_are_made_of_them() -> None:
    frame = pd.DataFrame({"bill length": [1.5], "n": [2]})
    contract = st.contract_from_rows(st.Row.from_frame(frame), Score)
    assert own_rows(frame, contract) == [{"bill_length": 1.5, "n": 2}]


def test_packed_columns_are_one_tensor_and_fields_of_objects_have_dotted_labels() -> None:
    class Packed(st.Row, packed="numbers"):
        a: float
        b: float | None

    contract = st.contract_from_rows(Packed, Score)
    for make in (pd.DataFrame, pl.DataFrame):
        for a in ([1.0, 2.0], [1, 2]):
            table = table_of(make({"b": [None, 2.5], "a": a}))
            assert table is not None
            columns = columns_of_table(table, contract)
            assert columns is not None
            np.testing.assert_array_equal(columns["numbers"], np.float32([[1, np.nan], [2, 2.5]]))
        table = table_of(make({"b": [None, 2.5], "a": [1.0, None]}))
        assert table is not None
        assert columns_of_table(table, contract) is None, "a hole where no value may be missing"

    class Place(st.Row):
        zip: int

    class Person(st.Row):
        age: float
        address: Place

    contract = st.contract_from_rows(Person, Score)
    frame = pd.json_normalize([{"age": 3.5, "address": {"zip": 12345}}])
    assert own_rows(frame, contract) == [{"age": 3.5, "address": {"zip": 12345}}]
