"""A contract drafted from the table that an estimator was trained on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from sklearn.cluster import KMeans
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

import seatrial as st
from seatrial.main import cli
from seatrial_export.adopt.draft import Draft
from seatrial_export.frame_file import read_frame

PAGE = (Path(__file__).resolve().parents[2] / "docs/how-to/adopt.md").read_text("utf-8")
FRAME = pd.DataFrame(
    {
        "town": ["Graz", "Linz", "Wien", "Graz"] * 10,
        "size (m2)": [50.5, np.nan, 70.0, 80.0] * 10,
        "rooms": [1, 2, 3, 4] * 10,
        "lift": [True, False] * 20,
        "text": ["a sunny flat", "dark", "near the park", "quiet and sunny"] * 10,
        "worth": ["dear", "cheap", "fair", "dear"] * 10,
    }
)


def flats() -> Any:
    columns = make_column_transformer(
        (OneHotEncoder(), ["town"]),
        (TfidfVectorizer(), "text"),
        ("passthrough", ["size (m2)", "rooms", "lift"]),
        sparse_threshold=0,
    )
    made = make_pipeline(columns, HistGradientBoostingClassifier(max_iter=3))
    return made.fit(FRAME.drop(columns="worth"), FRAME["worth"])


def test_a_draft_says_what_table_and_estimator_know() -> None:
    draft = Draft(flats(), FRAME)
    code = draft.code("flats")
    for line in (
        '    town: Literal["Graz", "Linz", "Wien"]',
        "    size_m2: float | None",
        "    rooms: int",
        "    lift: bool",
        "    text: Annotated[str, st.Text(max_chars=256)]",
        "    answer: Annotated[str, st.Label('cheap', 'dear', 'fair')]",
    ):
        assert f"{line}\n" in code
    assert draft.golden()[0] == {
        "town": "Linz", "size_m2": None, "rooms": 2, "lift": False, "text": "dark",
    }  # fmt: skip
    held: dict[str, Any] = {}
    exec(compile(code, "rows", "exec", dont_inherit=True), held)
    contract = st.contract_from_rows(held["Rows"], held["Answers"])
    assert [contract.validate_row(row) for row in draft.training()]


@pytest.mark.parametrize(
    ("estimator", "answer"),
    [(LinearRegression(), "float"), (KMeans(2, n_init=1), "int")],
)
def test_a_matrix_takes_the_tables_columns_in_order(estimator: Any, answer: str) -> None:
    table = FRAME[["rooms", "lift"]].assign(worth=1.0)
    made = estimator.fit(table[["rooms", "lift"]].to_numpy(float), table["rooms"])
    assert f"    answer: {answer}\n" in Draft(made, table, "worth").code("m")
    with pytest.raises(st.SeatrialError, match=r"got 3 columns, want the 2 .* --target"):
        Draft(made, table)


def test_tables_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(st.SeatrialError, match="got no column 'town', want those of training"):
        Draft(flats(), FRAME.drop(columns="town"))
    with pytest.raises(st.SeatrialError, match="got 'price', want a column of the table: town"):
        Draft(flats(), FRAME, "price")
    (tmp_path / "t.txt").write_text("a")
    for path in (tmp_path / "t.txt", tmp_path / "none.csv"):
        with pytest.raises(st.SeatrialError, match=r"want a \.csv or|does not read"):
            read_frame(path)


@pytest.mark.slow
def test_the_pages_command_seals_from_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (train,) = re.findall(r"```python\n(# train\.py.*?)```", PAGE, re.DOTALL)
    Path("train.py").write_text(train)
    held: dict[str, Any] = {}
    exec(compile(train, "train", "exec", dont_inherit=True), held)
    held["table"].assign(worth=held["label"]).to_csv("train.csv", index=False)
    (line,) = re.findall(r"seatrial (adopt train\.py:flats --frame .*)\n", PAGE)
    ran = CliRunner().invoke(cli, line.replace("parquet", "csv").split())
    assert ran.exit_code == 0, ran.output
    assert "size_m2: float\n" in Path("flat_rows.py").read_text()
    again = CliRunner().invoke(cli, line.replace("parquet", "csv").split())
    assert "a file that is there" in str(again.output) + str(again.exception)
    bare = CliRunner().invoke(cli, ["adopt", "train.py:flats"])
    assert "--contract FILE.py:ROWS is missing" in bare.output
