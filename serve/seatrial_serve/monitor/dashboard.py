"""The Grafana dashboard of one model, built with Grafana's own typed builders."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from grafana_foundation_sdk.builders import (
    common,
    dashboard,
    heatmap,
    prometheus,
    stat,
    table,
    timeseries,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    BigValueGraphMode,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    Threshold,
    ThresholdsMode,
    VariableOption,
)
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from seatrial_contracts.bundle import Bundle
from seatrial_serve.metrics import names
from seatrial_serve.monitor.drift_alerts import PSI
from seatrial_serve.monitor.figures import Figures, Windows, quoted
from seatrial_serve.monitor.request_alerts import FAILING_SHARE, FAULT_SHARE

SOURCE = DataSourceRef(type_val="prometheus", uid="${source}")
STRAY = ("id", "auto", "auto_count", "auto_min", "style")
"""Keys that the builders write and that Grafana's schema does not have.

They are keys of a dashboard or of a data source's variable.
"""
PHASES = ("queue", "front", "run", "encode", "total")
WIDTH, HALF, THIRD, QUARTER, HEIGHT = 24, 12, 8, 6, 8


class Query(NamedTuple):
    """One expression, and what its lines are called."""

    expr: str
    legend: str = "{{version}}"


Panel = Any
"""Grafana's builders of panels have no common type."""


def dashboard_json(bundle: Bundle, windows: Windows) -> str:
    """The dashboard as Grafana's provisioning reads it."""
    figures = Figures(bundle, windows)
    built = (
        dashboard.Dashboard(f"{bundle.name} (seatrial)")
        .uid(f"seatrial-{bundle.name}"[:40])
        .description(
            f"Written by seatrial monitor from the contract of {bundle.name} {bundle.version}."
        )
        .tags(["seatrial", bundle.name])
        .readonly()
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .refresh("30s")
        .time("now-1h", "now")
        .timezone("browser")
        .with_variable(
            dashboard.DatasourceVariable("source")
            .label("Prometheus")
            .type("prometheus")
            .current(VariableOption(text="Prometheus", value="prometheus"))
        )
    )
    for title, panels in rows(figures):
        built = built.with_row(dashboard.Row(title))
        for panel in panels:
            built = built.with_panel(panel)
    made = json.loads(json.dumps(built.build(), cls=JSONEncoder))
    for part in (made, *made["templating"]["list"]):
        for name in STRAY:
            part.pop(name, None)
    return json.dumps(made, indent=2, sort_keys=True) + "\n"


def rows(figures: Figures) -> Iterator[tuple[str, list[Panel]]]:
    """Title of each row -> its panels."""
    yield "Overview", overview(figures)
    yield (
        "Time of a request, by phase",
        [phase(figures, name) for name in PHASES] + [quantiles(figures)],
    )
    yield "Batches and memory", batches(figures)
    yield "What to scale by", pressure(figures)
    yield "Refusals and failures", refusals(figures)
    if figures.profile.rows:
        yield "Drift from the reference", drift(figures)
    yield "Live parity and feedback", truth(figures)
    yield "Versions", [versions(figures)]


def overview(figures: Figures) -> list[Panel]:
    """What one look must tell."""
    this = figures.this
    return [
        number(
            "Ready",
            "1 where every replica takes traffic",
            Query(f"min by (version) ({names.MODEL_READY}{{{this}}})"),
            "bool_yes_no",
            (0, 1),
            good_is_high=True,
        ),
        number("Requests", "a second", Query(figures.rate()), "reqps"),
        number(
            "p99",
            "of the whole request",
            Query(figures.quantile(0.99)),
            "s",
            (figures.objective_s, None),
        ),
        number(
            "Failures",
            "share that is the server's fault",
            Query(figures.faults()),
            "percentunit",
            (FAULT_SHARE, FAILING_SHARE),
        ),
    ]


def phase(figures: Figures, name: str) -> Panel:
    """A heat map of one phase's time."""
    buckets = figures.sum("rate", names.PHASE_BUCKET, f'phase="{name}"', by="le")
    query = (
        prometheus.Dataquery()
        .expr(buckets)
        .legend_format("{{le}}")
        .format(PromQueryFormat.HEATMAP)
        .range()
    )
    colours = (
        heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Oranges").steps(64)
    )
    panel = heatmap.Panel().calculate(False).color(colours).cell_gap(1).unit("s")
    return placed(
        panel, name.capitalize(), f"Seconds that requests spend in {name}", THIRD
    ).with_target(query)


