"""bfloat16 in and out, over V1, V2 and gRPC, judged by PyTorch, Triton's client and fractions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import ml_dtypes
import numpy as np
import pytest
import torch
import tritonclient.grpc as over_grpc
import tritonclient.http as over_http
from hypothesis import given
from hypothesis import strategies as some
from support.every_way import asked_by_v1, asked_by_v2_binary
from support.foreign import adopt
from support.made import made_bundle
from support.narrow_floats import body_of, infer
from support.parity import RUNNERS, hold_to_parity
from support.running import Running, run_app
from torch import nn

import seatrial as st
from seatrial_contracts.compare import compare_arrays
from seatrial_contracts.drawn_rows import draw_rows
from seatrial_contracts.host_stage import HostStage
from seatrial_contracts.kinds.floats import (
    LARGEST_BFLOAT16,
    bfloat16_bits,
    from_bfloat16_bits,
    near_bfloat16,
    next_float,
    rounded,
    rounded_up_to,
)
from seatrial_contracts.kinds.kind import Array
from seatrial_contracts.kinds.number import Number
from seatrial_contracts.kinds.tensor import Tensor
from seatrial_serve.v2.grpc_message import read_message, write_message
from seatrial_serve.v2.message import InferResponse, Wanted
from seatrial_serve.v2.proto import inference_pb2 as pb

BITS = np.arange(2**16, dtype=np.uint16)
ROWS: list[dict[str, Any]] = [{"x": value / 8, "wide": [value, -value]} for value in range(9)]


class Row(st.Row):
    x: Annotated[float, st.Number(dtype="bfloat16", ge=-1000, le=1000)]
    wide: st.Tensor[torch.bfloat16, 2]


class Same(st.Answer):
    number: Annotated[float, st.Number(dtype="bfloat16")]
    tensor: Annotated[np.ndarray, st.Tensor(dtype="bfloat16", dims=(2,))]


CONTRACT = st.contract_from_rows(Row, Same)


def of_torch(values: Any) -> Array:
    """Numbers as PyTorch rounds them, in float32."""
    found: Array = torch.as_tensor(np.asarray(values, np.float32)).bfloat16().float().numpy()
    return found


def answered(feeds: Mapping[str, Array]) -> dict[str, Array]:
    assert {array.dtype.name for array in feeds.values()} == {"float32"}
    for array in feeds.values():
        assert np.array_equal(array, of_torch(array)), "the graph sees what bfloat16 holds"
    return {"number": feeds["x"], "tensor": feeds["wide"]}


@pytest.fixture
async def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    made_bundle(tmp_path, monkeypatch, CONTRACT, answered, ROWS)
    async with run_app(tmp_path) as running:
        yield running


def body(*outputs: Any, wide: Any = (3.0, -1.0), **parameters: Any) -> tuple[bytes, dict[str, str]]:
    return body_of("BF16", ml_dtypes.bfloat16, wide, outputs, **parameters)


def test_every_bfloat16_goes_to_float32_and_back_as_in_torch() -> None:
    torchs = torch.from_numpy(BITS.view(np.int16)).view(torch.bfloat16)
    ours = from_bfloat16_bits(BITS)
    assert np.array_equal(ours, torchs.float().numpy(), equal_nan=True)
    sound = ~np.isnan(ours)
    assert np.array_equal(bfloat16_bits(ours)[sound], BITS[sound])
    assert np.isnan(from_bfloat16_bits(bfloat16_bits(ours[~sound]))).all()


@given(some.lists(some.floats(width=32), min_size=1))
def test_float32_numbers_are_rounded_as_in_torch_and_in_ml_dtypes(values: list[float]) -> None:
    array = np.array(values, np.float32)
    got = rounded(array, "bfloat16")
    assert np.array_equal(got, of_torch(array), equal_nan=True)
    with np.errstate(invalid="ignore", over="ignore"):
        theirs = array.astype(ml_dtypes.bfloat16).astype(np.float32)
    assert np.array_equal(got, theirs, equal_nan=True)
    numbers = ~np.isnan(got)
    assert np.array_equal(np.signbit(got)[numbers], np.signbit(of_torch(array))[numbers])


@given(some.floats(min_value=-1e38, max_value=1e38))
def test_float64_numbers_are_rounded_once_to_the_nearest(value: float) -> None:
    got = float(rounded(value, "bfloat16"))
    exact, error = Fraction(value), abs(Fraction(got) - Fraction(value))
    for other in (next_float(got, -np.inf, "bfloat16"), next_float(got, np.inf, "bfloat16")):
        away = abs(Fraction(other) - exact)
        assert error < away or (error == away and int(bfloat16_bits(np.float32([got]))[0]) % 2 == 0)


def test_neighbours_of_bfloat16_numbers_are_those_of_ml_dtypes() -> None:
    """Of every exponent and both signs: the powers of 2, what stands beside them, and a middle."""
    with np.errstate(all="ignore"):
        own = BITS[np.isin(BITS % 128, (0, 1, 77, 127))].view(ml_dtypes.bfloat16)
        finite = own[np.isfinite(own)]
        for towards in (np.inf, -np.inf):
            want = np.nextafter(finite, ml_dtypes.bfloat16(towards)).astype(np.float64)
            got = [next_float(float(value), towards, "bfloat16") for value in finite]
            assert np.array_equal(np.array(got), want)


@given(some.floats(-1e30, 1e30).map(lambda value: float(rounded(value, "bfloat16"))))
def test_the_least_number_that_rounds_up_to_a_bfloat16_is_found(bound: float) -> None:
    least = rounded_up_to(bound, "bfloat16")
    assert float(rounded(least, "bfloat16")) >= bound
    assert float(rounded(np.nextafter(least, -np.inf), "bfloat16")) < bound


async def test_v1_rounds_as_torch_does(served: Running) -> None:
    reply = await served.ask([{"x": 0.1, "wide": [1 / 3, LARGEST_BFLOAT16]}], model="made")
    [told] = reply.json()["predictions"]
    assert np.float32(told["number"]) == of_torch(0.1)
    want = of_torch([1 / 3, LARGEST_BFLOAT16])
    assert np.array_equal(np.array(told["tensor"], np.float32), want)


async def test_every_row_that_gates_draw_is_answered_alike_by_v1_and_by_v2(
    served: Running,
) -> None:
    rows = [each.row for each in draw_rows(HostStage(CONTRACT, {}), ROWS)] + ROWS
    by_row = await asked_by_v1(served, CONTRACT, rows)
    assert await asked_by_v2_binary(served, CONTRACT, rows) == by_row
    [batch] = by_row
    assert len(batch["number"]) == len(rows) > 60


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ({"x": 1003.0, "wide": [0, 0]}, "E_RANGE"),
        ({"x": 0.0, "wide": [0, -3.4e38]}, "E_RANGE"),
        ({"x": 0.0, "wide": [0, "1"]}, "E_TYPE"),
    ],
)
async def test_a_number_that_is_out_of_bounds_once_rounded_is_refused(
    served: Running, row: Any, code: str
) -> None:
    reply = await served.ask([row], model="made")
    assert (reply.status_code, reply.json()["code"]) == (400, code)


async def test_a_number_that_rounds_to_a_bound_is_taken(served: Running) -> None:
    """1000 is a bfloat16 number, the next are 1004 and 996."""
    reply = await served.ask([{"x": 1001.9, "wide": [0, 0]}], model="made")
    assert reply.json()["predictions"][0]["number"] == 1000


async def test_tritons_client_sends_and_reads_bf16_over_http(served: Running) -> None:
    wanted = [over_http.InferRequestedOutput(name) for name in ("number", "tensor")]
    reply = await infer(served, *body(*wanted))
    length = int(reply.headers["Inference-Header-Content-Length"])
    found = over_http.InferenceServerClient.parse_response_body(reply.content, header_length=length)
    assert found.get_output("tensor")["datatype"] == "BF16"
    assert found.as_numpy("number").tolist() == [[ml_dtypes.bfloat16(0.1)]]
    assert found.as_numpy("tensor").astype(np.float32).tolist() == [[3.0, -1.0]]


async def test_bf16_in_json_is_refused_both_ways(served: Running) -> None:
    reply = await infer(served, *body(over_http.InferRequestedOutput("tensor", binary_data=False)))
    assert (reply.status_code, reply.json()["code"]) == (400, "E_DTYPE")
    assert "binary_data" in reply.json()["error"]
    x = {"name": "x", "datatype": "BF16", "shape": [1, 1], "data": [0.5]}
    reply = await served.client.post("/v2/models/made/infer", json={"inputs": [x]})
    assert (reply.status_code, reply.json()["code"]) == (400, "E_DTYPE")
    assert "BF16 in JSON" in reply.json()["error"]


async def test_another_size_another_type_and_infinities_are_refused(served: Running) -> None:
    content, headers = body()
    own, endless = (np.array([value], ml_dtypes.bfloat16).tobytes() for value in (3.0, np.inf))
    for bad, code in (
        (content.replace(own, endless), "E_NONFINITE"),
        (content.replace(b"BF16", b"FP16"), "E_DTYPE"),
        (content[:-1], "E_SHAPE"),
    ):
        reply = await infer(served, bad, headers)
        assert (reply.status_code, reply.json()["code"]) == (400, code)


async def test_metadata_openapi_and_triton_configuration_say_bf16(served: Running) -> None:
    told = (await served.client.get("/v2/models/made")).json()
    assert {each["datatype"] for side in ("inputs", "outputs") for each in told[side]} == {"BF16"}
    config = (await served.client.get("/v2/models/made/config")).json()
    assert {each["data_type"] for each in config["output"]} == {"TYPE_BF16"}
    told = (await served.client.get("/v1/models/made/metadata")).json()
    signature = told["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["inputs"]["x"]["dtype"] == "DT_BFLOAT16"


def test_a_grpc_message_carries_bf16_raw() -> None:
    inputs = [
        over_grpc.InferInput("x", [1, 1], "BF16"),
        over_grpc.InferInput("wide", [1, 2], "BF16"),
    ]
    inputs[0].set_data_from_numpy(np.array([[0.1]], ml_dtypes.bfloat16))
    inputs[1].set_data_from_numpy(np.array([[1, 2]], ml_dtypes.bfloat16))
    message = pb.ModelInferRequest(
        model_name="made",
        inputs=[
            pb.ModelInferRequest.InferInputTensor.FromString(each._get_tensor().SerializeToString())
            for each in inputs
        ],
        raw_input_contents=[each._get_content() for each in inputs],
    )
    request = read_message(message, CONTRACT)
    assert [np.asarray(each.data).tolist() for each in request.inputs] == [
        of_torch([0.1]).tolist(),
        [1, 2],
    ]
    outputs = [(Wanted("y", True), "BF16", np.array([[0.1, 1.0]], np.float32))]
    written = write_message(InferResponse("made", "1", "d", "fp32", "", outputs))
    [raw] = pb.ModelInferResponse.FromString(written).raw_output_contents
    assert raw == np.array([0.1, 1.0], ml_dtypes.bfloat16).tobytes()


def test_neighbouring_bfloat16_numbers_agree_and_the_next_but_one_do_not() -> None:
    want = rounded([1000.0, 0.1, 0.0], "bfloat16")
    one = np.array([next_float(float(value), np.inf, "bfloat16") for value in want], np.float32)
    two = np.array([next_float(float(value), np.inf, "bfloat16") for value in one], np.float32)
    kind = CONTRACT.outputs[1].kind
    for got, agrees in ((one, True), (two, False)):
        [seen] = kind.arranged([want], [got])
        exact = st.Tolerance(relative_to_max=0, relative=0)
        assert compare_arrays(want, seen, exact, 1000.0).passed is agrees
    [unlike] = near_bfloat16([want], [want[:2]])
    assert unlike.shape == (2,)


@given(CONTRACT.inputs[0].kind.strategy(), CONTRACT.inputs[1].kind.strategy())
def test_drawn_rows_hold_what_bfloat16_holds(x: float, wide: list[float]) -> None:
    assert np.array_equal(np.float32([x, *wide]), of_torch([x, *wide]))


@pytest.mark.parametrize(
    "kind", [Number(dtype="bfloat16", gt=0.1, lt=300), CONTRACT.inputs[0].kind]
)
def test_edges_are_of_the_type_and_its_bounds(kind: Number) -> None:
    checked = [contract_of(kind).validate_row({"x": edge.value})["x"] for edge in kind.edges(tuple)]
    assert np.array_equal(np.float32(checked), of_torch(checked))
    assert {next_float(kind.range[0], np.inf, "bfloat16"), *kind.range} <= set(checked)


def contract_of(kind: Any) -> st.Contract:
    row = type("One", (st.Row,), {"__annotations__": {"x": Annotated[float, kind]}})
    return st.contract_from_rows(row, Same)


@pytest.mark.parametrize(("fill", "pad"), [(257, 0), (0, 257)])
def test_a_filling_that_bfloat16_does_not_hold_is_refused(fill: int, pad: int) -> None:
    with pytest.raises(st.DeclarationError, match="want numbers of bfloat16"):
        Tensor(dtype="bfloat16", dims=((1, 9),), fill=fill, pad=pad).check()


class Net(nn.Module):
    """Takes and answers bfloat16, and computes in float32, as a graph can."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor, wide: torch.Tensor, walk: torch.Tensor) -> Any:
        assert x.dtype is wide.dtype is walk.dtype is torch.bfloat16
        mean = walk.float().mean(1, keepdim=True)
        seen = self.layer(torch.cat([x.float()[:, None] / 100, wide.float(), mean], 1)).bfloat16()
        return seen[:, 0], seen[:, 1:]


