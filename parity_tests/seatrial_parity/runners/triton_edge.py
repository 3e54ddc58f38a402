"""Our HTTP server before NVIDIA Triton: `seatrial serve --runtime triton`."""

from __future__ import annotations

from collections.abc import Iterator

from seatrial_parity.runners.http import HttpRunner
from seatrial_parity.runners.runner import TrialRequest

NAME = "edge on triton"


def runners(asked: TrialRequest) -> Iterator[EdgeRunner]:
    """One, where there is such a server."""
    if asked.edge is not None:
        yield EdgeRunner(asked.bundle, asked.edge, model=asked.model)


class EdgeRunner(HttpRunner):
    """V1 rows to it."""

    name = NAME
