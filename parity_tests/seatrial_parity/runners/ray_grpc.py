"""Our replicas behind Ray Serve's gRPC proxy."""

from __future__ import annotations

from collections.abc import Iterator

from seatrial_parity.runners.grpc import OurGrpcRunner
from seatrial_parity.runners.runner import TrialRequest

NAME = "ray grpc"


def runners(asked: TrialRequest) -> Iterator[RayGrpcRunner]:
    """One, where there is a Ray Serve."""
    if asked.ray_grpc is not None:
        yield RayGrpcRunner(
            asked.bundle, asked.ray_grpc, asked.bundle.version, asked.key, asked.model
        )


class RayGrpcRunner(OurGrpcRunner):
    """V2 messages to it."""

    name = NAME
