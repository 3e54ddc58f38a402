"""The protocol's gRPC service and its listener."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from typing import Any, Self
from urllib.parse import unquote

import grpc
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from seatrial_contracts.errors import DeclarationError, Refusal, SeatrialError
from seatrial_serve.admission import NO_ROOM, REFUSAL_S
from seatrial_serve.audit import audited
from seatrial_serve.body import REQUEST_ID_HEADER, request_id_of
from seatrial_serve.clock import now_s
from seatrial_serve.drain import Drain
from seatrial_serve.journey import Watchers, tell_watchers
from seatrial_serve.keeper import Keeper
from seatrial_serve.lane import begin_journey
from seatrial_serve.metrics import NOBODY, Metrics
from seatrial_serve.model import Terms
from seatrial_serve.models_api import in_turns
from seatrial_serve.partial import asks_for_parts
from seatrial_serve.repository import Entry, Repository
from seatrial_serve.status import answer_to, status_of
from seatrial_serve.taps import Taps
from seatrial_serve.v2.describe import index, model_config, model_metadata, model_statistics, server_metadata
from seatrial_serve.v2.grpc_message import read_message, write_message
from seatrial_serve.v2.infer import infer
from seatrial_serve.v2.proto import inference_pb2 as pb

log = logging.getLogger("seatrial.grpc")
SERVICE = "inference.GRPCInferenceService"
MAX_MESSAGE_BYTES = 64 * 2**20
"""Above it gRPC itself refuses a message; below it the contract's own limit holds."""
CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT, 404: grpc.StatusCode.NOT_FOUND, 413: grpc.StatusCode.RESOURCE_EXHAUSTED, 415: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED, 500: grpc.StatusCode.INTERNAL, 503: grpc.StatusCode.UNAVAILABLE, 504: grpc.StatusCode.DEADLINE_EXCEEDED,
}  # fmt: skip
"""HTTP status of an error -> its gRPC status."""
SERVING = health_pb2.HealthCheckResponse.SERVING
Context = Any
"""grpc.aio.ServicerContext; the package has no types."""
Method = Callable[[Any, Context], Awaitable[Any]]


