"""Usual mistakes in command lines: each message holds the words that are to be written."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from support.toys import fake_runtimes, toy_bundle

from seatrial.bundle import Bundle
from seatrial.main import main
from seatrial_contracts.errors import MissingExtra

FILE = """
from typing import Literal
from torch import nn
import seatrial as st

class Row(st.Row):
    size: float

class Answer(st.Answer):
    price: float

pipeline = st.Pipeline(
    name="house", version="1.0.0", inputs=Row, outputs=Answer, model=nn.Flatten(0).eval(),
    golden=[{"size": 1.0}, {"size": 2.0}],
)
"""
ROW = '{"x": 1.5, "word": "a"}'


def run(*words: str) -> int:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as stopped:
        patch.setattr(sys, "argv", ["seatrial", *words])
        main()
    return int(stopped.value.code or 0)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a pipeline file and a folder of bundles, from which the commands run."""
    monkeypatch.chdir(tmp_path)
    fake_runtimes(monkeypatch)
    toy_bundle(tmp_path / "bundles")
    Path("model.py").write_text(FILE)
    return tmp_path


@pytest.mark.parametrize(
    ("wrong", "said", "mended"),
    [
        ("model.py", "pipeline 'model.py': got no file and name, want", "model.py:pipeline"),
        ("mode.py:pipeline", "got no file 'mode.py', want an existing file", "model.py:pipeline"),
        ("model.py:pipelin", "got no 'pipelin' in the file, want a Pipeline", "model.py:pipeline"),
    ],
)
def test_a_target_that_is_none_is_told_the_one_that_is_meant(
    wrong: str, said: str, mended: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("contract", wrong) == 1
    told = capsys.readouterr().err
    assert said in told
    assert mended in told.partition(said)[2]
    assert run("contract", mended) == 0
    assert json.loads(capsys.readouterr().out)["inputs"][0]["name"] == "size"


@pytest.mark.parametrize(
    ("bundle", "row", "said", "mend", "mended"),
    [
        (
            "bundles", ROW, "manifest.json of bundle 'bundles': got no such file, want a manifest",
            "name one in it: toy/1.0.0", ("bundles/toy/1.0.0", ROW),
        ),
        (
            "bundles/toy/1.0.0", "{x: 1.5}", "rows: got no JSON at line 1, column 2, want a row",
            "names and words in double quotes", ("bundles/toy/1.0.0", ROW),
        ),
        (
            "bundles/toy/1.0.0", '{"x": 1.5, "wrod": "a"}',
            "row 0: got the key 'wrod', want an object with x, word", "did you mean 'word'?",
            ("bundles/toy/1.0.0", ROW),
        ),
        (
            "bundles/toy/1.0.0", '{"x": 1.5, "word": " A"}',
            "input 'word', row 0: got ' A', want one of 'a', 'b'", "did you mean 'a'?",
            ("bundles/toy/1.0.0", ROW),
        ),
    ],
)  # fmt: skip
def test_a_prediction_that_cannot_be_is_told_what_can(
    bundle: str, row: str, said: str, mend: str, mended: tuple[str, str], here: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert run("predict", bundle, row) == 1
    told = capsys.readouterr().err
    assert said in told
    assert mend in told.partition(said)[2]
    assert run("predict", *mended, "--json") == 0
    assert '"twice"' in capsys.readouterr().out


def test_every_fault_of_a_row_is_a_line(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("predict", "bundles/toy/1.0.0", '{"x": 412, "word": "c"}') == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("seatrial: input 'x', row 0: got 412, want a number from -100 to 100")
    assert first.endswith("; 1 more to mend")
    assert second == "  input 'word', row 0: got 'c', want one of 'a', 'b'"


@pytest.mark.usefixtures("here")
def test_an_extra_that_is_missing_is_named_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def predictor(*_: object) -> None:
        cause = ModuleNotFoundError("No module named 'onnxruntime'", name="onnxruntime")
        raise MissingExtra("bundle.predict", "serve") from cause

    monkeypatch.setattr(Bundle, "_predictor", predictor)
    assert run("predict", "bundles/toy/1.0.0", ROW) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("run: pip install '.[serve]'")


def test_a_file_that_lacks_a_part_is_told_the_extra_of_the_clone(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)
    (here / "model.py").write_text(f"import soundfile\n{FILE}")
    assert run("contract", "model.py:pipeline") == 1
    told = capsys.readouterr().err
    assert "bug in seatrial" not in told
    assert "in the clone of seatrial, run: pip install '.[audio]'" in told
