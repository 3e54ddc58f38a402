"""A replica's metrics among Ray's own, which Ray's agents show to Prometheus.

A route would reach the replica that a scrape happens to meet.
"""

from __future__ import annotations

import asyncio
from typing import Self

from ray.serve.metrics import Gauge

from seatrial_serve.metrics.metrics import Metrics

EVERY_S = 10.0
"""Ray's own interval between two reports of a process."""
PREFIX = "seatrial_"
Shown = tuple[str, tuple[tuple[str, str], ...]]


class ExportedMetrics:
    """Shows each sample of the registry as a gauge of Ray's: same name, same labels. `async with`.

    Ray adds `ray_` before the name, and the labels of the deployment and the replica. Counters and
    buckets are gauges there, which PromQL's `rate` and `histogram_quantile` do not mind.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._gauges: dict[str, Gauge] = {}
        self._shown: set[Shown] = set()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._show_forever())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()

    async def _show_forever(self) -> None:
        while True:
            await asyncio.to_thread(self.show)
            await asyncio.sleep(EVERY_S)

    def show(self) -> None:
        """Show what the registry holds now; a sample that is gone is 0. Any thread may call it."""
        shown = set[Shown]()
        for family in self._metrics.collect():
            for sample in family.samples:
                if sample.name.startswith(PREFIX) and not sample.name.endswith("_created"):
                    labels = tuple(sample.labels.items())
                    self._gauge(sample.name, labels, family.documentation).set(
                        sample.value, dict(labels)
                    )
                    shown.add((sample.name, labels))
        for name, labels in self._shown - shown:
            self._gauges[name].set(0, dict(labels))
        self._shown |= shown

    def _gauge(self, name: str, labels: tuple[tuple[str, str], ...], text: str) -> Gauge:
        found = self._gauges.get(name)
        if found is None:
            found = self._gauges[name] = Gauge(name, text, tuple(key for key, _ in labels))
        return found
