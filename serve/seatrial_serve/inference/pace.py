"""What a batch costs on this machine, as the load gate measures it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

INLINE_S = 0.001
"""A batch shorter than this runs on the event loop itself.

A hop to another thread and back costs some 100 us, and the GIL.
"""


WORTHWHILE, ALL_BUT_NOTHING = 0.95, 0.99
"""Shares of the best rate."""


@dataclass(frozen=True)
class Pace:
    """The cost of a batch on this machine: `seconds[n]` for n rows of `length`.

    `length` is the middling one of the golden set (1: nothing is padded).
    """

    seconds: dict[int, float]
    length: int = 1

    @property
    def best_rows(self) -> int:
        """The size of the smallest batch that reaches 95% of the best rate seen.

        A larger one makes rows wait for each other, and for little.
        """
        return self._smallest(WORTHWHILE)

    @property
    def fastest_rows(self) -> int:
        """The size of the smallest batch that reaches 99% of the best rate seen.

        If many rows wait, that little more is worth it to all of them.

        If rows are padded, it is not: those of another length would be passed over for a large
        batch.
        """
        return self._smallest(ALL_BUT_NOTHING) if self.length == 1 else self.best_rows

    def _smallest(self, share: float) -> int:
        rates = {rows: rows / seconds for rows, seconds in self.seconds.items()}
        return min(rows for rows, rate in rates.items() if rate >= share * max(rates.values()))

    @cached_property
    def line(self) -> tuple[float, float]:
        """The seconds of any batch, and the seconds for each unit of cost.

        They are those of the line through the smallest and the largest batch seen. Cost is rows x
        padded length.
        """
        most = max(self.seconds)
        slope = (
            (self.seconds[most] - self.seconds[1]) / ((most - 1) * self.length)
            if most > 1
            else self.seconds[1] / self.length
        )
        slope = max(slope, 0.0)
        return max(self.seconds[1] - slope * self.length, 0.0), slope

    @property
    def free_cost(self) -> int:
        """The cost that takes as long as a batch takes before its first row.

        It is 0 if that time cannot be told apart from nothing.
        """
        base, slope = self.line
        return int(base / slope) if slope else 0

    def predict_s(self, cost: int) -> float:
        """Seconds that a batch of this cost takes."""
        base, slope = self.line
        return base + slope * cost
