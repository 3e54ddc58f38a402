"""Request options and answers in the client's own terms, over V1, V2 and gRPC's message."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from support.made import made_bundle
from support.running import Running, run_app

import seatrial as st
from seatrial_contracts.client_terms import ClientTerms
from seatrial_contracts.host_stage import HostStage
from seatrial_contracts.kinds.kind import Array
from seatrial_contracts.kinds.labels import Labels

NAMES = ("urgent", "billing", "spam")
ROWS: list[dict[str, Any]] = [{"x": value / 8} for value in range(9)]
HALF = [{"label": "billing", "score": 0.75}, {"label": "urgent", "score": 0.5}]


class Row(st.Row):
    x: Annotated[float, st.Number(ge=0, le=1)]


class Tags(st.Answer):
    tags: Annotated[list[str], st.Labels(*NAMES, threshold=0.5)]
    twice: float


class Options(st.Options):
    threshold: Annotated[float, st.Option(0.5, ge=0, le=1)]
    top_k: Annotated[int, st.Option(3, ge=1, le=3)]


def scores(feeds: Mapping[str, Array]) -> dict[str, Array]:
    x = feeds["x"]
    return {
        "tags": np.stack([x, 1 - x / 2, np.full_like(x, 0.125)], 1),
        "twice": (x * 2).astype(np.float32),
    }


CONTRACT = st.contract_from_rows(Row, Tags, options=Options)


@pytest.fixture
async def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    made_bundle(tmp_path, monkeypatch, CONTRACT, scores, ROWS)
    async with run_app(tmp_path) as running:
        yield running


async def ask(served: Running, rows: list[dict[str, Any]], **body: Any) -> Any:
    return await served.client.post("/v1/models/made:predict", json={"instances": rows, **body})


async def test_a_request_without_options_gets_the_defaults(served: Running) -> None:
    reply = await ask(served, [{"x": 0.5}])
    assert reply.json()["predictions"] == [{"tags": HALF, "twice": 1.0}]


async def test_options_shape_the_answer_of_every_row(served: Running) -> None:
    reply = await ask(served, [{"x": 0.5}, {"x": 0.0}], parameters={"threshold": 0.1, "top_k": 2})
    found = [[each["label"] for each in row["tags"]] for row in reply.json()["predictions"]]
    assert found == [["billing", "urgent"], ["billing", "spam"]]


async def test_options_hold_for_columns_and_partial_answers_too(served: Running) -> None:
    options = {"parameters": {"top_k": 1}}
    columns = await served.client.post(
        "/v1/models/made:predict", json={"inputs": {"x": [0.5, 2.0]}, **options},
        headers={"X-Partial": "1"},
    )  # fmt: skip
    assert columns.json()["outputs"]["tags"] == [HALF[:1], None]
    rows = await served.client.post(
        "/v1/models/made:predict", json={"instances": [{"x": 9.0}, {"x": 0.5}], **options},
        headers={"X-Partial": "1"},
    )  # fmt: skip
    assert [row and row["tags"] for row in rows.json()["predictions"]] == [None, HALF[:1]]


@pytest.mark.parametrize(
    ("parameters", "where"),
    [
        ({"threshold": 1.5}, "option 'threshold': got 1.5, want a number from 0 to 1"),
        ({"threshold": "high"}, "option 'threshold': got another word"),
        ({"threshold": None}, "option 'threshold': got null"),
        ({"top_k": 1.0}, "option 'top_k': got 1.0, want a whole number from 1 to 3"),
        ({"top_k": True}, "option 'top_k': got True"),
        ({"top_k": [1]}, "option 'top_k': got a list"),
        ({"topk": 1}, "parameters: got an option that the contract does not have"),
    ],
)
async def test_an_option_that_the_contract_does_not_take_is_refused(
    served: Running, parameters: dict[str, Any], where: str
) -> None:
    reply = await ask(served, [{"x": 0.5}], parameters=parameters)
    assert (reply.status_code, reply.json()["code"]) == (400, "E_OPTION")
    assert where in reply.json()["error"]


async def test_v2_pads_rows_of_unlike_number_and_counts_them(served: Running) -> None:
    inputs = [{"name": "x", "datatype": "FP32", "shape": [2, 1], "data": [0.5, 0.25]}]
    body = {"inputs": inputs, "parameters": {"threshold": 0.5}}
    reply = await served.client.post("/v2/models/made/infer", json=body)
    found = {output["name"]: output for output in reply.json()["outputs"]}
    assert found["tags_count"]["data"] == [2, 1]
    assert found["tags_labels"]["datatype"] == "BYTES"
    assert found["tags_labels"]["data"] == ["billing", "urgent", "billing", ""]
    assert found["tags_scores"]["data"] == [0.75, 0.5, 0.875, 0.0]
    assert found["twice"]["data"] == [1.0, 0.5]


async def test_v2_refuses_an_option_out_of_its_bounds_and_ignores_what_is_none(
    served: Running,
) -> None:
    inputs = [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [0.5]}]
    for parameters, status in (({"top_k": 4}, 400), ({"of_somebody_else": 4}, 200)):
        body = {"inputs": inputs, "parameters": parameters}
        reply = await served.client.post("/v2/models/made/infer", json=body)
        assert reply.status_code == status


async def test_v2_metadata_names_what_a_client_sees(served: Running) -> None:
    told = (await served.client.get("/v2/models/made")).json()["outputs"]
    assert [(each["name"], each["shape"]) for each in told] == [
        ("tags_labels", [-1, -1]),
        ("tags_scores", [-1, -1]),
        ("tags_count", [-1, 1]),
        ("twice", [-1, 1]),
    ]


async def test_openapi_and_the_model_page_describe_the_options(served: Running) -> None:
    page = (await served.client.get("/v1/models/made")).json()
    assert page["options"]["properties"]["top_k"] == {
        "type": "integer", "default": 3, "minimum": 1.0, "maximum": 3.0,
        "x-want": "a whole number from 1 to 3",
    }  # fmt: skip
    schemas = (await served.client.get("/openapi.json")).json()["components"]["schemas"]
    assert schemas["made-1.0.0-options"] == page["options"]


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (Annotated[int, st.Option(9, ge=1, le=3)], "default 9"),
        (Annotated[str, st.Option("a")], "a string of any text"),
        (Annotated[list[int], st.Option(1)], "bool, int, float, str"),
        (Annotated[int | None, st.Option(1)], "may be missing"),
        (int, "no single st.Option"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused_by_its_name(
    annotation: Any, message: str
) -> None:
    made = type("Made", (st.Options,), {"__annotations__": {"top_k": annotation}})
    with pytest.raises(st.DeclarationError, match=message) as raised:
        st.contract_from_rows(Row, Tags, options=made)
    assert "Made.top_k" in str(raised.value)


def test_an_option_that_no_answer_reads_is_refused() -> None:
    class Odd(st.Options):
        temperature: Annotated[Literal["low", "high"], st.Option("low")]

    with pytest.raises(st.DeclarationError, match="no answer reads"):
        st.contract_from_rows(Row, Tags, options=Odd)


def test_a_contract_with_options_comes_back_from_its_json() -> None:
    assert st.Contract.from_json(CONTRACT.to_json()) == CONTRACT


def test_labels_are_matched_by_name_and_a_missing_one_is_told() -> None:
    kind, tolerance = Labels(*NAMES, threshold=0.5), st.Tolerance()
    want = kind.client([np.array([0.9, 0.6, 0.1], np.float32)], None, {})
    assert kind.match(want, want, tolerance).passed
    near = kind.client([np.array([0.9, 0.6001, 0.1], np.float32)], None, {})
    assert not kind.match(want, near, tolerance).passed
    swapped = kind.client([np.array([0.9, 0.1, 0.6], np.float32)], None, {})
    assert "label '" in str(kind.match(want, swapped, tolerance))
    at_the_edge = [np.array([0.9, score, 0.1], np.float32) for score in (0.500001, 0.499999)]
    pair = [kind.client([each], None, {}) for each in at_the_edge]
    assert [len(labels) for labels, _ in pair] == [2, 1]
    assert kind.match(pair[0], pair[1], tolerance).passed


def test_a_client_without_options_sees_everything_in_a_trial() -> None:
    terms = ClientTerms(HostStage(CONTRACT, {}))
    answers = [{"tags": np.array([0.9, 0.6, 0.1], np.float32), "twice": np.float32(1)}]
    [found] = terms.of(terms.notes([{"x": 0.5}]), answers)
    assert found["tags"][0].tolist() == ["urgent", "billing", "spam"]


def test_json_of_labels_comes_back_to_the_bit() -> None:
    kind = Labels(*NAMES, threshold=0.5)
    client = kind.client([np.array([0.9, 0.6, 0.1], np.float32)], None, {})
    labels, found = kind.recover(kind.written(client))
    assert labels.tolist() == client[0].tolist()
    assert np.array_equal(found, client[1])
