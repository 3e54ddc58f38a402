"""A rate: how often something may happen, with bursts."""

from __future__ import annotations

from collections.abc import Callable

from seatrial_serve.process.clock import now_s


class TokenBucket:
    """A token bucket. At least one is let through after a long pause, however low the rate is."""

    def __init__(
        self, per_s: float, clock: Callable[[], float] = now_s, most: float | None = None
    ) -> None:
        """`most`: how many may happen at once after a pause; by default one second's worth."""
        self._per_s, self._clock = per_s, clock
        self._most = max(per_s if most is None else most, 1.0)
        self._allowed, self._since = self._most, clock()

    def take(self) -> bool:
        """May it happen now? Where it may, it has."""
        now = self._clock()
        self._allowed = min(self._allowed + (now - self._since) * self._per_s, self._most)
        self._since = now
        if self._allowed < 1 or not self._per_s:
            return False
        self._allowed -= 1
        return True
