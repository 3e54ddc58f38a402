"""Each block of the page of checkpoints runs, in order, and so do its commands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.pages import page, run_blocks, run_command

PAGE = page("how-to/checkpoints.md")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_each_block_and_command_of_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_blocks(PAGE, monkeypatch) == 4
    commands = [
        line
        for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
        for line in block.strip().splitlines()
    ]
    said = [run_command(line, tmp_path) for line in commands]
    assert "proven on 3 golden" in said[0]
    assert "wrote narrow.ortpackage" in said[1]
    assert "restored" in said[2]
