"""Our server over HTTP, by V2's binary tensors."""

from __future__ import annotations

from collections.abc import Iterator

from seatrial_parity.runners.runner import TrialRequest
from seatrial_parity.runners.tensor_runner import BinaryRunner, Served

NAME = "v2 binary"


def runners(asked: TrialRequest) -> Iterator[V2BinaryRunner]:
    """One, where there is a server."""
    if asked.url is not None:
        yield V2BinaryRunner(asked.bundle, asked.url, asked.bundle.version, asked.key, asked.model)


class V2BinaryRunner(BinaryRunner):
    """The model's metadata names digest and variant."""

    name = NAME

    def served(self) -> Served:
        """See `TensorRunner.served`."""
        told = self.get("").get("properties", {})
        return Served(told.get("digest", ""), told.get("variant", ""))
