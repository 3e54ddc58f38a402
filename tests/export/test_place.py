"""What is told before the gate runs: where the bundle goes, and whether it may go there."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

import seatrial as st
from seatrial.main import cli
from seatrial_contracts.bundle import open_bundle
from seatrial_contracts.gate_steps import PROVES
from seatrial_export.gate.gate import STEPS
from seatrial_export.place import check_place, highest_version

FILE = '''
"""A pipeline as a user writes it."""
import numpy as np
import torch
from torch import nn

import seatrial as st

class Row(st.Row):
    x: st.Tensor[np.float32, 4]

class Answer(st.Answer):
    y: float

torch.manual_seed({seed})
model = nn.Sequential(nn.Linear(4, 1), nn.Flatten(0)).eval()
rows = [{{"x": row}} for row in np.eye(4, dtype=np.float32)]
pipeline = st.Pipeline(
    name="user", version="1.0.0", inputs=Row, outputs=Answer, model=model, golden=rows)
'''


class Row(st.Row):
    x: st.Tensor[np.float32, 4]


class Answer(st.Answer):
    y: float


def pipeline(seed: int = 0) -> st.Pipeline:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, 1), nn.Flatten(0)).eval()
    rows = [{"x": row} for row in np.eye(4, dtype=np.float32)]
    return st.Pipeline(
        name="user", version="1.0.0", inputs=Row, outputs=Answer, model=model, golden=rows
    )


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out")
    st.export(pipeline(), folder)
    return folder


def test_a_version_that_is_there_is_told_before_the_gate(out: Path) -> None:
    steps: list[str] = []
    with pytest.raises(st.BundleError, match="--version next takes the next patch") as refused:
        st.export(pipeline(), out, steps.append)
    assert refused.value.code == "E_BUNDLE_EXISTS"
    assert not steps


@pytest.mark.parametrize("beside", ["", "folder"])
def test_a_folder_that_cannot_be_written_is_told_before_the_gate(
    tmp_path: Path, beside: str
) -> None:
    file = tmp_path / "file"
    file.write_text("")
    steps: list[str] = []
    with pytest.raises(st.BundleError, match="--out FOLDER names another") as refused:
        st.export(pipeline(), file / beside, steps.append)
    assert refused.value.code == "E_BUNDLE_WRITE"
    assert not steps


def test_looking_leaves_nothing_behind(tmp_path: Path) -> None:
    check_place(tmp_path / "a" / "b", "user", "1.0.0", force=False)
    assert list(tmp_path.iterdir()) == []


def test_next_is_the_patch_after_the_highest(tmp_path: Path) -> None:
    first = st.export(pipeline(), tmp_path, version="next")
    assert first.version == "1.0.0"
    (tmp_path / "user" / "1.0.9").mkdir()
    (tmp_path / "user" / "1.0.10").mkdir()
    (tmp_path / "user" / "newest").mkdir()
    assert highest_version(tmp_path / "user") == "1.0.10"
    assert st.export(pipeline(), tmp_path, version="next").version == "1.0.11"
    assert st.export(pipeline(), tmp_path, version="2.0.0").version == "2.0.0"


@pytest.mark.parametrize("version", ["7", "latest", "../1.0.0", "1.0.0\n"])
def test_a_version_that_is_none_is_told(tmp_path: Path, version: str) -> None:
    with pytest.raises(st.DeclarationError, match="want three numbers such as"):
        st.export(pipeline(), tmp_path, version=version)


@pytest.mark.slow
def test_the_receipt_lists_the_gate_and_no_second_of_it_is_in_the_digest(tmp_path: Path) -> None:
    waived = replace(pipeline(), waive={"surroundings": "it holds nothing"})
    first, second = (st.export(waived, tmp_path / name) for name in ("first", "second"))
    assert first.digest == second.digest
    gates = [bundle.receipts()[0].gate for bundle in (first, second)]
    assert [step.step for step in gates[0]] == [name for name, _ in STEPS]
    assert {step.step: step.waived for step in gates[0] if step.waived} == waived.waive
    assert all(step.proved == PROVES[step.step] for step in gates[0] if not step.waived)
    took = [[step.seconds for step in gate] for gate in gates]
    assert took[0] != took[1]
    assert sum(took[0]) > 0


def test_force_replaces_what_differs_and_leaves_what_does_not(tmp_path: Path) -> None:
    first = st.export(pipeline(), tmp_path)
    made = (first.path / "manifest.json").stat().st_ino
    assert st.export(pipeline(), tmp_path, force=True).digest == first.digest
    assert (first.path / "manifest.json").stat().st_ino == made
    other = st.export(pipeline(seed=1), tmp_path, force=True)
    assert other.path == first.path
    assert open_bundle(first.path).digest == other.digest != first.digest
    assert [path.name for path in (tmp_path / "user").iterdir()] == ["1.0.0"]
    assert [receipt.digest for receipt in other.receipts()] == [other.digest]


def test_quantize_tells_it_before_anything_is_made(out: Path) -> None:
    (out / "user" / "1.0.1").mkdir()
    steps: list[str] = []
    with pytest.raises(st.BundleError, match=r"bundle user 1\.0\.1 in .* there already"):
        st.quantize(out / "user" / "1.0.0", progress=lambda step, *_: steps.append(step))
    assert not steps


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "first.py").write_text(FILE.format(seed=0))
    (tmp_path / "second.py").write_text(FILE.format(seed=1))
    return tmp_path


@pytest.mark.slow
def test_the_mends_of_the_message_work_as_they_are_written(files: Path) -> None:
    def run(file: str, *options: str) -> tuple[int, str, str]:
        command = ["export", f"{files / file}:pipeline", "--out", str(files / "b"), "--json"]
        done = CliRunner().invoke(cli, [*command, *options])
        return done.exit_code, done.stdout, done.stderr + str(done.exception or "")

    assert run("first.py")[0] == 0
    code, _, said = run("second.py")
    assert code != 0
    assert "--version next" in said
    assert "--force" in said
    code, told, _ = run("second.py", "--version", "next")
    assert code == 0
    assert json.loads(told)["path"].endswith("1.0.1")
    code, told, _ = run("second.py", "--force")
    assert code == 0
    assert json.loads(told)["digest"] == open_bundle(files / "b" / "user" / "1.0.0").digest
