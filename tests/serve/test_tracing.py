"""Traces, as OpenTelemetry's own SDK collects them in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from support.running import Running, run_app
from support.toys import ROWS, fake_runtimes, toy_bundle
from test_log import explodes_at_13

from seatrial_contracts.errors import MissingExtra
from seatrial_serve.observers import observers as watch
from seatrial_serve.observers.tracing import Tracing, start_tracing

pytestmark = pytest.mark.slow
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
"""The example of W3C Trace Context, 3.2.4."""


@pytest.fixture
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
async def traced(
    tmp_path: Path, spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Running]:
    fake_runtimes(monkeypatch, explodes_at_13)
    toy_bundle(tmp_path)
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    monkeypatch.setattr(watch, "start_tracing", lambda _: Tracing(provider))
    async with run_app(tmp_path) as app:
        yield app


def ended(spans: InMemorySpanExporter) -> tuple[ReadableSpan, dict[str, ReadableSpan]]:
    """The server's span, and those of the phases."""
    *phases, server = sorted(
        spans.get_finished_spans(), key=lambda span: span.kind is SpanKind.SERVER
    )
    return server, {span.name: span for span in phases}


async def test_a_request_is_a_span_and_its_phases_are_spans_inside_it(
    traced: Running, spans: InMemorySpanExporter
) -> None:
    reply = await traced.ask(ROWS[:3])
    server, phases = ended(spans)
    assert (server.name, server.parent) == ("/v1/models/{model}:predict", None)
    assert server.attributes is not None
    told = dict(server.attributes)
    assert told["seatrial.request_id"] == reply.headers["x-request-id"]
    assert (
        told["seatrial.model"],
        told["seatrial.version"],
        told["http.response.status_code"],
    ) == (
        "toy",
        "1.0.0",
        200,
    )
    assert told["seatrial.batch_rows"] == 3
    assert {"front", "queue", "run"} <= set(phases)
    for phase in phases.values():
        assert phase.parent is not None
        assert phase.parent.span_id == server.context.span_id
        assert server.start_time is not None
        assert phase.start_time is not None
        assert phase.end_time is not None
        assert server.end_time is not None
        assert server.start_time <= phase.start_time <= phase.end_time <= server.end_time


async def test_the_callers_trace_goes_on(traced: Running, spans: InMemorySpanExporter) -> None:
    await traced.ask(ROWS[:1], headers={"traceparent": PARENT})
    server, phases = ended(spans)
    assert server.parent is not None
    assert f"{server.context.trace_id:032x}" == PARENT.split("-")[1]
    assert f"{server.parent.span_id:016x}" == PARENT.split("-")[2]
    assert all(phase.context.trace_id == server.context.trace_id for phase in phases.values())


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "nonsense",
        PARENT.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32),
        PARENT[:-4],
        "ff" + PARENT[2:],
        PARENT + "\xe9",
    ],
)
async def test_a_bad_traceparent_begins_a_new_trace(
    traced: Running, spans: InMemorySpanExporter, parent: str
) -> None:
    reply = await traced.ask(ROWS[:1], headers={"traceparent": parent.encode("latin-1")})  # type: ignore[dict-item]
    assert reply.status_code == 200
    server, _ = ended(spans)
    assert server.parent is None
    assert f"{server.context.trace_id:032x}" != PARENT.split("-")[1]


async def test_what_fails_says_its_code(traced: Running, spans: InMemorySpanExporter) -> None:
    await traced.ask([{"x": 13.0, "word": "a"}])
    server, _ = ended(spans)
    assert server.status.status_code is StatusCode.ERROR
    assert server.status.description == "E_MODEL"
    spans.clear()
    await traced.ask([{"x": 1e6, "word": "a"}])
    server, _ = ended(spans)
    assert server.attributes is not None
    assert server.attributes["seatrial.code"] == "E_RANGE"
    assert server.status.status_code is StatusCode.UNSET, (
        "a caller's fault is no error of the server"
    )
    assert "1000000" not in server.to_json()


def test_traces_are_off_unless_somebody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    assert start_tracing(None) is None


def test_opentelemetrys_own_variables_switch_them_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    tracing = start_tracing(None)
    assert tracing is not None
    tracing.close()


def test_without_the_extra_the_message_is_its_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(MissingExtra, match=r"pip install .\.\[otel\]"):
        start_tracing("http://127.0.0.1:4318")
