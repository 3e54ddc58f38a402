"""Each block of the page of answers runs, in order."""

from __future__ import annotations

import pytest
from support.pages import page, run_blocks

PAGE = page("reference/answers.md")


def test_each_block_of_the_page_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_blocks(PAGE, monkeypatch) == 16
