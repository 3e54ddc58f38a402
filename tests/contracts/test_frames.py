"""Row classes of pandas data frames, judged by pandas itself."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest

import seatrial as st
from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.frames import row_code, rows_of_frame

pd = pytest.importorskip("pandas")


class Out(st.Answer):
    y: float


def frame() -> Any:
    return pd.DataFrame({
        "age": [30, 41, 52, 63],
        "height (m)": [1.5, np.nan, 1.75, 2.0],
        "member": [True, False, True, True],
        "city": ["Oslo", "Bergen", "Oslo", "Oslo"],
        "size": pd.Categorical(["S", "L", None, "S"], categories=["S", "M", "L"]),
        "note": ["first", "second", "third", "fourth"],
        "at": pd.to_datetime(["2024-02-29", "2024-03-01", "2024-03-02", None]),
        "since": pd.to_datetime(["2024-02-29", "2024-03-01", "2024-03-02", "2024-03-03"], utc=True),
        "wait": pd.to_timedelta([90, 30, 60, 1], unit="s"),
        "visits": pd.array([1, None, 3, 4], dtype="Int64"),
        7: [0.5, 1.5, 2.5, 3.5],
    })  # fmt: skip


def test_each_column_is_a_field_of_its_type() -> None:
    fields = {
        name: info.annotation for name, info in st.Row.from_frame(frame()).model_fields.items()
    }
    assert fields["age"] is int
    assert fields["height_m"] == float | None
    assert fields["member"] is bool
    assert fields["city"] == Literal["Bergen", "Oslo"]
    assert fields["size"] == Literal["S", "M", "L"] | None
    assert fields["note"] is str
    assert fields["since"] is datetime
    assert fields["wait"] is timedelta
    assert fields["visits"] == int | None
    assert fields["column_7"] is float


def test_a_contract_takes_the_rows_of_its_frame() -> None:
    contract = st.contract_from_rows(st.Row.from_frame(frame()), Out)
    rows = rows_of_frame(frame())
    assert rows[1]["height_m"] is None
    for row in rows:
        contract.validate_row(row)
    with pytest.raises(st.Refusal, match="input 'city'"):
        contract.validate_row(rows[0] | {"city": "Rome"})


def test_the_class_is_written_out_as_code_that_means_the_same(tmp_path: Path) -> None:
    text = row_code(frame(), "Guests")
    module: dict[str, Any] = {}
    code = compile(text, str(tmp_path / "rows.py"), "exec", dont_inherit=True)
    exec(code, module)
    written = st.contract_from_rows(module["Guests"], Out)
    assert written == st.contract_from_rows(st.Row.from_frame(frame()), Out)
    assert "class Guests(st.Row):\n    age: int\n    height_m: float | None\n" in text


def test_many_numbers_are_packed() -> None:
    wide = pd.DataFrame(np.eye(40), columns=[f"v{n}" for n in range(40)])
    wide["numbers"] = ["a", "b"] * 20
    contract = st.contract_from_rows(st.Row.from_frame(wide), Out)
    assert [field.name for field in contract.inputs] == ["numbers_", "numbers"]
    assert 'class Rows(st.Row, packed="numbers_"):' in row_code(wide)
    values = [contract.validate_row(row)["numbers_"] for row in rows_of_frame(wide)]
    np.testing.assert_array_equal(np.stack(values), np.eye(40, dtype=np.float32))


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (["2024-02-29", "0001-01-01", None], "date | None"),
        (["2024-02-29"] * 90 + ["2024-03-01"], "date"),
        (["2024-02-29T12:00:00Z", "2024-02-29T12:00:00.25+01:00"], "datetime"),
        (["2024-02-29T12:00:00"], 'Annotated[datetime, st.DateTime(zone="UTC")]'),
        (["2024-02-29", "2024-02-30"], "Annotated[str, st.Text()]"),
        (["2024-02-29", "29.2.2024"], "Annotated[str, st.Text()]"),
        (["20240229"], "Annotated[str, st.Text()]"),
        (["date", "datetime"] * 9, 'Literal["date", "datetime"]'),
    ],
)
def test_words_that_are_all_dates_are_dates(words: list[str | None], kind: str) -> None:
    frame = pd.DataFrame({"date": words})
    code = row_code(frame)
    assert f"    date: {kind}\n" in code
    assert ("import date\n" in code) is kind.startswith("date ") or kind == "date"
    module: dict[str, Any] = {}
    exec(compile(code, "rows.py", "exec", dont_inherit=True), module)
    contract = st.contract_from_rows(module["Rows"], Out)
    for row in rows_of_frame(frame):
        contract.validate_row(row)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"a": [[1], [2]]}, "column 'a': got list, want numbers, flags, words"),
        ({"a b": [1], "a_b": [2]}, "column 'a_b': got two columns that are called 'a_b'"),
        ({"a": [None, None]}, "column 'a': got no value"),
        (
            {"a": [None], "b": [1], "c": [[1]], **{f"d{place}": [{}] for place in range(20)}},
            (
                "column 'a': got no value, .*; column 'c': got list; column 'd0': got dict; "
                ".*'d17': got dict; and 2 more columns$"
            ),
        ),
    ],
)
def test_a_column_that_is_no_field_is_named(columns: dict[str, Any], said: str) -> None:
    with pytest.raises(DeclarationError, match=said):
        st.Row.from_frame(pd.DataFrame(columns))


def test_a_plain_class_is_as_good_as_a_frame() -> None:
    class Rows(st.Row):
        v: Annotated[float, st.Number(ge=0)]

    contract = st.contract_from_rows(Rows, Out)
    assert contract.validate_row(rows_of_frame(pd.DataFrame({"v": [1.5]}))[0])["v"] == 1.5
