"""A server that asks for keys, over real sockets and by real clients."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.keyed import bearer, key_of, key_of_each_scope
from support.servers import Server
from support.waiting import until
from tritonclient.utils import InferenceServerException

from seatrial_serve.access.keys_file import revoke_keys
from seatrial_serve.api.v2_grpc import NEEDED, InferenceService
from seatrial_serve.v2.proto import inference_pb2 as pb

pytestmark = pytest.mark.slow
ROW = {"island": "Biscoe", "year": 2008, "bill_length_mm": 45.2, "bill_depth_mm": 15.8,
       "flipper_length_mm": 215.0, "body_mass_g": 5300.0, "sex": "male"}  # fmt: skip
PATH = "/v1/models/penguins:predict"
SCOPES = ("infer", "read", "metrics", "feedback", "admin")
LATE_S = 1.0
"""A revoked key is refused within this time."""


class Keyed:
    """A server with keys."""

    def __init__(self, server: Server, file: Path, keys: dict[str, str]) -> None:
        self.server, self.file, self.keys = server, file, keys
        self.place = server.url.removeprefix("http://")
        self.audit = file.with_name("audit.jsonl")

    def said(self, event: str) -> list[dict[str, Any]]:
        """The lines of the audit log of this event."""
        lines = map(json.loads, self.audit.read_bytes().splitlines())
        return [line for line in lines if line["event"] == event]

    def ask(self, path: str = PATH, key: str = "", body: Any = None) -> tuple[int, str]:
        """Status, and code where it was refused."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} | (bearer(key) if key else {})
        try:
            with urllib.request.urlopen(
                urllib.request.Request(f"{self.server.url}{path}", data, headers), timeout=30
            ) as reply:
                return reply.status, ""
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())["code"]


@pytest.fixture(scope="module", params=[1, 2], ids=["alone", "workers"])
def keyed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, examples: Path,
    serve: Callable[..., Server],
) -> Keyed:  # fmt: skip
    file = tmp_path_factory.mktemp("keys") / "keys.toml"
    keys = key_of_each_scope(file)
    every = ("infer", "read", "metrics", "admin")
    keys["limited"] = key_of(file, "limited", *every, models=("digits",))
    keys["its own"] = key_of(file, "its own", *every, models=("penguin*",))
    alone = request.param == 1
    server = serve(
        examples / "penguins" / "1.0.0", "--api-keys", str(file), "--logged-per-s", "1000",
        "--audit-log", str(file.with_name("audit.jsonl")),
        *(("--admin",) if alone else ("--workers", str(request.param))),
    )  # fmt: skip
    until(lambda: server.wait_until_loaded()[0] == 200)
    return Keyed(server, file, keys)


def test_rows_are_answered_with_a_key_alone(keyed: Keyed) -> None:
    rows = {"instances": [ROW]}
    assert keyed.ask(body=rows) == (401, "E_KEY")
    assert keyed.ask(body=rows, key="st_wrong") == (401, "E_KEY")
    assert keyed.ask(body=rows, key=keyed.keys["read"]) == (403, "E_SCOPE")
    assert keyed.ask(body=rows, key=keyed.keys["limited"]) == (403, "E_SCOPE")
    for _ in range(5):
        assert keyed.ask(body=rows, key=keyed.keys["infer"]) == (200, "")


def test_on_one_connection_each_request_is_its_own(keyed: Keyed) -> None:
    """Heads that were read before are known by their bytes, keys among them."""
    connection = http.client.HTTPConnection(keyed.place, timeout=30)
    body = json.dumps({"instances": [ROW]})

    def ask(**headers: str) -> int:
        connection.request("POST", PATH, body, {"Content-Type": "application/json"} | headers)
        with connection.getresponse() as reply:
            reply.read()
            return reply.status

    good, other = bearer(keyed.keys["infer"]), bearer(keyed.keys["read"])
    assert [ask(**good) for _ in range(3)] == [200] * 3
    assert ask() == 401
    assert [ask(**good), ask(**other), ask(**good), ask(**{"X-API-Key": keyed.keys["infer"]})] == [
        200, 403, 200, 200,
    ]  # fmt: skip
    connection.close()


