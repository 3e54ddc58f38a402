"""float16 in and out, over V1, V2 and gRPC, judged by numpy and Triton's client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
import torch
import tritonclient.http as over_http
from hypothesis import given
from hypothesis import strategies as some
from support.made import made_bundle
from support.narrow_floats import body_of, infer
from support.running import Running, run_app

import seatrial as st
from seatrial_contracts.compare import compare_arrays
from seatrial_contracts.kinds.floats import rounded_up_to
from seatrial_contracts.kinds.kind import Array
from seatrial_serve.v2.grpc_message import read_message
from seatrial_serve.v2.proto import inference_pb2 as pb

LARGEST = float(np.finfo(np.float16).max)
ROWS: list[dict[str, Any]] = [{"x": value / 8, "wide": [value, -value]} for value in range(9)]


class Row(st.Row):
    x: Annotated[float, st.Number(dtype="float16")]
    wide: st.Tensor[np.float16, 2]


class Same(st.Answer):
    number: Annotated[float, st.Number(dtype="float16")]
    tensor: st.Tensor[torch.float16, 2]


CONTRACT = st.contract_from_rows(Row, Same)


def answered(feeds: Mapping[str, Array]) -> dict[str, Array]:
    assert {array.dtype.name for array in feeds.values()} == {"float16"}
    return {"number": feeds["x"], "tensor": feeds["wide"]}


@pytest.fixture
async def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    made_bundle(tmp_path, monkeypatch, CONTRACT, answered, ROWS)
    async with run_app(tmp_path) as running:
        yield running


def body(*outputs: Any, **parameters: Any) -> tuple[bytes, dict[str, str]]:
    return body_of("FP16", np.float16, (LARGEST, -1), outputs, **parameters)


async def test_v1_rounds_as_numpy_does(served: Running) -> None:
    reply = await served.ask([{"x": 0.1, "wide": [1 / 3, 65519.9]}], model="made")
    [told] = reply.json()["predictions"]
    assert np.float16(told["number"]) == np.float16(0.1)
    assert np.array_equal(
        np.array(told["tensor"], np.float16), np.array([1 / 3, LARGEST], np.float16)
    )


@pytest.mark.parametrize("row", [{"x": 65520.0, "wide": [0, 0]}, {"x": 0.0, "wide": [0, -65520.0]}])
async def test_a_number_that_float16_does_not_hold_is_refused(served: Running, row: Any) -> None:
    reply = await served.ask([row], model="made")
    assert (reply.status_code, reply.json()["code"]) == (400, "E_RANGE")


async def test_tritons_client_sends_and_reads_fp16(served: Running) -> None:
    wanted = [over_http.InferRequestedOutput(name) for name in ("number", "tensor")]
    reply = await infer(served, *body(*wanted))
    length = int(reply.headers["Inference-Header-Content-Length"])
    found = over_http.InferenceServerClient.parse_response_body(reply.content, header_length=length)
    assert found.get_output("tensor")["datatype"] == "FP16"
    assert found.as_numpy("number").tolist() == [[np.float16(0.1)]]
    assert found.as_numpy("tensor").tolist() == [[LARGEST, -1.0]]


async def test_fp16_in_json_is_refused_both_ways(served: Running) -> None:
    reply = await infer(served, *body(over_http.InferRequestedOutput("tensor", binary_data=False)))
    assert (reply.status_code, reply.json()["code"]) == (400, "E_DTYPE")
    assert "binary_data" in reply.json()["error"]
    x = {"name": "x", "datatype": "FP16", "shape": [1, 1], "data": [0.5]}
    reply = await served.client.post("/v2/models/made/infer", json={"inputs": [x]})
    assert (reply.status_code, reply.json()["code"]) == (400, "E_DTYPE")


async def test_infinities_over_the_wire_are_refused(served: Running) -> None:
    content, headers = body()
    bad = content.replace(np.float16(LARGEST).tobytes(), np.float16(np.inf).tobytes())
    reply = await infer(served, bad, headers)
    assert (reply.status_code, reply.json()["code"]) == (400, "E_NONFINITE")


async def test_metadata_and_triton_configuration_say_fp16(served: Running) -> None:
    told = (await served.client.get("/v2/models/made")).json()
    assert {each["datatype"] for side in ("inputs", "outputs") for each in told[side]} == {"FP16"}
    config = (await served.client.get("/v2/models/made/config")).json()
    assert {each["data_type"] for each in config["output"]} == {"TYPE_FP16"}


def test_a_grpc_message_carries_fp16_raw() -> None:
    tensors = [
        pb.ModelInferRequest.InferInputTensor(name=name, datatype="FP16", shape=shape)
        for name, shape in (("x", [1, 1]), ("wide", [1, 2]))
    ]
    raw = [np.float16(0.1).tobytes(), np.array([1, 2], np.float16).tobytes()]
    message = pb.ModelInferRequest(model_name="made", inputs=tensors, raw_input_contents=raw)
    request = read_message(message, CONTRACT)
    assert [np.asarray(each.data).tolist() for each in request.inputs] == [
        [np.float16(0.1)],
        [1, 2],
    ]


@given(some.floats(width=16, allow_nan=False, allow_infinity=False))
def test_the_least_number_that_rounds_up_to_a_float16_is_numpys(bound: float) -> None:
    least = rounded_up_to(bound, "float16")
    with np.errstate(over="ignore"):
        assert float(np.float16(least)) >= bound
        assert float(np.float16(np.nextafter(least, -np.inf))) < bound


def test_neighbouring_float16_numbers_agree_and_the_next_but_one_do_not() -> None:
    want = np.array([1000.0, 0.1], np.float16)
    one, two = (np.nextafter(want, np.float16(np.inf)) for _ in range(2))
    two = np.nextafter(one, np.float16(np.inf))
    assert compare_arrays(want, one, st.Tolerance(), 1000.0).passed
    assert not compare_arrays(want, two, st.Tolerance(relative_to_max=0), 1000.0).passed
