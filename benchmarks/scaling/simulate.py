"""What to scale by: a day of traffic on up to 1,000 replicas, under each signal and each rule.

    python benchmarks/scaling/simulate.py [--hours 24] [--plot docs/how-to/scaling.png]

Each line is one day with the same rates of arrivals: refused and late requests, replica-hours.
"""

from __future__ import annotations

import argparse
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from replicas import Model, Replicas
from rules import Hpa, RayServe, Rule
from traffic import DAY_S, Traffic

from seatrial_ray.policy import TOLERANCE
from seatrial_serve.deploy.ray import GENTLY
from seatrial_serve.deploy.scaling import CPU_PERCENT, TARGET

MODELS = {
    "sentences": Model(per_s=79.5, objective_s=0.5, patience_s=2.0, cpu=1.0, start_s=35.0),
    "penguins": Model(per_s=7457.0, objective_s=0.05, patience_s=0.5, cpu=1.0, start_s=32.0),
    "photos on a card": Model(per_s=568.0, objective_s=1.0, patience_s=2.0, cpu=0.4, start_s=60.0),
    "a slow model": Model(
        per_s=1 / 0.3, objective_s=0.5, patience_s=2.0, cpu=1.0, start_s=35.0, steps_per_s=5
    ),
}
"""Capacities are those of benchmarks/RESULTS.md at 64 connections, objectives the contracts'.

A start is the measured load, and 30 s (on a card 50) for scheduling and pull, which are assumed; so
is the share of the processors beside a full card. The slow model is made up: a request's own time
is 0.6 of its objective.
"""
SCRAPE_S, SEED = 15, 20261128


@dataclass
class Seen:
    """What Prometheus saw at the last scrape, and the processor's share over the last minute."""

    busy: deque[float] = field(default_factory=lambda: deque(maxlen=60))
    queues_s: NDArray[np.float64] = field(default_factory=lambda: np.zeros(1))
    """The predicted queue of each replica."""
    waiting: float = 0.0


Signal = Callable[[Seen, Model], float]
"""The metric as a multiple of its target."""


def by_cpu(seen: Seen, model: Model) -> float:
    """Processor time over 70% of what was asked for."""
    return model.cpu * sum(seen.busy) / len(seen.busy) / 0.7


def by_waiting(seen: Seen, _model: Model) -> float:
    """Requests waiting in a replica, over 8."""
    return seen.waiting / 8


def by_wait(seen: Seen, model: Model) -> float:
    """The longest predicted wait, in which a request's own time is, over half of the objective."""
    return (float(seen.queues_s.max()) + 1 / model.per_s) / model.objective_s / float(TARGET)


def by_longest_queue(seen: Seen, model: Model) -> float:
    """The longest predicted queue, over half of the objective."""
    return float(seen.queues_s.max()) / model.objective_s / float(TARGET)


def by_queue(seen: Seen, model: Model) -> float:
    """The mean of the predicted queues, over half of the objective."""
    return float(seen.queues_s.mean()) / model.objective_s / float(TARGET)


def by_short_queue(seen: Seen, model: Model) -> float:
    """The same, over a fifth of the objective: half of what the slow model's own time leaves."""
    return float(seen.queues_s.mean()) / model.objective_s / 0.2


def by_queue_or_cpu(seen: Seen, model: Model) -> float:
    """The larger one of `by_queue` and of processor time over 85%: two triggers."""
    return max(by_queue(seen, model), by_cpu(seen, model) * 70 / CPU_PERCENT)


class Policy(NamedTuple):
    """A signal under a rule."""

    signal: Signal
    rule: Callable[[], Rule]


def gently() -> Hpa:
    """Up by a quarter in 15 s, down by a tenth a minute."""
    return Hpa(up=0.25, down=0.1)


def ray_gently() -> RayServe:
    """Ray's rule under our policy and factors."""
    return RayServe(factor=GENTLY, tolerance=TOLERANCE)


