"""Labels of many classes as clients see them: V1's best, and V2's classification extension.

The judge of the extension is Triton's own client: it writes the requests and reads the answers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import httpx
import numpy as np
import pytest
import tritonclient.grpc as over_grpc
import tritonclient.http as over_http
from support.made import made_bundle
from support.running import Running, run_app
from tritonclient.grpc._utils import _get_inference_request

import seatrial as st
from seatrial_contracts.errors import Refusal
from seatrial_contracts.kinds.kind import Array
from seatrial_serve.api.v2_infer import check_classification
from seatrial_serve.v2.grpc_message import read_message
from seatrial_serve.v2.message import Wanted
from seatrial_serve.v2.proto import inference_pb2 as pb

THOUSAND = tuple(f"sku {place}" for place in range(1000))
ROWS: list[dict[str, Any]] = [{"x": value / 8} for value in range(9)]


class Row(st.Row):
    x: Annotated[float, st.Number(ge=0, le=1)]


class Found(st.Answer):
    sku: Annotated[str, st.Label(*THOUSAND)]
    side: Annotated[str, st.Label("left", "right")]
    plain: st.Tensor[np.float32, 4]
    ids: st.Tensor[np.int64, 3]
    tags: Annotated[list[str], st.Labels("new", "old")]


CONTRACT = st.contract_from_rows(Row, Found)


def answered(feeds: Mapping[str, Array]) -> dict[str, Array]:
    x = feeds["x"].astype(np.float32)
    sku = np.random.default_rng(0).random((1, 1000), np.float32).repeat(len(x), 0)
    side = np.stack([x, 1 - x], 1)
    plain = np.stack([x, x, 2 * x, -x], 1)
    return {
        "sku": sku, "side": side, "plain": plain, "tags": side,
        "ids": np.ones((len(x), 3), np.int64),
    }  # fmt: skip


@pytest.fixture
async def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    made_bundle(tmp_path, monkeypatch, CONTRACT, answered, ROWS)
    async with run_app(tmp_path) as running:
        yield running


async def infer(served: Running, *outputs: Any, **headers: str) -> httpx.Response:
    x = over_http.InferInput("x", [2, 1], "FP32")
    x.set_data_from_numpy(np.array([[0.25], [1.0]], np.float32))
    body, json_bytes = over_http.InferenceServerClient.generate_request_body([x], outputs=outputs)
    if json_bytes is not None:
        headers["Inference-Header-Content-Length"] = str(json_bytes)
    return await served.client.post("/v2/models/made/infer", content=body, headers=headers)


def read(reply: httpx.Response) -> over_http.InferResult:
    length = reply.headers.get("Inference-Header-Content-Length")
    return over_http.InferenceServerClient.parse_response_body(
        reply.content, header_length=length and int(length)
    )


async def test_v1_answers_the_best_five_and_as_many_as_a_request_chooses(served: Running) -> None:
    reply = await served.ask(ROWS[:1], model="made")
    told = reply.json()["predictions"][0]["sku"]
    scores = answered({"x": np.zeros(1)})["sku"][0]
    want = [THOUSAND[place] for place in np.argsort(-scores)[:5]]
    assert [each["label"] for each in told["top"]] == want
    assert len(reply.content) < 1024
    body = {"instances": ROWS[:1], "parameters": {"top_k": 1000}}
    reply = await served.client.post("/v1/models/made:predict", json=body)
    told = reply.json()["predictions"][0]
    assert len(told["sku"]["top"]) == 1000
    assert told["side"] == {"label": "right", "scores": {"left": 0.0, "right": 1.0}}


def words(array: Any) -> Any:
    return np.array([each if isinstance(each, str) else each.decode() for each in array.ravel()],
                    object).reshape(array.shape)  # fmt: skip


@pytest.mark.parametrize("binary", [False, True])
async def test_tritons_client_reads_the_best_classes(served: Running, binary: bool) -> None:
    wanted = [
        over_http.InferRequestedOutput(name, binary_data=binary, class_count=count)
        for name, count in (("side", 2), ("plain", 3), ("sku", 1))
    ]
    found = read(await infer(served, *wanted, over_http.InferRequestedOutput("ids")))
    assert found.get_output("side")["datatype"] == "BYTES"
    texts = {name: words(found.as_numpy(name)) for name in ("side", "plain", "sku")}
    assert texts["side"].tolist() == [
        ["0.75:1:right", "0.25:0:left"],
        ["1.0:0:left", "0.0:1:right"],
    ]
    assert texts["plain"].tolist() == [["0.5:2", "0.25:0", "0.25:1"], ["2.0:2", "1.0:0", "1.0:1"]]
    score, place, name = texts["sku"][0, 0].split(":")
    scores = answered({"x": np.zeros(1)})["sku"][0]
    assert (int(place), name) == (scores.argmax(), THOUSAND[scores.argmax()])
    assert np.float32(score) == scores.max()
    assert found.as_numpy("ids").tolist() == [[1] * 3] * 2


def test_the_message_of_tritons_grpc_client_asks_for_the_best_classes() -> None:
    x = over_grpc.InferInput("x", [1, 1], "FP32")
    x.set_data_from_numpy(np.array([[0.25]], np.float32))
    theirs = _get_inference_request(
        "made", [x], "", "", [over_grpc.InferRequestedOutput("side", class_count=2)],
        0, False, False, 0, None, {},
    )  # fmt: skip
    message = pb.ModelInferRequest.FromString(theirs.SerializeToString())
    request = read_message(message, CONTRACT)
    assert request.outputs is not None
    assert [(each.name, each.best, each.binary) for each in request.outputs] == [("side", 2, True)]
    check_classification(CONTRACT, request.outputs[0])


@pytest.mark.parametrize(
    ("name", "count", "code"),
    [
        ("side", 3, "E_PARAMETER"),
        ("side", 0, "E_PARAMETER"),
        ("side", -1, "E_PARAMETER"),
        ("side", 1.0, "E_PARAMETER"),
        ("side", True, "E_PARAMETER"),
        ("side", "2", "E_PARAMETER"),
        ("ids", 1, "E_UNSUPPORTED"),
        ("tags_scores", 1, "E_UNSUPPORTED"),
    ],
)
async def test_classes_that_an_output_does_not_have_are_refused(
    served: Running, name: str, count: Any, code: str
) -> None:
    x = {"name": "x", "datatype": "FP32", "shape": [1], "data": [0.5]}
    body = {"inputs": [x], "outputs": [{"name": name, "parameters": {"classification": count}}]}
    reply = await served.client.post("/v2/models/made/infer", json=body)
    assert (reply.status_code, reply.json()["code"]) == (400, code)


async def test_a_partial_answer_has_no_classes_for_a_row_without_answer(served: Running) -> None:
    reply = await infer(
        served, over_http.InferRequestedOutput("side", class_count=1), **{"X-Partial": "1"}
    )
    assert (reply.status_code, reply.json()["code"]) == (400, "E_UNSUPPORTED")


async def test_metadata_and_openapi_stay_small_where_classes_are_many(served: Running) -> None:
    told = (await served.client.get("/v2/models/made")).json()["properties"]
    assert "sku.classes" not in told
    assert told["side.classes"] == "left,right"
    assert "classification" in (await served.client.get("/v2")).json()["extensions"]
    assert THOUSAND[999] not in (await served.client.get("/openapi.json")).text
    page = (await served.client.get("/v1/models/made")).json()["contract"]["outputs"][0]["kind"]
    assert page["classes"] == list(THOUSAND[:256])
    assert page["classes_left_out"] == 744


def test_a_classification_of_an_open_side_is_refused() -> None:
    class Open(st.Answer):
        scores: st.Tensor[np.float32, None]

    wanted = st.contract_from_rows(Row, Open)
    with pytest.raises(Refusal, match="without classes"):
        check_classification(wanted, Wanted("scores", best=1))
