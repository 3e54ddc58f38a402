"""Tallies: notes of the event loop at a tenth of a metric's own price.

They are kept until they are flushed.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from prometheus_client import Counter, Histogram
from prometheus_client.samples import Exemplar

NONE_YET = -1.0, ""


class Tally:
    """Observations that wait to be sorted into buckets, all at once.

    One thread observes; another may hand over at any time.
    """

    __slots__ = ("_bounds", "_slowest", "_values", "observe", "observe_all")

    def __init__(self, bounds: Sequence[float]) -> None:
        """`bounds`: the largest value of each bucket but the last."""
        self._bounds = np.asarray(bounds)
        self._values: list[float] = []
        self._slowest = NONE_YET
        self.observe: Callable[[float], None] = self._values.append
        """Count a value."""
        self.observe_all: Callable[[Iterable[float]], None] = self._values.extend
        """Count several."""

    def __bool__(self) -> bool:
        """Does anything wait?"""
        return bool(self._values)

    def observe_all_of(self, values: Iterable[float], largest: float, request_id: str) -> None:
        """Count values.

        The largest value until they are flushed is its bucket's example, with its request's id.
        """
        self.observe_all(values)
        if largest > self._slowest[0]:
            self._slowest = largest, request_id

    def flush(self, histogram: BulkHistogram) -> None:
        """Add what came since the last time to a histogram of the same bounds."""
        count = len(self._values)
        if not count:
            return
        values = np.array(self._values[:count])
        del self._values[:count]  # what is observed meanwhile stands behind them
        places = np.searchsorted(self._bounds, values)
        histogram.add(
            np.bincount(places, minlength=len(self._bounds) + 1).tolist(), float(values.sum())
        )
        slowest, self._slowest = self._slowest, NONE_YET
        if slowest is not NONE_YET:
            histogram.exemplify(*slowest)


class BulkHistogram(Histogram):
    """A histogram that takes many observations at once."""

    def observe_times(self, value: float, times: int) -> None:
        """The same value so many times."""
        if times:
            self._sum.inc(value * times)
            self._buckets[bisect_left(self._upper_bounds, value)].inc(times)

    def add(self, counts: Sequence[int], total: float) -> None:
        """`counts` of observations by bucket, `total` their sum."""
        self._sum.inc(total)
        for bucket, count in zip(self._buckets, counts, strict=True):
            if count:
                bucket.inc(count)

    def exemplify(self, value: float, request_id: str) -> None:
        """Name a request behind a value that was counted."""
        bucket = self._buckets[bisect_left(self._upper_bounds, value)]
        bucket.set_exemplar(Exemplar({"request_id": request_id}, value, time.time()))


class CountTally:
    """Counts by the last label of a counter, from a closed set; flushed like a `Tally`."""

    __slots__ = ("_counts", "_early", "_given", "_rest", "stirred")

    def __init__(self, labels: Iterable[str], rest: str, *, early: Iterable[str]) -> None:
        """Set the labels up; `rest` is the label of whatever is not among `labels`.

        `early` are the labels that show before anything was counted.
        """
        self._rest, self._early = rest, tuple(early)
        self._counts: dict[str, int] = dict.fromkeys(labels, 0)
        self._given: dict[str, int] = {}
        self.stirred = False
        """Was anything counted since it was flushed?"""

    def count(self, label: str) -> None:
        """One more."""
        try:
            self._counts[label] += 1
        except KeyError:
            self._counts[self._rest] += 1
        self.stirred = True

    def set(self, label: str, count: int) -> None:
        """So many by now."""
        if self._counts[label] != count:
            self._counts[label] = count
            self.stirred = True

    def flush(self, counter: Counter, labels: tuple[str, ...]) -> None:
        """Add what came since the last time to the children of a counter.

        The first labels of the counter are `labels`.

        Once anything was counted all labels show, the others at 0: Prometheus sees no increase in a
        series that begins at 1.
        """
        all_ = self.stirred or len(self._given) > len(self._early)
        self.stirred = False
        for label in self._counts if all_ else self._early:
            count, given = self._counts[label], self._given.get(label)
            if count != given:
                counter.labels(*labels, label).inc(count - (given or 0))
                self._given[label] = count
