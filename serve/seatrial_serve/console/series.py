"""What the console's charts show: a point for each second of the last minutes, sampled only while somebody looks."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from prometheus_client import CollectorRegistry

from seatrial_serve.console.tally import QUANTILES, Key, Point, Tally, point_between, read_tallies

PERIOD_S = 1.0
GAP_S = 5.0
"""After a longer pause nobody knows when in it things happened: the next point starts anew."""
POINTS = 300
MODELS = 16
"""How many versions are kept in mind; of those looked at, the one longest out of sight goes first."""


class Series:
    """Points of the versions that somebody looks at, from a registry of metrics: aggregated numbers alone.

    Nothing runs by itself: a look takes a sample where the last one is a second old, so a hundred who look cost as much as one.
    """

    def __init__(self, registry: CollectorRegistry, clock: Callable[[], float] = time.time) -> None:
        self._registry, self._clock = registry, clock
        self._lock = asyncio.Lock()
        self._at = 0.0
        self._tallies: dict[Key, Tally] = {}
        self._kept: dict[Key, deque[Point]] = {}

    async def look(self, key: Key, since: float) -> dict[str, Any]:
        """The points of a version after `since`, in seconds of Unix time, and its counts; JSON values."""
        async with self._lock:
            points = self._kept.pop(key, None) or deque(maxlen=POINTS)
            self._kept[key] = points  # at the end: the one seen last
            if len(self._kept) > MODELS:
                del self._kept[next(iter(self._kept))]
            if not 0 <= self._clock() - self._at < PERIOD_S * 0.9:
                self._take(*await asyncio.to_thread(self._read))
        tally = self._tallies.get(key, Tally())
        return {
            "at": self._at,
            "codes": {code: count for code, count in sorted(tally.codes.items()) if count},
            "points": columns([point for point in points if point.at > since]),
            "drift": drift(tally),
        }

    def _read(self) -> tuple[float, dict[Key, Tally]]:
        return self._clock(), read_tallies(self._registry.collect())

    def _take(self, at: float, tallies: dict[Key, Tally]) -> None:
        period_s = at - self._at
        for key, points in self._kept.items():
            old, new = self._tallies.get(key), tallies.get(key)
            if old is not None and new is not None and 0 < period_s <= GAP_S:
                points.append(point_between(old, new, at, period_s))
        self._at, self._tallies = at, tallies


def columns(points: Sequence[Point]) -> dict[str, Any]:
    """The points as columns of equal length, as charts take them; a phase has a column where it was ever measured."""
    phases = list(dict.fromkeys(phase for point in points for phase in point.seconds["p50"]))
    plain = {name: [getattr(point, name) for point in points] for name in Point._fields[:-1]}
    return plain | {
        name: {phase: [point.seconds[name].get(phase) for point in points] for phase in phases} for name in QUANTILES
    }


def drift(tally: Tally) -> list[dict[str, Any]]:
    """For each field the bins of its reference, their shares then and now, and how many values were seen."""
    found = []
    for field, reference in tally.reference.items():
        counts = tally.drift.get(field, {})
        seen = sum(counts.values())
        bins = list(dict.fromkeys([*reference, *counts]))
        found.append(
            {
                "field": field,
                "seen": seen,
                "bins": bins,
                "reference": [reference.get(name, 0.0) for name in bins],
                "live": [counts.get(name, 0.0) / seen for name in bins] if seen else None,
                "psi": population_stability_index(list(reference.values()), [counts.get(name, 0.0) / (seen or 1) for name in reference]),
            }
        )
    return found


def population_stability_index(reference: Sequence[float], live: Sequence[float]) -> float:
    pairs = [(max(was, 1e-4), max(now, 1e-4)) for was, now in zip(reference, live, strict=True)]
    return sum((now - was) * math.log(now / was) for was, now in pairs)
