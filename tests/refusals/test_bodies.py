"""Bodies and messages that do not come, come slowly or become large.

Memory, others' requests and liveness are as before.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from refusals.case import INPUTS, request
from refusals.sealed import seal
from refusals.test_refusals import GOOD, LIVE, Target, read_answer
from support.servers import Server

from seatrial_contracts.contract import DEFAULT_BODY_BYTES
from seatrial_serve.v2.proto import inference_pb2 as pb

pytestmark = pytest.mark.slow
SERVICE, HEALTH = "/inference.GRPCInferenceService/", "/grpc.health.v1.Health/"
HEADERS = request("/v1/models/tabular:predict", headers={"Content-Length": str(4_000_000)})


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bodies")
    seal(folder)
    return folder


@pytest.fixture(scope="module")
def target(bundles: Path, serve: Callable[..., Server]) -> Iterator[Target]:
    server = serve(
        bundles, "--budget-bytes", str(2**28), "--grpc-message-bytes", str(2 * DEFAULT_BODY_BYTES)
    )
    assert server.wait_until_loaded()[0] == 200
    target = Target(server)
    yield target
    assert "Traceback" not in "".join(server.log)
    assert "seatrial_held_bytes 0.0" in target.metrics


@pytest.fixture(scope="module")
def call(target: Target) -> Iterator[Callable[..., Any]]:
    """A call over gRPC with a message's bytes: its answer, or its status, code and text."""
    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(target.server.grpc, options=options) as channel:

        def ask(method: str, message: bytes, service: str = SERVICE, **options: Any) -> Any:
            try:
                return channel.unary_unary(service + method)(message, timeout=30, **options)
            except grpc.RpcError as error:
                trailing = dict(error.trailing_metadata() or ())
                return error.code(), trailing.get("seatrial-code"), error.details()

        yield ask


def ask(target: Target) -> int:
    with target.connect() as sock:
        sock.sendall(GOOD)
        return read_answer(sock)[0]


def test_connections_that_send_headers_only_keep_nobody_out(target: Target) -> None:
    with ExitStack() as stack:

        def begin() -> None:
            stack.enter_context(target.connect()).sendall(HEADERS)

        for _ in range(32):
            begin()
        answers = []
        for turn in range(56):
            if turn % 8 == 0:
                begin()
            answers.append(ask(target))
    assert answers == [200] * 56


def test_a_body_that_stalls_is_refused_and_its_connection_closed(target: Target) -> None:
    with target.connect(60) as sock:
        sock.sendall(HEADERS + b"{")
        status, headers, body = read_answer(sock)
        assert (status, json.loads(body)["code"], headers["connection"]) == (
            408,
            "E_SLOW_BODY",
            "close",
        )
        assert "at least 16384 bytes a second" in json.loads(body)["error"]


def infer_message(model: str = "tabular", **more: Any) -> pb.ModelInferRequest:
    """A good one for the tabular model, unless more is given."""
    message = pb.ModelInferRequest(model_name=model, **more)
    for name, (field, value) in {
        "x": ("fp32_contents", 1.5),
        "n": ("int_contents", 3),
        "c": ("bytes_contents", b"a"),
        "f": ("bool_contents", True),
    }.items():
        contents = pb.InferTensorContents(**{field: [value]})
        message.inputs.add(
            name=name, datatype=INPUTS[name]["datatype"], shape=[1], contents=contents
        )
    return message


def test_a_good_message_is_answered_and_a_malformed_one_is_the_callers_fault(
    call: Callable[..., Any],
) -> None:
    answer = pb.ModelInferResponse.FromString(
        call("ModelInfer", infer_message().SerializeToString())
    )
    assert (answer.model_name, len(answer.raw_output_contents)) == ("tabular", 1)
    wrong = (grpc.StatusCode.INVALID_ARGUMENT, "E_MESSAGE")
    assert call("ModelInfer", b"\xff")[:2] == wrong
    assert call("ServerLive", b"\xff")[:2] == wrong
    assert call("ModelInfer", b"\x0a\x07tabular\x2a\x02\xff\xff")[:2] == wrong
    assert call("ModelInfer", b"")[:2] == (grpc.StatusCode.NOT_FOUND, "E_MODEL_NOT_FOUND")
    large = pb.ModelReadyRequest(name="a" * 70_000).SerializeToString()
    too_long = (grpc.StatusCode.RESOURCE_EXHAUSTED, "E_BODY_BYTES")
    assert call("ModelReady", large)[:2] == too_long
    assert call("Check", large, service=HEALTH)[:2] == too_long
    assert call("Check", b"\xff", service=HEALTH)[:2] == wrong


