"""From measured figures to what an orchestrator is told, each with where it comes from."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from seatrial_serve.deploy.measured import Measured

HEADROOM = 1.2
"""Memory above what was measured: allocators and other machines take some more."""
BUDGET_SHARE, MOST_BUDGET_BYTES = 0.25, 2**31
"""What the server lets requests hold of its limit: `seatrial_serve.process.resources`."""
STEP_BYTES = 64 * 2**20
START_FACTOR, LEAST_START_S = 10, 60
"""A start may take so many times what was measured: a node is busy while pods move."""
FETCHED_BYTES_PER_S = 10_000_000
"""How fast a bundle is assumed to arrive from its registry."""
DRAIN_WINDOW_S = 5
"""Balancers of a cluster hear of a pod's end within seconds, mostly."""
REQUEST_TIMEOUT_S = 30
END_S = 5
"""From the last answer to the end of the process."""
LEAST_PROGRESS_S = 600
"""Kubernetes' own default."""


@dataclass(frozen=True)
class Sizing:
    """Requests, limits, probes and grace of one replica."""

    measured: Measured

    @property
    def cores(self) -> int:
        """Whole cores: the server runs as many batches at once."""
        return self.measured.cores

    @property
    def memory_bytes(self) -> int:
        """What was measured, headroom, and what the server lets requests hold."""
        held = self.measured.resident_bytes * HEADROOM
        budget = min(held * BUDGET_SHARE / (1 - BUDGET_SHARE), MOST_BUDGET_BYTES)
        return stepped(held + budget)

    @property
    def cache_bytes(self) -> int:
        """Twice the cache and a fetched bundle: a write stands beside what it replaces."""
        return stepped(2 * (self.measured.cache_bytes + self.measured.bundle_bytes))

    @property
    def start_s(self) -> int:
        """How long a replica may take until it is ready."""
        fetch_s = self.measured.bundle_bytes / FETCHED_BYTES_PER_S
        return max(LEAST_START_S, math.ceil(START_FACTOR * self.measured.start_s + fetch_s))

    @property
    def progress_s(self) -> int:
        """How long a rollout may stand still."""
        return max(LEAST_PROGRESS_S, 2 * self.start_s)

    @property
    def grace_s(self) -> int:
        """How long requests in flight may take: until their turn, and the slowest answer."""
        return REQUEST_TIMEOUT_S + math.ceil(self.measured.slowest_answer_s)

    @property
    def termination_s(self) -> int:
        """From SIGTERM to SIGKILL."""
        return DRAIN_WINDOW_S + self.grace_s + END_S

    @cached_property
    def resources(self) -> dict[str, dict[str, str]]:
        """Requests are limits: a replica keeps its cores, and is not the first to be evicted."""
        both = {"cpu": str(self.cores), "memory": quantity(self.memory_bytes)}
        return {"requests": both, "limits": dict(both)}

    def reasons(self) -> Iterator[str]:
        """Where each figure comes from, a line each."""
        measured = self.measured
        day, each = measured.made_at[:10], rows(measured.request_rows)
        yield f"Measured on {day} with {measured.cores} threads on {measured.processor}."
        yield (
            f"memory: {megabytes(measured.resident_bytes)} at most under load, times {HEADROOM:g}, "
            f"and a quarter of the limit, 2 GiB at most, for requests."
        )
        yield f"cpu: {measured.cores} threads run batches at once."
        yield (
            f"startupProbe: ready after {measured.start_s:g} s with an empty cache, "
            f"times {START_FACTOR}; {megabytes(measured.bundle_bytes)} at 10 MB/s (assumed); "
            f"{LEAST_START_S} s at least."
        )
        yield (
            f"terminationGracePeriodSeconds: {DRAIN_WINDOW_S} s of drain, "
            f"{REQUEST_TIMEOUT_S} s until a request's turn, {measured.slowest_answer_s:.3g} s for "
            f"the slowest of {measured.requests} answers of {each}, {END_S} s to end."
        )
        yield (
            f"cache: twice {megabytes(measured.cache_bytes)} of graphs and receipt, "
            f"and the bundle's {megabytes(measured.bundle_bytes)}."
        )


def stepped(size: float) -> int:
    """Bytes, rounded up to 64 MiB."""
    return math.ceil(size / STEP_BYTES) * STEP_BYTES


def quantity(size: int) -> str:
    """Bytes as Kubernetes writes them."""
    return f"{size // 2**20}Mi"


def rows(number: int) -> str:
    """So many rows, for people."""
    return f"{number} row{'' if number == 1 else 's'}"


def megabytes(size: int) -> str:
    """Bytes for people."""
    return f"{size / 1e6:.3g} MB"
