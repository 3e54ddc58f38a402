"""Token ids over V1, V2 and OpenAI's route: they are answered as the text that has them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
from support.embedded import (
    CUT,
    ROWS,
    TOKENIZER,
    TOKENS,
    contract_of,
    embedding,
    embedding_bundle,
    torch_pipeline,
    vector_of,
)
from support.every_way import asked_by_v1, asked_by_v2_binary, asked_by_v2_json
from support.running import Running, run_app
from support.servers import tried_in_every_way
from tokenizers import Tokenizer

import seatrial as st

IDS = Tokenizer.from_buffer(TOKENIZER)
TEXTS = ("ship", "keel", "sea trial")
BARE, WHOLE = (
    [IDS.encode(text, add_special_tokens=special).ids for text in TEXTS]
    for special in (False, True)
)


class Text(st.Row):
    text: Annotated[
        str,
        st.Text(
            tokenizer=TOKENIZER, max_chars=40, max_tokens=TOKENS, special="words", token_ids=True
        ),
    ]


CONTRACT = contract_of(embedding(), Text)


@pytest.fixture
async def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    embedding_bundle(tmp_path, monkeypatch, CONTRACT)
    async with run_app(tmp_path) as running:
        yield running


@pytest.mark.parametrize("way", [asked_by_v1, asked_by_v2_json, asked_by_v2_binary])
@pytest.mark.parametrize("ids", [BARE, WHOLE], ids=["bare", "whole"])
async def test_ids_are_answered_as_their_texts(served: Running, way: Any, ids: Any) -> None:
    by_text = await way(served, CONTRACT, [{"text": text} for text in TEXTS])
    by_ids = await way(served, CONTRACT, [{"text": each} for each in ids])
    assert by_ids == by_text
    assert np.allclose(by_text[0]["vector"], [vector_of(text) for text in TEXTS], atol=1e-6)


async def test_v2_lists_both_forms_and_fills_up_shorter_rows(served: Running) -> None:
    told = (await served.client.get("/v2/models/made")).json()["inputs"]
    assert told == [
        {"name": "text", "datatype": "BYTES", "shape": [-1, 1]},
        {"name": "text_token_ids", "datatype": "INT64", "shape": [-1, -1]},
        {"name": "text_length", "datatype": "INT64", "shape": [-1, 1]},
    ]
    ids = [*WHOLE[0], *[0] * 5]
    inputs = [
        {"name": "text_token_ids", "datatype": "INT64", "shape": [1, len(ids)], "data": ids},
        {"name": "text_length", "datatype": "INT64", "shape": [1], "data": [len(WHOLE[0])]},
    ]
    reply = await served.client.post("/v2/models/made/infer", json={"inputs": inputs})
    assert np.allclose(reply.json()["outputs"][0]["data"], vector_of("ship"), atol=1e-6)


@pytest.mark.parametrize(
    "given", [BARE, WHOLE, BARE[0], TEXTS], ids=["bare", "whole", "one", "text"]
)
async def test_openais_route_takes_them_as_they_are(served: Running, given: Any) -> None:
    reply = (await served.client.post("/v1/embeddings", json={"input": given})).json()
    vectors = [data["embedding"] for data in reply["data"]]
    texts = TEXTS[: len(vectors)]
    assert np.allclose(vectors, [vector_of(text) for text in texts], atol=1e-6)
    assert reply["usage"]["prompt_tokens"] == sum(len(text) + 2 for text in texts)


async def test_a_prompt_stands_before_texts_alone(served: Running) -> None:
    rows = [{"text": BARE[0]}]
    body = {"instances": rows, "parameters": {"prompt": "query"}}
    reply = await served.client.post("/v1/models/made:predict", json=body)
    assert (reply.status_code, reply.json()["code"]) == (400, "E_OPTION")
    assert "token ids behind a prompt" in reply.json()["error"]
    hf = await served.client.post(
        "/embed", json={"inputs": BARE[0], "prompt_name": "query", "truncate": False}
    )
    assert np.allclose(hf.json()[0], vector_of("q: ship"), atol=1e-6)


async def test_rows_of_ids_are_cut_in_size_and_form_as_others(served: Running) -> None:
    body = {"instances": [{"text": BARE[0]}], "parameters": {"dimensions": CUT}}
    reply = await served.client.post("/v1/models/made:predict", json=body)
    want = vector_of("ship")[:CUT]
    got = reply.json()["predictions"][0]["vector"]
    assert np.allclose(got, want / np.linalg.norm(want), atol=1e-6)


async def test_refused_rows_say_which_and_partial_answers_keep_the_others(served: Running) -> None:
    rows = [{"text": BARE[0]}, {"text": [4, 99]}, {"text": "ship"}]
    reply = await served.client.post(
        "/v1/models/made:predict", json={"instances": rows}, headers={"X-Partial": "1"}
    )
    told = reply.json()
    assert [each is None for each in told["predictions"]] == [False, True, False]
    assert "the token id 99" in str(told["errors"])
    whole = await served.client.post("/v1/models/made:predict", json={"instances": rows})
    assert whole.status_code == 400
    assert "row 1" in whole.json()["error"]


@pytest.mark.slow
def test_a_model_that_takes_ids_passes_the_gate_and_every_runner(tmp_path: Path) -> None:
    rows = [*ROWS, *({"text": ids} for ids in (BARE[0], WHOLE[1]))]
    bundle = st.export(replace(torch_pipeline(), inputs=Text, golden=rows), out=tmp_path)
    receipt = tried_in_every_way(tmp_path, bundle)
    assert receipt.passed, [trial.finding for trial in receipt.trials]
    for text, ids in zip(TEXTS, WHOLE, strict=True):
        both = bundle.predict([{"text": text}, {"text": ids}])
        assert np.array_equal(both[0]["vector"], both[1]["vector"])
