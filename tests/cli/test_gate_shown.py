"""The steps of the gate on the terminal: each with its time, and where it stopped."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from seatrial import sealing


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What is written to the terminal."""
    text = io.StringIO()
    monkeypatch.setattr(sealing, "Console", lambda **_: Console(file=text, width=100))
    return text


def lines(said: io.StringIO) -> list[tuple[str, str]]:
    return re.findall(r"^  (passed|stopped)  (.+?) +\d+\.\d s$", said.getvalue(), re.MULTILINE)


def test_each_step_stays_with_its_time(said: io.StringIO) -> None:
    with sealing.gate_progress("loading") as tell:
        for step in ("contract", "fastest: timing int8, 1 of 2", "fastest: timing int8, 2 of 2"):
            tell(step)
        tell("sealing")
    assert lines(said) == [
        ("passed", "contract"), ("passed", "fastest: timing int8"), ("passed", "sealing"),
    ]  # fmt: skip


def test_the_step_that_failed_is_said(said: io.StringIO) -> None:
    with pytest.raises(KeyboardInterrupt), sealing.gate_progress("loading") as tell:
        tell("contract")
        tell("parity")
        raise KeyboardInterrupt
    assert lines(said) == [("passed", "contract"), ("stopped", "parity")]
