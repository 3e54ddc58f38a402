"""Each block of the page of texts' answers runs, in order, and the page names every option."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from seatrial_contracts.kinds.extract import Extract
from seatrial_contracts.kinds.spans import Spans

PAGE = (Path(__file__).resolve().parent.parent / "docs/text-answers.md").read_text("utf-8")


def test_each_block_of_the_page_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    page = ModuleType("text_answers_page")
    monkeypatch.setitem(sys.modules, page.__name__, page)
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 4
    for number, block in enumerate(blocks):
        exec(compile(block, f"block {number}", "exec"), page.__dict__)


def test_the_page_names_every_option() -> None:
    for kind in (Spans, Extract):
        for name in kind.model_fields.keys() - {"kind", "nullable", "description", "labels"}:
            assert f"`{name}`" in PAGE, name
