"""How the versions of a server stand, and the gauges that show it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from seatrial_serve.metrics.families import Families, Key


class GateResult(NamedTuple):
    """The result of the load gate.

    `worst_error` is infinite if golden rows have no answer, None if none were run.
    """

    passed: bool
    worst_error: float | None = None
    kept: bool = False
    """Was it taken up from a kept receipt, with one golden row replayed?"""


class Held(NamedTuple):
    """With what a version is served."""

    digest: str
    variant: str
    asked: str
    """The provider, or the runtime of another process, that was asked for."""
    provider: str
    """The one that really runs it."""
    objective_s: float | None
    """99 of 100 requests are to be answered within this time."""
    signer: str = ""
    """Who signed it, by its name in the trust policy; empty where nobody asked for signatures."""


class Standing(NamedTuple):
    """How one version stands now."""

    ready: bool
    """Does it take traffic?"""
    gate: GateResult | None = None
    """None before its first try has ended."""
    held: Held | None = None
    """None where nothing of it is loaded."""
    load_s: float = 0.0


class StandingGauges:
    """The gauges of the versions that are there.

    They are a function of how the versions stand, and of nothing that happened before.
    """

    def __init__(self, families: Families) -> None:
        self._families = families
        self._shown: Mapping[Key, Standing] = {}

    def show(self, standings: Mapping[Key, Standing]) -> None:
        """Set what has changed of the versions that are there."""
        for key, standing in standings.items():
            before = self._shown.get(key)
            if standing != before:
                self._set(key, standing, before or UNKNOWN)
        self._shown = standings

    def _set(self, key: Key, now: Standing, before: Standing) -> None:
        families, gate, held = self._families, now.gate, now.held
        families.ready.labels(*key).set(now.ready)
        for gauge, value, shown in (
            (families.load_gate, gate and gate.passed, before.gate),
            (families.worst_error, gate and gate.worst_error, before.gate),
            (families.load_gate_kept, gate and gate.kept, before.gate),
            (families.load_seconds, held and now.load_s, before.held),
            (families.objective, held and held.objective_s, before.held),
        ):
            if value is not None:
                gauge.labels(*key).set(value)
            elif shown is not None:
                families.drop(gauge, {key})
        if before.held is not None and before.held != held:
            families.drop(families.info, {key})
            families.drop(families.execution, {key})
        if held is not None:
            held_by = held.digest, held.variant, held.provider, held.signer
            families.info.labels(*key, *held_by).set(1)
            families.execution.labels(*key, held.asked, held.provider).set(1)


UNKNOWN = Standing(ready=False)
