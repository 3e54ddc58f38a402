"""What the server measures, for Prometheus. Label values come from closed sets: versions it holds, its own codes, phases and bins."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector

from seatrial_contracts.errors import Refusal, SeatrialError
from seatrial_contracts.profile import Profile
from seatrial_serve.devices import Devices
from seatrial_serve.drift_counts import DriftCounts
from seatrial_serve.status import CAUSES, CLOSED_CODES, cause_of
from seatrial_serve.tally import BulkHistogram, CountTally, Tally

log = logging.getLogger("seatrial.metrics")
SECONDS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
COSTS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536)
SHARES = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5)
PHASES = ("front", "queue", "run", "encode", "total")
MODEL = ("model", "version")
OK = "ok"
NOBODY = ("", "")
"""Name and version of what is asked for and not there."""
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

disable_created_metrics()  # a second series for each one, which says when it began


class Metrics:
    """The metrics of one process, in a registry of its own.

    What requests do is noted in tallies and comes into the registry by `hand_over`: from time to time, and before each scrape.
    A worker is a process where PROMETHEUS_MULTIPROC_DIR was set before this module was imported: its metrics are kept
    in that folder, and the supervisor's listener adds those of all workers up.
    """

    def __init__(self, *, on: bool = True) -> None:
        """`on`: False counts nothing, but for what the protocol's own statistics say."""
        self.on, self.registry = on, CollectorRegistry()
        self.shared = "PROMETHEUS_MULTIPROC_DIR" in os.environ
        self._lock = threading.Lock()
        self._tallies: dict[tuple[str, str], ModelTallies] = {}
        self._drift: dict[tuple[str, str], DriftCounts] = {}
        self._infos: dict[tuple[str, str], dict[str, tuple[str, ...]]] = {}
        self._devices = Devices() if on else None
        self._levels: list[tuple[Gauge, Callable[[], float]]] = []
        if on and not self.shared:
            ProcessCollector(registry=self.registry)
        self._count_requests()
        self._describe_models()
        self._describe_process()

    def _histogram(self, name: str, text: str, labels: Sequence[str], bounds: Sequence[float]) -> BulkHistogram:
        return BulkHistogram(name, text, labels, buckets=bounds, registry=self.registry)

    def _gauge(self, name: str, text: str, labels: Sequence[str] = (), mode: Any = "livemax") -> Gauge:
        return Gauge(name, text, labels, multiprocess_mode=mode, registry=self.registry)

    def _counter(self, name: str, text: str, labels: Sequence[str]) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

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

    def watch(self, in_flight: Callable[[], int], held_bytes: Callable[[], int], budget_bytes: int) -> None:
        """Where to read what changes with every request."""
        self._levels = [(self.in_flight, in_flight), (self.held, held_bytes)]
        self.budget.set(budget_bytes)

    def hand_over(self) -> None:
        """Bring the registry up to date. Any thread may call it."""
        if not self.on:
            return
        with self._lock:
            for labels, tallies in list(self._tallies.items()):
                tallies.hand_over(self, labels)
            for gauge, read in self._levels:
                gauge.set(read())
            self.memory.set(resident_bytes())
            for device, kind, size in self._devices.memory() if self._devices else ():
                self.device_memory.labels(device, kind).set(size)

    def collect(self) -> Iterable[Metric]:
        """What this server has measured, all workers together, brought up to date. Any thread may call it."""
        self.hand_over()
        return MultiProcessCollector(None).collect() if self.shared else self.registry.collect()

    def loading(self, model: str, version: str) -> None:
        """A version is being loaded: it has passed nothing yet."""
        for gauge in (self.ready, self.load_gate):
            gauge.labels(model, version).set(0)

    def tried(self, model: str, version: str, passed: bool, worst_error: float | None) -> None:
        """The load gate has replayed a version's golden rows; `worst_error` is None where they have no answer at all."""
        self.load_gate.labels(model, version).set(passed)
        self.worst_error.labels(model, version).set(float("inf") if worst_error is None else worst_error)

    def loaded(
        self, model: str, version: str, *, digest: str, variant: str, asked: str, provider: str, objective_s: float | None, seconds: float
    ) -> None:  # fmt: skip
        """A version takes traffic from here on, so long after its loading began."""
        self._tell(self.info, model, version, digest, variant, provider)
        self._tell(self.execution, model, version, asked, provider)
        self.ready.labels(model, version).set(1)
        self.load_seconds.labels(model, version).set(seconds)
        if objective_s is not None:
            self.objective.labels(model, version).set(objective_s)

    def _tell(self, gauge: Gauge, model: str, version: str, *more: str) -> None:
        """Set an info to 1, and let go of what it said before."""
        infos = self._infos.setdefault((model, version), {})
        before, labels = infos.get(str(gauge)), (model, version, *more)
        if before is not None and before != labels:
            self._drop(gauge, before)
        infos[str(gauge)] = labels
        gauge.labels(*labels).set(1)

    def forget(self, model: str, version: str) -> None:
        """A version is gone: what only says how it stands goes too; what counts stays."""
        labels = model, version
        for gauge in (self.ready, self.load_seconds, self.waiting, self.load_gate, self.worst_error, self.objective):
            self._drop(gauge, labels)
        infos = self._infos.pop(labels, {})
        for gauge in (self.info, self.execution):
            self._drop(gauge, infos.get(str(gauge), ()))
        counts = self._drift.pop(labels, None)
        for each in counts.references() if counts is not None else ():
            self._drop(self.drift_reference, each)

    def _drop(self, gauge: Gauge, labels: tuple[str, ...]) -> None:
        if not labels:
            return
        if self.shared:  # a series that several processes write cannot be removed
            gauge.labels(*labels).set(0)
        else:
            with suppress(KeyError):
                gauge.remove(*labels)

    def tallies(self, model: str, version: str) -> ModelTallies:
        """What requests to a version have done, since the process began."""
        found = self._tallies.get((model, version))
        if found is None:
            with self._lock:
                found = self._tallies[model, version] = ModelTallies()
        return found

    def for_model(self, model: str, version: str) -> ModelMetrics:
        """For a version that is loaded now."""
        if not self.on:
            return ModelMetrics()
        return ModelMetrics(self.tallies(model, version), self.out_of_memory.labels(model, version))

    def refused(self, model: str, version: str, error: BaseException) -> None:
        """A request to a version, or to `NOBODY`, ended with this error."""
        cause = cause_of(error) if self.on and isinstance(error, SeatrialError) else None
        if cause is None:
            return
        self.tallies(model, version).causes.count(cause)
        if (model, version) == NOBODY:  # a version's own counts its codes, whatever they are
            self.tallies(model, version).codes.count(error.code)  # type: ignore[attr-defined]
        counts = self._drift.get((model, version))
        if counts is not None and isinstance(error, Refusal) and error.code == "E_CATEGORY" and error.field:
            counts.refuse(error.field)

    def for_drift(self, model: str, version: str, profile: Profile) -> DriftCounts | None:
        """Where the drift of a version that is loaded now is counted; None where its profile says nothing, or nothing is measured."""
        before = self._drift.pop((model, version), None)
        for each in before.references() if before is not None else ():
            self._drop(self.drift_reference, each)
        if not self.on or not profile.rows:
            return None
        counts = DriftCounts(
            profile, (model, version), values=self.drift, reference=self.drift_reference, rows=self.drift_rows
        )
        self._drift[model, version] = counts
        return counts


