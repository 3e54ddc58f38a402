"""How much waits for each version, and the gauges that show it: what to scale by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from seatrial_serve.metrics.families import Families, Key


class Pressure(NamedTuple):
    """What admission and the batcher know of one version that takes traffic."""

    predicted_wait_s: float
    """When a request that came now would be answered."""
    predicted_queue_s: float
    """The part of it that the requests already here make."""
    waiting: int
    """Requests of which no row runs yet."""
    running: int
    """Requests with rows in a batch that runs now."""


class PressureGauges:
    """The gauges of the versions that take traffic; those of others go."""

    def __init__(self, families: Families) -> None:
        self._families = families
        self._shown: Mapping[Key, Pressure] = {}

    def show(self, pressures: Mapping[Key, Pressure]) -> None:
        """Set what has changed."""
        families = self._families
        for key, now in pressures.items():
            if now != self._shown.get(key):
                families.predicted_wait.labels(*key).set(now.predicted_wait_s)
                families.predicted_queue.labels(*key).set(now.predicted_queue_s)
                families.requests_waiting.labels(*key).set(now.waiting)
                families.requests_running.labels(*key).set(now.running)
        ended = self._shown.keys() - pressures.keys()
        if ended:
            for gauge in (
                families.predicted_wait, families.predicted_queue,
                families.requests_waiting, families.requests_running,
            ):  # fmt: skip
                families.drop(gauge, ended)
        self._shown = pressures
