"""A whole server over TLS, asked by clients of others, while its certificates change."""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
import ssl
import subprocess
import threading
import time
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
import requests
import tritonclient.grpc as over_grpc
import tritonclient.http as over_http
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.conformance import ANSWER, ROW, rows, seal
from support.every_way import tensors_in
from support.keyed import bearer, key_of
from support.real_prometheus import INSTALLED, WHY, RealPrometheus
from support.servers import OURS, Server
from support.tls import Authority

import seatrial as st
from seatrial_serve.access.keys_file import revoke_keys
from seatrial_serve.api.grpc_call import peer_names_of
from seatrial_serve.metrics import names
from seatrial_serve.v2.proto import inference_pb2 as pb

pytestmark = pytest.mark.slow
REPLACED = 50
PATH = "/v1/models/conformance:predict"
BODY = json.dumps({"instances": rows()[:1]})
HEADERS = {"Content-Type": "application/json"}


def infer_message() -> bytes:
    """The row as the message of a `ModelInfer`."""
    asked = pb.ModelInferRequest(model_name="conformance")
    (tensors,) = tensors_in(st.contract_from_rows(ROW, ANSWER), rows()[:1])
    for name, (datatype, array) in tensors.items():
        asked.inputs.add(name=name, datatype=datatype, shape=array.shape)
        if datatype == "BYTES":
            written = b"".join(len(each).to_bytes(4, "little") + each for each in array.ravel())
        else:
            written = array.tobytes()
        asked.raw_input_contents.append(written)
    return bytes(asked.SerializeToString())


MESSAGE = infer_message()


class Served:
    """A server over TLS with certificates of its own, which may ask for keys."""

    def __init__(
        self, folder: Path, serve: Callable[..., Server], *flags: str, keys: bool = False
    ) -> None:
        self.folder, self.authority = folder, Authority(folder / "ca")
        self.file, self.key, self.scraper = folder / "keys.toml", "", ""
        self.going = dict[str, str]()
        """Name -> a key that a test revokes."""
        if keys:
            self.key = key_of(self.file, "asker", "infer")
            self.scraper = key_of(self.file, "scraper", "metrics")
            self.going = {name: key_of(self.file, name, "infer") for name in ("a", "b", "c")}
            flags = (*flags, "--api-keys", str(self.file))
        self.pair = self.authority.issue(folder=folder / "live")
        self.client = self.authority.issue("client")
        self.context = self.authority.client(self.client)
        seal(folder / "bundles")
        self.server = serve(folder / "bundles", *self.pair.flags, *flags, context=self.context)
        self.until(lambda: self.server.wait_until_loaded()[0] == 200)
        self.port = int(self.server.url.rpartition(":")[2])

    def replace(self, number: int) -> None:
        """Another certificate, at once, as a volume of secrets has it."""
        new = self.authority.issue("next", subject=f"number {number}", folder=self.folder / "next")
        new.certificate.replace(self.pair.certificate)
        new.key.replace(self.pair.key)
        self.server.process.send_signal(signal.SIGHUP)

    def subject(self, *, of_grpc: bool = False) -> str:
        """The name in the certificate that a new connection is shown."""
        context = self.authority.client(self.client)
        context.set_alpn_protocols(["h2"] if of_grpc else ["http/1.1"])
        port = int(self.server.grpc.rpartition(":")[2]) if of_grpc else self.port
        with (
            socket.create_connection(("127.0.0.1", port), 10) as sock,
            context.wrap_socket(sock, server_hostname="localhost") as wrapped,
        ):
            return str(wrapped.getpeercert()["subject"][0][0][1])  # type: ignore[index]

    def channel(self, *, certified: bool = True) -> grpc.Channel:
        """A new one."""
        own = (self.client.key.read_bytes(), self.client.certificate.read_bytes())
        credentials = grpc.ssl_channel_credentials(
            self.authority.path.read_bytes(), *(own if certified else ())
        )
        options = [("grpc.use_local_subchannel_pool", 1)]  # a connection of its own
        return grpc.secure_channel(
            f"localhost:{self.server.grpc.rpartition(':')[2]}", credentials, options
        )

    def until(self, holds: Callable[[], Any]) -> Any:
        """What `holds` gives once it gives something."""
        end = time.monotonic() + 20
        while not (found := holds()):
            assert time.monotonic() < end, "".join(self.server.log)
            time.sleep(0.005)
        return found


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., Server]) -> Served:
    """Clients may have a certificate; over gRPC they must."""
    folder = tmp_path_factory.mktemp("tls")
    flags = ("--tls-client-ca", str(folder / "ca" / "authority.pem"), "--tls-clients", "optional")
    return Served(folder, serve, *flags)


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., Server]) -> Served:
    """Several processes, which ask for keys."""
    flags = ("--workers", "2", "--drain-window-s", "0")
    made = Served(tmp_path_factory.mktemp("keyed"), serve, *flags, keys=True)
    made.until(lambda: sum("gRPC on port" in line for line in made.server.log) == 2)
    return made


