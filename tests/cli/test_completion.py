"""Completion by real shells, and verbs that are misspelt."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from seatrial.completion import SHELLS
from seatrial.main import cli

BIN = Path(sys.executable).parent


@pytest.mark.parametrize("shell", SHELLS)
def test_a_completion_is_written_where_the_shell_looks(
    shell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "ZDOTDIR"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    said = CliRunner().invoke(cli, ["--install-completion", shell])
    assert said.exit_code == 0, said.output
    (written,) = (path for path in tmp_path.rglob("*seatrial*") if path.is_file())
    assert str(written) in said.output
    assert "_SEATRIAL_COMPLETE" in written.read_text()
    if shell in ("bash", "zsh") and shutil.which(shell):
        subprocess.run([shell, "-n", str(written)], check=True, timeout=30)


@pytest.mark.slow
def test_bash_completes_verbs_and_options(tmp_path: Path) -> None:
    environment = os.environ | {
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "XDG_DATA_HOME": str(tmp_path),
    }
    subprocess.run(
        ["seatrial", "--install-completion", "bash"], check=True, env=environment, timeout=60
    )
    file = tmp_path / "bash-completion/completions/seatrial"
    for words, place, wanted in (
        ("seatrial par", 1, "parity"),
        ("seatrial serve --http", 2, "--http-port"),
    ):
        line = (
            f"source {file}; COMP_WORDS=({words}); COMP_CWORD={place}; "
            'complete() { :; }; _seatrial_completion seatrial; echo "${COMPREPLY[@]}"'
        )
        said = subprocess.run(
            ["bash", "-c", line], env=environment, capture_output=True, text=True, timeout=60,
            check=True,
        )  # fmt: skip
        assert wanted in said.stdout.split(), said


@pytest.mark.parametrize(
    ("verb", "said"),
    [("serv", "Did you mean 'serve'?"), ("exprot", "Did you mean 'export'?"), ("xyzzy", "")],
)
def test_a_misspelt_verb_names_the_nearest(verb: str, said: str) -> None:
    done = CliRunner().invoke(cli, [verb])
    assert done.exit_code == 2
    assert f"No such command '{verb}'." in done.output
    assert ("Did you mean" in done.output) is bool(said)
    assert said in done.output
