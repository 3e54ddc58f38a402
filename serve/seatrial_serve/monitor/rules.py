"""The rules of one model: figures that Prometheus records, and alerts."""

from __future__ import annotations

from typing import Any

from seatrial_contracts.bundle import Bundle
from seatrial_serve.monitor.alert import Alert
from seatrial_serve.monitor.drift_alerts import drift_alerts
from seatrial_serve.monitor.figures import Figures, Windows
from seatrial_serve.monitor.latency_alerts import BURNS, latency_alerts
from seatrial_serve.monitor.model_alerts import model_alerts
from seatrial_serve.monitor.request_alerts import request_alerts


def records(figures: Figures) -> dict[str, str]:
    """Name -> what is recorded under it, in the order of what stands on what."""
    found = {
        "seatrial:requests:rate": figures.rate(),
        "seatrial:faults:ratio": figures.faults(),
        "seatrial:refusals:ratio": figures.refused(),
        "seatrial:unknown_categories:ratio": figures.unknown_categories(),
    }
    if figures.objective_s is not None:
        for window in dict.fromkeys(window for burn in BURNS for window in burn.windows):
            found[f"seatrial:slow:ratio{window}"] = figures.slow(window)
        found["seatrial:queue:ratio"] = figures.queue()
    if figures.profile.rows:
        found |= {
            "seatrial:drift_share": figures.drift_share(),
            "seatrial:drift_rows": f"sum by (model, version, field) ({figures.drift_counts()})",
            "seatrial:drift_psi": figures.psi(),
            "seatrial:drift_js": figures.distance(),
            "seatrial:drift_by_chance": figures.by_chance(),
            "seatrial:missing:ratio": figures.missing(),
            "seatrial:unseen:ratio": figures.unseen(),
        }
    return found


def alerts(bundle: Bundle, figures: Figures) -> list[Alert]:
    """What wakes somebody, or makes them look."""
    return [
        *model_alerts(bundle, figures),
        *request_alerts(figures),
        *latency_alerts(figures),
        *drift_alerts(figures),
    ]


def rule_file(bundle: Bundle, windows: Windows) -> dict[str, Any]:
    """The rules as Prometheus reads them."""
    figures = Figures(bundle, windows)
    recorded = [{"record": name, "expr": expr} for name, expr in records(figures).items()]
    alerting = [alert.rule(bundle.name) for alert in alerts(bundle, figures)]
    return {
        "groups": [
            {"name": f"{bundle.name} figures", "rules": recorded},
            {"name": f"{bundle.name} alerts", "rules": alerting},
        ]
    }


def test_file(bundle: Bundle, windows: Windows, rules: str) -> dict[str, Any]:
    """Return the test for `promtool test rules`.

    It proves that each alert fires when it must, and does not when it must not.
    """
    tests = [
        test
        for alert in alerts(bundle, Figures(bundle, windows))
        for test in alert.tests(bundle.name)
    ]
    return {"rule_files": [rules], "evaluation_interval": "1m", "tests": tests}
