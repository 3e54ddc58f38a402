"""What one replica is loaded with, as the policy reads it."""

from __future__ import annotations

from collections.abc import Iterable

from seatrial_serve.models.served_model import ServedModel


def queue_ratio(models: Iterable[ServedModel], request_timeout_s: float) -> float:
    """Return the predicted queue over the objective, of the model where it is the largest.

    An objective is at most `request_timeout_s`, in seconds, which holds for a model without one.
    Without a model the ratio is 0.
    """
    ratios = [model.backlog.queue_s / min(model.objective_s, request_timeout_s) for model in models]
    return max(ratios, default=0.0)
