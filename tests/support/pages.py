"""Pages of the docs, whose blocks of Python run as they stand."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import chdir
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner

from seatrial.main import cli

DOCS = Path(__file__).resolve().parents[2] / "docs"
CHURN = "tutorial/seal.md"
"""The page whose block of Python is the tutorial's `churn.py`."""
OF_SHELLS = re.compile(r"[|<>&;*?$`~]")
"""Signs that a shell reads."""


def page(name: str) -> str:
    """The text of a page of the docs."""
    return (DOCS / name).read_text("utf-8")


def run_blocks(text: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run each block of Python, in order, in one module; return how many there are."""
    module = ModuleType("page_of_the_docs")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    for number, block in enumerate(blocks):
        exec(compile(block, f"block {number}", "exec"), module.__dict__)
    return len(blocks)


def commands_of(text: str) -> list[str]:
    """The lines of each block of commands."""
    return "".join(re.findall(r"```console\n(.*?)```", text, re.DOTALL)).splitlines()


def code_of(text: str) -> str:
    """The first block of Python of a page."""
    found = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert found is not None
    return found[1]


def run_line(line: str, folder: Path, within_s: float = 240) -> str:
    """What a line prints that a reader pastes into a shell in a folder. It must succeed."""
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "COLUMNS": "100",
    }
    done = subprocess.run(
        ["bash", "-c", line], cwd=folder, env=environment, capture_output=True, text=True,
        timeout=within_s, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    return done.stdout


def run_command(line: str, folder: Path) -> str:
    """As `run_line`; a line that calls `seatrial`, and needs no shell, runs in this process.

    A process of its own would import torch again, which takes longer than the command. It must
    leave the settings of this one as they are; `--identity` does not, and is for `run_line`.
    """
    program, *words = shlex.split(line)
    if program != "seatrial" or OF_SHELLS.search(line):
        return run_line(line, folder)
    before = settings_here()
    with chdir(folder):
        done = CliRunner(env={"COLUMNS": "100"}).invoke(cli, words)
    assert settings_here() == before, f"{line}\nchanged the environment: run it by run_line"
    assert done.exit_code == 0, f"{line}\n{done.output}{done.exception!r}"
    return done.stdout


def settings_here() -> dict[str, str]:
    """The settings in this process's environment, which servers inherit."""
    return {name: value for name, value in os.environ.items() if name.startswith("SEATRIAL_")}


def churn_shell(folder: Path, churn: Path | None = None) -> Callable[[str], str]:
    """`run_command` in a folder with the tutorial's `churn.py`; with its bundle too, from `churn`.

    `churn`: the folder of conftest's fixture.
    """
    if churn is None:
        (folder / "churn.py").write_text(code_of(page(CHURN)))
    else:
        shutil.copytree(churn, folder, dirs_exist_ok=True)
    return partial(run_command, folder=folder)
