"""Our server over gRPC."""

from __future__ import annotations

from collections.abc import Iterator

from seatrial_contracts.errors import Unavailable
from seatrial_parity.runners.runner import TrialRequest
from seatrial_parity.runners.tensor_runner import GrpcRunner, Served, triton_inputs
from seatrial_parity.runners.tensors import tensors_of

NAME = "grpc"


def runners(asked: TrialRequest) -> Iterator[OurGrpcRunner]:
    """One, where there is a server."""
    if asked.grpc is not None:
        yield OurGrpcRunner(asked.bundle, asked.grpc, asked.bundle.version, asked.key, asked.model)


class OurGrpcRunner(GrpcRunner):
    """The gRPC runner of a seatrial server.

    Digest and variant stand in the metadata's properties, which Triton's client does not read; an
    answer's parameters name them too.
    """

    name = NAME

    def served(self) -> Served:
        """See `TensorRunner.served`."""
        from tritonclient.utils import InferenceServerException

        first = tensors_of(self._contract, [self._bundle.golden.rows[0]])
        try:
            result = self.client.infer(
                self.model,
                triton_inputs(self.kit, first),
                model_version=self.version,
                headers=self.headers,
            )
        except InferenceServerException as error:
            raise Unavailable(
                "E_UNREACHABLE", f"{self.name}: {str(error.message())[:200]}"
            ) from None
        told = result.get_response().parameters
        return Served(str(told["digest"].string_param), str(told["variant"].string_param))
