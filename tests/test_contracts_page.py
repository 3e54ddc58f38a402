"""Each block of the page of contracts runs, in order, and the page names what there is."""

from __future__ import annotations

import pytest
from support.pages import page, run_blocks

from seatrial_contracts.compare import Tolerance
from seatrial_contracts.contract import Limits
from seatrial_contracts.kinds.audio import Audio
from seatrial_contracts.kinds.log_mel import LogMel
from seatrial_contracts.kinds.text import Text
from seatrial_export.gate.gate import WAIVABLE

PAGE = page("reference/contracts.md")


def test_each_block_of_the_page_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_blocks(PAGE, monkeypatch) == 20


def test_the_page_names_every_step_that_may_be_waived_and_every_option() -> None:
    said = " ".join(PAGE.split())
    for name in (*WAIVABLE, *Limits.model_fields, *Tolerance.model_fields):
        assert f"`{name}`" in said or f".{name}`" in said, name
    for kind in (Text, Audio, LogMel):
        for name in kind.model_fields.keys() - {"kind", "nullable", "description", "log"}:
            assert f"`{name}`" in said, name
