"""The metrics of the server, for Prometheus.

Label values come from closed sets: versions that the server holds, its own codes, phases and bins.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Gauge, ProcessCollector
from prometheus_client.metrics_core import Metric

from seatrial_contracts.errors import Refusal, SeatrialError
from seatrial_contracts.profile import Profile
from seatrial_serve.metrics.drift_counts import DriftCounts
from seatrial_serve.metrics.families import Families, Key, WorkersCollector
from seatrial_serve.metrics.model_metrics import ModelMetrics, ModelTallies
from seatrial_serve.metrics.pressure import Pressure, PressureGauges
from seatrial_serve.metrics.process_metrics import resident_bytes
from seatrial_serve.metrics.standing import Standing, StandingGauges
from seatrial_serve.process.clock import now_s
from seatrial_serve.process.codes import cause_of
from seatrial_serve.process.devices import Devices

NOBODY = ("", "")
"""Name and version of what is asked for and not there."""
COUNTS_KEPT_S = 300.0
"""How long a version's counts outlive it.

It is as far back as Prometheus looks for a last sample.
"""


class Metrics:
    """The metrics of one process, in a registry of its own.

    Requests are noted in tallies, and `flush` brings the tallies into the registry: from time
    to time, and before each scrape. A worker is a process where PROMETHEUS_MULTIPROC_DIR was set
    before this module was imported. A worker's metrics are kept in that folder, and the
    supervisor's listener adds up those of all workers.
    """

    def __init__(self, *, on: bool = True, clock: Callable[[], float] = now_s) -> None:
        """`on`: False counts nothing, but for what the protocol's own statistics say."""
        self.on, self.registry, self._clock = on, CollectorRegistry(), clock
        self.shared = "PROMETHEUS_MULTIPROC_DIR" in os.environ
        self.families = Families(self.registry, shared=self.shared)
        self._lock = threading.Lock()
        self._tallies: dict[Key, ModelTallies] = {}
        self._drift: dict[Key, DriftCounts] = {}
        self._gauges = StandingGauges(self.families)
        self._standings: Callable[[], Mapping[Key, Standing]] | None = None
        self._pressure_gauges = PressureGauges(self.families)
        self._pressures: Callable[[], Mapping[Key, Pressure]] = dict
        self.holds: Callable[[str, str], bool] = lambda _model, _version: True
        """Is a version there, so that gauges may say how it stands?"""
        self._there: Mapping[Key, Standing] = {}
        self._expiries: Callable[[], Mapping[str, float]] = dict
        self._gone: dict[Key, float] = {}
        """When each version that still has counts was first missed."""
        self._devices = Devices() if on else None
        self._levels: list[tuple[Gauge, Callable[[], float]]] = []
        if on and not self.shared:
            ProcessCollector(registry=self.registry)

    def watch(
        self, in_flight: Callable[[], int], held_bytes: Callable[[], int], budget_bytes: int
    ) -> None:
        """Where to read what changes with every request."""
        self.watch_levels((self.families.in_flight, in_flight), (self.families.held, held_bytes))
        self.families.budget.set(budget_bytes)

    def watch_levels(self, *levels: tuple[Gauge, Callable[[], float]]) -> None:
        """Set where to read gauges that have no labels; the functions are called in any thread."""
        self._levels += levels

    def watch_versions(
        self, standings: Callable[[], Mapping[Key, Standing]], holds: Callable[[str, str], bool]
    ) -> None:
        """Set where to read which versions there are and how they stand, and whether one is there.

        Both functions are called in any thread.
        """
        self._standings, self.holds = standings, holds

    def watch_pressures(self, pressures: Callable[[], Mapping[Key, Pressure]]) -> None:
        """Set where to read how much waits for each version that takes traffic.

        The function is called in any thread.
        """
        self._pressures = pressures

    def watch_certificates(self, expiries: Callable[[], Mapping[str, float]]) -> None:
        """Set where to read when the certificate of each file expires; called in any thread."""
        self._expiries = expiries

    def certificate_read(self, result: str) -> None:
        """Changed files of TLS were read, with that result. Any thread may call it."""
        self.families.certificate_reloads.labels(result).inc()

    def flush(self) -> None:
        """Bring the registry up to date. Any thread may call it."""
        if not self.on:
            return
        with self._lock:
            self._follow_versions()
            self._pressure_gauges.show(self._pressures())
            for key, tallies in list(self._tallies.items()):
                if key == NOBODY:
                    tallies.flush_refusals(self.families, key)
                elif tallies.stirred:
                    tallies.flush(self.families, key, there=key not in self._gone)
            for gauge, read in self._levels:
                gauge.set(read())
            self.families.memory.set(resident_bytes())
            for file, expires_s in self._expiries().items():
                self.families.certificate_expiry.labels(file).set(expires_s)
            for device, kind, size in self._devices.memory() if self._devices else ():
                self.families.device_memory.labels(device, kind).set(size)

    def _follow_versions(self) -> None:
        """Show how the versions stand, and let go of those that are gone.

        Gauges go at once, counts later.
        """
        if self._standings is None:
            return
        before, self._there = self._there, self._standings()
        self._gauges.show(self._there)
        missed = (before.keys() | self._tallies.keys()) - self._there.keys() - {NOBODY}
        leaving, now = missed - self._gone.keys(), self._clock()
        if leaving:
            self.families.drop_gauges(leaving)
        for key in leaving:
            counts = self._drift.pop(key, None)
            if counts is not None:
                counts.end()
        self._gone = {
            key: self._gone.get(key, now)
            for key in self._gone.keys() | leaving
            if key not in self._there
        }
        over = {key for key, since in self._gone.items() if now - since > COUNTS_KEPT_S}
        if over:
            self.families.drop_counts(over)
        for key in over:
            self._tallies.pop(key, None)
            del self._gone[key]

    def counts(self, model: str, version: str) -> bool:
        """Is a version there, or was it a moment ago, so that it may be counted?"""
        return (
            self.holds(model, version)
            or (model, version) in self._there
            or (model, version) in self._gone
        )

    def collect(self) -> Iterable[Metric]:
        """Return the measurements of this server, all workers together, brought up to date.

        Any thread may call it.
        """
        self.flush()
        return WorkersCollector().collect() if self.shared else self.registry.collect()

    def tallies(self, model: str, version: str) -> ModelTallies:
        """What requests to a version have done, since the process began."""
        found = self._tallies.get((model, version))
        if found is None:
            with self._lock:
                found = self._tallies.setdefault((model, version), ModelTallies())
        return found

    def for_model(self, model: str, version: str) -> ModelMetrics:
        """For a version that is loaded now."""
        return ModelMetrics(self.tallies(model, version) if self.on else None)

    def refused(self, model: str, version: str, error: BaseException) -> None:
        """A request to a version, or to `NOBODY`, ended with this error."""
        cause = cause_of(error) if self.on and isinstance(error, SeatrialError) else None
        if cause is None:
            return
        self.tallies(model, version).causes.count(cause)
        if (model, version) == NOBODY:  # a version's own counts its codes, whatever they are
            self.tallies(model, version).codes.count(error.code)  # type: ignore[attr-defined]
        counts = self._drift.get((model, version))
        if (
            counts is not None
            and isinstance(error, Refusal)
            and error.code == "E_CATEGORY"
            and error.field
        ):
            counts.refuse(error.field)

    def for_drift(self, model: str, version: str, profile: Profile) -> DriftCounts | None:
        """Return the counters of the drift of a version that is loaded now.

        Return None if its profile is empty, or if nothing is measured.
        """
        before = self._drift.pop((model, version), None)
        if before is not None:
            before.end()
            self.families.drop(self.families.drift_reference, {(model, version)})
        if not self.on or not profile.rows:
            return None
        counts = self._drift[model, version] = DriftCounts(profile, (model, version), self.families)
        return counts
