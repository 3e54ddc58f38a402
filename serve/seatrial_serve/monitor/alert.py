"""One alert, and the trial that proves it.

The trial is what Prometheus sees when the alert must fire, and when it must not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

LABEL = re.compile(r"\{\{ \$labels\.(\w+) \}\}")
VALUE = re.compile(r"\{\{ \$value \| \w+ \}\}")

Series = Mapping[str, str]
"""Series -> its samples, one a minute, in promtool's notation."""


@dataclass(frozen=True)
class Trial:
    """Samples of a server in trouble, and of one that is not."""

    bad: Series
    good: Series
    at: str
    """When both are looked at, from the first sample on."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Of the alert that fires, besides those of the rule."""
    value: str = ""
    """How the summary shows its value."""


@dataclass(frozen=True)
class Alert:
    """A rule, in words for whoever is woken by it."""

    name: str
    expr: str
    hold: str
    severity: str
    """"page": somebody gets up; "ticket": somebody looks today."""
    summary: str
    """May hold `{{ $labels.x }}` and one `{{ $value | format }}`."""
    runbook: str
    """What to do first."""
    trial: Trial

    def rule(self, model: str) -> dict[str, Any]:
        """As Prometheus reads it."""
        return {
            "alert": self.name,
            "expr": self.expr,
            "for": self.hold,
            "labels": {"severity": self.severity, "model": model},
            "annotations": {"summary": self.summary, "runbook": self.runbook},
        }

    def tests(self, model: str) -> list[dict[str, Any]]:
        """As promtool reads them: it fires, with these very words; it does not."""
        labels = {"severity": self.severity, "model": model, **self.trial.labels}
        words = LABEL.sub(lambda found: labels[found[1]], VALUE.sub(self.trial.value, self.summary))
        expected = {
            "exp_labels": labels,
            "exp_annotations": {"summary": words, "runbook": self.runbook},
        }
        return [
            self._test("fires", self.trial.bad, [expected]),
            self._test("is quiet", self.trial.good, []),
        ]

    def _test(self, what: str, series: Series, alerts: list[dict[str, Any]]) -> dict[str, Any]:
        asked = {"eval_time": self.trial.at, "alertname": self.name}
        return {
            "name": f"{self.name} {what}", "interval": "1m",
            "input_series": [{"series": name, "values": values} for name, values in series.items()],
            "alert_rule_test": [asked | ({"exp_alerts": alerts} if alerts else {})],
        }  # fmt: skip
