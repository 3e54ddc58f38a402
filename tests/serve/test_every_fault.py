"""A refused request names every fault of its rows, in a bounded list beside the first."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import grpc
import httpx
import jsonschema
import numpy as np
import pytest
from pydantic import create_model
from support.console_models import Total, summed
from support.made import bundle_of
from support.pages import page
from support.running import Running, run_app
from support.toys import fake_runtimes, toy_bundle

import seatrial as st
from seatrial_client import standalone
from seatrial_client.plan import Reply
from seatrial_client.reply import error_of
from seatrial_contracts.errors import MOST_FAULTS, Refusal, Unavailable
from seatrial_contracts.golden import Golden
from seatrial_contracts.host_stage import HostStage
from seatrial_contracts.predict_request import RequestReader
from seatrial_serve.api.grpc_call import MOST_TOLD_BYTES, told
from seatrial_serve.http.status import answer_to
from seatrial_serve.v2.grpc_message import read_message
from seatrial_serve.v2.proto import inference_pb2 as pb

BAD = {"x": 412.0, "word": "c", "wrod": "a"}
COLUMNS = 200
PLAIN = "".join(map(chr, range(32, 127))).replace("%", "")
"""What a header of gRPC's holds as it is."""


class Wide(st.Row, packed="readings"):
    """A row of many packed columns, as frames of sensors are."""

    __annotations__ = {
        f"c{place}": Annotated[float, st.Number(ge=0, le=1)] for place in range(COLUMNS)
    }


class Score(st.Answer):
    score: float


@pytest.fixture
async def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    fake_runtimes(monkeypatch)
    toy_bundle(tmp_path)
    async with run_app(tmp_path) as running:
        yield running


def places(said: dict[str, Any]) -> list[tuple[str | None, int | None, str]]:
    return [(each["input"], each["row"], each["code"]) for each in said["errors"]]


async def test_v1_names_every_fault_of_every_row(toy: Running) -> None:
    said = (await toy.ask([BAD, {"x": 1.0, "word": "a"}, {"word": "a"}])).json()
    assert places(said) == [
        ("x", 0, "E_RANGE"),
        ("word", 0, "E_CATEGORY"),
        (None, 0, "E_UNKNOWN_FIELD"),
        ("x", 2, "E_MISSING"),
    ]
    assert said["code"] == "E_RANGE"
    assert said["error"] == f"{said['errors'][0]['error']}; 3 more to mend"
    assert "412.0" in said["error"]
    assert "wrod" not in json.dumps(said), "no words of the client"
    document = (await toy.client.get("/openapi.json")).json()
    schema = {"$ref": "#/components/schemas/Error", "components": document["components"]}
    jsonschema.validate(said, schema, jsonschema.Draft202012Validator)


async def test_the_page_shows_what_is_answered(toy: Running) -> None:
    text = page("reference/refusals.md")
    shown = json.loads(re.findall(r"```json\n(.*?)```", text, re.DOTALL)[0])
    said = (await toy.ask([{"x": 412.0, "word": "c"}])).json()
    assert said | {"request_id": "..."} == shown


async def test_a_single_fault_is_listed_too_and_what_is_about_no_row_is_not(toy: Running) -> None:
    assert places((await toy.ask([{"x": 412.0, "word": "a"}])).json()) == [("x", 0, "E_RANGE")]
    assert "errors" not in (await toy.ask([])).json()
    reply = await toy.client.post("/v1/models/toy:predict", content=b"{")
    assert "errors" not in reply.json()


