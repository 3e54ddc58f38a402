"""Sealing: the same bytes in two processes and two folders, nothing of this machine inside.

A pipeline file that is wrong has a message that names what is wrong.
"""

from __future__ import annotations

import getpass
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import seatrial as st
from seatrial.main import cli

FILE = '''
"""A pipeline as a user writes it."""
import torch
from torch import nn
import numpy as np
import seatrial as st

class Row(st.Row):
    x: st.Tensor[np.float32, 4]

class Answer(st.Answer):
    y: float

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 1), nn.Flatten(0)).eval()
rows = [{"x": row} for row in torch.randn(20, 4).numpy()]
pipeline = st.Pipeline(
    name="user", version="1.0.0", inputs=Row, outputs=Answer, model=model, golden=rows)
'''


def export(file: Path, out: Path, cwd: Path) -> dict[str, object]:
    command = [
        sys.executable,
        "-m",
        "seatrial",
        "export",
        f"{file}:pipeline",
        "--out",
        str(out),
        "--json",
    ]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, check=True)
    value: dict[str, object] = json.loads(done.stdout)
    return value


@pytest.mark.slow
def test_two_processes_in_two_folders_seal_the_same_digest_and_leave_no_trace(
    tmp_path: Path,
) -> None:
    sealed = []
    for name in ("somewhere", "elsewhere"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "model.py").write_text(FILE)
        sealed.append(export(folder / "model.py", folder / "out", folder))
    assert sealed[0]["digest"] == sealed[1]["digest"]
    traces = {
        str(tmp_path),
        str(Path.home()),
        str(Path.cwd()),
        "site-packages",
        "somewhere",
        "model.py",
        "stack_trace",
        str(Path(os.__file__).parent),
    }
    traces |= {word for word in (socket.gethostname(), getpass.getuser()) if len(word) > 5}
    for file in Path(str(sealed[0]["path"])).rglob("*"):
        data = file.read_bytes() if file.is_file() else b""
        assert [trace for trace in traces if trace.encode() in data] == [], file


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("model.py", "path/to/file.py:name"), ("none.py:pipeline", "no file 'none.py'"),
        ("model.txt:x", "path/to/file.py:name"),
        ("empty.py:pipeline", "no 'pipeline' in the file"),
        ("number.py:pipeline", "got a value of type"),
        ("broken.py:pipeline", "line 3: got ZeroDivisionError"),
        ("syntax.py:pipeline", "SyntaxError"),
        ("raises.py:pipeline", "line 2: got ValueError: no data"),
    ],
)  # fmt: skip
def test_a_pipeline_file_that_cannot_be_used_is_told_with_its_line(
    target: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        "empty.py": "",
        "number.py": "pipeline = 7",
        "broken.py": "\n\n1 / 0",
        "syntax.py": "def :",
        "model.txt": "",
        "raises.py": "def pipeline():\n    raise ValueError('no data')",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(st.DeclarationError) as refused:
        st.load_pipeline(target)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ('name="../user"', "letters, digits"), ('version="1"', "three numbers"),
        ("golden=rows[:1]", "at least two raw rows"), ("model=None", "torch.nn.Module"),
        ("prepare=len", "torch.nn.Module"),
    ],
)  # fmt: skip
def test_a_pipeline_that_is_declared_wrongly_is_told_which_part(
    change: str, words: str, tmp_path: Path
) -> None:
    key = change.partition("=")[0]
    parts = {
        "name": '"user"',
        "version": '"1.0.0"',
        "inputs": "Row",
        "outputs": "Answer",
        "model": "model",
        "golden": "rows",
    } | {key: change.partition("=")[2]}
    (tmp_path / "model.py").write_text(
        FILE[: FILE.index("pipeline = ")]
        + f"pipeline = st.Pipeline({', '.join(f'{k}={v}' for k, v in parts.items())})"
    )
    with pytest.raises(st.DeclarationError) as refused:
        st.load_pipeline(f"{tmp_path / 'model.py'}:pipeline")
    assert words in str(refused.value)


@pytest.mark.slow
def test_what_changed_since_the_version_before_is_sealed_and_a_breaking_change_is_refused(
    tmp_path: Path,
) -> None:
    old, new = tmp_path / "old.py", tmp_path / "new.py"
    old.write_text(FILE)
    new.write_text(
        FILE.replace('"1.0.0"', '"1.1.0"').replace("nn.Flatten(0)", "nn.Flatten(0), nn.Tanh()")
    )
    first = CliRunner().invoke(cli, ["export", f"{old}:pipeline", "--out", str(tmp_path)])
    assert first.exit_code == 0, first.exception
    command = ["export", f"{new}:pipeline", "--out", str(tmp_path)]
    command += ["--since", str(tmp_path / "user" / "1.0.0")]
    second = CliRunner().invoke(cli, command)
    assert second.exit_code == 0, second.exception
    notes = st.open_bundle(tmp_path / "user" / "1.1.0").files["RELEASE_NOTES.md"].decode()
    assert notes.startswith("# user 1.1.0\n\nCompared with 1.0.0.")
    assert "- 20 golden rows are answered by both." in notes
    new.write_text(FILE.replace('"1.0.0"', '"1.2.0"').replace("y: float", "z: float"))
    refused = CliRunner().invoke(cli, command)
    assert refused.exit_code == 1
    said = "version 1.2.0 after 1.0.0: got a breaking change, output 'y': removed"
    assert said in str(refused.exception)
    assert not (tmp_path / "user" / "1.2.0").exists()
