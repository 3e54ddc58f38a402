"""Requests that arrive over a day: a diurnal curve, and bursts on top of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DAY_S = 86_400


@dataclass(frozen=True)
class Traffic:
    """The shape of a day's arrivals."""

    peak_per_s: float
    """Arrivals a second at the height of the day, without a burst."""
    night: float = 0.15
    """What is left of it at the lowest hour."""
    bursts: int = 24
    """How many bursts come, at random times."""
    burst: float = 0.6
    """How much a burst adds, as a share of what comes anyway."""
    rise_s: float = 20.0
    """In which time a burst rises."""
    decay_s: float = 240.0
    """In which time it falls to 1/e."""

    def per_s(self, seconds: int, dice: np.random.Generator) -> NDArray[np.float64]:
        """The rate of arrivals in each second of the first `seconds` of a day."""
        now = np.arange(seconds, dtype=np.float64)
        swing = (1 - np.cos(2 * np.pi * (now / DAY_S - 1 / 6))) / 2  # lowest at four in the morning
        rate = self.peak_per_s * (self.night + (1 - self.night) * swing)
        added = np.zeros(seconds)
        for begin in dice.uniform(0, seconds, round(self.bursts * seconds / DAY_S)):
            since = np.clip(now - begin, 0, None)
            added += self.burst * np.minimum(since / self.rise_s, np.exp(-since / self.decay_s))
        return rate * (1 + added)
