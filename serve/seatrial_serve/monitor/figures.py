"""The figures of one model in Prometheus: each once, for the rules and for the dashboard."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from seatrial_contracts.bins import MISSING_BIN, UNSEEN_BIN
from seatrial_contracts.bundle import Bundle
from seatrial_contracts.drift import LEAST_SHARE
from seatrial_serve.metrics import names
from seatrial_serve.metrics.families import SECONDS
from seatrial_serve.process.codes import FAULTS

VERSION, FIELD, BIN = "model, version", "model, version, field", "model, version, field, bin"
DURATION = re.compile(r"[1-9][0-9]*(ms|s|m|h|d|w)")
NONE = 1e-12
"""What an empty bin counts as inside a logarithm whose factor is 0 anyway."""


@dataclass(frozen=True)
class Windows:
    """Over how long figures are taken, as Prometheus writes durations."""

    recent: str = "5m"
    drift: str = "1h"
    hold: str = "5m"
    """How long a condition holds before its alert fires."""


class Figures:
    """PromQL over the metrics of one model, all its versions and replicas."""

    def __init__(self, bundle: Bundle, windows: Windows) -> None:
        self.model, self.windows = bundle.name, windows
        self.this = f'model="{bundle.name}"'
        self.profile = bundle.profile
        objective_s = bundle.contract.objective.p99_s
        self.objective_s = max(
            (bound for bound in SECONDS if objective_s and bound <= objective_s), default=None
        )
        """The largest bound of the latency histogram that is within the contract's objective.

        The bound is stricter than the objective, never laxer.
        """

    def rate(self, window: str = "") -> str:
        """Requests a second, of each version."""
        return self.sum("rate", names.REQUESTS, window=window)

    def faults(self) -> str:
        """Share of the requests that failed by the server's own fault."""
        return share(self.sum("rate", names.REQUESTS, f'code=~"{"|".join(FAULTS)}"'), self.rate())

    def refused(self, by: str = VERSION, where: str = "") -> str:
        """Share of the requests that were refused."""
        whole = self.rate()
        part = self.sum("rate", names.REFUSALS, where, by=by)
        return share(part, whole) if by == VERSION else share(part, whole, many=True)

    def slow(self, window: str) -> str:
        """Share of the requests that took longer than the objective."""
        quick = self.sum(
            "rate", names.PHASE_BUCKET, f'phase="total", le="{self.objective_s}"', window=window
        )
        whole = self.sum("rate", names.PHASE_COUNT, 'phase="total"', window=window)
        return f"1 - {quick} / ({whole} > 0)"

    def queue(self) -> str:
        """The predicted queue over the objective, as `deploy.scaling.queue_ratio`."""
        one, other = (
            f"{name}{{{self.this}}}" for name in (names.PREDICTED_QUEUE, names.OBJECTIVE_SECONDS)
        )
        return f"avg by (model) (max without (version) ({one} / {other}))"

    def quantile(self, quantile: float, phase: str = "total") -> str:
        """A quantile of a phase's time, in seconds."""
        buckets = self.sum("rate", names.PHASE_BUCKET, f'phase="{phase}"', by=f"{VERSION}, le")
        return f"histogram_quantile({quantile}, {buckets})"

    def drift_counts(self) -> str:
        """Values in each bin over the drift window, of all replicas."""
        return self.sum("increase", names.DRIFT, by=BIN, window=self.windows.drift)

    def drift_share(self) -> str:
        """The live share of each bin."""
        counts = self.drift_counts()
        return f"{counts} / on ({FIELD}) group_left () (sum by ({FIELD}) ({counts}) > 0)"

    def reference(self) -> str:
        """The reference share of each bin."""
        return f"max by ({BIN}) ({names.DRIFT_REFERENCE}{{{self.this}}})"

    def psi(self) -> str:
        """Population stability index, as `seatrial_contracts.drift.population_stability_index`."""
        live, reference = (
            f"clamp_min({each}, {LEAST_SHARE})" for each in (self.recorded_share, self.reference())
        )
        return f"sum by ({FIELD}) (({live} - {reference}) * ln({live} / {reference}))"

    def distance(self) -> str:
        """Jensen-Shannon distance, as `seatrial_contracts.drift.jensen_shannon`."""
        live, reference = self.recorded_share, self.reference()
        middle = f"clamp_min(({live} + {reference}) / 2, {NONE})"
        bits = [
            f"sum by ({FIELD}) ({part} * log2(clamp_min({part}, {NONE}) / {middle}))"
            for part in (live, reference)
        ]
        return f"sqrt(clamp_min(({bits[0]} + {bits[1]}) / 2, 0))"

    def by_chance(self) -> str:
        """The PSI of an unmoved population, as `seatrial_contracts.drift.stability_by_chance`."""
        rows = f"seatrial:drift_rows{{{self.this}}}"
        bins = f"count by ({FIELD}) ({self.reference()})"
        return f"({bins} - 1) * (1 / ({rows} > 0) + 1 / {max(self.profile.rows, 1)})"

    def special_share(self, name: str) -> str:
        """The live share of one bin by its name, whatever the field."""
        return f"sum by ({FIELD}) (seatrial:drift_share{{{self.this}, bin={quoted(name)}}})"

    def missing(self) -> str:
        """Share of missing values."""
        return self.special_share(MISSING_BIN)

    def unseen(self) -> str:
        """Share of words that the contract buckets as unknown."""
        return self.special_share(UNSEEN_BIN)

    def unknown_categories(self) -> str:
        """Share of the requests that were refused for a word that the contract does not have."""
        return share(self.sum("rate", names.REQUESTS, 'code="E_CATEGORY"'), self.rate())

    @property
    def recorded_share(self) -> str:
        """The live shares, as they were recorded."""
        return f"seatrial:drift_share{{{self.this}}}"

    def sum(
        self, function: str, metric: str, where: str = "", *, by: str = VERSION, window: str = ""
    ) -> str:
        """A counter's growth, added up over replicas."""
        chosen = f"{self.this}, {where}" if where else self.this
        return f"sum by ({by}) ({function}({metric}{{{chosen}}}[{window or self.windows.recent}]))"


def share(part: str, whole: str, *, many: bool = False) -> str:
    """Return part of whole, if there is a whole; no part is 0.

    `many`: several parts of the whole, by a label of their own.
    """
    if many:
        return f"{part} / on ({VERSION}) group_left () ({whole} > 0)"
    return f"({part} or {whole} * 0) / ({whole} > 0)"


def quoted(text: str) -> str:
    """A label's value as PromQL writes it: JSON's escapes are among those that it reads."""
    return json.dumps(text, ensure_ascii=False)
