"""Replicas of a model behind a balancer, second by second."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from seatrial_serve.scheduling.admission import MARGIN


@dataclass(frozen=True)
class Model:
    """What one replica can do."""

    per_s: float
    """Requests a second that it answers at most."""
    objective_s: float
    """99 of 100 answers are to come within this time."""
    patience_s: float
    """How long a client waits, which it tells the server."""
    cpu: float
    """Share of its processors that it uses at that rate; a card may be full before they are."""
    start_s: float
    """From the decision to start a replica until it takes traffic."""


class Second(NamedTuple):
    """What replicas did in one second."""

    arrived: int
    refused: int
    late: int
    """Answered after the objective."""


@dataclass
class Replicas:
    """Replicas that take traffic, and those that start.

    A second's arrivals go to the replicas at random, as a balancer without knowledge spreads them.
    Each replica answers in order of arrival, and refuses what it would answer too late, as
    `seatrial_serve.scheduling.admission.Backlog` does.
    """

    model: Model
    waiting: NDArray[np.float64]
    """Requests in each replica that takes traffic."""
    starting: list[float] = field(default_factory=list)
    """When each of the others will take traffic."""
    now_s: float = 0.0
    busy: float = 0.0
    """Share of the last second in which the replicas worked."""
    arrived: float = 0.0

    @property
    def count(self) -> int:
        """Those that are paid for: ready or starting."""
        return len(self.waiting) + len(self.starting)

    @property
    def waits_s(self) -> NDArray[np.float64]:
        """When each ready replica would answer a request that came now."""
        return (self.waiting + 1) / self.model.per_s

    def scale(self, wanted: int) -> None:
        """Start replicas, or end some: those that start first, then the least busy ones.

        What an ended replica holds is answered while it drains.
        """
        if wanted > self.count:
            ready_s = self.now_s + self.model.start_s
            self.starting += [ready_s] * (wanted - self.count)
            return
        while self.starting and wanted < self.count:
            self.starting.pop()
        if wanted < self.count:
            self.waiting = np.sort(self.waiting)[len(self.waiting) - wanted :]

    def second(self, per_s: float, dice: np.random.Generator) -> Second:
        """A second goes by in which requests arrive at this rate."""
        self.now_s += 1.0
        came = sum(ready_s <= self.now_s for ready_s in self.starting)
        self.starting = [ready_s for ready_s in self.starting if ready_s > self.now_s]
        self.waiting = np.concatenate([self.waiting, np.zeros(came)])
        count, model = len(self.waiting), self.model
        arrived = dice.poisson(per_s / count, count)
        # What one replica may hold so that the last of it is answered in time.
        room = np.maximum(MARGIN * model.patience_s * model.per_s - 1, 1.0)
        taken = np.minimum(arrived, np.maximum(room + model.per_s - self.waiting, 0))
        served = np.minimum(self.waiting + taken, model.per_s)
        # Those that arrive while more wait than are answered within the objective are late.
        ahead = np.maximum(self.waiting, self.waiting + taken - served)
        late = taken * ((ahead + 1) / model.per_s > model.objective_s)
        self.waiting = self.waiting + taken - served
        self.busy, self.arrived = float(served.mean() / model.per_s), float(arrived.sum())
        return Second(
            int(arrived.sum()), round(float((arrived - taken).sum())), round(float(late.sum()))
        )
