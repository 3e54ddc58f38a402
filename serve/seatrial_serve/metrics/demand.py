"""What is measured of models that are loaded on demand."""

from __future__ import annotations

from collections.abc import Callable

from seatrial_serve.metrics.metrics import Metrics


class DemandMetrics:
    """Loads, evictions and waits, as they happen: each is rare beside a request."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics, self._families = metrics, metrics.families

    def watch(
        self,
        limit_bytes: int,
        held_bytes: Callable[[], int],
        held: Callable[[], int],
        waiting: Callable[[], int],
    ) -> None:
        """Set where to read how much is in memory, and what waits; called in any thread."""
        families = self._families
        self._metrics.watch_levels(
            (families.demand_limit, lambda: limit_bytes),
            (families.demand_held_bytes, held_bytes),
            (families.demand_held, held),
            (families.demand_waiting, waiting),
        )

    def loaded(self, model: str, version: str, seconds: float) -> None:
        """A version was loaded since somebody asked for it."""
        self._families.demand_loads.labels(model, version).inc()
        self._families.demand_load_seconds.labels(model, version).inc(seconds)

    def evicted(self, model: str, version: str) -> None:
        """A version was unloaded since another wanted its memory."""
        self._families.demand_evictions.labels(model, version).inc()

    def waited(self, outcome: str, seconds: float) -> None:
        """A request came to a version that was not loaded.

        `outcome`: loaded, refused (it could not wait as long), or late (it waited in vain).
        """
        self._families.demand_wait.labels(outcome).observe(seconds)