@pytest.fixture(params=["served", "keyed"], ids=["alone", "workers"])
def each(request: pytest.FixtureRequest) -> Served:
    """Both of them."""
    found: Served = request.getfixturevalue(request.param)
    return found


class Load:
    """Threads that ask again and again, over kept and new connections, until told to stop."""

    def __init__(self, served: Served, key: str = "") -> None:
        self._served, self._stop, self._key = served, threading.Event(), key or served.key
        self.answered = {"http": 0, "grpc": 0}
        self.lost = list[str]()
        self.refused = {"http": 0, "grpc": 0}
        """Requests that were refused for their key."""
        asks = [("http", self._http), ("http", self._http), ("grpc", self._grpc)]
        self._threads = [threading.Thread(target=self._run, args=each) for each in asks]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _run(self, over: str, ask: Callable[[], Iterator[str]]) -> None:
        asking = ask()
        while not self._stop.is_set():
            try:
                said = next(asking)
            except Exception as error:  # whatever it is, a request was lost
                self.lost.append(f"{over}: {error!r}")
                asking = ask()
                continue
            if said == "answered":
                self.answered[over] += 1
            elif said == "refused":
                self.refused[over] += 1
            else:
                self.lost.append(f"{over}: {said}")

    def _http(self) -> Iterator[str]:
        headers = HEADERS | (bearer(self._key) if self._key else {})
        while True:
            connection = http.client.HTTPSConnection(
                "localhost", self._served.port, timeout=30, context=self._served.context
            )
            with closing(connection):
                for _ in range(5):
                    connection.request("POST", PATH, BODY, headers)
                    reply = connection.getresponse()
                    body = reply.read()
                    if reply.status == 200 and body.startswith(b'{"predictions"'):
                        yield "answered"
                    else:
                        yield "refused" if reply.status == 401 else f"{reply.status} {body!r}"

    def _grpc(self) -> Iterator[str]:
        metadata = (("x-api-key", self._key),) if self._key else ()
        while True:
            with self._served.channel() as channel:
                infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
                for _ in range(5):
                    try:
                        answer = infer(MESSAGE, metadata=metadata, timeout=30)
                    except grpc.RpcError as error:
                        if error.code() is not grpc.StatusCode.UNAUTHENTICATED:
                            raise
                        yield "refused"
                    else:
                        named = pb.ModelInferResponse.FromString(answer).model_name
                        yield "answered" if named == "conformance" else "another answer"


def test_certificates_replaced_fifty_times_under_load_lose_no_request(each: Served) -> None:
    before = metric(each, f'{names.CERTIFICATE_RELOADS}{{result="replaced"}}')
    with Load(each) as load:
        for number in range(REPLACED):
            each.replace(number)
            each.until(lambda: each.subject() == f"number {number}")  # noqa: B023  (called at once)
            if number % 10 == 0:
                each.until(lambda: each.subject(of_grpc=True) == f"number {number}")  # noqa: B023  (called at once)
    assert load.lost == []
    assert not any(load.refused.values())
    assert min(load.answered.values()) > REPLACED
    replaced = metric(each, f'{names.CERTIFICATE_RELOADS}{{result="replaced"}}') - before
    # each of several processes follows the files by itself, and may leave one out
    assert replaced >= REPLACED if each.key else replaced == REPLACED


