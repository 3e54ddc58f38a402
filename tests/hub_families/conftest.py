"""Every drawn row is judged, however busy the machine is."""

from __future__ import annotations

import math

import pytest

from seatrial_export.gate import judged


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The judge's seconds do not end: the gate notes drawn rows that it had no time for."""
    monkeypatch.setattr(judged, "WITHIN_S", math.inf)
