"""`seatrial predict ROWS --out FILE`: files of rows to a file of answers, here and by a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner, Result
from support.animals import ROWS

import seatrial as st
from seatrial.main import cli
from seatrial.scoring import Files, Rows, answered, score
from seatrial_contracts.errors import SeatrialError

MANY: list[dict[str, Any]] = [{**ROWS[0], "mass": place / 8} for place in range(25)]
BAD: dict[int, dict[str, Any]] = {
    0: {"mass": -1.0}, 7: {"island": "Atlantis"}, 8: {"mass": 101.0},
    9: {"mass": 102.0, "island": "Mars"}, 24: {"year": 1999},
}  # fmt: skip
CODES = ["E_RANGE", "E_CATEGORY", "E_RANGE", "E_CATEGORY", "E_RANGE"]


def run(*words: object) -> Result:
    done = CliRunner().invoke(cli, ["predict", *map(str, words)])
    if done.exception is not None and not isinstance(done.exception, SystemExit | SeatrialError):
        raise done.exception
    return done


def written(rows: list[dict[str, Any]], path: Path) -> Path:
    if path.suffix == ".csv":
        pd.DataFrame(rows).to_csv(path, index=False)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("remote", [False, True])
@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".json"])
def test_every_row_is_answered_or_stands_among_the_refused(
    animals: st.Bundle, server: st.ThreadServer, tmp_path: Path, ending: str, remote: bool
) -> None:
    rows = [{**row, **BAD.get(place, {})} for place, row in enumerate(MANY)]
    asked = written(rows, tmp_path / f"rows{ending}")
    target = [server.url, "--model", "animals"] if remote else [animals.path]
    out, refused = tmp_path / "answers.csv", tmp_path / "refused.jsonl"
    done = run(*target, asked, "--out", out, "--refused", refused)
    assert done.exit_code == 0, done.output
    assert "scored 25 rows, 5 of them refused" in done.output
    good = [place for place in range(25) if place not in BAD]
    want = animals.predict(pd.DataFrame([rows[place] for place in good]))
    found = pd.read_csv(out)
    assert found["row"].tolist() == good
    assert found.columns.tolist() == ["row", *want.columns]
    assert found["species.label"].tolist() == want["species.label"].tolist()
    assert found["size"].tolist() == pytest.approx(want["size"].tolist())
    told = lines(refused)
    assert [each["row"] for each in told] == [*BAD]
    assert [each["code"] for each in told] == CODES
    assert all(f"row {each['row']}: got" in each["message"] for each in told)
    assert [each["given"] for each in told] == [rows[place] for place in BAD]
    # What was refused is what is asked again once it is mended.
    again = [{**each["given"], **ROWS[0]} for each in told]
    assert run(*target, written(again, tmp_path / "again.jsonl"), "--out", out).exit_code == 0


def test_lines_hold_what_a_server_answers(animals: st.Bundle, tmp_path: Path) -> None:
    asked, out = written(MANY, tmp_path / "rows.jsonl"), tmp_path / "answers.jsonl"
    assert json.loads(run(animals.path, asked, "--out", out, "--json").stdout)["rows"] == 25
    want = animals.predict(MANY)
    assert lines(out) == [{"row": n, "prediction": each} for n, each in enumerate(want)]


@pytest.mark.parametrize("remote", [False, True])
def test_without_a_file_for_them_the_first_refused_row_ends_it(
    animals: st.Bundle, server: st.ThreadServer, tmp_path: Path, remote: bool
) -> None:
    asked = written([*MANY, {**ROWS[0], "mass": 101}], tmp_path / "rows.csv")
    (out := tmp_path / "answers.csv").write_text("of before")
    target = [server.url, "--model", "animals"] if remote else [animals.path]
    done = run(*target, asked, "--out", out)
    assert isinstance(done.exception, st.Refusal)
    assert "input 'mass', row 25: got 101" in str(done.exception)
    assert out.read_text() == "of before"
    assert sorted(path.name for path in tmp_path.glob("*.part")) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--out", "answers.xls"], "got the ending '.xls', want .csv, .parquet, .jsonl"),
        (["--out", "a.csv", "--refused", "b.txt"], "got the ending '.txt', want .jsonl"),
        (["--out", "no/a.csv"], "got No such file or directory, want a file that can be written"),
        (["--refused", "b.jsonl"], "--refused needs --out FILE"),
        (["--out", "rows.csv"], "got the same file twice"),
        (["--out", "./a.jsonl", "--refused", "a.jsonl"], "got the same file twice"),
    ],
)
def test_files_that_cannot_be_written_are_told_first(
    animals: st.Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(animals.path, written(MANY, tmp_path / "rows.csv"), *words)
    assert said in f"{done.output}{done.exception}"


def test_a_folder_is_for_models_that_take_files(animals: st.Bundle, tmp_path: Path) -> None:
    done = run(animals.path, tmp_path, "--out", tmp_path / "a.csv")
    assert "got a model that takes no files" in str(done.exception)


def test_a_file_without_rows_is_told(animals: st.Bundle, tmp_path: Path) -> None:
    (empty := tmp_path / "rows.csv").write_text("island,mass,year\n")
    done = run(animals.path, empty, "--out", tmp_path / "a.csv")
    assert "got no rows, want at least one" in str(done.exception)


def test_a_table_is_asked_about_without_a_file_for_the_answers(
    animals: st.Bundle, tmp_path: Path
) -> None:
    done = run(animals.path, written(MANY, tmp_path / "rows.csv"), "--json")
    assert json.loads(done.stdout) == animals.predict(MANY)


def test_files_are_named_in_answers_and_refusals(tmp_path: Path) -> None:
    for name in ("b.png", "a.png", "c.txt"):
        (tmp_path / name).write_bytes(name.encode())
    source = Files(sorted(tmp_path.iterdir()), "picture")

    def ask(rows: Any, _to: str) -> Any:
        for place, row in enumerate(rows):
            if row["picture"].endswith(b"txt"):
                raise st.Refusal("E_IMAGE_FORMAT", f"input 'picture', row {place}", "text")
        return [{"size": len(row["picture"])} for row in rows]

    out, refused = tmp_path / "a.jsonl", tmp_path / "r.jsonl"
    scored = score(source, ask, out, refused, lambda *_: None)
    assert (scored.rows, scored.refused) == (3, 1)
    assert lines(out) == [{"file": name, "prediction": {"size": 5}} for name in ("a.png", "b.png")]
    (told,) = lines(refused)
    assert told["message"] == "file 'c.txt': got text"
    assert told["file"] == told["given"] == "c.txt"


def test_a_refusal_of_no_row_ends_it() -> None:
    def ask(_rows: Any, _to: str) -> Any:
        raise st.Refusal("E_UNKNOWN_FIELD", "frame", "a column")

    with pytest.raises(st.Refusal, match="frame: got a column"):
        list(answered(Rows([{}, {}]), ask, "rows", 0, 2))
