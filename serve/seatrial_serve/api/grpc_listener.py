"""The gRPC services on a port of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import grpc
from grpc_health.v1 import health_pb2

from seatrial_contracts.errors import DeclarationError
from seatrial_serve.api.grpc_health import HealthService
from seatrial_serve.api.v2_grpc import SERVICE, InferenceService, log
from seatrial_serve.models.repository import Repository
from seatrial_serve.process.drain import Drain

if TYPE_CHECKING:
    from seatrial_serve.process.certificates import Certificates, Credentials

MOST_MESSAGE_BYTES = 2**31 - 1
"""GRPC's own most."""
HANDSHAKE_MS = 10_000
"""From a connection to the end of its handshakes, TLS's and HTTP/2's."""
MOST_STREAMS = 128
"""Calls at once over one connection; a client keeps further ones back by itself."""
SERVING = health_pb2.HealthCheckResponse.SERVING


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
        message_bytes: int,
        *,
        shared_port: bool = False,
        certificates: Certificates | None = None,
    ) -> None:
        """Set the listener up; gRPC itself refuses a message longer than `message_bytes`.

        `certificates`: those of TLS; None for none.

        gRPC measures a message as it comes, and again once it is decompressed.
        """
        self._message_bytes, self._larger = message_bytes, set[tuple[str, str]]()
        self._service = service
        self._repository = repository
        self._drain = drain
        self._grace_s = grace_s
        self._shared_port, self._certificates = shared_port, certificates
        self._address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._health = HealthService(service.proxies, service.access, ("", SERVICE))
        self._told: dict[str, int] = {}
        """Service or model -> the status that health checks know of it."""
        self.port = port

    async def __aenter__(self) -> Self:
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", self._message_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.max_concurrent_streams", MOST_STREAMS),
                ("grpc.so_reuseport", int(self._shared_port)),
                ("grpc.server_handshake_timeout_ms", HANDSHAKE_MS),
                # The protection counts streams that have ended until they are freed,
                # and resets calls of a client that kept to the most.
                ("grpc.http.overload_protection", 0),
            ]
        )
        self._server.add_generic_rpc_handlers((self._service.handler(), self._health.handler()))
        try:
            if self._certificates is None:
                self.port = self._server.add_insecure_port(self._address)
            else:
                self.port = self._server.add_secure_port(
                    self._address, server_credentials(self._certificates)
                )
        except RuntimeError:  # it was free when the server looked
            where, mend = f"listening on {self._address}", "choose another: --grpc-port"
            raise DeclarationError(where, "an error", "a free port of this machine", mend) from None
        await self.refresh()
        await self._server.start()
        log.info("gRPC on port %d%s", self.port, " over TLS" if self._certificates else "")
        return self

    async def refresh(self) -> None:
        """Send health checks and watchers what has changed since the last call.

        A model that is gone is an unknown service.
        """
        self._tell_of_larger()
        states = {name: entry.takes_traffic for name, entry in self._repository.served.items()}
        states[""] = states[SERVICE] = self._repository.ready
        now = dict.fromkeys(self._told, health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)
        for name, ready in states.items():
            now[name] = (
                SERVING
                if ready and not self._drain.draining
                else health_pb2.HealthCheckResponse.NOT_SERVING
            )
        changed = {name: status for name, status in now.items() if self._told.get(name) != status}
        self._told |= changed
        for name, status in changed.items():
            await self._health.set(name, status)

    def _tell_of_larger(self) -> None:
        """A model that came later may take longer bodies than gRPC lets through."""
        for entry in self._repository:
            if entry.model is None or entry.model.contract.max_body_bytes <= self._message_bytes:
                continue
            if (entry.name, entry.version) not in self._larger:
                self._larger.add((entry.name, entry.version))
                log.warning(
                    (
                        "%s %s takes bodies of %d bytes, gRPC at most %d: serve anew, "
                        "or set grpc_message_bytes"
                    ),
                    entry.name,
                    entry.version,
                    entry.model.contract.max_body_bytes,
                    self._message_bytes,
                )

    async def __aexit__(self, *_: object) -> None:
        self._health.close()
        await self._server.stop(self._grace_s)


def server_credentials(certificates: Certificates) -> grpc.ServerCredentials:
    """What gRPC serves TLS by: whatever `certificates` holds when a handshake begins.

    gRPC has no form for a client that may come without a certificate: where there are authorities,
    clients must have one.
    """
    known = certificates.current

    def fetch() -> object:
        """What is new since the last handshake, if anything is. gRPC's threads call it."""
        nonlocal known
        if certificates.current is known:
            return None
        known = certificates.current
        return grpc_credentials(known)

    return grpc.dynamic_ssl_server_credentials(
        grpc_credentials(known), fetch, require_client_authentication=known.authorities is not None
    )


def grpc_credentials(credentials: Credentials) -> object:
    """These credentials as gRPC takes them."""
    pair = (credentials.key, credentials.chain)
    return grpc.ssl_server_certificate_configuration([pair], credentials.authorities)
