"""Each block of the page of texts' answers runs, in order, and the page names every option."""

from __future__ import annotations

import pytest
from support.pages import page, run_blocks

from seatrial_contracts.kinds.extract import Extract
from seatrial_contracts.kinds.spans import Spans

PAGE = page("reference/text-answers.md")


def test_each_block_of_the_page_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_blocks(PAGE, monkeypatch) == 4


def test_the_page_names_every_option() -> None:
    for kind in (Spans, Extract):
        for name in kind.model_fields.keys() - {"kind", "nullable", "description", "labels"}:
            assert f"`{name}`" in PAGE, name
