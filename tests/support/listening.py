"""gRPC over a socket, to an app that runs in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc

from seatrial_serve.api.grpc_listener import GrpcListener
from seatrial_serve.api.v2_grpc import InferenceService
from seatrial_serve.process.budget import Places
from support.running import Running


@asynccontextmanager
async def grpc_of(app: Running, *, admin: bool = True) -> AsyncIterator[grpc.aio.Channel]:
    service = InferenceService(app.exchanges, Places(64, 64), app.lifecycle if admin else None)
    listener = GrpcListener(service, app.repository, app.drain, "127.0.0.1", 0, 0.0, 2**22)
    app.lifecycle.changed = listener.refresh
    async with listener, grpc.aio.insecure_channel(f"127.0.0.1:{listener.port}") as channel:
        yield channel
