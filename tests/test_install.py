"""tools/install.py: pip's configuration, handed to uv."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FILE = Path(__file__).parents[1] / "tools" / "install.py"


@pytest.fixture
def install() -> Any:
    spec = importlib.util.spec_from_file_location("install", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def ran(install: Any, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that were run, each of which succeeds, but for pip's account of itself."""
    real, seen = subprocess.run, list[list[str]]()

    def run(command: list[str], **how: Any) -> Any:
        if "config" in command:
            return real(command, **how)
        seen.append([*command])
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(install.subprocess, "run", run)
    return seen


def test_pips_own_account_is_read_and_the_environment_wins(
    install: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "pip.conf"
    file.write_text(
        "[global]\nextra-index-url = https://one.example/simple\n  https://two.example/simple\n"
        "trusted-host = one.example\n[install]\ntimeout = 3\n[wheel]\nno-binary = x\n"
    )
    for name in [name for name in install.os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(file))
    monkeypatch.setenv("PIP_TIMEOUT", "7")
    settings = {name: install.pip_settings()[name] for name in
                ("extra-index-url", "trusted-host", "timeout")}  # fmt: skip
    assert settings["timeout"] == "7"
    flags, variables = install.uv_settings(settings)
    assert flags == [
        *install.AS_PIP, "--default-index", install.PYPI, "--index", install.PYPI,
        "--index", "https://one.example/simple", "--index", "https://two.example/simple",
        "--allow-insecure-host", "one.example",
    ]  # fmt: skip
    assert variables == {"UV_HTTP_TIMEOUT": "7"}


def test_uv_installs_what_pip_would(
    install: Any, ran: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install, "pip_settings", lambda: {"index-url": "https://one.example"})
    assert install.main(".[dev]", "constraints.txt") == 0
    uv = ran[-1]
    assert [*install.AS_PIP] == uv[6:8]
    assert uv[:5] == [sys.executable, "-m", "uv", "pip", "install"]
    assert uv[-4:] == ["--constraint", "constraints.txt", "--editable", ".[dev]"]
    assert uv[uv.index("--default-index") + 1] == "https://one.example"


def test_the_extras_alone_are_installed_by_the_same_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(FILE.parent)
    alone = importlib.import_module("extras_alone")
    seen: list[tuple[tuple[str, ...], dict[str, str]]] = []

    def uv(*words: str, **names: str) -> str:
        (tmp_path / "alone").mkdir(exist_ok=True)  # as `uv venv` does
        seen.append((words, names))
        return "[]"

    monkeypatch.setattr(alone, "uv", uv)
    settings = {"index-url": "https://one.example", "find-links": "/wheels", "timeout": "7"}
    monkeypatch.setattr(alone, "pip_settings", lambda: settings)
    alone.Environment(tmp_path / "alone", "age", sys.executable, tmp_path / "x.whl")
    (words, names) = next(each for each in seen if "install" in each[0])
    assert words[words.index("--default-index") + 1] == "https://one.example"
    assert words[words.index("--find-links") + 1] == "/wheels"
    assert f"seatrial[age] @ {(tmp_path / 'x.whl').as_uri()}" in words
    assert names == {"UV_HTTP_TIMEOUT": "7"}
    settings["no-binary"] = "numpy"
    with pytest.raises(SystemExit, match="uv has no word for no-binary"):
        alone.Environment(tmp_path / "alone", "age", sys.executable, tmp_path / "x.whl")


def test_where_uv_has_no_word_for_a_setting_pip_installs(
    install: Any, ran: list[list[str]], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(install, "pip_settings", lambda: {"no-binary": "numpy", "quiet": "1"})
    assert install.main(".[dev]", "constraints.txt") == 0
    (command,) = ran
    assert command[:4] == [*install.PIP, "install"]
    assert "uv has no word for no-binary" in capsys.readouterr().out