@dataclass(slots=True)
class Statistics:
    """What a version has done since it was loaded: counts, and seconds spent."""

    succeeded: int = 0
    succeeded_s: float = 0.0
    failed: int = 0
    failed_s: float = 0.0
    fronts: int = 0
    front_s: float = 0.0
    queued: int = 0
    queued_s: float = 0.0
    rows: int = 0
    batches: int = 0
    run_s: float = 0.0
    last_unix_s: float = 0.0
    by_rows: dict[int, tuple[int, float]] = field(default_factory=dict)
    """Rows in a batch -> how many such batches, and their seconds."""


class ModelTallies:
    """What requests to one version do, counted."""

    def __init__(self) -> None:
        self.front, self.queue, self.run, self.encode, self.total = (Tally(SECONDS) for _ in PHASES)
        self.rows, self.cost, self.padding = Tally(ROWS), Tally(COSTS), Tally(SHARES)
        self.codes = CountTally((OK, "other", *sorted(CLOSED_CODES)), "other")
        self.row_codes = CountTally(("other", *sorted(CLOSED_CODES)), "other")
        self.causes = CountTally(CAUSES, "other")
        self.waiting, self.answered = 0, 0
        self.plain: dict[int, int] = {}
        """Batches of rows without length, whose cost is their number and which hold no padding: how many there were of so many rows."""
        self._plain_given: dict[int, int] = {}

    def hand_over(self, metrics: Metrics, labels: tuple[str, str]) -> None:
        """See `Metrics.hand_over`."""
        self.causes.hand_over(metrics.refusals, labels)
        self.codes.set(OK, self.answered)
        self.codes.hand_over(metrics.requests, labels)
        if labels == NOBODY:
            return
        self.row_codes.hand_over(metrics.row_errors, labels)
        for phase, tally in zip(PHASES, (self.front, self.queue, self.run, self.encode, self.total), strict=True):
            tally.hand_over(metrics.phase.labels(*labels, phase))
        batches = [each.labels(*labels) for each in (metrics.batch_rows, metrics.batch_cost, metrics.padding)]
        for tally, histogram in zip((self.rows, self.cost, self.padding), batches, strict=True):
            tally.hand_over(histogram)
        plain = dict(self.plain)
        for rows, count in plain.items():
            more = count - self._plain_given.get(rows, 0)
            for histogram, value in zip(batches, (rows, rows, 0.0), strict=True):
                histogram.observe_times(value, more)
        self._plain_given = plain
        metrics.waiting.labels(*labels).set(self.waiting)