class InferenceService:
    """The unary calls. An error's stable code travels as trailing metadata `seatrial-code`, its Retry-After as `retry-after`."""

    def __init__(
        self, repository: Repository, pool: Executor, drain: Drain, timeout_s: float, taps: Taps,
        metrics: Metrics, keeper: Keeper | None = None, watchers: Watchers = (),
    ) -> None:  # fmt: skip
        """With a keeper, which is the administrator's, models can be loaded and unloaded."""
        self._repository, self._pool, self._drain, self._timeout_s, self._keeper = (
            repository,
            pool,
            drain,
            timeout_s,
            keeper,
        )
        self._taps, self._metrics, self._watchers = taps, metrics, watchers

    def handler(self) -> grpc.GenericRpcHandler:
        """What gRPC calls."""
        methods: dict[str, tuple[Method, type[Message]]] = {
            "ServerLive": (self.server_live, pb.ServerLiveRequest), "ServerReady": (self.server_ready, pb.ServerReadyRequest), "ModelReady": (self.model_ready, pb.ModelReadyRequest),
            "ServerMetadata": (self.server_metadata, pb.ServerMetadataRequest), "ModelMetadata": (self.model_metadata, pb.ModelMetadataRequest), "ModelInfer": (self.model_infer, pb.ModelInferRequest),
            "ModelConfig": (self.model_config, pb.ModelConfigRequest), "ModelStatistics": (self.model_statistics, pb.ModelStatisticsRequest), "RepositoryIndex": (self.repository_index, pb.RepositoryIndexRequest),
            "RepositoryModelLoad": (self.model_load, pb.RepositoryModelLoadRequest), "RepositoryModelUnload": (self.model_unload, pb.RepositoryModelUnloadRequest),
        }  # fmt: skip
        return grpc.method_handlers_generic_handler(SERVICE, {
            name: grpc.unary_unary_rpc_method_handler(_answering(method), message.FromString, lambda answer: answer.SerializeToString())
            for name, (method, message) in methods.items()
        })  # fmt: skip

    async def server_live(self, _: pb.ServerLiveRequest, __: Context) -> pb.ServerLiveResponse:
        """The process is alive."""
        return pb.ServerLiveResponse(live=True)

    async def server_ready(self, _: pb.ServerReadyRequest, __: Context) -> pb.ServerReadyResponse:
        """Does every model take traffic?"""
        return pb.ServerReadyResponse(ready=self._repository.ready and not self._drain.draining)

    async def model_ready(self, asked: pb.ModelReadyRequest, _: Context) -> pb.ModelReadyResponse:
        """Does this model take traffic? One that is not there does not."""
        entry = self._repository.find(asked.name, asked.version or None)
        return pb.ModelReadyResponse(ready=entry is not None and entry.takes_traffic and not self._drain.draining)

    async def server_metadata(self, _: pb.ServerMetadataRequest, __: Context) -> pb.ServerMetadataResponse:
        """Name, version, extensions."""
        return pb.ServerMetadataResponse(**server_metadata(admin=self._keeper is not None))

    async def model_metadata(self, asked: pb.ModelMetadataRequest, _: Context) -> pb.ModelMetadataResponse:
        """A model's tensors."""
        entry = self._found(asked.name, asked.version)
        return ParseDict(model_metadata(self._repository, entry), pb.ModelMetadataResponse())

    async def model_config(self, asked: pb.ModelConfigRequest, _: Context) -> pb.ModelConfigResponse:
        """A model's configuration, in Triton's words."""
        return ParseDict({"config": model_config(self._found(asked.name, asked.version))}, pb.ModelConfigResponse())

    async def model_statistics(self, asked: pb.ModelStatisticsRequest, _: Context) -> pb.ModelStatisticsResponse:
        """What a model has done, or all where none is named."""
        if asked.name:
            models = [self._found(asked.name, asked.version).ready_model()]
        else:
            models = [entry.model for entry in self._repository if entry.model is not None]
        told = await in_turns(models, lambda model: ParseDict(model_statistics(model), pb.ModelStatistics()))
        return pb.ModelStatisticsResponse(model_stats=told)

    async def repository_index(self, asked: pb.RepositoryIndexRequest, _: Context) -> pb.RepositoryIndexResponse:
        """Every version and its state."""
        return pb.RepositoryIndexResponse(models=[
            pb.RepositoryIndexResponse.ModelIndex(**each) for each in index(self._repository, asked.ready)
        ])  # fmt: skip

    async def model_load(
        self, asked: pb.RepositoryModelLoadRequest, context: Context
    ) -> pb.RepositoryModelLoadResponse:
        """Load a model from the folder, or load it anew."""
        admin = self._admin()
        with self._audit("load", asked.model_name, context):
            if asked.parameters:
                want = "none: what is served is what was sealed"
                raise Refusal("E_UNSUPPORTED", "parameters", "a configuration or files", want)
            await admin.load(asked.model_name)
        return pb.RepositoryModelLoadResponse()

    async def model_unload(
        self, asked: pb.RepositoryModelUnloadRequest, context: Context
    ) -> pb.RepositoryModelUnloadResponse:
        """Take a model out of service."""
        admin = self._admin()
        with self._audit("unload", asked.model_name, context):
            await admin.unload(asked.model_name)
        return pb.RepositoryModelUnloadResponse()

    def _audit(self, action: str, model: str, context: Context) -> AbstractContextManager[None]:
        who = unquote(context.peer()).partition(":")[2].rpartition(":")[0]  # ipv4:127.0.0.1:50123, ipv6:%5B::1%5D:50123
        request_id = request_id_of(headers_of(context))
        return audited(action, model, self._repository, who=who, over="gRPC", request_id=request_id)

    def _admin(self) -> Keeper:
        if self._keeper is None:
            raise Refusal("E_NOT_FOUND", "method", "one that is off", "a server that was started with --admin")
        return self._keeper

    async def model_infer(self, asked: pb.ModelInferRequest, context: Context) -> pb.ModelInferResponse:
        """One inference."""
        headers = headers_of(context)
        journey = begin_journey(headers, f"{SERVICE}/ModelInfer")
        entry = self._repository.find(asked.model_name, asked.model_version or None)
        journey.model = entry.model if entry is not None else None
        self._drain.enter()
        try:
            model = journey.model = self._found(asked.model_name, asked.model_version).ready_model()
            if asked.ByteSize() > model.contract.max_body_bytes:
                raise Refusal(
                    "E_BODY_BYTES",
                    "request",
                    f"{asked.ByteSize()} bytes",
                    f"at most {model.contract.max_body_bytes} bytes",
                )
            left_s = context.time_remaining()
            terms = Terms(
                journey.began_s + min(self._timeout_s, self._timeout_s if left_s is None else left_s),
                context.peer().rpartition(":")[0],
                journey=journey,
                partial=asks_for_parts(headers),
            )
            model.pressure.admit(terms.deadline_s)
            with model:
                response = await infer(model, read_message(asked), terms, self._pool)
                encoding = now_s()
                answer = write_message(response)
                model.encoded(encoding, terms)
            journey.answer = response.answer
            journey.end("ok", 200)
            self._taps.offer(model, response.answer, journey.request_id, journey.seconds, asked.ByteSize())
            return answer
        except asyncio.CancelledError:  # its client left
            journey.end("")
            raise
        except Exception as error:  # every error becomes one clear answer
            status, code = status_of(error)
            journey.end(code, status, error)
            self._metrics.refused(*(NOBODY if entry is None else (entry.name, entry.version)), error)
            if code in NO_ROOM:
                await asyncio.sleep(REFUSAL_S)
            raise
        finally:
            self._drain.leave()
            tell_watchers(self._watchers, journey)

    def _found(self, name: str, version: str) -> Entry:
        entry = self._repository.find(name, version or None)
        if entry is None:
            raise Refusal("E_MODEL_NOT_FOUND", "model", "an unknown name or version", "one of RepositoryIndex")
        return entry


