"""The families of metrics that a server has: every name, its labels, and what it says."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector

from seatrial_serve.metrics.tally import BulkHistogram

Family = Counter | Gauge | Histogram
Key = tuple[str, str]
"""Model and version."""
SECONDS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
COSTS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536)
SHARES = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5)
PHASES = ("front", "queue", "run", "encode", "total")
MODEL = ("model", "version")

disable_created_metrics()  # a second series for each one, which says when it began


class Families:
    """The families of one registry. Their series are made at first use, but for what alerts need from the start."""

    def __init__(self, registry: CollectorRegistry, *, shared: bool) -> None:
        """`shared`: are there several processes, whose series come together in a folder?"""
        self.registry, self._shared = registry, shared
        self._of_versions: list[Family] = []
        self._count_requests()
        self._describe_models()
        self._describe_process()

    def of_versions(self, *families: Family) -> None:
        """Take in families whose first labels are model and version: they let go of a version with the others."""
        self._of_versions += families

    def _registered(self, family: Family, labels: Sequence[str]) -> None:
        if tuple(labels[:2]) == MODEL:
            self.of_versions(family)

    def _histogram(self, name: str, text: str, labels: Sequence[str], bounds: Sequence[float]) -> BulkHistogram:
        made = BulkHistogram(name, text, labels, buckets=bounds, registry=self.registry)
        self._registered(made, labels)
        return made

    def _gauge(self, name: str, text: str, labels: Sequence[str] = (), mode: Any = "livemax") -> Gauge:
        made = Gauge(name, text, labels, multiprocess_mode=mode, registry=self.registry)
        self._registered(made, labels)
        return made

    def _counter(self, name: str, text: str, labels: Sequence[str]) -> Counter:
        made = Counter(name, text, labels, registry=self.registry)
        self._registered(made, labels)
        return made

    def _count_requests(self) -> None:
        phases = "Time of a request by phase: front (host stage and prepare), queue, run (its batch), encode (writing the answer), total."
        self.phase = self._histogram("seatrial_request_phase_seconds", phases, (*MODEL, "phase"), SECONDS)
        outcome = "Requests by outcome: ok, or the stable code of the refusal or failure."
        self.requests = self._counter("seatrial_requests_total", outcome, (*MODEL, "code"))
        unanswered = "Rows without an answer in partial answers, which count as ok, by the code that each has there."
        self.row_errors = self._counter("seatrial_row_errors_total", unanswered, (*MODEL, "code"))
        refused = (
            "Requests that were refused, by cause; model and version are empty where an unknown one was asked for."
        )
        self.refusals = self._counter("seatrial_refusals_total", refused, (*MODEL, "cause"))
        self.batch_rows = self._histogram("seatrial_batch_rows", "Rows in a batch.", MODEL, ROWS)
        cost = "Cost of a batch: its rows times their padded length."
        self.batch_cost = self._histogram("seatrial_batch_cost", cost, MODEL, COSTS)
        padding = "Share of a batch's cost that is padding."
        self.padding = self._histogram("seatrial_batch_padding_ratio", padding, MODEL, SHARES)
        too_large = "Batches that needed more memory than there was."
        self.out_of_memory = self._counter("seatrial_batches_out_of_memory_total", too_large, MODEL)
        self.waiting = self._gauge("seatrial_waiting_rows", "Rows that wait for a batch.", MODEL, "livesum")

    def _describe_models(self) -> None:
        held = "1 for each bundle that this server holds; the digest names its bytes."
        self.info = self._gauge("seatrial_bundle_info", held, (*MODEL, "digest", "variant", "provider"))
        ran = "1 for each bundle: the provider that was asked for, and the one that really runs it. Where they differ, it fell back."
        self.execution = self._gauge("seatrial_execution_info", ran, (*MODEL, "asked", "provider"))
        ready = "1 where the load gate was passed and the version takes traffic."
        self.ready = self._gauge("seatrial_model_ready", ready, MODEL, "livemin")
        took = "Time to verify, load and try a version, the load gate included."
        self.load_seconds = self._gauge("seatrial_model_load_seconds", took, MODEL)
        gate = (
            "1 where the golden rows were answered as in training when the version was loaded, 0 where they were not."
        )
        self.load_gate = self._gauge("seatrial_load_gate", gate, MODEL, "livemin")
        worst = "Largest difference from training's answers that the load gate saw."
        self.worst_error = self._gauge("seatrial_load_gate_worst_error", worst, MODEL)
        objective = "99 of 100 requests are to be answered within this time, as the contract promises."
        self.objective = self._gauge("seatrial_objective_seconds", objective, MODEL)
        drift = "Values seen by field and bin, in the sample of rows that drift looks at; bin (unseen) counts refused words too."
        self.drift = self._counter("seatrial_drift_total", drift, (*MODEL, "field", "bin"))
        reference = "Share of the reference rows by field and bin."
        self.drift_reference = self._gauge("seatrial_drift_reference", reference, (*MODEL, "field", "bin"))
        self.drift_rows = self._counter("seatrial_drift_sampled_total", "Rows that drift looked at.", MODEL)

    def _describe_process(self) -> None:
        self.in_flight = self._gauge("seatrial_requests_in_flight", "Requests on their way.", mode="livesum")
        self.held = self._gauge("seatrial_held_bytes", "Memory that requests on their way hold.", mode="livesum")
        self.budget = self._gauge("seatrial_budget_bytes", "Memory that requests may hold.", mode="livesum")
        memory = "Resident memory of the server's processes together; pages that they share count in each."
        self.memory = self._gauge("seatrial_resident_memory_bytes", memory, mode="livesum")
        device = "Memory of an accelerator, used (by anybody) and total."
        self.device_memory = self._gauge("seatrial_device_memory_bytes", device, ("device", "kind"))
        lag = "How late the event loop is: the time by which a task that slept woke too late."
        dropped = "Lines of the log that were dropped, since nobody read them."
        self.log_dropped = self._counter("seatrial_log_lines_dropped_total", dropped, ())
        self.lag = Histogram("seatrial_event_loop_lag_seconds", lag, buckets=SECONDS, registry=self.registry)

    def drop_gauges(self, versions: Collection[Key]) -> None:
        """Let go of what only says how these versions stand."""
        for family in self._of_versions:
            if isinstance(family, Gauge):
                self.drop(family, versions)

    def drop_counts(self, versions: Collection[Key]) -> None:
        """Let go of what these versions counted."""
        for family in self._of_versions:
            if not isinstance(family, Gauge):
                self.drop(family, versions)

    def drop(self, family: Family, versions: Collection[Key]) -> None:
        """Let go of the series of these versions. Of a gauge that several processes write NaN stands for none; their counts stay."""
        for labels in list(family._metrics):  # noqa: SLF001  (the library has no list of a family's series)
            if (labels[0], labels[1]) in versions:
                if self._shared and isinstance(family, Gauge):
                    family.labels(*labels).set(math.nan)
                elif not self._shared:
                    family.remove(*labels)


class WorkersCollector(MultiProcessCollector):
    """The metrics of all workers together, without the gauges that each has let go of."""

    def __init__(self, registry: CollectorRegistry | None = None, path: str | None = None) -> None:
        super().__init__(registry, path)  # type: ignore[no-untyped-call]

    def collect(self) -> Iterable[Metric]:
        """What the registry collects."""
        found: Iterable[Metric] = super().collect()  # type: ignore[no-untyped-call]
        for family in found:
            family.samples = [sample for sample in family.samples if not math.isnan(sample.value)]
            yield family