def test_pipelined_requests_are_answered_in_order_each_by_its_key(keyed: Keyed) -> None:
    body = json.dumps({"instances": [ROW]}).encode()

    def request(key: str) -> bytes:
        lines = [f"POST {PATH} HTTP/1.1", f"Host: {keyed.place}", "Content-Type: application/json",
                 f"Content-Length: {len(body)}", f"X-API-Key: {key}", "", ""]  # fmt: skip
        return "\r\n".join(lines).encode() + body

    host, port = keyed.place.split(":")
    with socket.create_connection((host, int(port)), timeout=30) as wire:
        good = keyed.keys["infer"]
        wire.sendall(request(good) + request(good) + request(keyed.keys["read"]))
        said = b""
        while said.count(b"HTTP/1.1") < 3:
            more = wire.recv(65536)
            assert more, said
            said += more
    statuses = [int(part[:3]) for part in said.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [200, 200, 403]


def test_the_metrics_ask_for_their_scope(keyed: Keyed) -> None:
    def scrape(**headers: str) -> tuple[int, str]:
        url = urllib.request.Request(keyed.server.metrics_url, headers=headers)
        try:
            with urllib.request.urlopen(url, timeout=30) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, ""

    assert scrape()[0] == 401
    for scope in SCOPES:
        assert scrape(**bearer(keyed.keys[scope]))[0] == (200 if scope == "metrics" else 403)
    # with workers it is the supervisor that is scraped, a moment after they have counted
    until(lambda: "penguins" in scrape(**bearer(keyed.keys["its own"]))[1])
    status, text = scrape(**bearer(keyed.keys["limited"]))
    assert (status, "penguins" in text) == (200, False)
    until(lambda: "only metrics" in [line["name"] for line in keyed.said("key_first_used")])


def test_every_call_over_grpc_asks_for_its_scope(keyed: Keyed) -> None:
    """Also calls that fail for other reasons, and health, which is open."""
    calls = InferenceService.calls.fget  # type: ignore[attr-defined]
    assert calls is not None
    names = ["ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata",
             "ModelConfig", "ModelStatistics", "RepositoryIndex", "RepositoryModelLoad",
             "RepositoryModelUnload", "ModelInfer"]  # fmt: skip
    with grpc.insecure_channel(keyed.server.grpc) as channel:
        for name in names:
            call = channel.unary_unary(f"/inference.GRPCInferenceService/{name}")
            needed = NEEDED.get(name, "read")

            def status(key: str = "", call: Any = call) -> grpc.StatusCode:
                metadata = (("authorization", f"Bearer {key}"),) if key else ()
                try:
                    call(b"", metadata=metadata, timeout=30)
                except grpc.RpcError as error:
                    return error.code()
                return grpc.StatusCode.OK

            if needed is None:
                assert status() is grpc.StatusCode.OK, name
                continue
            assert status() is grpc.StatusCode.UNAUTHENTICATED, name
            for scope in SCOPES:
                refused = status(keyed.keys[scope]) is grpc.StatusCode.PERMISSION_DENIED
                assert refused is (scope != needed), (name, scope)
        for service in ("", "inference.GRPCInferenceService"):
            assert health_of(channel, service) is grpc.StatusCode.OK
        for service in ("penguins", "nosuch"):
            assert health_of(channel, service) is grpc.StatusCode.UNAUTHENTICATED
            for scope in SCOPES:
                refused = health_of(channel, service, keyed.keys[scope])
                assert (refused is grpc.StatusCode.PERMISSION_DENIED) is (scope != "read")
        with pytest.raises(grpc.RpcError) as unknown:  # there is no reflection
            channel.unary_unary("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")(b"")
        assert unknown.value.code() is grpc.StatusCode.UNIMPLEMENTED


def health_of(channel: grpc.Channel, service: str, key: str = "") -> grpc.StatusCode:
    """How a check of a service's health ends."""
    request = health_pb2.HealthCheckRequest(service=service)
    metadata = (("authorization", f"Bearer {key}"),) if key else ()
    try:
        health_pb2_grpc.HealthStub(channel).Check(request, metadata=metadata, timeout=30)
    except grpc.RpcError as error:
        code: grpc.StatusCode = error.code()
        return code
    return grpc.StatusCode.OK


def test_a_limited_key_knows_of_its_models_alone_over_grpc(keyed: Keyed) -> None:
    denied = grpc.StatusCode.PERMISSION_DENIED

    def named(model: str) -> dict[str, Any]:
        return {
            "ModelReady": pb.ModelReadyRequest(name=model),
            "ModelMetadata": pb.ModelMetadataRequest(name=model),
            "ModelConfig": pb.ModelConfigRequest(name=model),
            "ModelStatistics": pb.ModelStatisticsRequest(name=model),
            "ModelInfer": pb.ModelInferRequest(model_name=model),
            "RepositoryModelLoad": pb.RepositoryModelLoadRequest(model_name=model),
            "RepositoryModelUnload": pb.RepositoryModelUnloadRequest(model_name=model),
        }

    with grpc.insecure_channel(keyed.server.grpc) as channel:

        def ask(call: str, message: Any, key: str) -> tuple[grpc.StatusCode, bytes]:
            method = channel.unary_unary(f"/inference.GRPCInferenceService/{call}")
            metadata = (("x-api-key", keyed.keys[key]),)
            try:
                sent = message.SerializeToString()
                return grpc.StatusCode.OK, method(sent, metadata=metadata, timeout=60)
            except grpc.RpcError as error:
                return error.code(), b""

        for model in ("penguins", "nosuch"):  # whether it is there is not told
            for call, message in named(model).items():
                assert ask(call, message, "limited")[0] is denied, (call, model)
            assert health_of(channel, model, keyed.keys["limited"]) is denied
        for call, message in named("penguins").items():
            if not call.startswith("Repository"):
                assert ask(call, message, "its own")[0] is not denied, call
        assert health_of(channel, "penguins", keyed.keys["its own"]) is grpc.StatusCode.OK
        for call, message in (
            ("RepositoryIndex", pb.RepositoryIndexRequest()),
            ("ModelStatistics", pb.ModelStatisticsRequest()),
        ):
            assert b"penguins" not in ask(call, message, "limited")[1]
            assert b"penguins" in ask(call, message, "its own")[1]


def test_two_keys_are_none_over_grpc_either(keyed: Keyed) -> None:
    key = f"Bearer {keyed.keys['read']}"
    with grpc.insecure_channel(keyed.server.grpc) as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/RepositoryIndex")
        call(b"", metadata=(("authorization", key),), timeout=30)
        for twice in (
            (("authorization", "Bearer st_wrong"), ("authorization", key)),
            (("authorization", key), ("authorization", key)),
            (("authorization", key), ("x-api-key", keyed.keys["read"])),
        ):
            with pytest.raises(grpc.RpcError) as ended:
                call(b"", metadata=twice, timeout=30)
            assert ended.value.code() is grpc.StatusCode.UNAUTHENTICATED
            assert "got 2 keys" in ended.value.details()


def test_triton_s_clients_send_a_key(keyed: Keyed) -> None:
    key = keyed.keys["infer"]
    over_http = tritonclient.http.InferenceServerClient(keyed.place)
    over_grpc = tritonclient.grpc.InferenceServerClient(keyed.server.grpc)
    for client, kind, headers in (
        (over_http, tritonclient.http.InferInput, bearer(key)),
        (over_grpc, tritonclient.grpc.InferInput, {"authorization": f"Bearer {key}"}),
    ):
        tensors = fitting(keyed, kind)
        answer = client.infer("penguins", tensors, headers=headers)
        assert answer.get_response() is not None
        with pytest.raises(InferenceServerException, match="no key"):
            client.infer("penguins", tensors)
        assert client.is_server_ready()
        client.close()


def fitting(keyed: Keyed, kind: Any) -> list[Any]:
    """The row as tensors of the datatypes that the server names."""
    request = urllib.request.Request(
        f"{keyed.server.url}/v2/models/penguins", headers=bearer(keyed.keys["read"])
    )
    with urllib.request.urlopen(request, timeout=30) as reply:
        told = json.load(reply)["inputs"]
    tensors = []
    for tensor in told:
        value = ROW[tensor["name"]]
        dtype = {"BYTES": np.object_, "FP32": np.float32, "FP64": np.float64, "INT64": np.int64}
        array = np.array([value], dtype[tensor["datatype"]])
        array = array.reshape([1] * len(tensor["shape"]))
        made = kind(tensor["name"], list(array.shape), tensor["datatype"])
        made.set_data_from_numpy(array)
        tensors.append(made)
    return tensors


@contextmanager
def load_on(keyed: Keyed, key: str, threads: int = 4) -> Iterator[list[tuple[float, int]]]:
    """Ask all the time over connections that stay open; when, and with which status."""
    seen: list[tuple[float, int]] = []
    stop = threading.Event()
    body = json.dumps({"instances": [ROW]})
    headers = {"Content-Type": "application/json"} | bearer(key)

    def ask() -> None:
        connection = http.client.HTTPConnection(keyed.place, timeout=30)
        while not stop.is_set():
            begun = time.monotonic()
            connection.request("POST", PATH, body, headers)
            with connection.getresponse() as reply:
                reply.read()
                seen.append((begun, reply.status))
        connection.close()

    asking = [threading.Thread(target=ask) for _ in range(threads)]
    for each in asking:
        each.start()
    try:
        yield seen
    finally:
        stop.set()
        for each in asking:
            each.join(30)


def test_keys_revoked_under_load_are_refused_within_a_second_and_no_other_is_lost(
    keyed: Keyed,
) -> None:
    going = [key_of(keyed.file, f"going {place}", "infer") for place in range(5)]
    until(lambda: keyed.ask(body={"instances": [ROW]}, key=going[-1])[0] == 200)
    with load_on(keyed, keyed.keys["infer"], 2) as others:
        for place, key in enumerate(going):
            with load_on(keyed, key, 2) as seen:
                until(lambda seen=seen: len(seen) > 20)  # type: ignore[misc]
                revoke_keys(keyed.file, [f"going {place}"], datetime.now(UTC))
                revoked_s = time.monotonic()
                until(lambda seen=seen: seen[-1][1] == 401)  # type: ignore[misc]
                time.sleep(0.2)
            late = [at for at, status in seen if status == 200 and at > revoked_s + LATE_S]
            assert not late
            assert {status for _, status in seen} == {200, 401}
    assert {status for _, status in others} == {200}


def test_a_hangup_reads_the_keys_again(keyed: Keyed) -> None:
    import signal

    new = key_of(keyed.file, "after a hangup", "infer")
    keyed.server.process.send_signal(signal.SIGHUP)
    until(lambda: keyed.ask(body={"instances": [ROW]}, key=new) == (200, ""), 10)


def test_requests_above_a_key_s_rate_are_refused(keyed: Keyed) -> None:
    slow = key_of(keyed.file, "slow", "infer", requests_per_s=2)
    until(lambda: keyed.ask(body={"instances": [ROW]}, key=slow)[0] in (200, 429))
    time.sleep(LATE_S)  # each worker reads the keys for itself
    said = [keyed.ask(body={"instances": [ROW]}, key=slow) for _ in range(12)]
    assert (429, "E_RATE") in said
    assert set(said) <= {(200, ""), (429, "E_RATE")}
    assert keyed.ask(body={"instances": [ROW]}, key=keyed.keys["infer"]) == (200, "")


def test_our_own_clients_take_a_key_from_a_file(
    keyed: Keyed, tmp_path: Path, examples: Path
) -> None:
    key_file, bundle = tmp_path / "key", str(examples / "penguins" / "1.0.0")
    key_file.write_text(f"{key_of(keyed.file, 'ours', 'infer', 'read')}\n")
    url, given = keyed.server.url, ["--key-file", str(key_file)]
    until(lambda: keyed.ask("/v1/models", key_file.read_text().strip())[0] == 200)

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "seatrial", *words], cwd=tmp_path, text=True,
            capture_output=True, timeout=240, check=False,
        )  # fmt: skip

    without = run("predict", url, "--model", "penguins")
    assert without.returncode == 1
    assert "got no key" in without.stderr
    assert run("predict", url, "--model", "penguins", *given).returncode == 0
    tried = run("parity", bundle, "--url", url, "--grpc", keyed.server.grpc, *given)
    assert tried.returncode == 0, tried.stdout + tried.stderr
    for runner in ("http v1", "v2 binary", "grpc"):
        assert runner in tried.stdout
