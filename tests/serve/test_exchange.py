"""How a body must come, and what a message is made of before it is unpacked."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as some
from support.running import Running
from support.toys import toy_bundle

import seatrial as st
from seatrial_contracts.bundle import CONTRACT
from seatrial_contracts.contract import DEFAULT_BODY_BYTES, Contract
from seatrial_contracts.errors import Refusal, Unavailable
from seatrial_serve.api.grpc_call import client_of, receive
from seatrial_serve.api.grpc_health import MOST_OF_CLIENT, HealthService, Status
from seatrial_serve.api.grpc_listener import GrpcListener
from seatrial_serve.api.v2_grpc import InferenceService, read
from seatrial_serve.http import body as body_module
from seatrial_serve.http.body import GRACE_S, Pace, read_body
from seatrial_serve.models.repository import Repository
from seatrial_serve.models.sources import Sources
from seatrial_serve.process.budget import ARRIVES_BYTES, Budget, Hold, Places
from seatrial_serve.v2.grpc_message import read_message
from seatrial_serve.v2.grpc_wire import MOST_FIELDS, check_parts, model_of
from seatrial_serve.v2.http_body import read_request
from seatrial_serve.v2.message import most_named
from seatrial_serve.v2.proto import inference_pb2 as pb


def sends(*parts: bytes, more: bool = False) -> Any:
    """Return an ASGI `receive` that hands over these parts.

    The last of them ends the body unless there is `more`.
    """
    waiting = list(parts)

    async def receive() -> dict[str, Any]:
        if not waiting:
            await asyncio.Event().wait()
        part = waiting.pop(0)
        return {"type": "http.request", "body": part, "more_body": more or bool(waiting)}

    return receive


def test_each_byte_buys_its_time_and_no_more_than_the_grace_ahead() -> None:
    pace = Pace(30.0, 1000)
    until_s = GRACE_S
    until_s = pace.later(until_s, 500, 4.0)
    assert until_s == GRACE_S + 0.5
    assert pace.later(until_s, 10**9, 5.0) == 5.0 + GRACE_S


async def test_a_body_that_comes_too_slowly_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body_module, "GRACE_S", 0.0)
    with pytest.raises(Refusal, match="got fewer, want at least 16384 bytes a second") as refused:
        await read_body({}, sends(b"x" * 10, more=True), 100, Pace(30.0, 16384))
    assert refused.value.code == "E_SLOW_BODY"
    assert await read_body({}, sends(b"a", b"b"), 100, Pace(30.0)) == b"ab"


async def test_memory_is_held_for_what_has_come_and_wanting_room_is_said_mid_body(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    budget = Budget(4 * ARRIVES_BYTES)
    other, hold = budget.begin("other"), budget.begin("client")
    other.arrived(2 * ARRIVES_BYTES)
    held: list[int] = []
    arrived = Hold.arrived
    monkeypatch.setattr(
        Hold, "arrived", lambda self, size: (arrived(self, size), held.append(self.bytes))
    )
    part = bytes(ARRIVES_BYTES)
    with pytest.raises(Unavailable) as refused:
        await read_body(
            {b"content-length": b"4000000"}, sends(b"x", part, part), 4_000_000, Pace(30.0), hold
        )
    assert (held, refused.value.code) == ([ARRIVES_BYTES, 2 * ARRIVES_BYTES], "E_MEMORY")
    for each in (hold, other):
        each.give_back()
    assert budget.held_bytes == 0


INPUT = pb.ModelInferRequest.InferInputTensor(
    name="x", datatype="FP32", shape=[2], contents=pb.InferTensorContents(fp32_contents=[1, 2])
)
FULL = pb.ModelInferRequest(
    model_name="mödel",
    model_version="1.0.0",
    id="a",
    parameters={"p": pb.InferParameter(bool_param=True)},
    inputs=[INPUT] * 64,
    outputs=[pb.ModelInferRequest.InferRequestedOutputTensor(name="y")] * 64,
    raw_input_contents=[b"raw"] * 64,
)


FIELDS = 200
MANY = st.Contract(
    schema=1,
    inputs=tuple({"name": f"x{n}", "kind": st.Number(dtype="float32")} for n in range(FIELDS)),
    outputs=({"name": "y", "kind": st.Number(dtype="float32")},),
)


def test_a_model_of_many_fields_is_asked_over_v2_and_grpc_and_one_of_few_is_not() -> None:
    inputs = [
        {"name": f"x{n}", "shape": [1], "datatype": "FP32", "data": [n]} for n in range(FIELDS)
    ]
    assert len(read_request(json.dumps({"inputs": inputs}).encode(), None, MANY).inputs) == FIELDS
    tensors = [
        pb.ModelInferRequest.InferInputTensor(name=f"x{n}", datatype="FP32", shape=[1])
        for n in range(FIELDS)
    ]
    message = pb.ModelInferRequest(
        model_name="m", inputs=tensors, raw_input_contents=[b"\0\0\0\0"] * FIELDS
    )
    assert model_of(message.SerializeToString()) == ("m", "")
    assert len(read(message.SerializeToString(), MANY).inputs) == FIELDS
    check_parts(message.SerializeToString(), MANY.most_values, most_named(MANY))
    few = MANY.model_copy(update={"inputs": MANY.inputs[:3]})
    for ask in (
        lambda: read_request(json.dumps({"inputs": inputs}).encode(), None, few),
        lambda: read(message.SerializeToString(), few),
    ):
        with pytest.raises(Refusal, match="at most 64") as refused:
            ask()
        assert refused.value.code == "E_LIMIT"


GIVEN = {"name": "x0", "shape": [1], "datatype": "FP32"}
UNKNOWN = {"name": "secret"}


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ([GIVEN | UNKNOWN | {"datatype": "FP31"}], []),
        ([GIVEN | UNKNOWN | {"shape": [-1]}], []),
        ([GIVEN], [UNKNOWN]),
    ],
)
def test_a_name_that_a_model_of_many_fields_does_not_have_is_told_in_few_words_and_not_repeated(
    inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]
) -> None:
    given = {"inputs": [each | {"data": [1]} for each in inputs], "outputs": outputs}
    one = pb.InferTensorContents(fp32_contents=[1])
    message = pb.ModelInferRequest(
        inputs=[pb.ModelInferRequest.InferInputTensor(**each, contents=one) for each in inputs],
        outputs=[pb.ModelInferRequest.InferRequestedOutputTensor(**each) for each in outputs],
    )
    for ask in (
        lambda: read_request(json.dumps(given).encode(), None, MANY),
        lambda: read_message(message, MANY),
    ):
        with pytest.raises(Refusal, match="does not have, want ") as refused:
            ask()
        assert "secret" not in str(refused.value)
        assert len(str(refused.value)) < 600, "gRPC's clients take 8 KiB"


def test_a_model_named_again_behind_many_tensors_is_refused() -> None:
    tensors = [pb.ModelInferRequest.InferInputTensor(name="x0", datatype="FP32", shape=[1])] * (
        MOST_FIELDS + 1
    )
    message = pb.ModelInferRequest(model_name="m", inputs=tensors).SerializeToString()
    with pytest.raises(Refusal, match="behind its tensors"):
        read(message + pb.ModelInferRequest(model_name="other").SerializeToString(), MANY)


def test_a_message_names_its_model_before_it_is_unpacked() -> None:
    assert model_of(FULL.SerializeToString()) == ("mödel", "1.0.0")
    assert model_of(b"") == ("", "")
    twice = FULL.SerializeToString() + pb.ModelInferRequest(model_name="b").SerializeToString()
    assert model_of(twice) == ("b", "1.0.0"), "the last one counts, as in protobuf"


@pytest.mark.parametrize(
    "data", [b"\xff", b"\x0a", b"\x0a\x05abc", b"\x0a\x01\xff", b"\x0b", b"\x09abc", b"\xff" * 11]
)
def test_what_is_no_message_is_refused_as_protobuf_refuses_it(data: bytes) -> None:
    with pytest.raises(DecodeError):
        pb.ModelInferRequest.FromString(data)
    with pytest.raises(Refusal) as refused:
        model_of(data)
    assert refused.value.code == "E_MESSAGE"


@given(some.binary(max_size=60))
def test_bytes_that_protobuf_reads_have_the_model_that_protobuf_finds(data: bytes) -> None:
    with suppress(DecodeError, Refusal):
        message = pb.ModelInferRequest.FromString(data)
        assert model_of(data) == (message.model_name, message.model_version)


@pytest.mark.parametrize(
    "message",
    [
        b"\x2a\x00" * (MOST_FIELDS + 1),
        b"\x3a\x00" * (MOST_FIELDS + 1),
        pb.ModelInferRequest(
            inputs=[pb.ModelInferRequest.InferInputTensor(shape=[1] * 200)]
        ).SerializeToString(),
        pb.ModelInferRequest(
            inputs=[
                pb.ModelInferRequest.InferInputTensor(
                    contents=pb.InferTensorContents(bytes_contents=[b""] * 999)
                )
            ]
        ).SerializeToString(),
        pb.ModelInferRequest(
            inputs=[
                pb.ModelInferRequest.InferInputTensor(
                    parameters={f"{i}": pb.InferParameter() for i in range(999)}
                )
            ]
        ).SerializeToString(),
        pb.ModelInferRequest(
            outputs=[
                pb.ModelInferRequest.InferRequestedOutputTensor(
                    parameters={f"{i}": pb.InferParameter() for i in range(999)}
                )
            ]
        ).SerializeToString(),
    ],
    ids=[
        "inputs",
        "raw contents",
        "a long shape",
        "words",
        "parameters of an input",
        "parameters of an output",
    ],
)
def test_a_message_of_too_many_parts_is_refused_before_it_is_unpacked(message: bytes) -> None:
    with pytest.raises(Refusal) as refused:
        check_parts(message, 100)
    assert refused.value.code == "E_LIMIT"


def test_the_largest_message_and_words_full_of_tags_pass() -> None:
    check_parts(FULL.SerializeToString(), 2)
    words = pb.InferTensorContents(bytes_contents=[b"B" * 1000] * 100)
    one = pb.ModelInferRequest.InferInputTensor(
        name="x0", datatype="BYTES", shape=[100], contents=words
    )
    message = pb.ModelInferRequest(inputs=[one]).SerializeToString()
    check_parts(message, 100)
    assert np.shape(
        read_message(pb.ModelInferRequest.FromString(message), MANY).inputs[0].data
    ) == (100,)


class Call:
    """A call's context, as far as health needs it."""

    def __init__(self, peer: str = "ipv4:127.0.0.1:40000") -> None:
        self._peer = peer
        self.said: list[Any] = []
        self.heard = asyncio.Event()

    def peer(self) -> str:
        return self._peer

    async def read(self) -> Any:
        await asyncio.Event().wait()

    async def write(self, answer: Any) -> None:
        self.said.append(answer.status)
        self.heard.set()

    async def abort(self, code: Any, _: str = "") -> None:
        raise PermissionError(code)


