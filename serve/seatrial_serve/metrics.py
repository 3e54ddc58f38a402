"""What the server measures, for Prometheus. Label values come from closed sets; children are bound once, off the hot path."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, start_http_server
from prometheus_client.multiprocess import MultiProcessCollector

from seatrial_contracts.errors import DeclarationError
from seatrial_serve.settings import Settings
from seatrial_serve.status import CLOSED_CODES

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
SHARES = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5)
MODEL = ("model", "version")


class Metrics:
    """The metrics of one process, in a registry of its own.

    Where PROMETHEUS_MULTIPROC_DIR was set before this module was imported, they are kept in that folder, and the supervisor's
    listener adds those of all workers up.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._shared = "PROMETHEUS_MULTIPROC_DIR" in os.environ
        if not self._shared:
            ProcessCollector(registry=self.registry)
        self._bundles: dict[tuple[str, str], tuple[str, ...]] = {}
        at: dict[str, Any] = {"registry": self.registry}
        self.phase = Histogram(
            "seatrial_request_phase_seconds",
            "Time of a request by phase: front (host stage and prepare), queue, run (its batch), total.",
            (*MODEL, "phase"),
            buckets=SECONDS,
            **at,
        )
        self.requests = Counter(
            "seatrial_requests_total",
            "Requests by outcome: ok, or the stable code of the refusal or failure.",
            (*MODEL, "code"),
            **at,
        )
        self.batch_rows = Histogram("seatrial_batch_rows", "Rows in a batch.", MODEL, buckets=ROWS, **at)
        self.padding = Histogram(
            "seatrial_batch_padding_ratio", "Share of a batch's cost that is padding.", MODEL, buckets=SHARES, **at
        )
        self.waiting = Gauge(
            "seatrial_waiting_rows", "Rows that wait for a batch.", MODEL, multiprocess_mode="livesum", **at
        )
        self.info = Gauge(
            "seatrial_bundle_info",
            "1 for each bundle that this server holds; the digest names its bytes.",
            (*MODEL, "digest", "variant", "provider"),
            multiprocess_mode="livemax",
            **at,
        )
        self.ready = Gauge(
            "seatrial_model_ready",
            "1 where the load gate was passed and the version takes traffic.",
            MODEL,
            multiprocess_mode="livemin",
            **at,
        )
        self.load_seconds = Gauge(
            "seatrial_model_load_seconds",
            "Time to verify, load and try a version, the load gate included.",
            MODEL,
            multiprocess_mode="livemax",
            **at,
        )

    def of_all_workers(self) -> CollectorRegistry:
        """What to read the metrics from: where several workers share a folder, a registry that adds theirs up."""
        if not self._shared:
            return self.registry
        summed = CollectorRegistry()
        MultiProcessCollector(summed)
        return summed

    def loaded(self, model: str, version: str, digest: str, variant: str, provider: str, seconds: float) -> None:
        """A version passed its load gate, so long after its loading began."""
        before, bundle = self._bundles.get((model, version)), (model, version, digest, variant, provider)
        if before is not None and before != bundle:
            self._drop(self.info, before)
        self._bundles[model, version] = bundle
        self.info.labels(*bundle).set(1)
        self.ready.labels(model, version).set(1)
        self.load_seconds.labels(model, version).set(seconds)

    def forget(self, model: str, version: str) -> None:
        """A version is gone: what only says how it stands goes too; what counts stays."""
        for gauge in (self.ready, self.load_seconds, self.waiting):
            self._drop(gauge, (model, version))
        self._drop(self.info, self._bundles.pop((model, version), ()))

    def _drop(self, gauge: Gauge, labels: tuple[str, ...]) -> None:
        if not labels:
            return
        if self._shared:  # a series that several processes write cannot be removed
            gauge.labels(*labels).set(0)
        else:
            with suppress(KeyError):
                gauge.remove(*labels)

    def for_model(self, model: str, version: str) -> ModelMetrics:
        """The children of one version."""
        return ModelMetrics(self, model, version)


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


class ModelMetrics:
    """The children of one version, bound; an `Observe` of its batcher."""

    def __init__(self, metrics: Metrics, model: str, version: str) -> None:
        phases = {phase: metrics.phase.labels(model, version, phase) for phase in ("front", "queue", "run", "total")}
        self._front, self._queue, self._run, self._total = phases.values()
        self.statistics = Statistics()
        self._count = partial(metrics.requests.labels, model, version)
        self._codes = {code: self._count(code) for code in ("ok", "other")}
        self._rows, self._padding = metrics.batch_rows.labels(model, version), metrics.padding.labels(model, version)
        self._waiting = metrics.waiting.labels(model, version)

    def finish(self, code: str, seconds: float) -> None:
        """A request ended so, after so long."""
        counter = self._codes.get(code)
        if counter is None:
            counter = self._codes[code] = self._count(code) if code in CLOSED_CODES else self._codes["other"]
        counter.inc()
        self._total.observe(seconds)
        seen = self.statistics
        if code == "ok":
            seen.succeeded += 1
            seen.succeeded_s += seconds
        else:
            seen.failed += 1
            seen.failed_s += seconds

    def front(self, seconds: float) -> None:
        """A request's rows took so long to be made ready for a batch."""
        self._front.observe(seconds)
        self.statistics.fronts += 1
        self.statistics.front_s += seconds

    def batch(self, rows: int, padding: float, waited_s: Sequence[float], run_s: float) -> None:
        """See `seatrial_serve.batcher.Observe`."""
        self._rows.observe(rows)
        self._padding.observe(padding)
        self._run.observe(run_s)
        for seconds in waited_s:
            self._queue.observe(seconds)
        seen = self.statistics
        seen.queued += len(waited_s)
        seen.queued_s += sum(waited_s)
        seen.rows += rows
        seen.batches += 1
        seen.run_s += run_s
        seen.last_unix_s = time.time()
        count, spent_s = seen.by_rows.get(rows, (0, 0.0))
        seen.by_rows[rows] = count + 1, spent_s + run_s

    def waiting(self, rows: int) -> None:
        """See `seatrial_serve.batcher.Observe`."""
        self._waiting.set(rows)


class MetricsListener:
    """The metrics on a listener of its own, in a thread of its own."""

    def __init__(self, registry: CollectorRegistry, host: str, port: int) -> None:
        """Raises `OSError` where the port is taken."""
        self._server, self._thread = start_http_server(port, addr=host, registry=registry)
        self.port: int = self._server.server_port

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)


def listen_metrics(registry: CollectorRegistry, settings: Settings) -> MetricsListener:
    """The metrics' listener. Raises `DeclarationError`."""
    try:
        return MetricsListener(registry, settings.host, settings.metrics_port)
    except OSError as error:
        where = f"metrics on {settings.host}:{settings.metrics_port}"
        raise DeclarationError(
            where, error.strerror or "an error", "a free port of this machine", "choose another: --metrics-port"
        ) from None
