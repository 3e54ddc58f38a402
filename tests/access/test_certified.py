"""Clients' certificates: their names say what they may ask, over HTTP, gRPC and on the metrics."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from support.conformance import rows, seal
from support.keyed import bearer, key_of
from support.servers import Server
from support.tls import Authority, Pair
from support.waiting import until

pytestmark = pytest.mark.slow
MODEL = "conformance"
PATH = f"/v1/models/{MODEL}:predict"
GRANTS = """
[[certificates]]
name = "dns:asker.internal"
scopes = ["infer"]

[[certificates]]
name = "cn:watcher"
scopes = ["metrics"]
"""


class Served:
    """A server that asks for keys, or for certificates in their place."""

    def __init__(self, folder: Path, serve: Callable[..., Server]) -> None:
        self.authority = Authority(folder / "ca")
        self.asker = self.authority.issue(
            "asker", alternative=[x509.DNSName("asker.internal")], subject="somebody"
        )
        self.watcher = self.authority.issue("watcher", alternative=())
        self.stranger = self.authority.issue("stranger")
        self.file = folder / "keys.toml"
        self.file.write_text(GRANTS)
        self.key = key_of(self.file, "app", "infer", "read")
        seal(folder / "bundles")
        self.server = serve(
            folder / "bundles", *self.authority.issue(folder=folder / "live").flags,
            "--tls-client-ca", str(self.authority.path), "--tls-clients", "optional",
            "--api-keys", str(self.file), context=self.authority.client(),
        )  # fmt: skip
        until(lambda: self.server.wait_until_loaded()[0] == 200)

    def connect(self, pair: Pair | None, url: str = "") -> http.client.HTTPSConnection:
        """A connection by a certificate, or without one."""
        port = int((url or self.server.url).rpartition(":")[2].partition("/")[0])
        context = self.authority.client(pair)
        return http.client.HTTPSConnection("127.0.0.1", port, timeout=30, context=context)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., Server]) -> Served:
    return Served(tmp_path_factory.mktemp("certified"), serve)


def status(connection: Any, method: str = "POST", path: str = PATH, **headers: str) -> int:
    body = json.dumps({"instances": rows()[:1]}) if method == "POST" else None
    connection.request(method, path, body, {"Content-Type": "application/json"} | headers)
    with connection.getresponse() as reply:
        reply.read()
        return int(reply.status)


def test_a_certificate_asks_what_its_name_allows(served: Served) -> None:
    with closing(served.connect(served.asker)) as asker:
        assert [status(asker) for _ in range(3)] == [200] * 3
        assert status(asker, "GET", "/v1/models") == 403
    with closing(served.connect(served.watcher)) as watcher:
        assert status(watcher) == 403
    for pair in (served.stranger, None):
        with closing(served.connect(pair)) as other:
            assert status(other) == 401
            assert status(other, **bearer(served.key)) == 200


def test_a_head_that_was_read_before_lends_nobody_s_certificate(served: Served) -> None:
    """The bytes of these requests are the same, and on the direct way known."""
    with (
        closing(served.connect(served.asker)) as asker,
        closing(served.connect(None)) as nobody,
        closing(served.connect(served.watcher)) as watcher,
    ):
        for _ in range(3):
            assert status(asker) == 200
        assert [status(nobody), status(watcher), status(asker)] == [401, 403, 200]


def test_the_metrics_take_a_certificate(served: Served) -> None:
    url = served.server.metrics_url
    for pair, want in ((served.watcher, 200), (served.asker, 403), (None, 401)):
        with closing(served.connect(pair, url)) as scraper:
            assert status(scraper, "GET", "/metrics") == want


def channel_of(served: Served, pair: Pair) -> grpc.Channel:
    own = (pair.key.read_bytes(), pair.certificate.read_bytes())
    credentials = grpc.ssl_channel_credentials(served.authority.path.read_bytes(), *own)
    return grpc.secure_channel(f"localhost:{served.server.grpc.rpartition(':')[2]}", credentials)


def code_of(channel: grpc.Channel) -> grpc.StatusCode:
    call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
    with pytest.raises(grpc.RpcError) as ended:
        call(b"\x0a\x0bconformance", timeout=30)
    code: grpc.StatusCode = ended.value.code()
    return code


def test_grpc_takes_a_certificate(served: Served) -> None:
    def code(pair: Pair) -> grpc.StatusCode:
        with channel_of(served, pair) as channel:
            return code_of(channel)

    assert code(served.asker) is grpc.StatusCode.INVALID_ARGUMENT  # let in, without a row
    assert code(served.watcher) is grpc.StatusCode.PERMISSION_DENIED
    assert code(served.stranger) is grpc.StatusCode.UNAUTHENTICATED


def test_a_name_that_is_taken_out_counts_no_more_on_open_connections(served: Served) -> None:
    text = served.file.read_text()
    with closing(served.connect(served.asker)) as asker:
        assert status(asker) == 200
        served.file.write_text(text.replace("dns:asker.internal", "dns:other.internal"))
        until(lambda: status(asker) == 401)
        served.file.write_text(text)
        until(lambda: status(asker) == 200)


def test_a_certificate_names_nobody_once_it_has_expired_on_open_connections_too(
    served: Served,
) -> None:
    brief = served.authority.issue(
        "brief", alternative=[x509.DNSName("asker.internal")], subject="watcher", days=8 / 86400
    )
    with (
        closing(served.connect(brief)) as asker,
        closing(served.connect(brief, served.server.metrics_url)) as scraper,
        channel_of(served, brief) as channel,
    ):
        assert status(asker) == 200
        assert status(scraper, "GET", "/metrics") == 403  # the first of its names counts
        assert code_of(channel) is grpc.StatusCode.INVALID_ARGUMENT
        # asked in turns, so that none is closed for being idle
        until(lambda: [status(asker), status(scraper, "GET", "/metrics")] == [401, 401])
        until(lambda: code_of(channel) is grpc.StatusCode.UNAUTHENTICATED)
