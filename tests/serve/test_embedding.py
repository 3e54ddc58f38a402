"""Embeddings over V1, V2 and gRPC's message: sizes, forms, prompts and base64."""

from __future__ import annotations

import binascii
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.embedded import (
    CONTRACT,
    CUT,
    PROMPTS,
    SIZE,
    embedding_bundle,
    torch_pipeline,
    vector_of,
)
from support.running import Running, run_app
from support.servers import tried_in_every_way

import seatrial as st
from seatrial_contracts.kinds.embedding import Embedding
from seatrial_contracts.profile import DriftFeatures
from seatrial_contracts.vector_forms import in_form
from seatrial_serve.observers.drift import DriftObserver

KIND = CONTRACT.outputs[0].kind
assert isinstance(KIND, Embedding)
SHIP = vector_of("ship")


@pytest.fixture
async def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    embedding_bundle(tmp_path, monkeypatch)
    async with run_app(tmp_path) as running:
        yield running


async def ask(served: Running, *texts: str, **options: Any) -> Any:
    rows = [{"text": text} for text in texts]
    body = {"instances": rows, "parameters": options}
    return await served.client.post("/v1/models/made:predict", json=body)


async def ask_v2(served: Running, *texts: str, **parameters: Any) -> Any:
    inputs = [{"name": "text", "datatype": "BYTES", "shape": [len(texts), 1], "data": list(texts)}]
    body = {"inputs": inputs, "parameters": parameters}
    return await served.client.post("/v2/models/made/infer", json=body)


async def test_a_vector_is_a_list_of_numbers_or_base64_of_its_bytes(served: Running) -> None:
    plain = (await ask(served, "ship", "keel")).json()["predictions"]
    assert np.allclose(plain[0]["vector"], SHIP, atol=1e-6)
    coded = (await ask(served, "ship", "keel", encoding="base64")).json()["predictions"]
    for one, other in zip(plain, coded, strict=True):
        vector = np.frombuffer(binascii.a2b_base64(other["vector"]), "<f4")
        assert np.array_equal(vector, np.array(one["vector"], np.float32))


@pytest.mark.parametrize("form", ["float16", "int8", "uint8", "binary", "ubinary"])
@pytest.mark.parametrize("size", [SIZE, CUT])
async def test_every_size_and_form_goes_by_every_way(served: Running, form: str, size: int) -> None:
    cut = SHIP[:size] / np.linalg.norm(SHIP[:size])
    want = in_form(cut, form, KIND.ranges[KIND.all_sizes.index(size)])
    close = 1 if form.endswith("int8") else 1e-3
    options = {"form": form, "dimensions": size}
    values = (await ask(served, "ship", **options)).json()["predictions"][0]["vector"]
    assert np.allclose(np.array(values, np.float64), want.astype(np.float64), atol=close)
    reply = await ask_v2(served, "ship", binary_data_output=True, **options)
    head = int(reply.headers["inference-header-content-length"])
    data = np.frombuffer(reply.content[head:], want.dtype.newbyteorder("<"))
    assert np.array_equal(data, np.array(values, want.dtype))
    assert f'"shape":[1,{len(want)}]'.encode() in reply.content


async def test_the_types_of_v2_follow_the_form_and_float16_is_no_json(served: Running) -> None:
    for form, datatype in (("int8", "INT8"), ("ubinary", "UINT8"), ("float32", "FP32")):
        (output,) = (await ask_v2(served, "ship", form=form)).json()["outputs"]
        assert output["datatype"] == datatype
    refused = await ask_v2(served, "ship", form="float16")
    assert refused.json()["code"] == "E_DTYPE"


async def test_a_partial_answer_refuses_a_form_without_nan(served: Running) -> None:
    inputs = [{"name": "text", "datatype": "BYTES", "shape": [2, 1], "data": ["ship", "x" * 41]}]
    replies = [
        await served.client.post(
            "/v2/models/made/infer",
            json={"inputs": inputs, "parameters": {"form": form, "dimensions": CUT}},
            headers={"X-Partial": "1"},
        )
        for form in ("float32", "int8")
    ]
    (output,) = replies[0].json()["outputs"]
    assert (output["shape"], output["data"][CUT:]) == ([2, CUT], [None] * CUT)
    assert replies[1].json()["code"] == "E_UNSUPPORTED"


@pytest.mark.parametrize("name", PROMPTS)
async def test_a_prompt_stands_before_the_text(served: Running, name: str) -> None:
    by_hand = (await ask(served, PROMPTS[name] + "keel")).json()
    assert (await ask(served, "keel", prompt=name)).json() == by_hand
    assert (await ask(served, "keel", prompt="none")).json() != by_hand
    (output,) = (await ask_v2(served, "keel", prompt=name)).json()["outputs"]
    assert np.allclose(output["data"], by_hand["predictions"][0]["vector"], atol=1e-6)


@pytest.mark.parametrize("way", [ask, ask_v2])
async def test_drift_sees_the_client_s_own_text_without_its_prompt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: Any
) -> None:
    embedding_bundle(tmp_path, monkeypatch)
    seen: list[Any] = []
    inputs = DriftFeatures.inputs
    monkeypatch.setattr(
        DriftFeatures, "inputs", lambda self, columns: seen.append(columns) or inputs(self, columns)
    )
    async with run_app(tmp_path, [DriftObserver()]) as running:
        assert (await way(running, "ship", "keel", prompt="query")).status_code == 200
        await running.taps.wait_idle()
    assert [list(columns["text"]) for columns in seen] == [["ship", "keel"]]


async def test_the_tokens_of_a_prompt_count(served: Running) -> None:
    assert (await ask(served, "x" * 10)).status_code == 200
    refused = await ask(served, "x" * 10, prompt="query")
    assert refused.json()["code"] == "E_TOKENS"
    assert "got a text of 15 tokens, want 1 to 12 tokens" in refused.json()["error"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dimensions": 7}, "option 'dimensions': got 7, want one of 16, 8"),
        ({"form": "int4"}, "want one of float32, float16, int8, uint8, binary, ubinary"),
        ({"prompt": "title"}, "want one of none, passage, query"),
        ({"encoding": "hex"}, "want one of float, base64"),
    ],
)
async def test_what_is_not_declared_is_refused(
    served: Running, options: dict[str, Any], message: str
) -> None:
    reply = await ask(served, "ship", **options)
    assert (reply.status_code, reply.json()["code"]) == (400, "E_OPTION")
    assert message in reply.json()["error"]


@pytest.mark.slow
def test_an_embedding_is_sealed_served_and_proven_over_the_wire(tmp_path: Path) -> None:
    pipeline = torch_pipeline(least_recall_at_10=0.3, least_cosine=0.4)
    bundle = st.open_bundle(st.export(pipeline, tmp_path).path)
    kind = bundle.contract.outputs[0].kind
    assert isinstance(kind, Embedding)
    low = np.array([answer["vector"] for answer in pipeline.answer(pipeline.reference)]).min(0)
    assert np.allclose(kind.ranges[0].low, low, rtol=1e-5)
    measured = {(each.dimensions, each.form): each for each in kind.measured}
    assert measured[SIZE, "int8"].rows == len(pipeline.held_out)
    kept = [measured[SIZE, form].recall_at_10 or 0 for form in ("float16", "int8", "binary")]
    assert kept == sorted(kept, reverse=True)
    receipt = tried_in_every_way(tmp_path, bundle)
    assert receipt.passed, [trial.finding for trial in receipt.trials]
