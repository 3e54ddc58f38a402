"""Each block of docs/how-to/python.md runs over the tutorial's `churn.py`; its texts are told."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.pages import page, run_blocks

import seatrial as st
from seatrial.main import cli

PAGE = page("how-to/python.md")


@pytest.mark.slow
def test_each_block_of_the_page_runs_and_says_what_stands_there(
    churn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(churn, tmp_path / "churn")
    monkeypatch.chdir(tmp_path / "churn")
    assert run_blocks(PAGE, monkeypatch) == 5
    said = capsys.readouterr().out
    texts = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
    assert len(texts) == 3
    for line in "".join(texts).splitlines():
        if not line.startswith("<Bundle"):  # its digest is that of this machine's packages
            assert line in said, line
    (command,) = re.findall(r"^    seatrial (client .*)$", PAGE, re.MULTILINE)
    with st.serve("bundles") as server:
        words = command.replace("http://127.0.0.1:8000", server.url).split()
        assert CliRunner().invoke(cli, words).exit_code == 0
    assert "class Row" in Path("churn_client.py").read_text()


def test_every_function_and_its_command_stand_in_the_table() -> None:
    rows = re.findall(r"^\| `st\.(\w+)\(.*?\| `seatrial (\w+)` \|", PAGE, re.MULTILINE)
    assert [name for name, _ in rows] == [command for _, command in rows]
    assert {name for name, _ in rows} == {"export", "parity", "diff", "quantize", "serve"}
