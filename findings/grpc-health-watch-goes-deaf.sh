#!/usr/bin/env bash
# grpcio-health-checking 1.80.0, its asyncio servicer: two clients watch one service. The first leaves. Then the service's
# status changes.
#
# Seen: the second watcher hears nothing for 3 seconds, while Check tells the new status. The health protocol has Watch send a
# message whenever the status changes. The servicer keeps one condition a service, and whoever leaves deletes it from the table
# that `set` notifies. A balancer that watches keeps sending to a server that drains.
#
# Exits with 0 if this is still so, and with another status if it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet grpcio==1.80.0 grpcio-health-checking==1.80.0
"$folder/venv/bin/python" - <<'PYTHON'
import asyncio
import sys

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

Status = health_pb2.HealthCheckResponse


async def main() -> bool:
    server, service = grpc.aio.server(), health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    await service.set("a", Status.NOT_SERVING)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub, asked = health_pb2_grpc.HealthStub(channel), health_pb2.HealthCheckRequest(service="a")
        first, second = stub.Watch(asked), stub.Watch(asked)
        await first.read()
        await second.read()
        first.cancel()
        await asyncio.sleep(0.3)
        await service.set("a", Status.SERVING)
        try:
            await asyncio.wait_for(second.read(), 3)
            deaf = False
        except TimeoutError:
            deaf = True
        serving = (await stub.Check(asked)).status == Status.SERVING
    await server.stop(0)
    return deaf and serving


still = asyncio.run(main())
print("the second watcher hears nothing" if still else "the second watcher hears of the change")
sys.exit(0 if still else 1)
PYTHON
