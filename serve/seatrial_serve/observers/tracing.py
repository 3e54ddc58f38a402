"""Traces: each request as an OpenTelemetry span, its phases as spans inside it.

They are an extra, off unless an endpoint is named.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from seatrial_contracts.errors import MissingExtra
from seatrial_serve.models.request_record import RequestRecord
from seatrial_serve.process.clock import now_s

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
EXPORT_S = 5
"""How long one export may take, if OTEL_EXPORTER_OTLP_TIMEOUT is not set.

The server's end waits for the last export.
"""


def start_tracing(endpoint: str | None) -> Tracing | None:
    """Return traces to an OTLP endpoint over HTTP; None if there is no endpoint.

    The endpoint is the one given, or that of OpenTelemetry's own environment variables.

    Raises `MissingExtra` if traces are wanted and the extra is not there.
    """
    if endpoint is None and not any(os.environ.get(name) for name in ENDPOINTS):
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise MissingExtra("--otlp-endpoint", "otel") from error
    named = {} if os.environ.get("OTEL_SERVICE_NAME") else {SERVICE_NAME: "seatrial"}
    provider = TracerProvider(resource=Resource.create(named))
    waits_s = None if os.environ.get("OTEL_EXPORTER_OTLP_TIMEOUT") else EXPORT_S
    url = f"{endpoint.rstrip('/')}/v1/traces" if endpoint else None
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=url, timeout=waits_s)))
    return Tracing(provider)


class Tracing:
    """A `RequestObserver` that writes each request's spans once it has ended.

    Nothing is kept open on its way.
    """

    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry import trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._api = trace
        self._provider = provider
        self._propagator = TraceContextTextMapPropagator()
        self._tracer = provider.get_tracer("seatrial")

    def ended(self, record: RequestRecord) -> None:
        """Write the spans of a request; see `RequestObserver`.

        A `traceparent` that is none begins a new trace (W3C Trace Context, 4.3).
        """
        zero_ns = time.time_ns() - round(now_s() * 1e9)
        given = {"traceparent": record.traceparent} if record.traceparent else {}
        span = self._tracer.start_span(
            record.route,
            self._propagator.extract(given),
            self._api.SpanKind.SERVER,
            attributes(record),
            start_time=_at(zero_ns, record.began_s),
        )
        if span.is_recording():
            if record.status >= 500:
                span.set_status(self._api.StatusCode.ERROR, record.code)
            inside = self._api.set_span_in_context(span)
            for name, began_s, ended_s in record.phases:
                phase = self._tracer.start_span(name, inside, start_time=_at(zero_ns, began_s))
                phase.end(_at(zero_ns, ended_s))
        span.end(_at(zero_ns, record.ended_s))

    def close(self) -> None:
        """Send what waits."""
        self._provider.shutdown()


def _at(zero_ns: int, seconds: float) -> int:
    """A time of `now_s` as nanoseconds since 1970, given when its zero was."""
    return zero_ns + round(seconds * 1e9)


def attributes(record: RequestRecord) -> dict[str, str | int]:
    """What a request's span says of it: never what the client sent."""
    names = ("seatrial.model", "seatrial.version", "seatrial.digest")
    named = dict(zip(names, record.named or (), strict=False))
    return {
        "http.request.method": "POST",
        "http.route": record.route,
        "http.response.status_code": record.status,
        "seatrial.code": record.code or "left",
        "seatrial.request_id": record.request_id,
        **named,
        "seatrial.batch_rows": sum(rows for rows, _ in record.batches[0].mates)
        if record.batches
        else 0,
    }