async def test_columns_and_v2_name_the_same(toy: Running) -> None:
    body = {"inputs": {"x": [1.0, 412.0], "word": ["a", "c"]}}
    said = (await toy.client.post("/v1/models/toy:predict", json=body)).json()
    assert places(said) == [("x", 1, "E_RANGE"), ("word", 1, "E_CATEGORY")]

    async def infer(x: dict[str, Any], word: dict[str, Any], **headers: str) -> Any:
        inputs = [
            {"name": "x", "datatype": "FP32", "shape": [2]} | x,
            {"name": "word", "datatype": "BYTES", "shape": [2]} | word,
        ]
        asked = {"inputs": inputs, "outputs": [{"name": "twice"}]}
        return (await toy.client.post("/v2/models/toy/infer", json=asked, headers=headers)).json()

    said = await infer({"data": [1.0, 412.0]}, {"data": ["c", "c"]})
    assert places(said) == [("x", 1, "E_RANGE"), ("word", 0, "E_CATEGORY")]
    said = await infer({"data": [412.0, 1.0]}, {"data": ["a", "c"]})
    assert places(said) == [("x", 0, "E_RANGE"), ("word", 1, "E_CATEGORY")]
    said = await infer({"data": [1, 1], "datatype": "FP64"}, {"data": ["a", "c"]})
    assert places(said) == [("x", None, "E_DTYPE"), ("word", 1, "E_CATEGORY")]
    said = await infer({"data": [1], "name": "y"}, {"data": ["a"]})
    assert places(said) == [(None, None, "E_UNKNOWN_FIELD"), ("word", None, "E_SHAPE")]
    said = await infer({"data": [1.0, 412.0]}, {"data": ["a", "c"]}, **{"X-Partial": "1"})
    [error] = json.loads(said["parameters"]["errors"])
    assert (error["row"], error["code"]) == (1, "E_RANGE")
    assert places(error) == [("x", 1, "E_RANGE"), ("word", 1, "E_CATEGORY")]


async def test_a_row_of_a_partial_answer_names_its_own_faults(toy: Running) -> None:
    said = (await toy.ask([BAD, {"x": 1.0, "word": "a"}], headers={"X-Partial": "1"})).json()
    [error] = said["errors"]
    assert places(error) == [
        ("x", 0, "E_RANGE"),
        ("word", 0, "E_CATEGORY"),
        (None, 0, "E_UNKNOWN_FIELD"),
    ]
    assert said["predictions"][1] is not None


def refusal_of_body(reader: RequestReader, rows: Any, *, by_row: bool = False) -> Refusal:
    with pytest.raises(Refusal) as found:
        reader.read(json.dumps({"instances": rows}).encode(), by_row=by_row)
    return found.value


def test_a_hundred_faults_are_listed_and_the_others_counted() -> None:
    contract = st.contract_from_rows(Wide, Score)
    reader = RequestReader(contract)
    row = {f"c{place}": 7.0 for place in range(COLUMNS)}
    refusal = refusal_of_body(reader, [row] * 500)
    said = refusal.described()
    assert len(said["errors"]) == MOST_FAULTS
    assert said["more_errors"] == COLUMNS * 500 - MOST_FAULTS
    assert [each["input"] for each in said["errors"][:3]] == ["c0", "c1", "c2"]
    _, _, body, _ = answer_to(refusal, "id")
    assert len(body) < 32 * 1024
    found = reader.read(json.dumps({"instances": [row] * 500}).encode(), by_row=True)
    told = [each.described() for each in found.refused.values()]
    assert sum(len(each["errors"]) for each in told) < MOST_FAULTS + 500
    assert all(each["errors"] for each in told)


def test_over_grpc_each_fault_is_a_line_as_far_as_a_header_holds_them() -> None:
    reader = RequestReader(st.contract_from_rows(Wide, Score))
    row = {f"c{place}": 0.5 for place in range(COLUMNS)}
    refusal = refusal_of_body(reader, [row | {"c3": 7.0, "c5": "x"}])
    assert told(refusal).splitlines() == [str(refusal), str(refusal.faults[1])]
    assert str(refusal).endswith("; 1 more to mend")
    many = refusal_of_body(reader, [dict.fromkeys(row, 7.0)] * 500)
    first, *others, last = told(many).splitlines()
    assert first == str(many)
    assert others == [str(each) for each in many.faults[1 : len(others) + 1]]
    assert last == f"and {COLUMNS * 500 - 1 - len(others)} more"
    assert MOST_TOLD_BYTES / 2 < len(quote(told(many), safe=PLAIN)) < MOST_TOLD_BYTES + 50
    assert told(Unavailable("E_NOT_READY", "later")) == "later"
    assert told(Refusal("E_SCHEMA", "request body", "something else")) == (
        "request body: got something else"
    )


