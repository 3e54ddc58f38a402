"""What one version does: the protocol's own statistics, and tallies for Prometheus."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from seatrial_serve.metrics.families import COSTS, PHASES, ROWS, SECONDS, SHARES, Families, Key
from seatrial_serve.metrics.tally import CountTally, Tally
from seatrial_serve.process.codes import CAUSES, CODES, FAULTS

log = logging.getLogger("seatrial.metrics")
OK = "ok"
EARLY_CODES = (OK, *FAULTS, "E_CATEGORY")
"""Those that alerts ask for: they begin at 0 before the first request, since Prometheus sees no
increase in a series that begins at 1. The others follow with the first request."""


@dataclass(slots=True)
class Statistics:
    """What a version has done since it was loaded: counts, and seconds spent."""

    succeeded: int = 0
    succeeded_s: float = 0.0
    failed: int = 0
    failed_s: float = 0.0
    fronts: int = 0
    front_s: float = 0.0
    queued: int = 0
    queued_s: float = 0.0
    rows: int = 0
    batches: int = 0
    run_s: float = 0.0
    last_unix_s: float = 0.0
    by_rows: dict[int, tuple[int, float]] = field(default_factory=dict)
    """Rows in a batch -> how many such batches, and their seconds."""


class ModelTallies:
    """What requests to one version do, counted."""

    def __init__(self) -> None:
        self.front, self.queue, self.run, self.encode, self.total = (Tally(SECONDS) for _ in PHASES)
        self.rows, self.cost, self.padding = Tally(ROWS), Tally(COSTS), Tally(SHARES)
        self.codes = CountTally((OK, "other", *sorted(CODES)), "other", early=EARLY_CODES)
        self.row_codes = CountTally(("other", *sorted(CODES)), "other", early=())
        self.causes = CountTally(CAUSES, "other", early=CAUSES)
        self.waiting, self.answered, self.too_large = 0, 0, 0
        self.plain: dict[int, int] = {}
        """Rows in a batch -> number of such batches, for rows without length.

        Such a batch costs the number of its rows and holds no padding.
        """
        self._plain_given: dict[int, int] = {}
        self._begun, self._used = False, False
        self._waiting_given, self._too_large_given = 0, 0

    @property
    def stirred(self) -> bool:
        """Whether anything has happened since the last hand-over, or none was made yet.

        Each request ends in `total`, each batch in `run`. What else a request or a batch counts
        must therefore be noted before these, and be flushed after them.
        """
        return bool(
            not self._begun
            or self.total
            or self.run
            or self.front
            or self.causes.stirred
            or self.waiting != self._waiting_given
        )

    def flush(self, families: Families, key: Key, *, there: bool) -> None:
        """See `Metrics.flush`; a version that is not `there` any more has no gauges."""
        self._begun = True
        self._used = self._used or bool(self.total or self.run or self.front)
        phases = {
            "run": self.run,
            "total": self.total,
            "front": self.front,
            "queue": self.queue,
            "encode": self.encode,
        }
        for phase, tally in phases.items():
            if tally:
                tally.flush(families.phase.labels(*key, phase))
        self.flush_refusals(families, key)
        self.row_codes.flush(families.row_errors, key)
        if not self._used:
            return
        self._flush_batches(families, key)
        self._waiting_given = self.waiting
        if there:
            families.waiting.labels(*key).set(self._waiting_given)

    def flush_refusals(self, families: Families, key: Key) -> None:
        """How requests ended, and why they were refused: all that is counted of `NOBODY`."""
        self.causes.flush(families.refusals, key)
        self.codes.set(OK, self.answered)
        self.codes.flush(families.requests, key)

    def _flush_batches(self, families: Families, key: Key) -> None:
        plain = dict(self.plain)
        too_large = families.out_of_memory.labels(*key)
        too_large.inc(self.too_large - self._too_large_given)
        self._too_large_given = self.too_large
        batches = [
            each.labels(*key)
            for each in (families.batch_rows, families.batch_cost, families.padding)
        ]
        for tally, histogram in zip((self.rows, self.cost, self.padding), batches, strict=True):
            tally.flush(histogram)
        for rows, count in plain.items():
            more = count - self._plain_given.get(rows, 0)
            for histogram, value in zip(batches, (rows, rows, 0.0), strict=True):
                histogram.observe_times(value, more)
        self._plain_given = plain


class ModelMetrics:
    """What one loaded version does: an `Observe` of its batcher."""

    def __init__(self, tallies: ModelTallies | None = None) -> None:
        """None where nothing is measured."""
        self.statistics, self._tallies = Statistics(), tallies

    def answered(self, seconds: Sequence[float], slowest_s: float, slowest_id: str) -> None:
        """Count requests that were answered, each after so long.

        The slowest request is the example of its like.
        """
        seen, tallies = self.statistics, self._tallies
        seen.succeeded += len(seconds)
        seen.succeeded_s += sum(seconds)
        if tallies is not None:
            tallies.answered += len(seconds)
            tallies.total.observe_all_of(seconds, slowest_s, slowest_id)

    def failed(self, code: str, seconds: float) -> None:
        """A request ended so, without an answer, after so long."""
        self.statistics.failed += 1
        self.statistics.failed_s += seconds
        if self._tallies is not None:
            self._tallies.codes.count(code)
            self._tallies.total.observe(seconds)

    def row_errors(self, codes: Iterable[str]) -> None:
        """Rows of a partial answer have these codes in place of answers."""
        if self._tallies is not None:
            for code in codes:
                self._tallies.row_codes.count(code)

    def front(self, seconds: float, requests: int = 1) -> None:
        """The rows of requests took so long to be made ready for a batch, all together."""
        self.statistics.fronts += requests
        self.statistics.front_s += seconds * requests
        if self._tallies is not None:
            self._tallies.front.observe_all([seconds] * requests)

    def encode(self, seconds: float, requests: int = 1) -> None:
        """The answers of requests took so long to be written, all together."""
        if self._tallies is not None:
            self._tallies.encode.observe_all([seconds] * requests)

    def batch(
        self, rows: int, cost: int, padding: float, waited_s: Sequence[float], run_s: float
    ) -> None:
        """See `seatrial_serve.scheduling.batcher.Observe`."""
        self.queued(waited_s)
        seen, tallies = self.statistics, self._tallies
        seen.rows += rows
        seen.batches += 1
        seen.run_s += run_s
        seen.last_unix_s = time.time()
        count, spent_s = seen.by_rows.get(rows, (0, 0.0))
        seen.by_rows[rows] = count + 1, spent_s + run_s
        if tallies is None:
            return
        if cost == rows:
            tallies.plain[rows] = tallies.plain.get(rows, 0) + 1
        else:
            tallies.rows.observe(rows)
            tallies.cost.observe(cost)
            tallies.padding.observe(padding)
        tallies.run.observe(run_s)

    def queued(self, waited_s: Sequence[float]) -> None:
        """See `seatrial_serve.scheduling.batcher.Observe`."""
        self.statistics.queued += len(waited_s)
        self.statistics.queued_s += sum(waited_s)
        if self._tallies is not None:
            self._tallies.queue.observe_all(waited_s)

    def waiting(self, rows: int) -> None:
        """See `seatrial_serve.scheduling.batcher.Observe`."""
        if self._tallies is not None:
            self._tallies.waiting = rows

    def out_of_memory(self, rows: int) -> None:
        """See `seatrial_serve.scheduling.batcher.Observe`."""
        if self._tallies is not None:
            self._tallies.too_large += 1
        log.warning(
            "a batch of %d rows was too large for the memory; half of it at most from here on", rows
        )
