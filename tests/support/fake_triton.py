"""A Triton of our own for tests: its gRPC, over the toy model's graph.

It can be stopped, started again, held and made to lie.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2 as pb
from tritonclient.utils import deserialize_bytes_tensor

from seatrial_serve.runtimes.triton_naming import digest_key
from support.toys import answer

SERVICE = "inference.GRPCInferenceService"
CALLS = {
    "ModelReady": pb.ModelReadyRequest,
    "ModelConfig": pb.ModelConfigRequest,
    "ModelInfer": pb.ModelInferRequest,
}
Outputs = dict[str, np.ndarray[Any, Any]]


class FakeTriton:
    """Holds `toy_graph` 1000000 on one port, which stays its own while it is stopped."""

    def __init__(self, digest: str) -> None:
        self.digest = digest
        self.lie: Callable[[Outputs], Outputs] = lambda outputs: outputs
        self.type_of_x: str | int = "TYPE_FP32"
        self.open = threading.Event()
        self.open.set()
        self.asked, self.seen_timeouts = 0, list[int]()
        self._port = 0
        self.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    def start(self) -> None:
        self._server = grpc.server(ThreadPoolExecutor(16), options=[("grpc.so_reuseport", 0)])
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(
                getattr(self, name), kind.FromString, lambda reply: reply.SerializeToString()
            )
            for name, kind in CALLS.items()
        }
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, handlers),)
        )
        self._port = self._server.add_insecure_port(f"127.0.0.1:{self._port}")
        self._server.start()

    def stop(self) -> None:
        self._server.stop(0).wait()

    def ModelReady(self, _: Any, __: Any) -> Any:
        return pb.ModelReadyResponse(ready=True)

    def ModelConfig(self, _: Any, __: Any) -> Any:
        reply = pb.ModelConfigResponse()
        config = reply.config
        config.name, config.backend = "toy_graph", "fake"
        config.parameters[digest_key(1000000)].string_value = self.digest
        for tensors, named in (
            (config.input, [("x", self.type_of_x, [1]), ("word", "TYPE_STRING", [1])]),
            (config.output, [("twice", "TYPE_FP32", [1]), ("pair", "TYPE_FP32", [2])]),
        ):
            for name, kind, dims in named:
                tensor = tensors.add(name=name, data_type=kind, dims=dims)
                if dims == [1]:
                    tensor.reshape.SetInParent()
        return reply

    def ModelInfer(self, asked: Any, _: Any) -> Any:
        self.asked += 1
        self.seen_timeouts.append(asked.parameters["timeout"].int64_param)
        self.open.wait(20)
        raw = dict(zip((each.name for each in asked.inputs), asked.raw_input_contents, strict=True))
        words = [word.decode() for word in deserialize_bytes_tensor(raw["word"]).tolist()]
        outputs = self.lie(
            answer({"x": np.frombuffer(raw["x"], np.float32), "word": np.array(words, object)})
        )
        reply = pb.ModelInferResponse(model_name="toy_graph", model_version="1000000")
        for name, array in outputs.items():
            shape = array.shape if array.ndim > 1 else (*array.shape, 1)
            reply.outputs.add(
                name=name, datatype="FP32" if array.dtype == np.float32 else "INT64", shape=shape
            )
            reply.raw_output_contents.append(array.tobytes())
        return reply