def test_keys_revoked_under_load_are_refused_and_no_other_request_is_lost(keyed: Served) -> None:
    with Load(keyed) as others:
        for name, key in keyed.going.items():
            with Load(keyed, key) as load:
                keyed.until(lambda: min(load.answered.values()) > 20)
                assert not any(load.refused.values())
                revoke_keys(keyed.file, [name], datetime.now(UTC))
                keyed.until(lambda: min(load.refused.values()) > 20)
            assert load.lost == []
    assert others.lost == []
    assert not any(others.refused.values())


def metric(served: Served, series: str) -> float:
    """A metric's value; 0 where it has none yet."""
    headers = bearer(served.scraper) if served.scraper else {}
    asked = urllib.request.Request(served.server.metrics_url, headers=headers)
    with urllib.request.urlopen(asked, timeout=30, context=served.context) as reply:
        text = reply.read().decode()
    found = re.search(rf"^{re.escape(series)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_a_pair_that_is_half_written_is_said_counted_and_mended(served: Served) -> None:
    series = f'{names.CERTIFICATE_RELOADS}{{result="failed"}}'
    before, shown = metric(served, series), served.subject()
    new = served.authority.issue("next", subject="mended", folder=served.folder / "next")
    new.certificate.replace(served.pair.certificate)
    served.server.process.send_signal(signal.SIGHUP)
    served.until(lambda: metric(served, series) == before + 1)
    assert served.subject() == shown
    assert any(
        "certificates not replaced, the last good ones go on" in line for line in served.server.log
    )
    new.key.replace(served.pair.key)  # no signal: it is looked at again
    served.until(lambda: served.subject() == "mended")


@pytest.mark.parametrize("listener", ["grpc", "metrics_url"])
@pytest.mark.parametrize(
    ("latest", "suites", "spoken"),
    [
        (ssl.TLSVersion.TLSv1_1, "DEFAULT@SECLEVEL=0", False),
        (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-SHA", False),
        (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-GCM-SHA256", True),
    ],
)
def test_the_other_ports_refuse_old_versions_and_suites_too(
    served: Served, listener: str, latest: ssl.TLSVersion, suites: str, spoken: bool
) -> None:
    port = re.findall(r":(\d+)", getattr(served.server, listener))[-1]
    context = served.authority.client(served.client)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # TLS 1.1 is meant
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1_1, latest
    context.set_ciphers(suites)
    context.set_alpn_protocols(["h2"] if listener == "grpc" else ["http/1.1"])
    with socket.create_connection(("127.0.0.1", int(port)), 10) as sock:
        try:
            with context.wrap_socket(sock, server_hostname="localhost") as wrapped:
                said = wrapped.version()
        except OSError:  # gRPC closes the connection without an alert
            said = None
    assert said == ("TLSv1.2" if spoken else None)


def test_the_expiry_of_the_served_certificate_is_a_metric(served: Served) -> None:
    with (
        socket.create_connection(("127.0.0.1", served.port), 10) as sock,
        served.context.wrap_socket(sock, server_hostname="localhost") as wrapped,
    ):
        shown = ssl.cert_time_to_seconds(str(wrapped.getpeercert()["notAfter"]))  # type: ignore[index]
    assert metric(served, f'{names.CERTIFICATE_EXPIRY}{{file="tls_cert"}}') == shown


def test_requests_and_tritons_clients_are_answered(served: Served) -> None:
    url = f"https://localhost:{served.port}"
    reply = requests.post(
        url + PATH, BODY, headers=HEADERS, verify=served.authority.path, timeout=30
    )
    assert reply.status_code == 200
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(url + "/v2", timeout=30)
    http_client = over_http.InferenceServerClient(
        f"localhost:{served.port}", ssl=True, ssl_options={"ca_certs": str(served.authority.path)}
    )
    grpc_client = over_grpc.InferenceServerClient(
        f"localhost:{served.server.grpc.rpartition(':')[2]}",
        ssl=True,
        root_certificates=str(served.authority.path),
        private_key=str(served.client.key),
        certificate_chain=str(served.client.certificate),
    )
    for client in (http_client, grpc_client):
        assert client.is_server_ready()
        assert client.is_model_ready("conformance")
        assert client.get_model_metadata("conformance")
        client.close()


def test_a_client_certificate_is_asked_for_and_grpc_requires_it(served: Served) -> None:
    url = f"https://localhost:{served.port}/v2"
    own = (str(served.client.certificate), str(served.client.key))
    for cert in (own, None):  # --tls-clients optional
        reply = requests.get(url, verify=served.authority.path, cert=cert, timeout=30)
        assert reply.status_code == 200
    with served.channel(certified=False) as channel, pytest.raises(grpc.RpcError) as caught:
        health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
    assert caught.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


async def test_the_names_of_a_clients_certificate_are_known_over_grpc(tmp_path: Path) -> None:
    authority, seen = Authority(tmp_path), []
    pair, client = authority.issue(), authority.issue("client", subject="a client")

    async def answer(request: bytes, context: Any) -> bytes:
        seen.append(peer_names_of(context))
        return b""

    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(answer)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("a.B", {"C": handler}),))
    credentials = grpc.ssl_server_credentials(
        [(pair.key.read_bytes(), pair.certificate.read_bytes())],
        authority.path.read_bytes(),
        require_client_auth=True,
    )
    port = server.add_secure_port("127.0.0.1:0", credentials)
    plain = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    shown = grpc.ssl_channel_credentials(
        authority.path.read_bytes(), client.key.read_bytes(), client.certificate.read_bytes()
    )
    async with grpc.aio.secure_channel(f"localhost:{port}", shown) as channel:
        await channel.unary_unary("/a.B/C")(b"")
    async with grpc.aio.insecure_channel(f"localhost:{plain}") as channel:
        await channel.unary_unary("/a.B/C")(b"")
    await server.stop(None)
    assert seen == [("dns:localhost", "cn:a client"), ()]


@pytest.mark.skipif(not INSTALLED, reason=WHY)
def test_prometheus_scrapes_over_tls_with_a_client_certificate_or_a_scraper_s_key(
    served: Served, keyed: Served, tmp_path: Path
) -> None:
    own = {"cert_file": str(served.client.certificate), "key_file": str(served.client.key)}
    keys = {"right": keyed.scraper, "wrong": "st_of_nobody", "asker": keyed.key}
    jobs = [scraping(served, "certified", **own)]
    jobs += [
        scraping(keyed, name) | {"authorization": {"credentials": key}}
        for name, key in keys.items()
    ]  # fmt: skip
    with RealPrometheus(tmp_path / "prometheus", [], jobs=jobs) as judge:
        up = judge.until(lambda: len(found := judge.values("up", "job")) == 4 and found)
        assert up == {"certified": 1.0, "right": 1.0, "wrong": 0.0, "asker": 0.0}
        expiries = judge.query(names.CERTIFICATE_EXPIRY)
    files = {(each["metric"]["job"], each["metric"]["file"]) for each in expiries}
    assert files == {
        ("certified", "tls_cert"), ("certified", "tls_client_ca"), ("right", "tls_cert"),
    }  # fmt: skip


def scraping(served: Served, name: str, **more: str) -> dict[str, Any]:
    """How Prometheus scrapes a server over TLS."""
    trusted = {"ca_file": str(served.authority.path), "server_name": "localhost"}
    where = [{"targets": [served.server.metrics_url.split("/")[2]]}]
    return {
        "job_name": name, "scheme": "https", "tls_config": trusted | more, "static_configs": where,
    }  # fmt: skip


def test_workers_follow_the_files_of_tls(keyed: Served) -> None:
    series = f'{names.CERTIFICATE_RELOADS}{{result="replaced"}}'
    before, told = metric(keyed, series), replaced_in(keyed)
    keyed.replace(7)
    # each process reads them, the supervisor for the metrics' port
    keyed.until(lambda: metric(keyed, series) == before + 2)
    assert {keyed.subject() for _ in range(10)} == {"number 7"}
    keyed.until(lambda: replaced_in(keyed) == told + 3)


def replaced_in(served: Served) -> int:
    """How many lines of the log tell of a new certificate."""
    return sum("certificate replaced" in line for line in served.server.log)


def test_a_bad_file_at_start_is_an_error_of_the_command_line(tmp_path: Path) -> None:
    seal(tmp_path / "bundles")
    pair = Authority(tmp_path).issue()
    pair.key.write_bytes(b"")
    command = [*OURS, str(tmp_path / "bundles"), "--http-port", "0", *pair.flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "got no private key in PEM" in done.stderr
    assert "Traceback" not in done.stderr
