"""What the server measures, for Prometheus. Label values come from closed sets; children are bound once, off the hot path."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, start_http_server

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
    """The metrics of one server, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
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
        self.waiting = Gauge("seatrial_waiting_rows", "Rows that wait for a batch.", MODEL, **at)
        self.info = Gauge(
            "seatrial_bundle_info",
            "1 for each bundle that this server holds; the digest names its bytes.",
            (*MODEL, "digest", "variant", "provider"),
            **at,
        )
        self.ready = Gauge(
            "seatrial_model_ready", "1 where the load gate was passed and the version takes traffic.", MODEL, **at
        )
        self.load_seconds = Gauge(
            "seatrial_model_load_seconds",
            "Time to verify, load and try a version, the load gate included.",
            MODEL,
            **at,
        )

    def for_model(self, model: str, version: str) -> ModelMetrics:
        """The children of one version."""
        return ModelMetrics(self, model, version)


class ModelMetrics:
    """The children of one version, bound; an `Observe` of its batcher."""

    def __init__(self, metrics: Metrics, model: str, version: str) -> None:
        phases = {phase: metrics.phase.labels(model, version, phase) for phase in ("front", "queue", "run", "total")}
        self.front, self._queue, self._run, self._total = phases.values()
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

    def batch(self, rows: int, padding: float, waited_s: Sequence[float], run_s: float) -> None:
        """See `seatrial_serve.batcher.Observe`."""
        self._rows.observe(rows)
        self._padding.observe(padding)
        self._run.observe(run_s)
        for seconds in waited_s:
            self._queue.observe(seconds)

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
