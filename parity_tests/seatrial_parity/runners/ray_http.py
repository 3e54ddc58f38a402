"""Our replicas behind Ray Serve's HTTP proxy."""

from __future__ import annotations

from collections.abc import Iterator

from seatrial_parity.runners.http import HttpRunner
from seatrial_parity.runners.runner import TrialRequest

NAME = "ray http"


def runners(asked: TrialRequest) -> Iterator[RayHttpRunner]:
    """One, where there is a Ray Serve."""
    if asked.ray is not None:
        yield RayHttpRunner(asked.bundle, asked.ray, asked.key, asked.model)


class RayHttpRunner(HttpRunner):
    """V1 rows to it."""

    name = NAME