class Walk(Row):
    walk: Annotated[list[Annotated[float, st.Number(dtype="bfloat16", ge=-4, le=4)]],
                    st.Items(min_items=3, max_items=3)]  # fmt: skip


WALKS = [{**row, "walk": [n / 3, -1 / 3, 0.1]} for n, row in enumerate(ROWS)]


def pipeline(model: nn.Module) -> st.Pipeline:
    return st.Pipeline(
        name="brains", version="1.0.0", inputs=Walk, outputs=Same, model=model.eval(),
        golden=WALKS,
    )  # fmt: skip


def test_training_gets_bfloat16_and_the_graph_float32() -> None:
    made = pipeline(Net())
    assert {value.dtype for value in made.encode(WALKS[:2]).values()} == {torch.bfloat16}
    assert {value.dtype for value in made.batch([made.encode_row(WALKS[0])]).values()} == {
        torch.float32
    }
    [answer] = made.answer(WALKS[:1])
    number, tensor = made.model(**made.encode(WALKS[:1]))
    assert answer["number"] == number.float().detach().numpy()
    assert np.array_equal(answer["tensor"], tensor.float().detach().numpy()[0])


def test_an_answer_that_is_not_bfloat16_is_told_the_cast() -> None:
    class Wide(Net):
        def forward(self, x: torch.Tensor, wide: torch.Tensor, walk: torch.Tensor) -> Any:
            number, tensor = super().forward(x, wide, walk)
            return number, tensor.float()

    said = r"output 'tensor': got float32, want bfloat16.*return tensor\.bfloat16\(\)"
    with pytest.raises(st.DeclarationError, match=said):
        pipeline(Wide()).answer(WALKS[:1])