class ModelMetrics:
    """What one loaded version does: an `Observe` of its batcher."""

    def __init__(self, tallies: ModelTallies | None = None, out_of_memory: Counter | None = None) -> None:
        """None where nothing is measured."""
        self.statistics, self._tallies, self._out_of_memory = Statistics(), tallies, out_of_memory

    def finish(self, code: str, seconds: float, request_id: str | None = None) -> None:
        """A request ended so, after so long."""
        seen, tallies = self.statistics, self._tallies
        if code == OK:
            seen.succeeded += 1
            seen.succeeded_s += seconds
        else:
            seen.failed += 1
            seen.failed_s += seconds
        if tallies is None:
            return
        if code == OK:
            tallies.answered += 1
        else:
            tallies.codes.count(code)
        if request_id is None:
            tallies.total.observe(seconds)
        else:
            tallies.total.observe_of(seconds, request_id)

    def row_errors(self, codes: Iterable[str]) -> None:
        """Rows of a partial answer have these codes in place of answers."""
        if self._tallies is not None:
            for code in codes:
                self._tallies.row_codes.count(code)

    def front(self, seconds: float) -> None:
        """A request's rows took so long to be made ready for a batch."""
        self.statistics.fronts += 1
        self.statistics.front_s += seconds
        if self._tallies is not None:
            self._tallies.front.observe(seconds)

    def encode(self, seconds: float) -> None:
        """A request's answer took so long to be written."""
        if self._tallies is not None:
            self._tallies.encode.observe(seconds)

    def batch(self, rows: int, cost: int, padding: float, waited_s: Sequence[float], run_s: float) -> None:
        """See `seatrial_serve.batcher.Observe`."""
        seen, tallies = self.statistics, self._tallies
        seen.queued += len(waited_s)
        seen.queued_s += sum(waited_s)
        seen.rows += rows
        seen.batches += 1
        seen.run_s += run_s
        seen.last_unix_s = time.time()
        count, spent_s = seen.by_rows.get(rows, (0, 0.0))
        seen.by_rows[rows] = count + 1, spent_s + run_s
        if tallies is None:
            return
        tallies.run.observe(run_s)
        if cost == rows:
            tallies.plain[rows] = tallies.plain.get(rows, 0) + 1
        else:
            tallies.rows.observe(rows)
            tallies.cost.observe(cost)
            tallies.padding.observe(padding)
        tallies.queue.observe_all(waited_s)

    def waiting(self, rows: int) -> None:
        """See `seatrial_serve.batcher.Observe`."""
        if self._tallies is not None:
            self._tallies.waiting = rows

    def out_of_memory(self, rows: int) -> None:
        """See `seatrial_serve.batcher.Observe`."""
        if self._out_of_memory is not None:
            self._out_of_memory.inc()
        log.warning("a batch of %d rows was too large for the memory; half of it at most from here on", rows)


def resident_bytes() -> int:
    """This process's resident memory; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * PAGE_BYTES
    except OSError:
        return 0