def headers_of(context: Context) -> Mapping[bytes, bytes]:
    """The metadata of a call, as HTTP has it, and the request id that `_answering` settled."""
    settled = context.trailing_metadata() or ()
    return {
        key.encode(): value.encode("latin-1", "replace") if isinstance(value, str) else value
        for key, value in (*(context.invocation_metadata() or ()), *settled)
    }


def _answering(method: Method) -> Method:
    """The method, with every error turned into one status, and the request's id in the trailing metadata of each answer."""

    async def answer(asked: Any, context: Context) -> Any:
        request_id = request_id_of(headers_of(context))
        context.set_trailing_metadata(((REQUEST_ID_HEADER.decode(), request_id),))
        try:
            return await method(asked, context)
        except Exception as error:  # every error becomes one clear answer; what is not ours is logged there
            status, code, _, headers = answer_to(error, request_id)
            text = (
                str(error)
                if isinstance(error, SeatrialError)
                else "seatrial failed on this request; this is a bug in seatrial"
            )
            metadata = [
                ("seatrial-code", code),
                *context.trailing_metadata(),
                *((key.decode(), value.decode()) for key, value in headers),
            ]
            await context.abort(CODES.get(status, grpc.StatusCode.INTERNAL), text, tuple(metadata))

    return answer


class GrpcListener:
    """The service and `grpc.health.v1` on a port of their own. Use `async with`."""

    def __init__(
        self,
        service: InferenceService,
        repository: Repository,
        drain: Drain,
        host: str,
        port: int,
        grace_s: float,
        *,
        shared_port: bool = False,
    ) -> None:
        self._service, self._repository, self._drain, self._grace_s = service, repository, drain, grace_s
        self._shared_port = shared_port
        self._address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._health = health.aio.HealthServicer()
        self._told: dict[str, int] = {}
        """Service or model -> the status that health checks know of it."""
        self.port = port

    async def __aenter__(self) -> Self:
        self._server = grpc.aio.server(options=[
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES), ("grpc.max_send_message_length", -1), ("grpc.so_reuseport", int(self._shared_port)),
        ])  # fmt: skip
        self._server.add_generic_rpc_handlers((self._service.handler(),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        try:
            self.port = self._server.add_insecure_port(self._address)
        except RuntimeError:  # it was free when the server looked
            where, mend = f"listening on {self._address}", "choose another: --grpc-port"
            raise DeclarationError(where, "an error", "a free port of this machine", mend) from None
        await self.refresh()
        await self._server.start()
        log.info("gRPC on port %d", self.port)
        return self

    async def refresh(self) -> None:
        """Tell health checks, and whoever watches, what stands otherwise now; a model that is gone is an unknown service."""
        states = {name: entry.takes_traffic for name, entry in self._repository.served.items()}
        states[""] = states[SERVICE] = all(states.values())
        now = dict.fromkeys(self._told, health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)
        for name, ready in states.items():
            now[name] = SERVING if ready and not self._drain.draining else health_pb2.HealthCheckResponse.NOT_SERVING
        changed = {name: status for name, status in now.items() if self._told.get(name) != status}
        self._told |= changed
        for name, status in changed.items():
            await self._health.set(name, status)

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop(self._grace_s)