@pytest.mark.slow
def test_a_model_of_bfloat16_is_sealed_served_and_held_to_parity(tmp_path: Path) -> None:
    """The runners of V2 in binary and of gRPC are tritonclient's, against a real server."""
    hold_to_parity(pipeline(Net()), tmp_path, RUNNERS - {"v2 json"})


class Single(st.Row):
    x: Annotated[float, st.Number(dtype="bfloat16", ge=-1000, le=1000)]


class Third(st.Answer):
    y: Annotated[float, st.Number(dtype="bfloat16")]


THIRD = "g (float[n] x) => (float[n] y) <float three = {3}> { y = Div(x, three) }"
NUMBERS = [{"x": value / 7} for value in range(-9, 9)]


@pytest.mark.slow
async def test_an_adopted_graph_of_float32_is_answered_rounded(tmp_path: Path) -> None:
    adopt(THIRD, tmp_path, Single, Third, NUMBERS)
    want = of_torch(of_torch([row["x"] for row in NUMBERS]) / np.float32(3)).tolist()
    contract = st.contract_from_rows(Single, Third)
    async with run_app(tmp_path) as served:
        for ask in (asked_by_v1, asked_by_v2_binary):
            [batch] = await ask(served, contract, NUMBERS, "foreign")
            assert batch["y"] == want
