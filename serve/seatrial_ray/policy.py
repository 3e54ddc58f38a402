"""Ray Serve's number of replicas by the predicted queue, with processor time as a second trigger.

Ray's controller gets this module by value: it imports the standard library alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

QUEUE, CPU = "seatrial_queue_ratio", "seatrial_cpu_ratio"
"""What a replica records: its queue over the objective, and cores' worth of time over its threads.

The queue is the wait that the requests already there make. Of several models, it is that of the
model which is nearest to its objective.
"""
TARGETS = {QUEUE: 0.5, CPU: 0.85}
TOLERANCE = 0.1
"""The number stays while the load is within so much of the target, as the HPA has it."""


def predicted_queue(context: Any) -> tuple[float, dict[str, Any]]:
    """Return how many replicas there should be, and no state: an autoscaling policy of Ray Serve.

    `context` is a `ray.serve.config.AutoscalingContext`. Ray itself applies its factors, delays and
    bounds to the number.
    """
    load = load_of(context.aggregated_metrics or {})
    if load is None or abs(load - 1) <= TOLERANCE:
        return context.target_num_replicas, {}
    return context.current_num_replicas * load, {}


def load_of(metrics: Mapping[str, Mapping[Any, float]]) -> float | None:
    """Return the load as a multiple of its target; None before any replica has recorded it.

    It is the mean of the replicas, of the metric that is nearest to its target.
    """
    loads = [
        sum(found.values()) / len(found) / target
        for name, target in TARGETS.items()
        if (found := metrics.get(name))
    ]
    return max(loads, default=None)
