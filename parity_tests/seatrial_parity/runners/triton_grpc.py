"""NVIDIA Triton over gRPC, with a model repository that `seatrial triton` wrote."""

from __future__ import annotations

from collections.abc import Iterator

from seatrial_contracts.errors import Unavailable
from seatrial_contracts.kinds.kind import Array
from seatrial_parity.runners.runner import TrialRequest
from seatrial_parity.runners.tensor_runner import GrpcRunner, Served
from seatrial_parity.runners.tensors import Tensors, widened

NAME = "triton grpc"


def runners(asked: TrialRequest) -> Iterator[TritonGrpcRunner]:
    """One, where there is a Triton."""
    if asked.triton_grpc is not None:
        from seatrial_serve.runtimes.triton_naming import triton_version

        yield TritonGrpcRunner(
            asked.bundle, asked.triton_grpc, str(triton_version(asked.bundle.version))
        )


class TritonGrpcRunner(GrpcRunner):
    """The model's configuration names the digest and the backend."""

    name, client_terms = NAME, False

    def ask(self, tensors: Tensors) -> dict[str, Array]:
        """See `TensorRunner.ask`."""
        return super().ask(widened(tensors))

    def served(self) -> Served:
        """See `TensorRunner.served`."""
        from tritonclient.utils import InferenceServerException

        from seatrial_serve.runtimes.triton_naming import digest_key

        try:
            config = self.client.get_model_config(self.model, self.version).config
        except InferenceServerException as error:
            raise Unavailable(
                "E_UNREACHABLE", f"{self.name}: {str(error.message())[:200]}"
            ) from None
        self.provider = config.backend or config.platform
        return Served(str(config.parameters[digest_key(int(self.version))].string_value))
