"""Replicas of a model behind a balancer, step by step."""

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
    steps_per_s: int = 1
    """A step is to be shorter than a request's own time, or than a small part of the objective."""

    @property
    def step_s(self) -> float:
        """The time that goes by in a step."""
        return 1 / self.steps_per_s


class Step(NamedTuple):
    """What replicas did in one step."""

    arrived: int
    refused: int
    late: float
    """Answered after the objective."""


@dataclass
class Replicas:
    """Replicas that take traffic, and those that start.

    A step's arrivals go to the replicas at random, as a balancer without knowledge spreads them.
    Each replica answers in order of arrival, and refuses what it would answer too late, as
    `seatrial_serve.scheduling.admission.Backlog` does.
    """

    model: Model
    waiting: NDArray[np.float64]
    """Requests in each replica that takes traffic; the one that runs counts as what is left."""
    starting: list[float] = field(default_factory=list)
    """When each of the others will take traffic, the first one first."""
    now_s: float = 0.0
    busy: float = 0.0
    """Share of the last step in which the replicas worked."""

    @property
    def count(self) -> int:
        """Those that are paid for: ready or starting."""
        return len(self.waiting) + len(self.starting)

    @property
    def queues_s(self) -> NDArray[np.float64]:
        """What each ready replica shows as its predicted queue."""
        return np.ceil(self.waiting) / self.model.per_s

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

    def step(self, per_s: float, dice: np.random.Generator) -> Step:
        """A step goes by in which requests arrive at this rate."""
        model = self.model
        self.now_s += model.step_s
        while self.starting and self.starting[0] <= self.now_s:
            self.starting.pop(0)
            self.waiting = np.append(self.waiting, 0.0)
        before, arrived = self.waiting, self._arrivals(per_s * model.step_s, dice)
        able = model.per_s * model.step_s
        # What one replica may hold so that the last of it is answered in time.
        room = max(MARGIN * model.patience_s * model.per_s - 1, 1.0)
        taken = np.minimum(arrived, np.maximum(np.floor(room + able - before), 0))
        # A replica that is done with what it had is idle until the first arrival, on average one
        # of `taken + 1` like parts of the time that is left.
        old = np.minimum(before, able)
        served = np.minimum(before + taken, old + (able - old) * taken / (taken + 1))
        self.waiting, self.busy = before + taken - served, float(served.mean()) / able
        # What the step's requests find before them goes evenly from `before` to `last`.
        last = np.maximum(before + taken - 1 - able, 0)
        most, least = np.maximum(before, last), np.minimum(before, last)
        within = model.objective_s * model.per_s - 1
        late = taken * np.clip((most - within) / np.maximum(most - least, 1e-9), 0, 1)
        total = int(arrived.sum())
        return Step(total, total - int(taken.sum()), float(late.sum()))

    def _arrivals(self, mean: float, dice: np.random.Generator) -> NDArray[np.int64]:
        """Requests for each ready replica, `mean` of them for all."""
        count = len(self.waiting)
        if mean > count:
            return dice.poisson(mean / count, count)
        return np.bincount(dice.integers(count, size=dice.poisson(mean)), minlength=count)