@pytest.mark.parametrize(
    ("peer", "client"),
    [
        ("ipv4:127.0.0.1:40000", "127.0.0.1"),
        ("ipv6:%5B::1%5D:40000", "::1"),
        ("ipv6:[::1]:4", "::1"),
        ("unix:", ""),
    ],
)
def test_a_client_is_its_address_over_grpc_as_over_http(peer: str, client: str) -> None:
    assert client_of(Call(peer)) == client


async def test_watchers_hear_of_changes_after_another_has_left() -> None:
    health = HealthService()
    request = type("Request", (), {"service": "toy"})()
    calls = [Call(), Call()]
    watching = [asyncio.create_task(health.watch(request, call)) for call in calls]
    for call in calls:
        await call.heard.wait()
        call.heard.clear()
    watching[0].cancel()
    await asyncio.wait([watching[0]])
    await health.set("toy", Status.SERVING)
    await calls[1].heard.wait()
    assert calls[1].said == [Status.SERVICE_UNKNOWN, Status.SERVING]
    health.close()
    await watching[1]
    assert health._places.taken == 0


async def test_one_client_cannot_take_all_streams_that_watch() -> None:
    health = HealthService()
    request = type("Request", (), {"service": ""})()
    calls = [Call() for _ in range(MOST_OF_CLIENT)]
    watching = [asyncio.create_task(health.watch(request, call)) for call in calls]
    for call in calls:
        await call.heard.wait()
    with pytest.raises(PermissionError):
        await health.watch(request, Call())
    other = Call("ipv4:10.0.0.1:4")
    watching.append(asyncio.create_task(health.watch(request, other)))
    await other.heard.wait()
    health.close()
    await asyncio.wait(watching)


