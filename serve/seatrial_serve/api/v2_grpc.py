"""The protocol's gRPC service and its listener."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message

from seatrial_contracts.contract import Contract
from seatrial_contracts.errors import Refusal, Unavailable
from seatrial_serve.access.caller import Caller, Scope
from seatrial_serve.api.audit import AdminCall
from seatrial_serve.api.exchange import LARGE_BODY_BYTES, Exchange, Exchanges, Job, Reply
from seatrial_serve.api.grpc_call import (
    ASKED_BY,
    Context,
    abort,
    address_of,
    headers_of,
    let_in,
    receive,
    receive_small,
    too_large,
    unpacked,
)
from seatrial_serve.api.http_request import begin_record
from seatrial_serve.api.routing import in_turns, known_model
from seatrial_serve.api.v2_describe import (
    index,
    model_config,
    model_metadata,
    model_statistics,
    server_metadata,
    statistics_of_all,
)
from seatrial_serve.api.v2_infer import inference
from seatrial_serve.http.body import ClientLeft
from seatrial_serve.http.forwarded import TrustedProxies
from seatrial_serve.http.headers import REQUEST_ID_HEADER, request_id_of
from seatrial_serve.models.answer import Answer as Answered
from seatrial_serve.models.entry import Entry
from seatrial_serve.models.lifecycle import ModelLifecycle
from seatrial_serve.models.served_model import ServedModel
from seatrial_serve.process.budget import Places
from seatrial_serve.scheduling.admission import REFUSAL_S
from seatrial_serve.v2.grpc_message import read_message, write_message
from seatrial_serve.v2.grpc_wire import check_parts, model_of
from seatrial_serve.v2.message import InferRequest, InferResponse, most_named
from seatrial_serve.v2.proto import inference_pb2 as pb

log = logging.getLogger("seatrial.grpc")
SERVICE = "inference.GRPCInferenceService"
FEW_BYTES = 4096
"""A shorter message is unpacked sooner than its model's name is looked for."""
GROWTH = 24
"""Bytes in memory for each byte of a message while it is unpacked and answered.

Measured 21 for short words, and for small numbers packed.
"""
NEEDED: dict[str, Scope | None] = {
    "ServerLive": None,
    "ServerReady": None,
    "ModelInfer": Scope.INFER,
    "RepositoryModelLoad": Scope.ADMIN,
    "RepositoryModelUnload": Scope.ADMIN,
}
"""The scope that a call needs; None: it is open; a call that is not here needs `read`."""
Method = Callable[[Any, Context], Awaitable[Any]]
Answer = Callable[[Context], Awaitable[bytes]]
Handler = Callable[[Any, Context], Awaitable[bytes]]


class InferCall(Exchange):
    """One `ModelInfer`: its message names the model."""

    __slots__ = ("_context", "_unpacked", "message")

    def __init__(
        self, shared: Exchanges, context: Context, client: str, caller: Caller | None
    ) -> None:
        headers = headers_of(context)
        super().__init__(
            shared,
            begin_record(headers, f"{SERVICE}/ModelInfer"),
            None,
            client,
            headers,
            caller=caller,
        )
        self._context = context
        self.message = b""
        self._unpacked: pb.ModelInferRequest | None = None

    async def find(self) -> Entry | None:
        """See `Exchange`: once its message has come. Raises `Refusal`."""
        message = self.message = await receive(self._context, self.shared.pace.timeout_s)
        if len(message) <= FEW_BYTES:
            asked = self._unpacked = unpacked(message, pb.ModelInferRequest)
            name, version = asked.model_name, asked.model_version
        else:
            name, version = model_of(message)
        self.check_caller(name)
        return self.shared.repository.find(name, version or None)

    def ready_model(self) -> ServedModel:
        """See `Exchange`."""
        return known(self.entry).ready_model()

    def timeout_s(self) -> float:
        """See `Exchange`: its client's deadline, where it has one."""
        left_s, most_s = self._context.time_remaining(), self.shared.pace.timeout_s
        return most_s if left_s is None else min(left_s, most_s)

    async def answer(self) -> Reply:
        """The answer as a message. Raises `Refusal`, and what `ServedModel.answer` raises."""
        message, contract = self.message, self.model.contract
        if len(message) > contract.max_body_bytes:
            raise too_large(len(message), contract.max_body_bytes)
        self.whole(message, GROWTH)
        return await self.answered(await self.parsed(self._job, message, aside=self.terms.partial))

    def _job(self, message: bytes) -> Job:
        contract = self.model.contract
        if self._unpacked is None:
            return inference(self, read(message, contract), write)
        plain = None if self.terms.partial else self.model.plain_row
        return inference(self, read_message(self._unpacked, contract, plain), write)


def write(response: InferResponse, answer: Answered) -> Reply:
    """The answer as a message."""
    return Reply(write_message(response), answer=answer)


