"""NVIDIA Triton over HTTP, with a model repository that `seatrial triton` wrote."""

from __future__ import annotations

from collections.abc import Iterator

from seatrial_contracts.kinds.kind import Array
from seatrial_parity.runners.runner import TrialRequest
from seatrial_parity.runners.tensor_runner import BinaryRunner, Served
from seatrial_parity.runners.tensors import Tensors, widened

NAME = "triton http"


def runners(asked: TrialRequest) -> Iterator[TritonHttpRunner]:
    """One, where there is a Triton."""
    if asked.triton is not None:
        from seatrial_serve.runtimes.triton_naming import triton_version

        yield TritonHttpRunner(
            asked.bundle, asked.triton, str(triton_version(asked.bundle.version))
        )


class TritonHttpRunner(BinaryRunner):
    """The model's configuration names the digest and the backend."""

    name, client_terms = NAME, False

    def ask(self, tensors: Tensors) -> dict[str, Array]:
        """See `TensorRunner.ask`."""
        return super().ask(widened(tensors))

    def served(self) -> Served:
        """See `TensorRunner.served`."""
        from seatrial_serve.runtimes.triton_naming import digest_key

        config = self.get("/config")
        self.provider = config.get("backend") or config.get("platform")
        return Served(
            str(
                config.get("parameters", {})
                .get(digest_key(int(self.version)), {})
                .get("string_value", "")
            )
        )
