"""Each block of the page of answers runs, in order."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

PAGE = (Path(__file__).resolve().parent.parent / "docs/answers.md").read_text("utf-8")


def test_each_block_of_the_page_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    page = ModuleType("answers_page")
    monkeypatch.setitem(sys.modules, page.__name__, page)
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)):
        exec(compile(block, f"block {number}", "exec"), page.__dict__)
