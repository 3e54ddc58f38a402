"""How others decide on the number of replicas: Kubernetes' HPA, which KEDA feeds, and Ray Serve."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

TOLERANCE = 0.1
"""The HPA lets a count be while the metric is within so much of its target."""
SYNC_S = 15


class Rule(Protocol):
    """Decides every `every_s` seconds."""

    every_s: int

    def wanted(self, now_s: float, count: int, load: float) -> int:
        """Return the replicas to have.

        `count`: those there are; `load`: the metric as a multiple of its target.
        """
        ...


@dataclass
class Hpa:
    """The HorizontalPodAutoscaler of autoscaling/v2 with a metric of type Value or Utilization.

    KEDA makes one, and serves it the metric. From Kubernetes' "Horizontal Pod Autoscaling": wanted
    = ceil(count * metric / target); up at once, by the share `up` or by 4 Pods in 15 s, the
    greater; down to the most that was wanted within the stabilization window, by at most the share
    `down` a minute. The defaults are Kubernetes' own.
    """

    least: int = 1
    most: int = 1000
    window_s: float = 300.0
    up: float = 1.0
    down: float = 1.0
    every_s: int = SYNC_S
    _wanted: deque[tuple[float, int]] = field(default_factory=deque)
    _counts: deque[tuple[float, int]] = field(default_factory=deque)

    def wanted(self, now_s: float, count: int, load: float) -> int:
        """See `Rule`."""
        within = abs(load - 1) <= TOLERANCE
        asked = count if within else math.ceil(count * load)
        self._wanted.append((now_s, asked))
        while self._wanted[0][0] <= now_s - self.window_s:
            self._wanted.popleft()
        self._counts.append((now_s, count))
        while self._counts[0][0] < now_s - 60:
            self._counts.popleft()
        if asked > count:
            chosen = min(asked, max(math.ceil((1 + self.up) * count), count + 4))
        else:
            stable = min(count, max(number for _, number in self._wanted))
            floor = math.floor(max(number for _, number in self._counts) * (1 - self.down))
            chosen = max(stable, min(floor, count))
        return max(self.least, min(self.most, chosen))


@dataclass
class RayServe:
    """Ray Serve's own rule: wanted = ceil(count * (1 + factor * (load - 1))), held on for a delay.

    `load` is the mean of the metric over its target in the look-back of 30 s, and `factor` Ray's
    upscaling_factor or downscaling_factor. The defaults are Ray's: 1, 30 s up, 600 s down. Within
    `tolerance` of its target a policy leaves the count as it is.
    """

    least: int = 1
    most: int = 1000
    up_s: float = 30.0
    down_s: float = 600.0
    factor: float = 1.0
    tolerance: float = 0.0
    every_s: int = 1
    _loads: deque[float] = field(default_factory=lambda: deque(maxlen=30))
    _side: int = 0
    _since_s: float = 0.0

    def wanted(self, now_s: float, count: int, load: float) -> int:
        """See `Rule`."""
        self._loads.append(load)
        mean = sum(self._loads) / len(self._loads)
        within = abs(mean - 1) <= self.tolerance
        asked = count if within else math.ceil(count * (1 + self.factor * (mean - 1)))
        side = (asked > count) - (asked < count)
        if side != self._side:
            self._side, self._since_s = side, now_s
        held_s = now_s - self._since_s
        if not side or held_s < (self.up_s if side > 0 else self.down_s):
            return count
        self._since_s = now_s
        return max(self.least, min(self.most, asked))
