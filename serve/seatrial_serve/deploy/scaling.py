"""What replicas are scaled by, and how fast: see `docs/how-to/scaling.md`."""

from __future__ import annotations

from typing import Any

from seatrial_serve.metrics import names

TARGET = "0.5"
"""Predicted queue over objective."""
CPU_PERCENT = 85
"""Processor time as a second trigger, where processors do the work."""


def behavior() -> dict[str, Any]:
    """Gentle speeds, as an HPA reads them: under its own the predicted queue swings."""
    return {
        "scaleUp": {
            "policies": [
                {"type": "Percent", "value": 25, "periodSeconds": 15},
                {"type": "Pods", "value": 4, "periodSeconds": 15},
            ]
        },
        "scaleDown": {
            "stabilizationWindowSeconds": 300,
            "policies": [{"type": "Percent", "value": 10, "periodSeconds": 60}],
        },
    }


def queue_ratio(**labels: str) -> str:
    """PromQL: the predicted queue over the objective, the mean of the replicas.

    Of several versions in a replica, the one that is nearest to its objective counts.
    """
    chosen = ", ".join(f'{name}="{value}"' for name, value in labels.items())
    ratio = f"{names.PREDICTED_QUEUE}{{{chosen}}} / {names.OBJECTIVE_SECONDS}{{{chosen}}}"
    return f"avg(max without (version) ({ratio}))"
