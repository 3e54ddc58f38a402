"""Our server over HTTP, by V2's binary tensors."""

from __future__ import annotations

from collections.abc import Iterator

from seatrial_parity.runners.runner import Asked
from seatrial_parity.runners.tensor_runner import BinaryRunner

NAME = "v2 binary"


def runners(asked: Asked) -> Iterator[V2BinaryRunner]:
    """One, where there is a server."""
    if asked.url is not None:
        yield V2BinaryRunner(asked.bundle, asked.url, asked.bundle.version)


class V2BinaryRunner(BinaryRunner):
    """The model's metadata names the digest."""

    name = NAME

    def digest(self) -> str:
        """See `TensorRunner.digest`."""
        return str(self.get("").get("properties", {}).get("digest", ""))