@pytest.mark.slow
def test_a_grpc_client_reads_every_fault(tmp_path: Path, serve: Callable[..., Any]) -> None:
    names = [f"c{place}" for place in range(COLUMNS)]
    contract = st.contract_from_rows(
        create_model("Row", __base__=st.Row, **dict.fromkeys(names, Wide.__annotations__["c0"])),
        Total,
    )
    golden = Golden((dict.fromkeys(names, 0.5),), ({"total": np.float32(COLUMNS / 2)},))
    bundle_of(tmp_path, contract, golden, ("onnx", summed(names, "total")), {}, "wide")
    server = serve(tmp_path)
    assert server.wait_until_loaded()[0] == 200
    wrong = pb.InferTensorContents(fp32_contents=[7.0])
    tensor = pb.ModelInferRequest.InferInputTensor
    inputs = [tensor(name=each, datatype="FP32", shape=[1, 1], contents=wrong) for each in names]
    with grpc.insecure_channel(server.grpc) as channel:
        infer = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            pb.ModelInferRequest.SerializeToString,
            pb.ModelInferResponse.FromString,
        )
        with pytest.raises(grpc.RpcError) as refused:
            infer(pb.ModelInferRequest(model_name="wide", inputs=inputs), timeout=10)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    lines = refused.value.details().splitlines()
    assert lines[0].endswith(f"; {COLUMNS - 1} more to mend")
    assert lines[1] == "input 'c1', row 0: got 7, want a number from 0 to 1"
    assert lines[-1] == f"and {COLUMNS - len(lines) + 1} more"


def test_packed_columns_name_each_column_that_is_wrong() -> None:
    row: dict[str, Any] = {f"c{place}": 0.5 for place in range(COLUMNS)}
    wrong = {"c3": 2, "c5": "x", "c7": None, "c9": True, "c11": 10**400, "odd": 1}
    del row["c13"]
    refusal = refusal_of_body(RequestReader(st.contract_from_rows(Wide, Score)), [row | wrong])
    assert [(each.field, each.code) for each in refusal.faults] == [
        ("c3", "E_RANGE"),
        ("c5", "E_TYPE"),
        ("c7", "E_MISSING"),
        ("c9", "E_TYPE"),
        ("c11", "E_RANGE"),
        ("c13", "E_MISSING"),
        (None, "E_UNKNOWN_FIELD"),
    ]


class Pair(st.Row):
    left: Annotated[bytes, st.Image(size_px=(4, 4))]
    right: Annotated[bytes, st.Image(size_px=(4, 4))]


def test_the_host_stage_names_every_broken_file_of_a_row() -> None:
    contract = st.contract_from_rows(Pair, Score)
    row = contract.validate_row({"left": b"no picture", "right": b"none either"})
    with pytest.raises(Refusal) as found:
        HostStage(contract, {}).encode_row(row, 2)
    assert [(each.field, each.row) for each in found.value.faults] == [("left", 2), ("right", 2)]


def test_a_grpc_message_names_every_input_too(tmp_path: Path) -> None:
    tensor = pb.ModelInferRequest.InferInputTensor
    message = pb.ModelInferRequest(
        inputs=[
            tensor(name="x", datatype="FP99", shape=[1]),
            tensor(name="word", datatype="BYTES", shape=[2]),
        ],
    )
    with pytest.raises(Refusal) as found:
        read_message(message, toy_bundle(tmp_path).contract)
    assert [(each.field, each.code) for each in found.value.faults] == [
        ("x", "E_DTYPE"),
        ("word", "E_SHAPE"),
    ]


def test_clients_hold_each_fault_that_the_server_lists() -> None:
    refusal = refusal_of_body(RequestReader(st.contract_from_rows(Wide, Score)), [{"c0": 7}])
    status, _, body, _ = answer_to(refusal, "id")
    error = error_of(Reply(status, {}, body), json.loads(body))
    assert isinstance(error, Refusal)
    assert error.unlisted == refusal.unlisted == COLUMNS - MOST_FAULTS
    assert [(each.field, each.row, str(each)) for each in error.faults] == [
        (each.field, each.row, str(each)) for each in refusal.faults
    ]
    assert error.in_row(1000).faults[-1].row == 1000
    request = httpx.Response(400, content=body)
    with pytest.raises(standalone.Refused) as refused:
        standalone._answers(request, 1000, 1)
    assert refused.value.more_errors == COLUMNS - MOST_FAULTS
    last = refused.value.errors[-1]
    assert last["row"] == 1000
    assert f"'{last['input']}', row 1000: " in last["error"]
