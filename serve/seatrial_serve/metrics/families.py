"""The families of metrics that a server has: every name, its labels, and what it says."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector

from seatrial_serve.metrics import names
from seatrial_serve.metrics.tally import BulkHistogram

Family = Counter | Gauge | Histogram
Key = tuple[str, str]
"""Model and version."""
SECONDS = (
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
COSTS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536)
SHARES = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5)
ERRORS = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 1.0)
PHASES = ("front", "queue", "run", "encode", "total")
MODEL = ("model", "version")

disable_created_metrics()  # a second series for each one, which says when it began


class Families:
    """The families of one registry.

    Their series are made at first use, except those that alerts need from the start.
    """

    def __init__(self, registry: CollectorRegistry, *, shared: bool) -> None:
        """`shared`: are there several processes, whose series come together in a folder?"""
        self.registry, self._shared = registry, shared
        self._of_versions: list[Family] = []
        self._count_requests()
        self._describe_models()
        self._load_on_demand()
        self._watch_answers()
        self._describe_process()

    def of_versions(self, *families: Family) -> None:
        """Take in families whose first labels are model and version.

        They let go of a version with the others.
        """
        self._of_versions += families

    def _registered(self, family: Family, labels: Sequence[str]) -> None:
        if tuple(labels[:2]) == MODEL:
            self.of_versions(family)

    def _histogram(
        self, name: str, text: str, labels: Sequence[str], bounds: Sequence[float]
    ) -> BulkHistogram:
        made = BulkHistogram(name, text, labels, buckets=bounds, registry=self.registry)
        self._registered(made, labels)
        return made

    def _gauge(
        self, name: str, text: str, labels: Sequence[str] = (), mode: Any = "livemax"
    ) -> Gauge:
        made = Gauge(name, text, labels, multiprocess_mode=mode, registry=self.registry)
        self._registered(made, labels)
        return made

    def _counter(self, name: str, text: str, labels: Sequence[str]) -> Counter:
        made = Counter(name, text, labels, registry=self.registry)
        self._registered(made, labels)
        return made

    def _count_requests(self) -> None:
        phases = (
            "Time of a request by phase: front (host stage and prepare), queue, run (its batch), "
            "encode (writing the answer), total (but for a load on demand)."
        )
        self.phase = self._histogram(names.PHASE_SECONDS, phases, (*MODEL, "phase"), SECONDS)
        outcome = "Requests by outcome: ok, or the stable code of the refusal or failure."
        self.requests = self._counter(names.REQUESTS, outcome, (*MODEL, "code"))
        unanswered = (
            "Rows without an answer in partial answers, which count as ok, "
            "by the code that each has there."
        )
        self.row_errors = self._counter(names.ROW_ERRORS, unanswered, (*MODEL, "code"))
        refused = (
            "Requests that were refused, by cause; "
            "model and version are empty where an unknown one was asked for."
        )
        self.refusals = self._counter(names.REFUSALS, refused, (*MODEL, "cause"))
        self.batch_rows = self._histogram(names.BATCH_ROWS, "Rows in a batch.", MODEL, ROWS)
        cost = "Cost of a batch: its rows times their padded length."
        self.batch_cost = self._histogram(names.BATCH_COST, cost, MODEL, COSTS)
        padding = "Share of a batch's cost that is padding."
        self.padding = self._histogram(names.BATCH_PADDING, padding, MODEL, SHARES)
        too_large = "Batches that needed more memory than there was."
        self.out_of_memory = self._counter(names.OUT_OF_MEMORY, too_large, MODEL)
        self.waiting = self._gauge(
            names.WAITING_ROWS, "Rows that wait for a batch.", MODEL, "livesum"
        )
        waiting = "Requests that were read and of which no row runs yet."
        self.requests_waiting = self._gauge(names.REQUESTS_WAITING, waiting, MODEL, "livesum")
        running = "Requests with rows in a batch that runs now."
        self.requests_running = self._gauge(names.REQUESTS_RUNNING, running, MODEL, "livesum")
        predicted = (
            "When a request that came now would be answered, as admission predicts it; "
            "the longest of several processes."
        )
        self.predicted_wait = self._gauge(names.PREDICTED_WAIT, predicted, MODEL)
        queued = (
            "The part of the predicted wait that the requests already here make, without the new "
            "request's own time; the longest of several processes."
        )
        self.predicted_queue = self._gauge(names.PREDICTED_QUEUE, queued, MODEL)

    def _describe_models(self) -> None:
        held = (
            "1 for each bundle that this server holds; the digest names its bytes, the signer who "
            "signed it, where signatures are required."
        )
        labels = (*MODEL, "digest", "variant", "provider", "signer")
        self.info = self._gauge(names.BUNDLE_INFO, held, labels)
        ran = (
            "1 for each bundle: the provider that was asked for, and the one that really runs it. "
            "Where they differ, it fell back."
        )
        self.execution = self._gauge(names.EXECUTION_INFO, ran, (*MODEL, "asked", "provider"))
        ready = "1 where the load gate was passed and the version takes traffic."
        self.ready = self._gauge(names.MODEL_READY, ready, MODEL, "livemin")
        took = "Time to verify, load and try a version, the load gate included."
        self.load_seconds = self._gauge(names.LOAD_SECONDS, took, MODEL)
        gate = (
            "1 where the golden rows were answered as in training when the version was loaded, "
            "0 where they were not."
        )
        self.load_gate = self._gauge(names.LOAD_GATE, gate, MODEL, "livemin")
        kept = (
            "1 where a kept receipt stood in for the load gate and one golden row was replayed, "
            "0 where all were."
        )
        self.load_gate_kept = self._gauge(names.LOAD_GATE_KEPT, kept, MODEL)
        worst = "Largest difference from training's answers that the load gate saw."
        self.worst_error = self._gauge(names.LOAD_GATE_WORST_ERROR, worst, MODEL)
        objective = (
            "99 of 100 requests are to be answered within this time, as the contract promises."
        )
        self.objective = self._gauge(names.OBJECTIVE_SECONDS, objective, MODEL)
        drift = (
            "Values seen by field and bin, in the sample of rows that drift looks at; "
            "bin (unseen) counts refused words too."
        )
        self.drift = self._counter(names.DRIFT, drift, (*MODEL, "field", "bin"))
        reference = "Share of the reference rows by field and bin."
        self.drift_reference = self._gauge(
            names.DRIFT_REFERENCE, reference, (*MODEL, "field", "bin")
        )
        self.drift_rows = self._counter(names.DRIFT_SAMPLED, "Rows that drift looked at.", MODEL)

    def _load_on_demand(self) -> None:
        loads = "Loads of a version since a request asked for it (--load on-demand)."
        self.demand_loads = self._counter(names.DEMAND_LOADS, loads, MODEL)
        took = "Seconds spent in such loads, their load gates included."
        self.demand_load_seconds = self._counter(names.DEMAND_LOAD_SECONDS, took, MODEL)
        went = "Times that a version was unloaded since another wanted its memory."
        self.demand_evictions = self._counter(names.DEMAND_EVICTIONS, went, MODEL)
        waits = (
            "How long requests waited for a version that was not loaded, by outcome: loaded, late "
            "(the deadline passed), or refused (it would have passed)."
        )
        self.demand_wait = self._histogram(names.DEMAND_WAIT, waits, ("outcome",), SECONDS)
        waiting = "Loads that run or wait for their turn."
        self.demand_waiting = self._gauge(names.DEMAND_WAITING, waiting, mode="livesum")
        held = "Versions in memory, by a server that loads on demand."
        self.demand_held = self._gauge(names.DEMAND_HELD, held, mode="livesum")
        bytes_held = "What those versions take, as their loads measured it."
        self.demand_held_bytes = self._gauge(names.DEMAND_HELD_BYTES, bytes_held, mode="livesum")
        limit = "What they may take together: --model-memory-bytes."
        self.demand_limit = self._gauge(names.DEMAND_LIMIT, limit, mode="livesum")

    def _watch_answers(self) -> None:
        labels = (*MODEL, "variant")
        error = (
            "Largest error of an answer against the fp32 graph, "
            "as a share of the output's largest value in the golden set."
        )
        self.parity_error = self._histogram(names.LIVE_PARITY_ERROR, error, labels, ERRORS)
        checked = "Answers that were worked out again on the fp32 graph."
        self.parity_checked = self._counter(names.LIVE_PARITY_CHECKED, checked, labels)
        broken = "Those that broke what the variant promises."
        self.parity_violations = self._counter(names.LIVE_PARITY_VIOLATIONS, broken, labels)
        told = (
            "Labels, spans and boxes whose truth was told, by outcome: right, wrong, or unmatched "
            "(no such answer is remembered); by slice: all, output=class, or a slice of the bundle."
        )
        self.feedback = self._counter(names.FEEDBACK, told, (*MODEL, "slice", "outcome"))
        right = "Share of right ones among the last truths; the least of several processes."
        self.feedback_accuracy = self._gauge(names.FEEDBACK_ACCURACY, right, MODEL, "livemin")
        calibration = (
            "Expected calibration error of the last truths, in 15 bins; "
            "absent where scores are no probabilities."
        )
        self.feedback_calibration = self._gauge(
            names.FEEDBACK_CALIBRATION_ERROR, calibration, MODEL
        )

    def _describe_process(self) -> None:
        self.in_flight = self._gauge(names.IN_FLIGHT, "Requests on their way.", mode="livesum")
        self.held = self._gauge(
            names.HELD_BYTES, "Memory that requests on their way hold.", mode="livesum"
        )
        self.budget = self._gauge(
            names.BUDGET_BYTES, "Memory that requests may hold.", mode="livesum"
        )
        memory = (
            "Resident memory of the server's processes together; "
            "pages that they share count in each."
        )
        self.memory = self._gauge(names.RESIDENT_MEMORY, memory, mode="livesum")
        device = "Memory of an accelerator, used (by anybody) and total."
        self.device_memory = self._gauge(names.DEVICE_MEMORY, device, ("device", "kind"))
        faults = "Addresses of stores that could not be followed at the last look at them."
        self.store_faults = self._gauge(names.STORE_FAULTS, faults, mode="livemax")
        expires = (
            "When the served certificate, or the first of the authorities of clients, expires, in "
            "seconds since 1970; the earliest of several processes."
        )
        self.certificate_expiry = self._gauge(
            names.CERTIFICATE_EXPIRY, expires, ("file",), "livemin"
        )
        looked = "Changed files of TLS that were read, by result: replaced, or failed."
        self.certificate_reloads = self._counter(names.CERTIFICATE_RELOADS, looked, ("result",))
        lag = "How late the event loop is: the time by which a task that slept woke too late."
        dropped = "Lines of the log that were dropped, since nobody read them."
        self.log_dropped = self._counter(names.LOG_DROPPED, dropped, ())
        self.lag = Histogram(names.LOOP_LAG, lag, buckets=SECONDS, registry=self.registry)

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
        """Let go of the series of these versions.

        If several processes write a gauge, NaN stands for no value; their counts stay.
        """
        for labels in list(family._metrics):  # noqa: SLF001  (the library has no list of a family's series)
            if (labels[0], labels[1]) in versions:
                if self._shared and isinstance(family, Gauge):
                    family.labels(*labels).set(math.nan)
                elif not self._shared:
                    family.remove(*labels)


class SupervisorFamilies:
    """What a supervisor counts of its workers."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.workers = Gauge(names.WORKERS, "Server processes that run now.", registry=registry)
        self.lost = Counter(
            names.WORKERS_LOST, "Server and engine processes that ended unasked.", registry=registry
        )


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
