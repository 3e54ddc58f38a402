"""gRPC's health service: how every model stands, told once for each change."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.running import Running, run_app
from support.toys import toy_bundle

from seatrial_serve.api.grpc_health import HealthService
from seatrial_serve.api.grpc_listener import MOST_STREAMS, GrpcListener
from seatrial_serve.api.v2_grpc import SERVICE, InferenceService
from seatrial_serve.models.entry import Entry
from seatrial_serve.process.budget import Places
from seatrial_serve.runtimes.fake import FakeRuntime
from seatrial_serve.v2.proto import inference_pb2 as pb

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
MODELS = 20


@asynccontextmanager
async def listening(folder: Path) -> AsyncIterator[tuple[Running, GrpcListener, grpc.aio.Channel]]:
    """An app over a folder of bundles, its listener, and a channel to it."""
    async with run_app(folder) as app:
        service = InferenceService(app.app._exchanges, Places(MOST_STREAMS))
        listener = GrpcListener(service, app.repository, app.drain, "127.0.0.1", 0, 0.0, 2**20)
        async with listener, grpc.aio.insecure_channel(f"127.0.0.1:{listener.port}") as channel:
            yield app, listener, channel


async def test_health_is_told_of_changes_alone_and_of_a_model_that_is_gone(
    tmp_path: Path, runtime: FakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: dict[str, list[int]] = defaultdict(list)
    set_status = HealthService.set

    async def counted(self: Any, service: str, status: int) -> None:
        told[service].append(status)
        await set_status(self, service, status)

    monkeypatch.setattr(HealthService, "set", counted)
    names = [f"toy-{place}" for place in range(MODELS)]
    for name in names:
        toy_bundle(tmp_path, name=name)
    async with run_app(tmp_path) as app:
        for name in names[1:]:
            await app.lifecycle.unload(name)
        service = InferenceService(app.app._exchanges, Places(1))
        listener = GrpcListener(service, app.repository, app.drain, "127.0.0.1", 0, 0.0, 2**20)
        async with listener, grpc.aio.insecure_channel(f"127.0.0.1:{listener.port}") as channel:
            check = health_pb2_grpc.HealthStub(channel).Check
            app.lifecycle.changed = listener.refresh
            await app.lifecycle.reload()  # the others are loaded, and each load asks for all
            assert set(told) == {"", SERVICE, *names}
            for statuses in told.values():
                assert all(one != other for one, other in pairwise(statuses))
                assert statuses[-1] == SERVING
            for name in ("", SERVICE, *names):
                assert (await check(health_pb2.HealthCheckRequest(service=name))).status == SERVING
            await app.lifecycle.unload(names[3])
            gone = await check(health_pb2.HealthCheckRequest(service=names[3]))
            assert gone.status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
            app.drain.begin()
            await listener.refresh()
            for name in ("", SERVICE, names[0]):
                assert (
                    await check(health_pb2.HealthCheckRequest(service=name))
                ).status == NOT_SERVING


async def test_a_client_that_watches_hears_of_a_drain(tmp_path: Path, runtime: FakeRuntime) -> None:
    toy_bundle(tmp_path)
    async with listening(tmp_path) as (app, listener, channel):
        watch = health_pb2_grpc.HealthStub(channel).Watch(
            health_pb2.HealthCheckRequest(), timeout=30
        )
        assert (await watch.read()).status == SERVING
        app.drain.begin()
        await listener.refresh()
        assert (await watch.read()).status == NOT_SERVING


async def test_calls_beyond_the_most_over_one_connection_wait_in_their_client(
    tmp_path: Path, runtime: FakeRuntime
) -> None:
    toy_bundle(tmp_path)
    async with listening(tmp_path) as (_, _, channel):
        live = channel.unary_unary(f"/{SERVICE}/ServerLive")
        answers = await asyncio.gather(*(live(b"", timeout=60) for _ in range(8 * MOST_STREAMS)))
    assert set(answers) == {pb.ServerLiveResponse(live=True).SerializeToString()}


async def test_a_call_that_ends_without_a_message_is_told_so(
    tmp_path: Path, runtime: FakeRuntime
) -> None:
    toy_bundle(tmp_path)
    async with listening(tmp_path) as (app, _, channel):
        for name in ("ModelInfer", "ServerLive"):
            call = channel.stream_unary(f"/{SERVICE}/{name}")(timeout=60)
            await call.done_writing()
            assert await call.code() == grpc.StatusCode.INVALID_ARGUMENT
            assert ("seatrial-code", "E_MESSAGE") in tuple(await call.trailing_metadata())
        assert app.drain.in_flight == 0


def test_an_entry_is_equal_to_itself_alone(tmp_path: Path) -> None:
    one, other = (Entry("toy", "1.0.0", tmp_path) for _ in range(2))
    assert one == one
    assert one != other
