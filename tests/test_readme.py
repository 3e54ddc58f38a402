"""Every line that a reader can paste from the README works, in its order."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.pages import run_line
from support.walk import Walk

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text("utf-8")
MOST_LINES = 120


@pytest.mark.slow
@pytest.mark.timeout(720)
def test_the_model_of_ones_own_is_sealed_asked_and_served(
    tmp_path: Path, serve: Callable[..., Any]
) -> None:
    walk = Walk(tmp_path, serve)
    walk.write_code(README)
    walk.paste(README, "README.md")
    assert walk.server is not None


@pytest.mark.slow
@pytest.mark.timeout(720)
def test_the_demo_runs_its_own_lines(tmp_path: Path) -> None:
    # The demo takes a minute, or two on a slow machine.
    demo = f"{sys.executable} examples/demo.py --once --out {tmp_path}"
    said = run_line(demo, ROOT, within_s=600)
    assert said.count("http v1") == 4
    assert "NO" not in said.split("Paste these")[0]
    assert '"label":"Gentoo"' in said
    assert '"label":"7"' in said
    assert '"embedding":[' in said
    assert '"code":"E_RANGE"' in said


def test_what_the_readme_says_of_targets_and_files_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make ([a-z-]+)`", README):
        assert f"\n{target}:" in makefile, target
    for link in re.findall(r"\]\(([A-Za-z/.]+)\)", README):
        assert (ROOT / link).exists(), link


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= MOST_LINES
