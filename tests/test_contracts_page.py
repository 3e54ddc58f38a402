"""Each block of the page of contracts runs, in order, and the page names what there is."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from seatrial_contracts.compare import Tolerance
from seatrial_contracts.contract import Limits
from seatrial_contracts.kinds.text import Text
from seatrial_export.gate.gate import WAIVABLE

PAGE = (Path(__file__).resolve().parent.parent / "docs/contracts.md").read_text("utf-8")


def test_each_block_of_the_page_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    page = ModuleType("contracts_page")
    monkeypatch.setitem(sys.modules, page.__name__, page)
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 6
    for number, block in enumerate(blocks):
        exec(compile(block, f"block {number}", "exec"), page.__dict__)


def test_the_page_names_every_step_that_may_be_waived_and_every_option() -> None:
    said = " ".join(PAGE.split())
    for name in (*WAIVABLE, *Limits.model_fields, *Tolerance.model_fields):
        assert f"`{name}`" in said or f".{name}`" in said, name
    for name in Text.model_fields.keys() - {"kind", "nullable", "description"}:
        assert f"`{name}`" in said, name
