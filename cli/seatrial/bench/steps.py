"""What a step of load measured, and where the knee of a series of steps is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from seatrial.bench.connection import TIMED_OUT

REFUSED = frozenset({429, 503, 504})
"""How a server says that it has too much to do, or that a deadline would pass."""
QUANTILES = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p99.9": 99.9, "max": 100.0}
BUSY = 0.85
"""From this share of a core on, the load generator may be what is measured."""


@dataclass
class Tally:
    """The requests of a step as they end."""

    latencies_s: list[float] = field(default_factory=list)
    """Of those that were answered with 200."""
    refused: int = 0
    timed_out: int = 0
    failed: int = 0
    """Other statuses, and connections that broke."""
    late_s: list[float] = field(default_factory=list)
    """Open loop: how much later than intended the generator itself came to each arrival."""

    until_s: float = 0.0
    """Time of the last answer, or of the end of the arrivals if that is later."""

    def count(self, status: int, begun_s: float, ended_s: float) -> None:
        """A request ended."""
        if status == 200:
            self.latencies_s.append(ended_s - begun_s)
            self.until_s = max(self.until_s, ended_s)
        elif status in REFUSED:
            self.refused += 1
        elif status == TIMED_OUT:
            self.timed_out += 1
        else:
            self.failed += 1

    @property
    def unanswered(self) -> int:
        """How many ended without an answer."""
        return self.refused + self.timed_out + self.failed


@dataclass(frozen=True)
class Step:
    """A step of load: so many connections, or so many arrivals a second."""

    load: float
    """Closed loop: connections. Open loop: the intended rate in requests a second."""
    seconds: float
    requests: int
    answered: int
    refused: int
    timed_out: int
    failed: int
    mean_s: float
    latency_s: dict[str, float]
    """Quantile -> seconds, over answered requests; empty where none was answered."""
    client_cores: float
    """Processor time of the load generator over time: 1.0 is all that it can use."""
    late_p99_s: float

    @property
    def rate(self) -> float:
        """Answered requests a second."""
        return self.answered / self.seconds if self.seconds else 0.0

    @property
    def power(self) -> float:
        """Throughput over mean latency."""
        return self.rate / self.mean_s if self.mean_s else 0.0

    @property
    def client_is_busy(self) -> bool:
        """May the figures be the load generator's?"""
        return self.client_cores >= BUSY

    def as_json(self, load: str, rows: int) -> dict[str, Any]:
        """As an object; `load` names what the load is, `rows` are those of a request."""
        return {
            load: self.load,
            "seconds": self.seconds,
            "requests": self.requests,
            "answered": self.answered,
            "refused": self.refused,
            "timed_out": self.timed_out,
            "failed": self.failed,
            "requests_per_s": self.rate,
            "rows_per_s": self.rate * rows,
            "mean_ms": self.mean_s * 1e3,
            "latency_ms": {name: value * 1e3 for name, value in self.latency_s.items()},
            "client_cores": self.client_cores,
            "late_p99_ms": self.late_p99_s * 1e3,
        }


def step_of(load: float, seconds: float, client_cores: float, tally: Tally) -> Step:
    """The step of a tally that is whole."""
    found = np.array(tally.latencies_s)
    # The value of an answer that there was, as a percentile is defined: none between two.
    ranked = (
        np.percentile(found, [*QUANTILES.values()], method="inverted_cdf") if found.size else ()
    )
    ended = len(found), tally.refused, tally.timed_out, tally.failed
    return Step(
        load=load,
        seconds=seconds,
        requests=sum(ended),
        answered=ended[0],
        refused=tally.refused,
        timed_out=tally.timed_out,
        failed=tally.failed,
        mean_s=float(found.mean()) if found.size else 0.0,
        latency_s=dict(zip(QUANTILES, map(float, ranked), strict=False)),
        client_cores=client_cores,
        late_p99_s=float(np.percentile(tally.late_s, 99)) if tally.late_s else 0.0,
    )


def knee_of(steps: Sequence[Step]) -> Step | None:
    """The step with the most power: throughput over mean latency.

    Beyond it latency grows faster than throughput (Kleinrock, Power and deterministic rules of
    thumb for probabilistic problems in computer communications, ICC 1979). None where nothing was
    answered, or where the load never went beyond it.
    """
    answered = sorted((step for step in steps if step.answered), key=lambda step: step.load)
    best = max(answered, key=lambda step: step.power, default=None)
    return None if best is None or best is answered[-1] else best
