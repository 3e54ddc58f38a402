"""Our HTTP server in the image that the Dockerfile makes."""

from __future__ import annotations

from collections.abc import Iterator

from seatrial_parity.runners.http import HttpRunner
from seatrial_parity.runners.runner import TrialRequest

NAME = "container"


def runners(asked: TrialRequest) -> Iterator[ContainerRunner]:
    """One, where there is such a server."""
    if asked.container is not None:
        yield ContainerRunner(asked.bundle, asked.container, asked.key, asked.model)


class ContainerRunner(HttpRunner):
    """V1 rows to it."""

    name = NAME
