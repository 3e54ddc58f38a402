"""`seatrial new`: projects that run as they stand, and what is refused."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from support.pages import commands_of, page

import seatrial as st
from seatrial.main import cli
from seatrial.projects import ABOUT, MODEL
from seatrial_contracts.errors import DeclarationError

pd = pytest.importorskip("pandas")
np = pytest.importorskip("numpy")


def run(*words: str) -> str:
    done = CliRunner().invoke(cli, [*words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def table(here: Path) -> Any:
    chance = np.random.default_rng(0)
    rooms = chance.integers(1, 9, 200)
    area = chance.normal(70, 20, 200).round(1)
    frame = pd.DataFrame(
        {
            "id": range(200),
            "town": pd.Series(chance.choice(["Graz", "Linz", "Wien"], 200), dtype=object).where(
                chance.random(200) < 0.9, None
            ),
            "size (m2)": np.where(chance.random(200) < 0.1, np.nan, area),
            "rooms": rooms,
            "lift": chance.random(200) < 0.5,
            "price": area * 3 + rooms * 20 + chance.normal(0, 5, 200),
        }
    )
    frame.to_csv("train.csv", index=False)
    return frame


def loaded(file: Path) -> dict[str, Any]:
    held: dict[str, Any] = {"__name__": "rows", "__file__": str(file)}
    exec(compile(file.read_text("utf-8"), file.name, "exec", dont_inherit=True), held)
    return held


@pytest.mark.parametrize("task", [*ABOUT])
def test_each_project_has_its_files_and_nothing_is_left_of_the_template(task: str) -> None:
    said = run("new", "mine", "--task", task)
    files = [path for path in Path("mine").rglob("*") if path.is_file()]
    assert said.count("wrote ") == len(files)
    names = {path.relative_to("mine").as_posix() for path in files}
    assert names >= {".gitignore", "README.md", "pyproject.toml", "requirements.txt",
                     "test_bundle.py", ".github/workflows/release-gate.yml"}  # fmt: skip
    for path in files:
        text = path.read_text("utf-8")
        assert not re.search(rf"{MODEL}|model-[a-z]+|#: ", text), path
        if path.suffix == ".py":
            compile(text, path.name, "exec", dont_inherit=True)
    told = re.findall(r"^\| `([^`]+)`", Path("mine/README.md").read_text(), re.MULTILINE)
    assert {*told} <= names


@pytest.mark.parametrize("task", [*ABOUT])
def test_the_workflow_of_a_project_is_one_that_github_reads(task: str) -> None:
    run("new", "mine", "--task", task)
    file = Path("mine/.github/workflows/release-gate.yml")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema",
               "vendor.github-workflows", str(file)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout
    (job,) = yaml.safe_load(file.read_text())["jobs"].values()
    uses = [step for step in job["steps"] if "action@" in step.get("uses", "")]
    action = yaml.safe_load((Path(__file__).parents[2] / "action/action.yml").read_text())
    assert all(step["with"].keys() <= action["inputs"].keys() for step in uses)
    assert len(uses) == (task != "sklearn")


@pytest.mark.usefixtures("table")
def test_the_contract_is_guessed_from_the_columns() -> None:
    run("new", "flats", "--frame", "train.csv", "--target", "price", "--without", "id")
    held = loaded(Path("flats/rows.py"))
    contract = st.contract_from_rows(held["Row"], held["Answer"])
    assert [field.name for field in contract.inputs] == ["town", "size_m2", "rooms", "lift"]
    assert [field.name for field in contract.outputs] == ["price"]
    frame = pd.read_csv("flats/train.csv").drop(columns=["id", "price"])
    for row in st.rows_of_frame(frame):
        contract.validate_row(row)


@pytest.mark.usefixtures("table")
def test_the_last_column_is_learnt_unless_another_one_is_named() -> None:
    run("new", "prices", "--frame", "train.csv")
    assert "price: float" in Path("prices/rows.py").read_text()
    run("new", "towns", "--frame", "train.csv", "--target", "town")
    assert 'town: Annotated[str, st.Label("Graz", "Linz", "Wien")]' in (
        Path("towns/rows.py").read_text()
    )
    run("new", "rooms", "--frame", "train.csv", "--target", "rooms")
    assert 'rooms: Annotated[str, st.Label("1", "2"' in Path("rooms/rows.py").read_text()


def test_many_numbers_are_packed_into_one_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pd.DataFrame(np.zeros((30, 40)), columns=[f"c{place}" for place in range(40)])
    frame = frame.assign(y=["a", "b"] * 15)
    Path("wide.parquet").write_bytes(b"read by pyarrow, which is not installed here")
    monkeypatch.setattr(pd, "read_parquet", lambda path: frame)
    run("new", "wide", "--frame", "wide.parquet")
    text = Path("wide/pipeline.py").read_text()
    assert "NUMBERS = ('numbers',)" in text
    assert "read_parquet(TABLE)" in text
    assert "WIDTH = 40" in text
    assert 'packed="numbers"' in Path("wide/rows.py").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("x --frame train.csv --without cost", "--without: got 'cost', want a column of the table"),
        ("x --frame train.csv --target cost", "--target: got 'cost', want a column of the table"),
        ("x --frame train.json", "got a file '.json', want a .csv or .parquet file"),
        ("x --frame none.csv", r"a file that pandas does not read \(FileNotFoundError\)"),
        (
            "x --frame texts.csv",
            (
                "column 'said': got free text, want numbers, flags, dates, or words of a closed "
                "list; column 'by day': got free text; "
                "leave out what no client sends: --without said --without 'by day'"
            ),
        ),
        (
            "x --task sklearn --frame dates.csv",
            (
                "column 'day': got dates, want numbers, flags, or words of a closed list; "
                "leave out what no client sends: --without day"
            ),
        ),
        ("x --frame short.csv", "--frame: got 2 rows, want at least 20"),
        ("x --task image --frame train.csv", "--frame: got --task image, want --task tabular or"),
        ("x --task image --folder .", "--folder: got --task image, want --task hf"),
        ("x --task image --target price", "--target: got no table, want --frame TABLE"),
        ("a,b --task image", "NAME: got 'a,b', want letters"),
    ],
)
@pytest.mark.usefixtures("table")
def test_what_cannot_be_written_is_refused_and_nothing_is_written(words: str, said: str) -> None:
    texts = [f"number {place} is said" for place in range(40)]
    days = [f"2024-02-{1 + place % 29:02}" for place in range(40)]
    late = [*days[1:], "2024-02-30"]  # which no calendar has
    odd = {"said": texts, "day": days, "by day": late, "y": [0, 1] * 20}
    pd.DataFrame(odd).to_csv("texts.csv", index=False)
    pd.DataFrame({"day": days, "y": [0, 1] * 20}).to_csv("dates.csv", index=False)
    pd.DataFrame({"a": [1, 2], "b": [1, 2]}).to_csv("short.csv", index=False)
    with pytest.raises(DeclarationError, match=said):
        run("new", *words.split())
    assert not Path("x").exists()


def test_a_folder_that_is_there_is_kept_and_a_task_is_asked_for() -> None:
    Path("mine").mkdir()
    with pytest.raises(DeclarationError, match="a folder that is there, want a new one"):
        run("new", "mine", "--task", "text")
    assert list(Path("mine").iterdir()) == []
    assert "--task is missing" in CliRunner().invoke(cli, ["new", "x"]).output


@pytest.mark.slow
@pytest.mark.usefixtures("table")
@pytest.mark.parametrize(
    "words",
    ["--task tabular", "--task text", "--task image", "--task audio",
     "--frame train.csv --target price --without id"],
)  # fmt: skip
def test_a_project_is_sealed_and_proven_as_it_stands(
    words: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("new", "mine", *words.split())
    monkeypatch.chdir("mine")
    monkeypatch.delitem(sys.modules, "rows", raising=False)
    bundle = st.export(st.load_pipeline("pipeline.py:pipeline"))
    assert st.parity(bundle).passed
    example = bundle.contract.example_row()
    answer = bundle.predict(example)
    assert answer.keys() == {field.name for field in bundle.contract.outputs}


@pytest.mark.slow
@pytest.mark.usefixtures("table")
def test_the_lines_of_the_page_run(here: Path) -> None:
    """scikit-learn from a table, and its own tests; the first is in a fresh shell, as pasted."""
    shown = [line for line in commands_of(page("how-to/new.md")) if not line.startswith("#")]
    assert [line.split()[:2] for line in shown] == [["seatrial", "new"]] * len(shown)
    shutil.copytree(here, here / "my-folder")
    for line in shown:
        run(*shlex.split(line)[1:])
    run("new", "flats-sklearn", "--task", "sklearn", "--frame", "train.csv", "--without", "id")
    project = here / "flats-sklearn"
    told = re.findall(r"^    (\S.*)$", (project / "README.md").read_text(), re.MULTILINE)
    seal, _parity, tests, predict, _serve = told[1:]
    bin_ = Path(sys.executable).parent
    for line in (seal, tests, predict):
        done = subprocess.run(
            [str(bin_ / line.split()[0]), *shlex.split(line)[1:]], cwd=project, timeout=240,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    assert json.loads(done.stdout)[0].keys() == {"price"}


@pytest.mark.slow
def test_a_folder_of_transformers_becomes_a_project(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("new", "tiny", "--task", "hf")
    subprocess.run([sys.executable, "make_model.py"], cwd="tiny", check=True, timeout=120,
                   capture_output=True)  # fmt: skip
    run("new", "mine", "--task", "hf", "--folder", "tiny/model")
    assert not Path("mine/make_model.py").exists()
    bundle = st.export(st.load_pipeline("mine/pipeline.py:pipeline"))
    assert st.parity(bundle).passed
    assert bundle.predict({"text": "it was great"})["label"]["label"] in ("complaint", "praise")


@pytest.mark.slow
@pytest.mark.parametrize("many", [0, 40])
def test_dates_and_times_as_tables_write_them_are_learnt_from(
    many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = np.random.default_rng(0)
    day = pd.Timestamp("2024-01-01") + pd.to_timedelta(chance.integers(0, 300, 300), unit="D")
    at = day + pd.to_timedelta(chance.integers(0, 86_400, 300), unit="s")
    frame = pd.DataFrame(
        {
            **{f"c{place}": chance.random(300) for place in range(many)},
            "day": pd.Series(day.strftime("%Y-%m-%d")).where(chance.random(300) < 0.9, None),
            "at": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "local": at.strftime("%Y-%m-%d %H:%M:%S").str.replace(" ", "T"),
            "season": np.where(day.day_of_year < 150, "spring", "summer"),
        }
    )
    frame.to_csv("train.csv", index=False)
    run("new", "seasons", "--frame", "train.csv")
    rows = Path("seasons/rows.py").read_text()
    assert "from datetime import date, datetime\n" in rows
    assert (
        "    day: date | None\n    at: datetime\n"
        '    local: Annotated[datetime, st.DateTime(zone="UTC")]\n'
    ) in rows
    monkeypatch.chdir("seasons")
    monkeypatch.delitem(sys.modules, "rows", raising=False)
    bundle = st.export(st.load_pipeline("pipeline.py:pipeline"))
    assert st.parity(bundle).passed
    known = st.rows_of_frame(frame.drop(columns="season"))
    said = [bundle.predict(row)["season"]["label"] for row in known]
    assert np.mean(frame["season"] == said) > 0.95


@pytest.mark.slow
def test_flags_with_holes_and_columns_of_awkward_names_make_a_project_that_runs(here: Path) -> None:
    chance = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "active": chance.choice([True, False, None], 200),
            "class": chance.choice(["a", "b"], 200),
            "self": chance.integers(0, 9, 200),
            "training": chance.choice(["x", "y"], 200),
            "torch": chance.random(200),
            "stays": chance.choice(["yes", "no"], 200),
        }
    )
    frame.to_csv("train.csv", index=False)
    run("new", "odd", "--frame", "train.csv")
    command = [sys.executable, "-m", "seatrial", "contract", "pipeline.py:pipeline"]
    done = subprocess.run(command, cwd=here / "odd", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = done.stdout
    assert all(f'"{name}"' in said for name in ("active", "column_class", "column_self", "torch"))