@pytest.mark.parametrize(
    ("size", "code"),
    [
        (DEFAULT_BODY_BYTES + 1, "E_BODY_BYTES"),
        (4 * DEFAULT_BODY_BYTES, None),  # gRPC itself says so, and ends the call
    ],
)
def test_compressed_messages_above_the_contracts_limit_take_no_memory_and_no_time(
    target: Target, call: Callable[..., Any], size: int, code: str | None
) -> None:
    message = infer_message(id="a").SerializeToString()
    message += pb.ModelInferRequest(
        raw_input_contents=[bytes(size - len(message))]
    ).SerializeToString()
    before_mb, seen_mb, over = target.rss_mb, [0.0], threading.Event()

    def look() -> None:
        while not over.is_set():
            seen_mb.append(psutil.Process(target.process.pid).memory_info().rss / 2**20)
            with target.connect() as sock:
                sock.sendall(LIVE)
                assert read_answer(sock)[0] == 200

    with ThreadPoolExecutor(4) as threads:
        looking = threads.submit(look)
        calls = [
            threads.submit(call, "ModelInfer", message, compression=grpc.Compression.Gzip)
            for _ in range(3)
        ]
        answers = [each.result() for each in calls]
        over.set()
        looking.result()
    assert [answer[:2] for answer in answers] == [(grpc.StatusCode.RESOURCE_EXHAUSTED, code)] * 3
    assert max(seen_mb) - before_mb < 64


def test_messages_that_are_refused_leave_nothing_behind(
    target: Target, call: Callable[..., Any]
) -> None:
    size = DEFAULT_BODY_BYTES + 1
    message = infer_message(id="a").SerializeToString()
    message += pb.ModelInferRequest(
        raw_input_contents=[bytes(size - len(message))]
    ).SerializeToString()
    assert call("ModelInfer", message)[1] == "E_BODY_BYTES"
    before_mb = target.rss_mb
    for method, service in (("ModelInfer", SERVICE), ("ModelReady", SERVICE), ("Check", HEALTH)):
        for _ in range(8):
            assert call(method, message, service)[1] in ("E_BODY_BYTES", "E_MESSAGE")
    assert target.rss_mb - before_mb < 48, "the last of 24 messages of 4 MiB, and not each"


def test_a_message_of_too_many_parts_is_refused_unpacked(
    target: Target, call: Callable[..., Any]
) -> None:
    before_mb = target.rss_mb
    message = infer_message().SerializeToString()
    inner = pb.ModelInferRequest(
        inputs=[pb.ModelInferRequest.InferInputTensor()] * 100_000
    ).SerializeToString()
    assert call("ModelInfer", message + inner)[:2] == (grpc.StatusCode.INVALID_ARGUMENT, "E_LIMIT")
    assert target.rss_mb - before_mb < 32


def test_a_message_that_makes_the_model_fail_is_quarantined_as_over_http(
    call: Callable[..., Any],
) -> None:
    ids = pb.InferTensorContents(int64_contents=[1, 10**9])
    message = pb.ModelInferRequest(model_name="embedding")
    message.inputs.add(name="ids", datatype="INT64", shape=[1, 2], contents=ids)
    codes = [call("ModelInfer", message.SerializeToString())[1] for _ in range(4)]
    assert codes == ["E_MODEL_INPUT"] * 3 + ["E_QUARANTINED"]


def test_calls_without_a_message_hold_their_clients_places_alone(target: Target) -> None:
    with (
        grpc.insecure_channel(target.server.grpc) as silent,
        grpc.insecure_channel(target.server.grpc) as other,
    ):
        over = threading.Event()

        def nothing() -> Iterator[bytes]:
            over.wait(60)
            yield from ()

        waiting = [silent.stream_unary(SERVICE + "ModelInfer").future(nothing()) for _ in range(64)]
        live = pb.ServerLiveResponse.FromString(
            other.unary_unary(SERVICE + "ServerLive")(b"", timeout=30)
        )
        assert live.live
        for each in waiting:
            each.cancel()
        over.set()


def test_too_many_values_in_json_are_refused_and_nobody_waits(target: Target) -> None:
    body = b'{"instances":[' + b'"a",' * 10**6 + b'"a"]}'
    with target.connect() as sock:
        sock.sendall(request("/v1/models/tabular:predict", body))
        status, _, said = read_answer(sock)
    assert (status, json.loads(said)["code"]) == (400, "E_BATCH")
    assert json.loads(said)["error"] == "request body: got more than 64 rows, want 1 to 64 rows"
    tensor = {"name": "x", "datatype": "FP32", "shape": [10**6], "data": [1] * 10**6}
    with target.connect() as sock:
        sock.sendall(
            request(
                "/v2/models/tabular/infer",
                json.dumps({"inputs": [tensor]}, separators=(",", ":")).encode(),
            )
        )
        status, _, said = read_answer(sock)
    assert (status, json.loads(said)["code"]) == (400, "E_LIMIT")
    assert ask(target) == 200


def test_one_address_has_so_many_connections_and_is_told(
    bundles: Path, serve: Callable[..., Server]
) -> None:
    target = Target(serve(bundles, "--client-connections", "4"))
    with ExitStack() as stack:
        for _ in range(4):
            sock = stack.enter_context(target.connect())
            sock.sendall(LIVE)
            assert read_answer(sock)[0] == 200
        with target.connect() as more:
            status, headers, said = read_answer(more)
            assert (status, json.loads(said)["code"]) == (503, "E_CONNECTIONS")
            assert headers["connection"] == "close"