def quantiles(figures: Figures) -> Panel:
    """The phases side by side."""
    queries = [Query(figures.quantile(0.99, name), f"{name} {{{{version}}}}") for name in PHASES]
    return lines("p99 by phase", "What a slow request waits for", queries, "s", THIRD)


def batches(figures: Figures) -> list[Panel]:
    """How rows run together, and what requests hold."""

    def mean(metric: str) -> Query:
        total, count = (figures.sum("rate", f"{metric}_{part}") for part in ("sum", "count"))
        return Query(f"{total} / ({count} > 0)")

    held = [
        Query(f"sum({names.HELD_BYTES})", "held"),
        Query(f"sum({names.BUDGET_BYTES})", "budget"),
    ]
    return [
        lines("Rows in a batch", "mean", [mean(names.BATCH_ROWS)], "short", QUARTER),
        lines(
            "Padding",
            "share of a batch's cost",
            [mean(names.BATCH_PADDING)],
            "percentunit",
            QUARTER,
        ),
        lines(
            "Waiting",
            "rows that wait for a batch",
            [Query(f"sum by (version) ({names.WAITING_ROWS}{{{figures.this}}})")],
            "short",
            QUARTER,
        ),
        lines(
            "Memory of requests",
            "all models together; beyond the budget is refused",
            held,
            "bytes",
            QUARTER,
        ),
    ]


def pressure(figures: Figures) -> list[Panel]:
    """How long the next request will wait, and how many are here."""
    this = figures.this
    seconds = [
        Query(f"max by (version) ({names.PREDICTED_WAIT}{{{this}}})", "wait {{version}}"),
        Query(f"max by (version) ({names.PREDICTED_QUEUE}{{{this}}})", "of it queue {{version}}"),
        Query(f"max by (version) ({names.OBJECTIVE_SECONDS}{{{this}}})", "objective {{version}}"),
    ]
    requests = [
        Query(f"sum by (version) ({names.REQUESTS_WAITING}{{{this}}})", "waiting {{version}}"),
        Query(f"sum by (version) ({names.REQUESTS_RUNNING}{{{this}}})", "running {{version}}"),
    ]
    ratio = [Query(f"seatrial:queue:ratio{{{this}}}", "queue over objective")]
    return [
        lines("Predicted wait", "of a request that came now; the longest", seconds, "s", THIRD),
        lines("Requests", "of all replicas", requests, "short", THIRD),
        *(
            [lines("Predicted queue over objective", "scale by this", ratio, "short", THIRD)]
            if figures.objective_s is not None
            else []
        ),
    ]


def refusals(figures: Figures) -> list[Panel]:
    """Who is refused, and why."""
    causes = figures.sum("rate", names.REFUSALS, by="cause")
    codes = figures.sum("rate", names.REQUESTS, 'code!="ok"', by="code")
    return [
        lines(
            "Refusals by cause",
            "a second",
            [Query(causes, "{{cause}}")],
            "reqps",
            HALF,
            stacked=True,
        ),
        lines(
            "Codes",
            "what callers and model did, a second",
            [Query(codes, "{{code}}")],
            "reqps",
            HALF,
            stacked=True,
        ),
    ]


def drift(figures: Figures) -> list[Panel]:
    """How far each field has moved, and each field's bins."""
    this = figures.this
    scores = [
        lines(
            "PSI by field",
            f"above {PSI} is a large shift",
            [Query(f"seatrial:drift_psi{{{this}}}", "{{field}} {{version}}")],
            "short",
            HALF,
            limit=PSI,
        ),
        lines(
            "Jensen-Shannon distance by field",
            "0 the same, 1 nothing in common",
            [Query(f"seatrial:drift_js{{{this}}}", "{{field}} {{version}}")],
            "short",
            HALF,
        ),
        lines(
            "Missing and unseen",
            "share of the values",
            [
                Query(f"seatrial:missing:ratio{{{this}}}", "{{field}} missing"),
                Query(f"seatrial:unseen:ratio{{{this}}}", "{{field}} unseen"),
                Query(f"seatrial:unknown_categories:ratio{{{this}}}", "refused as unknown"),
            ],
            "percentunit",
            WIDTH,
        ),
    ]
    fields = [
        lines(
            field,
            "share of the values in each bin",
            [
                Query(
                    f"sum by (bin) (seatrial:drift_share{{{this}, field={quoted(field)}}})",
                    "{{bin}}",
                )
            ],
            "percentunit",
            THIRD,
            stacked=True,
        )
        for field in figures.profile.fields
    ]
    return scores + fields


