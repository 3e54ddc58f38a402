"""The points of the console's charts: one for each second of the last minutes.

They are sampled only while somebody looks.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from seatrial_contracts.drift import population_stability_index
from seatrial_contracts.profile import Profile
from seatrial_serve.console.reading import (
    QUANTILES,
    Key,
    Point,
    Reading,
    point_between,
    read_versions,
)
from seatrial_serve.metrics.metrics import Metrics

PERIOD_S = 1.0
GAP_S = 5.0
"""After a longer pause nobody knows when in it things happened: the next point starts anew."""
KEPT_S = 300.0
MODELS = 16
"""How many versions are kept; of those looked at, the one longest out of sight goes first."""


class Series:
    """The points of the versions that somebody looks at: aggregated numbers of the metrics.

    Nothing runs by itself: a look takes a sample if the last one is a second old, so a hundred who
    look cost as much as one.
    """

    def __init__(self, metrics: Metrics, clock: Callable[[], float] = time.time) -> None:
        self._metrics, self._clock = metrics, clock
        self._lock = asyncio.Lock()
        self._at = 0.0
        self._readings: dict[Key, Reading] = {}
        self._kept: dict[Key, deque[Point]] = {}

    async def look(self, key: Key, since: float, profile: Profile | None = None) -> dict[str, Any]:
        """Return the points of a version after `since`, and its counts, as JSON values.

        `since` is in seconds of Unix time.

        Before the first request the metrics hold no reference of the version's drift: it is the
        `profile`'s.
        """
        async with self._lock:
            points = self._kept.pop(key, None) or deque()
            self._kept[key] = points  # at the end: the one seen last
            if len(self._kept) > MODELS:
                del self._kept[next(iter(self._kept))]
            if not 0 <= self._clock() - self._at < PERIOD_S * 0.9:
                self._take(*await asyncio.to_thread(self._read))
        reading = self._readings.get(key, Reading())
        if self._metrics.on and profile is not None and not reading.reference:
            reading.reference = shares_of(profile)
        return {
            "at": self._at,
            "measured": self._metrics.on,
            "codes": {code: count for code, count in sorted(reading.codes.items()) if count},
            "points": columns([point for point in points if point.at > since]),
            "drift": drift(reading),
            "live_parity": reading.checked,
            "feedback": reading.feedback,
        }

    def _read(self) -> tuple[float, dict[Key, Reading]]:
        return self._clock(), read_versions(self._metrics.collect())

    def _take(self, at: float, readings: dict[Key, Reading]) -> None:
        period_s = at - self._at
        for key, points in self._kept.items():
            old, new = self._readings.get(key), readings.get(key)
            if old is not None and new is not None and 0 < period_s <= GAP_S:
                points.append(point_between(old, new, at, period_s))
            while points and points[0].at <= at - KEPT_S:
                points.popleft()
        self._at, self._readings = at, readings


def columns(points: Sequence[Point]) -> dict[str, Any]:
    """Return the points as columns of equal length, as charts take them.

    A phase has a column if it was ever measured.
    """
    phases = list(dict.fromkeys(phase for point in points for phase in point.seconds["p50"]))
    plain = {name: [getattr(point, name) for point in points] for name in Point._fields[:-1]}
    return plain | {
        name: {phase: [point.seconds[name].get(phase) for point in points] for phase in phases}
        for name in QUANTILES
    }


def shares_of(profile: Profile) -> dict[str, dict[str, float]]:
    """Field -> bin -> its share of the reference rows."""
    return {
        field: dict(zip(spread.bins.names, spread.shares, strict=True))
        for field, spread in profile.fields.items()
    }


def drift(reading: Reading) -> list[dict[str, Any]]:
    """Return for each field its bins, their shares then and now, the number of values, and PSI.

    The bins are those of the field's reference.
    """
    found = []
    for field, reference in reading.reference.items():
        counts = [reading.drift.get(field, {}).get(name, 0.0) for name in reference]
        seen, shares = sum(counts), list(reference.values())
        live = [count / seen for count in counts] if seen else None
        psi = population_stability_index(shares, counts) if seen else None
        found.append(
            {
                "field": field,
                "seen": seen,
                "bins": list(reference),
                "reference": shares,
                "live": live,
                "psi": psi,
            }
        )
    return found
