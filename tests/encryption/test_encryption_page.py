"""The lines of docs/how-to/encryption.md in their order, and the names that the page has."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.encrypted import Key, encrypted
from support.pages import page, run_line
from support.servers import ROOT

from seatrial_contracts import identities
from seatrial_contracts.manifest import ENCRYPTION
from seatrial_serve.settings import PREFIX, Settings

PAGE = page("how-to/encryption.md")
FIRST, AGAIN = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)


def test_the_page_has_each_code_setting_and_file() -> None:
    source = "".join(
        (ROOT / "contracts/seatrial_contracts" / f"{name}.py").read_text()
        for name in ("decrypt", "encrypted_files", "encryption")
    )
    assert set(re.findall(r'"(E_[A-Z_]+)"', source)) <= set(re.findall(r"`(E_[A-Z_]+)`", PAGE))
    assert f"`{ENCRYPTION}`" in PAGE
    for variable in (identities.FILE_VARIABLE, identities.COMMAND_VARIABLE):
        assert f"`{variable}`" in PAGE
        assert variable.removeprefix(PREFIX).lower() in Settings.model_fields


@pytest.mark.parametrize("command", ["triton", "quantize", "ortpackage", "report"])
def test_whoever_would_write_plain_files_refuses_by_name(
    command: str, tmp_path: Path, key: Key
) -> None:
    assert f"`{command}`" in PAGE or f"`seatrial {command}`" in PAGE
    path = encrypted(tmp_path / "bundles", key)
    done = subprocess.run(
        [sys.executable, "-m", "seatrial", command, path],
        capture_output=True, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "got an encrypted bundle, want a plain one" in done.stderr
    written = {each.name for each in tmp_path.iterdir()}
    assert written <= {"bundles", "bundles-plain", "cache", "keys"}


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ("parity --fuzz 10", "--fuzz"),
        ("parity --bisect", "--bisect"),
        ("diff --notes n.md", "--notes"),
    ],
)
def test_options_that_would_write_golden_rows_refuse(
    words: str, what: str, tmp_path: Path, key: Key
) -> None:
    command, *options = words.split()
    assert f"`{command} {what}`" in PAGE
    path = encrypted(tmp_path / "bundles", key)
    paths = [path, path] if command == "diff" else [path]
    done = subprocess.run(
        [sys.executable, "-m", "seatrial", command, *paths, *options, "--identity", key.file],
        capture_output=True, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert f"got an encrypted bundle, want a plain one, since what {what} saves" in done.stderr
    assert not list(tmp_path.glob("reports/*/*"))
    assert not (tmp_path / "n.md").exists()


@pytest.mark.slow
@pytest.mark.timeout(480)
@pytest.mark.skipif(
    shutil.which("age-keygen") is None, reason="no age here: apt-get install age (make judges)"
)
def test_the_lines_of_the_page_work(
    tmp_path: Path, churn: Path, serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(churn, tmp_path, dirs_exist_ok=True)
    *first, last = FIRST.strip().splitlines()
    lines = (*first, *AGAIN.strip().splitlines())
    said = "".join(run_line(line, tmp_path) for line in lines)
    assert "each sealed file lies there as an age file" in said
    digests = set(re.findall(r"sha256:([0-9a-f]{64})", said))
    assert len(digests) == 1, "plain, encrypted and encrypted anew"
    assert (tmp_path / "bundles/churn/1.0.0/contract.json").read_text() in said
    (receipt,) = (tmp_path / "encrypted/churn/1.0.0/receipts").glob("*.json")
    assert '"worst": []' in receipt.read_text()
    _, command, *rest = shlex.split(last)
    assert command == "serve"
    server = serve(*rest)
    status, text = server.wait_until_loaded()
    assert status == 200, text
