"""The steps of the gate on the terminal: each with time and proof, and where it stopped."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from seatrial import sealing
from seatrial_contracts.gate_steps import PROVES, WAIVED
from seatrial_export.adopt import gate as adopt_gate
from seatrial_export.gate import gate


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What is written to the terminal."""
    text = io.StringIO()
    monkeypatch.setattr(sealing, "Console", lambda **_: Console(file=text, width=100))
    return text


def lines(said: io.StringIO) -> list[tuple[str, str, str]]:
    line = r"^  (passed|stopped|waived) +(.+?)(?: +\d+\.\d s)?(?:  (\S.*))?$"
    return re.findall(line, said.getvalue(), re.MULTILINE)


def test_each_step_stays_with_its_time_and_what_it_proved(said: io.StringIO) -> None:
    with sealing.gate_progress("loading") as tell:
        for step in ("contract", "fastest: timing int8, 1 of 2", "fastest: timing int8, 2 of 2"):
            tell(step)
        tell(f"{WAIVED}lint")
        tell("sealing")
    assert lines(said) == [
        ("passed", "contract", PROVES["contract"]), ("passed", "fastest: timing int8", ""),
        ("waived", "lint", ""), ("passed", "sealing", PROVES["sealing"]),
    ]  # fmt: skip


def test_the_step_that_failed_is_said_and_proves_nothing(said: io.StringIO) -> None:
    with pytest.raises(KeyboardInterrupt), sealing.gate_progress("loading") as tell:
        tell("contract")
        tell("parity")
        raise KeyboardInterrupt
    assert lines(said) == [("passed", "contract", PROVES["contract"]), ("stopped", "parity", "")]


def test_every_step_says_what_it_proves_in_a_terminal_of_100_columns() -> None:
    assert PROVES.keys() == {name for name, _ in (*gate.STEPS, *adopt_gate.STEPS)} | {"sealing"}
    said = [f"  passed   {name:<20} 9999.9 s  {told}" for name, told in PROVES.items()]
    assert [line for line in said if len(line) > 100] == []