def read(data: bytes, contract: Contract) -> InferRequest:
    """The request in a message to a model of this contract. Raises `Refusal`."""
    if len(data) > LARGE_BODY_BYTES:
        check_parts(data, contract.most_values, most_named(contract))
    message = unpacked(data, pb.ModelInferRequest)
    if (message.model_name, message.model_version) != model_of(data):
        want = "fields in the order of their numbers"
        raise Refusal("E_MESSAGE", "message", "a model's name behind its tensors", want)
    return read_message(message, contract)


def known(entry: Entry | None) -> Entry:
    """The entry. Raises `Refusal` where there is none."""
    if entry is None:
        raise Refusal(
            "E_MODEL_NOT_FOUND", "model", "an unknown name or version", "one of RepositoryIndex"
        )
    return entry


class InferenceService:
    """The calls, each of one message.

    An error's stable code travels as trailing metadata `seatrial-code`, its Retry-After as
    `retry-after`.

    A call begins before its message, which gRPC hands over as bytes. gRPC's own unary calls would
    wait for the message uncounted, and unpack it on the event loop.
    """

    def __init__(
        self,
        shared: Exchanges,
        calls: Places,
        lifecycle: ModelLifecycle | None = None,
        proxies: TrustedProxies | None = None,
    ) -> None:
        """`calls`: how many there may be at once. `proxies`: those whose word on clients counts.

        With a lifecycle, which is the administrator's, models can be loaded and unloaded.
        """
        self._shared, self._calls, self._keeper = shared, calls, lifecycle
        self._repository, self._drain = shared.repository, shared.drain
        self.proxies, self.access = proxies, shared.access

    def handler(self) -> grpc.GenericRpcHandler:
        """What gRPC calls."""
        return grpc.method_handlers_generic_handler(SERVICE, {
            name: grpc.stream_unary_rpc_method_handler(call) for name, call in self.calls.items()
        })  # fmt: skip

    @property
    def calls(self) -> dict[str, Handler]:
        """A call's name -> what answers it by its context alone."""
        methods: dict[str, tuple[Method, type[Message]]] = {
            "ServerLive": (self.server_live, pb.ServerLiveRequest),
            "ServerReady": (self.server_ready, pb.ServerReadyRequest),
            "ModelReady": (self.model_ready, pb.ModelReadyRequest),
            "ServerMetadata": (self.server_metadata, pb.ServerMetadataRequest),
            "ModelMetadata": (self.model_metadata, pb.ModelMetadataRequest),
            "ModelConfig": (self.model_config, pb.ModelConfigRequest),
            "ModelStatistics": (self.model_statistics, pb.ModelStatisticsRequest),
            "RepositoryIndex": (self.repository_index, pb.RepositoryIndexRequest),
        }
        answers = {name: self._small(method, kind) for name, (method, kind) in methods.items()}
        answers["ModelInfer"] = self.model_infer
        handlers = {
            name: self._answering(answer, NEEDED.get(name, Scope.READ))
            for name, answer in answers.items()
        }
        load = self._administering("load", self.model_load, pb.RepositoryModelLoadRequest)
        unload = self._administering("unload", self.model_unload, pb.RepositoryModelUnloadRequest)
        return handlers | {
            "RepositoryModelLoad": self._answering(load, None),
            "RepositoryModelUnload": self._answering(unload, None),
        }

    def _small(self, method: Method, kind: type[Message]) -> Answer:
        """A call whose message is read and unpacked at once."""

        async def answer(context: Context) -> bytes:
            reply: Message = await method(await receive_small(context, kind), context)
            return reply.SerializeToString()

        return answer

    def _administering(self, action: str, method: Method, kind: type[Message]) -> Answer:
        """A call that changes which models are served.

        Its message is read before its caller is asked for, so that a refusal names the model.
        """

        async def answer(context: Context) -> bytes:
            asked: Any = await receive_small(context, kind)
            model, address = asked.model_name, address_of(context, self.proxies)
            request_id = request_id_of(headers_of(context))
            call = AdminCall(action, model, address, "gRPC", request_id, ASKED_BY.get)
            with self._shared.audit.audited(call):
                await let_in(self.access, context, address, Scope.ADMIN, model)
                reply: Message = await method(asked, context)
            return reply.SerializeToString()

        return answer

    def _answering(self, answer: Answer, scope: Scope | None) -> Handler:
        """Return the call's handler, which runs if there is a place for the call.

        `scope`: what its caller needs; None: the call is open, or finds out by itself.

        Every error becomes one status; the request's id is trailing metadata.
        """

        async def answer_call(_: Any, context: Context) -> bytes:
            headers = headers_of(context)
            request_id, client = request_id_of(headers), address_of(context, self.proxies)
            context.set_trailing_metadata(((REQUEST_ID_HEADER.decode(), request_id),))
            placed = self._calls.take(client)
            try:
                if not placed:
                    await asyncio.sleep(REFUSAL_S)
                    raise Unavailable(
                        "E_OVERLOADED", "more calls are on their way than there may be at once"
                    )
                if scope is not None:
                    await let_in(self.access, context, client, scope)
                return await answer(context)
            except ClientLeft:
                raise asyncio.CancelledError from None  # which gRPC takes without a word
            except Exception as error:  # every error becomes one answer; a bug is logged there
                await abort(context, error, request_id)
                raise
            finally:
                if placed:
                    self._calls.give_back(client)

        return answer_call

    async def model_infer(self, context: Context) -> bytes:
        """One inference."""
        client = address_of(context, self.proxies)
        with InferCall(self._shared, context, client, ASKED_BY.get()) as call:
            reply = await call.run(InferCall.answer)
        if reply is None:
            raise ClientLeft
        return reply.body

    async def server_live(self, _: pb.ServerLiveRequest, __: Context) -> pb.ServerLiveResponse:
        """The process is alive."""
        return pb.ServerLiveResponse(live=True)

    async def server_ready(self, _: pb.ServerReadyRequest, __: Context) -> pb.ServerReadyResponse:
        """Does every model take traffic?"""
        return pb.ServerReadyResponse(ready=self._repository.ready and not self._drain.draining)

    async def model_ready(self, asked: pb.ModelReadyRequest, _: Context) -> pb.ModelReadyResponse:
        """Does this model take traffic? One that is not there does not."""
        check_caller(Scope.READ, asked.name)
        entry = self._repository.find(asked.name, asked.version or None)
        return pb.ModelReadyResponse(
            ready=entry is not None and entry.takes_traffic and not self._drain.draining
        )

    async def server_metadata(
        self, _: pb.ServerMetadataRequest, __: Context
    ) -> pb.ServerMetadataResponse:
        """Name, version, extensions."""
        return pb.ServerMetadataResponse(**server_metadata(admin=self._keeper is not None))

    async def model_metadata(
        self, asked: pb.ModelMetadataRequest, _: Context
    ) -> pb.ModelMetadataResponse:
        """A model's tensors."""
        entry = self._found(asked.name, asked.version)
        versions = self._repository.versions(entry.name)
        told = model_metadata(versions, await known_model(self._repository, entry))
        return ParseDict(told, pb.ModelMetadataResponse())

    async def model_config(
        self, asked: pb.ModelConfigRequest, _: Context
    ) -> pb.ModelConfigResponse:
        """A model's configuration, in Triton's words."""
        entry = self._found(asked.name, asked.version)
        return ParseDict(
            {"config": model_config(await known_model(self._repository, entry))},
            pb.ModelConfigResponse(),
        )

    async def model_statistics(
        self, asked: pb.ModelStatisticsRequest, _: Context
    ) -> pb.ModelStatisticsResponse:
        """What a model has done, or all where none is named."""
        if asked.name:
            told = [model_statistics(self._found(asked.name, asked.version))]
        else:
            entries = [each for each in self._repository if may_ask(Scope.READ, each.name)]
            told = await in_turns(entries, statistics_of_all)
        return pb.ModelStatisticsResponse(
            model_stats=[ParseDict(each, pb.ModelStatistics()) for each in told]
        )

    async def repository_index(
        self, asked: pb.RepositoryIndexRequest, _: Context
    ) -> pb.RepositoryIndexResponse:
        """Every version and its state."""
        return pb.RepositoryIndexResponse(
            models=[
                pb.RepositoryIndexResponse.ModelIndex(**each)
                for each in index(self._repository, asked.ready)
                if may_ask(Scope.READ, each["name"])
            ]
        )

    async def model_load(
        self, asked: pb.RepositoryModelLoadRequest, _: Context
    ) -> pb.RepositoryModelLoadResponse:
        """Load a model from the folder, or load it anew."""
        admin = self._admin()
        if asked.parameters:
            want = "none: what is served is what was sealed"
            raise Refusal("E_UNSUPPORTED", "parameters", "a configuration or files", want)
        await admin.load(asked.model_name)
        return pb.RepositoryModelLoadResponse()

    async def model_unload(
        self, asked: pb.RepositoryModelUnloadRequest, _: Context
    ) -> pb.RepositoryModelUnloadResponse:
        """Take a model out of service."""
        await self._admin().unload(asked.model_name)
        return pb.RepositoryModelUnloadResponse()

    def _admin(self) -> ModelLifecycle:
        if self._keeper is None:
            raise Refusal(
                "E_NOT_FOUND", "method", "one that is off", "a server that was started with --admin"
            )
        return self._keeper

    def _found(self, name: str, version: str) -> Entry:
        check_caller(Scope.READ, name)
        return known(self._repository.find(name, version or None))


def may_ask(scope: Scope, model: str) -> bool:
    """May whoever makes this call ask that of this model?"""
    caller = ASKED_BY.get()
    return caller is None or caller.may(scope, model)


def check_caller(scope: Scope, model: str) -> None:
    """Raise `Refusal` where whoever makes this call may not ask that of this model."""
    caller = ASKED_BY.get()
    if caller is not None:
        caller.check(scope, model)
