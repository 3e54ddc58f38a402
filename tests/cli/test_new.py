"""`seatrial new`: what it writes of a table, and what it refuses."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import seatrial as st
from seatrial.main import cli
from seatrial_contracts.errors import DeclarationError

pd = pytest.importorskip("pandas")
PAGE = Path(__file__).parents[2] / "docs/reference/contracts.md"
[LINE] = re.findall(r"`seatrial (new rows\.py [^`]*)`", PAGE.read_text("utf-8"))


class Out(st.Answer):
    price: float


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    frame = pd.DataFrame({"rooms": [1, 2], "area": [30.5, None], "price": [9.0, 12.5]})
    frame.to_csv("train.csv", index=False)
    return frame


def test_the_line_of_the_page_writes_a_class_that_takes_the_tables_rows(table: Any) -> None:
    said = CliRunner().invoke(cli, LINE.split(), catch_exceptions=False)
    assert said.exit_code == 0
    assert said.output == "wrote rows.py: the class Rows, to be edited\n"
    held: dict[str, Any] = {}
    exec(compile(Path("rows.py").read_text("utf-8"), "rows.py", "exec", dont_inherit=True), held)
    contract = st.contract_from_rows(held["Rows"], Out)
    assert [field.name for field in contract.inputs] == ["rooms", "area"]
    for row in st.rows_of_frame(table.drop(columns="price")):
        contract.validate_row(row)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--frame train.csv --without cost", "--without: got 'cost', want a column of the table"),
        ("--frame train.csv --class 1", "--class: got '1', want a name"),
        ("--frame train.json", "got a file '.json', want a .csv or .parquet file"),
        ("--frame none.csv", r"a file that pandas does not read \(FileNotFoundError\)"),
    ],
)
@pytest.mark.usefixtures("table")
def test_what_cannot_be_written_is_refused_and_nothing_is_written(words: str, said: str) -> None:
    with pytest.raises(DeclarationError, match=said):
        CliRunner().invoke(cli, ["new", "rows.py", *words.split()], catch_exceptions=False)
    assert not Path("rows.py").exists()


@pytest.mark.usefixtures("table")
def test_a_file_that_is_there_is_kept() -> None:
    Path("rows.py").write_text("kept", "utf-8")
    with pytest.raises(DeclarationError, match="a file that is there, want a new one"):
        CliRunner().invoke(cli, LINE.split(), catch_exceptions=False)
    assert Path("rows.py").read_text("utf-8") == "kept"