def truth(figures: Figures) -> list[Panel]:
    """Are answers right?"""
    this = figures.this
    errors = figures.sum("rate", names.LIVE_PARITY_ERROR_BUCKET, by="variant, le")
    violations = figures.sum(
        "increase", names.LIVE_PARITY_VIOLATIONS, by="version, variant", window="15m"
    )
    known = [
        Query(f"{names.FEEDBACK_ACCURACY}{{{this}}}", "accuracy {{version}}"),
        Query(f"{names.FEEDBACK_CALIBRATION_ERROR}{{{this}}}", "calibration error {{version}}"),
    ]
    return [
        lines(
            "Live parity, p99 of the error",
            "served answer against the reference graph",
            [Query(f"histogram_quantile(0.99, {errors})", "{{variant}}")],
            "short",
            THIRD,
        ),
        lines(
            "Live parity, violations in 15 minutes",
            "beyond what the variant promises",
            [Query(violations, "{{version}} {{variant}}")],
            "short",
            THIRD,
        ),
        lines("Feedback", "over the last labelled answers", known, "percentunit", THIRD),
    ]


def versions(figures: Figures) -> Panel:
    """Which bundle each replica holds."""
    query = (
        prometheus.Dataquery()
        .expr(f"{names.BUNDLE_INFO}{{{figures.this}}}")
        .format(PromQueryFormat.TABLE)
        .instant()
    )
    return placed(
        table.Panel().show_header(True),
        "Bundles",
        "digest, variant and provider of each replica",
        WIDTH,
    ).with_target(query)


def number(
    title: str,
    description: str,
    query: Query,
    unit: str,
    limits: tuple[float | None, float | None] = (None, None),
    *,
    good_is_high: bool = False,
) -> Panel:
    """One large figure; beyond `limits` it turns yellow, then red."""
    first, colours = ("red", ("green", "green")) if good_is_high else ("green", ("yellow", "red"))
    steps = [Threshold(value=None, color=first)]
    steps += [
        Threshold(value=limit, color=colour)
        for limit, colour in zip(limits, colours, strict=True)
        if limit
    ]
    panel = (
        stat.Panel()
        .unit(unit)
        .graph_mode(BigValueGraphMode.AREA)
        .thresholds(dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
    )
    return targets(placed(panel, title, description, QUARTER, 4), [query])


def lines(
    title: str,
    description: str,
    queries: Iterable[Query],
    unit: str,
    span: int,
    *,
    stacked: bool = False,
    limit: float | None = None,
) -> Panel:
    """Lines over time; `limit` is drawn as a line of its own."""
    legend = (
        common.VizLegendOptions()
        .display_mode(LegendDisplayMode.LIST)
        .placement(LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs([])
    )
    panel = (
        timeseries.Panel()
        .unit(unit)
        .min(0)
        .line_width(1)
        .fill_opacity(60 if stacked else 8)
        .legend(legend)
    )
    if stacked:
        panel = panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL))
    drawn = [*queries, *([Query(f"vector({limit})", "limit")] if limit is not None else [])]
    return targets(placed(panel, title, description, span), drawn)


def placed(panel: Panel, title: str, description: str, span: int, height: int = HEIGHT) -> Panel:
    """A panel with its words and its size."""
    return panel.title(title).description(description).datasource(SOURCE).span(span).height(height)


def targets(panel: Panel, queries: Iterable[Query]) -> Panel:
    """A panel over its queries."""
    for query in queries:
        panel = panel.with_target(
            prometheus.Dataquery().expr(query.expr).legend_format(query.legend).range()
        )
    return panel
