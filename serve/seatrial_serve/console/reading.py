"""The metrics' counts of one version so far, and the differences between two readings."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from prometheus_client.metrics_core import Metric

from seatrial_serve.metrics import names

Key = tuple[str, str]
"""Model and version."""
Buckets = dict[float, float]
"""A histogram as Prometheus has it: upper bound in seconds -> how many were at most that.

The last bound is infinite.
"""
QUANTILES = {"p50": 0.5, "p99": 0.99}


@dataclass(slots=True)
class Reading:
    """The counters of one version; every label value comes from a closed set."""

    codes: dict[str, float] = field(default_factory=dict)
    phases: dict[str, Buckets] = field(default_factory=dict)
    batches: float = 0.0
    rows: float = 0.0
    waiting: float = 0.0
    drift: dict[str, dict[str, float]] = field(default_factory=dict)
    """Field -> bin -> how many values of the sampled traffic fell in."""
    reference: dict[str, dict[str, float]] = field(default_factory=dict)
    """Field -> bin -> its share of the reference rows at export."""
    checked: dict[str, float] = field(default_factory=dict)
    """The counts of live parity: "answers" that were computed again, and "violations".

    A violation breaks what the variant promises.
    """
    feedback: dict[str, float] = field(default_factory=dict)
    """Feedback: labels "right" and "wrong", "accuracy" and "calibration_error" of the last ones."""

    def take(self, name: str, labels: Mapping[str, str], value: float) -> None:
        """One sample of the registry."""
        match name:
            case names.REQUESTS:
                self.codes[labels["code"]] = value
            case names.PHASE_BUCKET:
                self.phases.setdefault(labels["phase"], {})[float(labels["le"])] = value
            case names.BATCH_ROWS_COUNT:
                self.batches = value
            case names.BATCH_ROWS_SUM:
                self.rows = value
            case names.WAITING_ROWS:
                self.waiting = value
            case names.DRIFT:
                self.drift.setdefault(labels["field"], {})[labels["bin"]] = value
            case names.DRIFT_REFERENCE:
                self.reference.setdefault(labels["field"], {})[labels["bin"]] = value
            case names.LIVE_PARITY_CHECKED:
                self.checked["answers"] = value
            case names.LIVE_PARITY_VIOLATIONS:
                self.checked["violations"] = value
            case names.FEEDBACK if labels["slice"] == "all":
                self.feedback[labels["outcome"]] = value
            case names.FEEDBACK_ACCURACY | names.FEEDBACK_CALIBRATION_ERROR:
                self.feedback[name.removeprefix("seatrial_feedback_")] = value


class Point(NamedTuple):
    """The measurements of one period: rates per second, seconds, rows.

    None stands where nothing was measured.
    """

    at: float
    answered: float
    refused: float
    batch_rows: float | None
    waiting_rows: float
    seconds: Mapping[str, Mapping[str, float]]
    """"p50" and "p99" -> phase -> seconds."""


def read_versions(families: Iterable[Metric]) -> dict[Key, Reading]:
    """The readings of all versions, from what a registry collects."""
    readings: dict[Key, Reading] = {}
    for family in families:
        for sample in family.samples:
            if "model" in sample.labels and "version" in sample.labels:
                key = sample.labels["model"], sample.labels["version"]
                readings.setdefault(key, Reading()).take(sample.name, sample.labels, sample.value)
        # Read in a thread: the event loop goes first, if it waits for the interpreter.
        time.sleep(0)
    return readings


def point_between(old: Reading, new: Reading, at: float, period_s: float) -> Point:
    """What happened in the `period_s` seconds from `old` to `new`, which was read at `at`."""
    ended = {code: max(0.0, count - old.codes.get(code, 0.0)) for code, count in new.codes.items()}
    answered = ended.pop("ok", 0.0)
    batches = new.batches - old.batches
    seconds: dict[str, dict[str, float]] = {name: {} for name in QUANTILES}
    for phase, buckets in new.phases.items():
        before = old.phases.get(phase, {})
        counts = [count - before.get(bound, 0.0) for bound, count in buckets.items()]
        if counts[-1] > 0:
            for name, share in QUANTILES.items():
                seconds[name][phase] = quantile(share, list(buckets), counts)
    return Point(
        at,
        answered / period_s,
        sum(ended.values()) / period_s,
        (new.rows - old.rows) / batches if batches > 0 else None,
        new.waiting,
        seconds,
    )


def quantile(share: float, bounds: Sequence[float], counts: Sequence[float]) -> float:
    """Return the value below which a share of all values lies.

    Values in a bucket count as spread evenly: PromQL's `histogram_quantile`.

    `counts` are cumulative and rising; a value beyond the last finite bound counts as that bound.
    """
    wanted = share * counts[-1]
    if wanted <= counts[0]:
        return bounds[0] * wanted / counts[0]
    for (low, high), (below, until) in zip(pairwise(bounds), pairwise(counts), strict=True):
        if wanted <= until:
            return (
                low
                if high == float("inf")
                else low + (high - low) * (wanted - below) / (until - below)
            )
    raise ValueError("no bucket holds it; this is a bug in seatrial")
