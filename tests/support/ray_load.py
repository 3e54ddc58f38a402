"""Clients of a real Ray Serve that ask one after another, over HTTP or over gRPC."""

from __future__ import annotations

import http.client
import json
import struct
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import grpc

from seatrial_serve.v2.proto import inference_pb2 as pb
from support.real_ray import Cluster

CLIENTS = 8
X = 1.5
"""Of the row that all of them send."""
WITHIN_S = 30
NO_HEADERS: Mapping[str, str] = {}
Asked = tuple[str, float]
"""The version that answered, and its `y`."""


@dataclass
class Lost(Exception):
    """What came in place of an answer."""

    text: str
    closed: bool = False
    """Did it come of the connection, without a status of anybody's?"""


class Load(ABC):
    """Clients that ask one after another until they are told to stop."""

    def __init__(self, clients: int = CLIENTS) -> None:
        self.answered = Counter[str]()
        self.answers = defaultdict[str, set[float]](set)
        """Version -> every `y` that it answered."""
        self.refused, self.closed = list[str](), list[str]()
        """Statuses in place of an answer; connections that ended without one."""
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    @property
    def errors(self) -> list[str]:
        """All that came in place of answers."""
        return self.refused + self.closed

    @abstractmethod
    def client(self) -> AbstractContextManager[Callable[[], Asked]]:
        """What asks once, and raises `Lost` if there is no answer."""

    def _ask(self) -> None:
        with self.client() as ask:
            while not self._stop.is_set():
                try:
                    version, y = ask()
                except Lost as lost:
                    (self.closed if lost.closed else self.refused).append(lost.text)
                else:
                    self.answered[version] += 1
                    self.answers[version].add(y)

    def wait_for(self, answers: int) -> None:
        """Until so many more have been answered."""
        end, goal = time.monotonic() + 60, self.answered.total() + answers
        while self.answered.total() < goal:
            assert time.monotonic() < end, (self.answered, self.errors)
            time.sleep(0.05)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Under it."""
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join()


class HttpLoad(Load):
    """Over HTTP: a row of V1, on a connection that is kept."""

    def __init__(
        self,
        cluster: Cluster,
        model: str,
        clients: int = CLIENTS,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> None:
        super().__init__(clients)
        self._port, self._path = cluster.http_port, f"/v1/models/{model}:predict"
        self._headers = {"Content-Type": "application/json", **headers}
        self._body = json.dumps({"instances": [{"x": X}]})

    @contextmanager
    def client(self) -> Iterator[Callable[[], Asked]]:
        """See `Load.client`."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=WITHIN_S)

        def ask() -> Asked:
            try:
                connection.request("POST", self._path, self._body, self._headers)
                reply = connection.getresponse()
                text = reply.read().decode()
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                raise Lost(f"{type(error).__name__}: {error}", closed=True) from None
            if reply.status != 200:
                raise Lost(f"{reply.status} {dict(reply.headers)} {text[:200]}")
            told = json.loads(text)
            return told["model_version"], told["predictions"][0]["y"]

        try:
            yield ask
        finally:
            connection.close()


class GrpcLoad(Load):
    """Over gRPC: a tensor of V2, on a channel of its own."""

    def __init__(self, cluster: Cluster, model: str, clients: int = CLIENTS) -> None:
        super().__init__(clients)
        self._address = cluster.grpc
        column = pb.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=[1])
        request = pb.ModelInferRequest(model_name=model, inputs=[column])
        request.raw_input_contents.append(struct.pack("<f", X))
        self._message = request.SerializeToString()

    @contextmanager
    def client(self) -> Iterator[Callable[[], Asked]]:
        """See `Load.client`."""
        alone = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
        with grpc.insecure_channel(self._address, alone) as channel:
            method = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")

            def ask() -> Asked:
                try:
                    data = method(self._message, timeout=WITHIN_S)
                except grpc.RpcError as error:
                    told = dict(error.trailing_metadata() or ())
                    text = f"{error.code().name} {told} {error.details()[:200]}"
                    raise Lost(text, closed="seatrial-code" not in told) from None
                reply = pb.ModelInferResponse.FromString(data)
                (y,) = struct.unpack("<f", reply.raw_output_contents[0])
                return reply.model_version, y

            yield ask