KEDA, RAY = "predicted queue or CPU, KEDA, gently", "predicted queue or CPU, Ray, gently"
"""What `seatrial deploy` writes."""
POLICIES: Mapping[str, Policy] = {
    "CPU, HPA": Policy(by_cpu, Hpa),
    "requests waiting, KEDA": Policy(by_waiting, Hpa),
    "longest wait, KEDA, gently": Policy(by_wait, gently),
    "longest queue, KEDA, gently": Policy(by_longest_queue, gently),
    "predicted queue, KEDA": Policy(by_queue, Hpa),
    "predicted queue, KEDA, gently": Policy(by_queue, gently),
    "predicted queue at 0.2, KEDA, gently": Policy(by_short_queue, gently),
    "predicted queue or CPU, KEDA": Policy(by_queue_or_cpu, Hpa),
    KEDA: Policy(by_queue_or_cpu, gently),
    "ongoing requests, Ray": Policy(by_waiting, RayServe),
    "predicted queue, Ray": Policy(by_queue, RayServe),
    RAY: Policy(by_queue_or_cpu, ray_gently),
}


class Day(NamedTuple):
    """What came of a day."""

    arrived: int
    refused: int
    late: int
    replica_hours: float
    most: int
    """The most replicas at once."""


def day(model: Model, policy: Policy, rates: NDArray[np.float64]) -> Day:
    """Run the arrivals of `rates` (a second each), beginning with enough replicas."""
    dice, rule, seen = np.random.default_rng(SEED), policy.rule(), Seen()
    replicas = Replicas(model, np.zeros(max(1, round(rates[0] / model.per_s / 0.7))))
    total, counts = np.zeros(3), np.zeros(len(rates), dtype=np.int64)
    for second, rate in enumerate(rates):
        busy = 0.0
        for _ in range(model.steps_per_s):
            total += replicas.step(float(rate), dice)
            busy += replicas.busy / model.steps_per_s
        seen.busy.append(busy)
        if second % SCRAPE_S == 0:
            seen.queues_s, seen.waiting = replicas.queues_s, float(replicas.waiting.mean())
        if second % rule.every_s == 0:
            load = policy.signal(seen, model)
            replicas.scale(rule.wanted(second, replicas.count, load))
        counts[second] = replicas.count
    arrived, refused, late = map(round, total)
    return Day(arrived, refused, late, float(counts.sum() / 3600), int(counts.max()))


def days(model: Model, hours: float, peak_replicas: int) -> Iterator[tuple[str, Day]]:
    """The same day under each policy."""
    traffic = Traffic(peak_per_s=model.per_s * 0.7 * peak_replicas)
    rates = traffic.per_s(round(hours * 3600), np.random.default_rng(SEED))
    for name, policy in POLICIES.items():
        yield name, day(model, policy, rates)


def draw(plot: Path, found: Mapping[str, Mapping[str, Day]]) -> None:
    """Replica-hours against refused requests: a panel for each model."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, len(found), figsize=(15, 4.8), layout="constrained")
    for panel, (title, days_of) in zip(panels, found.items(), strict=True):
        for name, one in days_of.items():
            share = max(100 * one.refused / one.arrived, 1e-3)
            mark = "o" if name in (KEDA, RAY) else "s" if name == "CPU, HPA" else "x"
            panel.plot(one.replica_hours, share, mark, label=name)
        panel.set(title=title, xlabel="replica-hours", yscale="log", xscale="log")
        panel.grid(alpha=0.25, which="both")
    panels[0].set(ylabel="refused, %")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4,
                  fontsize=8)  # fmt: skip
    figure.savefig(plot, dpi=110)


def main() -> None:
    """Print the table, and draw it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=DAY_S / 3600)
    parser.add_argument("--replicas", type=int, default=400, help="wanted at the day's height")
    parser.add_argument("--plot", type=Path)
    asked = parser.parse_args()
    print("| model | scaled by | refused | late | replica-hours | most replicas |")
    print("|---|---|---|---|---|---|")
    found: dict[str, dict[str, Day]] = {title: {} for title in MODELS}
    for title, model in MODELS.items():
        for name, one in days(model, asked.hours, asked.replicas):
            found[title][name] = one
            shares = " | ".join(f"{part / one.arrived:.3%}" for part in (one.refused, one.late))
            line = f"| {title} | {name} | {shares} | {one.replica_hours:,.0f} | {one.most} |"
            print(line, flush=True)
    if asked.plot is not None:
        draw(asked.plot, found)


if __name__ == "__main__":
    main()