def test_grpc_takes_messages_as_long_as_the_longest_body_of_a_model_in_the_folder(
    tmp_path: Path,
) -> None:
    def expected() -> int:
        return Repository(Sources((str(tmp_path),))).expected_body_bytes()

    toy_bundle(tmp_path, limits=st.Limits(max_body_bytes=100))
    assert expected() == DEFAULT_BODY_BYTES
    toy_bundle(tmp_path, name="large", limits=st.Limits(max_body_bytes=2 * DEFAULT_BODY_BYTES))
    (toy_bundle(tmp_path, name="broken").path / CONTRACT).write_bytes(b"{")
    assert expected() == 2 * DEFAULT_BODY_BYTES
    contract = tmp_path / "large" / "1.0.0" / CONTRACT
    contract.write_bytes(contract.read_bytes().replace(b"8388608", b"8388609"))  # not as sealed
    assert expected() == DEFAULT_BODY_BYTES


def test_a_contract_that_many_bundles_have_is_read_once_for_grpc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        toy_bundle(tmp_path, name=f"toy{number}")
    toy_bundle(tmp_path, name="large", limits=st.Limits(max_body_bytes=2 * DEFAULT_BODY_BYTES))
    repository, read = Repository(Sources((str(tmp_path),))), list[bytes]()
    from_json = Contract.from_json

    def counted(data: bytes) -> Contract:
        read.append(data)
        return from_json(data)

    monkeypatch.setattr(Contract, "from_json", counted)
    assert repository.expected_body_bytes() == 2 * DEFAULT_BODY_BYTES
    assert len(read) == 2


async def test_a_model_whose_bodies_are_longer_than_grpc_takes_is_named_once(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    service = InferenceService(running.app._exchanges, Places(1))
    listener = GrpcListener(service, running.repository, running.drain, "127.0.0.1", 0, 0.0, 1000)
    for _ in range(2):
        await listener.refresh()
    said = [record.getMessage() for record in caplog.records if record.name == "seatrial.grpc"]
    assert said == [
        (
            f"toy 1.0.0 takes bodies of {DEFAULT_BODY_BYTES} bytes, gRPC at most 1000: "
            "serve anew, or set grpc_message_bytes"
        )
    ]


async def test_a_message_that_does_not_come_in_time_is_refused_and_a_client_that_leaves_is_not() -> (  # noqa: E501  (a test's name is a sentence)
    None
):
    with pytest.raises(Refusal, match="no end of it within 0 s") as refused:
        await receive(Call(), 0.0)
    assert refused.value.code == "E_SLOW_BODY"
    leaving = asyncio.create_task(receive(Call(), 30.0))
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
