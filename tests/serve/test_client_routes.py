"""Routes of other projects' clients, by hand; their own clients are in tests/clients."""

from __future__ import annotations

import binascii
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.embedded import CUT, LETTERS, embedding_bundle, vector_of
from support.running import Running, run_app


@pytest.fixture
async def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    embedding_bundle(tmp_path, monkeypatch)
    async with run_app(tmp_path) as running:
        yield running


def ids_of(text: str) -> list[int]:
    return [2, *(4 + LETTERS.index(letter) for letter in text), 3]


async def embed(served: Running, given: Any, **body: Any) -> Any:
    return await served.client.post("/v1/embeddings", json={"input": given, **body})


@pytest.mark.parametrize(
    "given",
    ["ship", ["ship"], ids_of("ship"), [ids_of("ship")], ids_of("ship")[1:-1]],
    ids=["text", "texts", "ids", "lists of ids", "ids without special tokens"],
)
async def test_openai_takes_texts_and_the_ids_of_their_tokens(served: Running, given: Any) -> None:
    reply = (await embed(served, given, model="made")).json()
    (data,) = reply["data"]
    assert (reply["object"], reply["model"], data["index"]) == ("list", "made", 0)
    assert np.allclose(data["embedding"], vector_of("ship"), atol=1e-6)
    assert reply["usage"] == {"prompt_tokens": 6, "total_tokens": 6}


async def test_openai_answers_base64_of_a_cut_vector_for_each_text(served: Running) -> None:
    reply = await embed(served, ["ship", "keel"], encoding_format="base64", dimensions=CUT)
    vectors = [binascii.a2b_base64(each["embedding"]) for each in reply.json()["data"]]
    for vector, text in zip(vectors, ("ship", "keel"), strict=True):
        want = vector_of(text)[:CUT]
        assert np.allclose(np.frombuffer(vector, "<f4"), want / np.linalg.norm(want), atol=1e-6)


@pytest.mark.parametrize(
    ("body", "status", "code", "param", "message"),
    [
        ({"input": "ship", "model": "other"}, 404, "E_MODEL_NOT_FOUND", None, "model: got"),
        ({}, 400, "E_SCHEMA", "input", "field 'input': got nothing, want a text"),
        ({"input": 7}, 400, "E_SCHEMA", "input", "field 'input': got something else"),
        ({"input": "a", "encoding_format": "hex"}, 400, "E_SCHEMA", "encoding_format", "base64"),
        ({"input": "a", "of_nobody": 1}, 400, "E_SCHEMA", None, "want an object of: input, model"),
        ({"input": []}, 400, "E_EMPTY_BATCH", None, "no texts"),
        ({"input": ["a"] * 2000}, 400, "E_BATCH", None, "got 2000 texts"),
        ({"input": "a", "dimensions": 7}, 400, "E_OPTION", None, "want one of 16, 8"),
        ({"input": "x" * 11}, 400, "E_TOKENS", None, "13 tokens"),
        ({"input": "x" * 41}, 400, "E_TEXT_LIMIT", None, "41 characters"),
        ({"input": [[999]]}, 400, "E_TOKENS", None, "ids of the model's own tokenizer"),
        ({"input": [[2, 2, 3]]}, 400, "E_TOKENS", None, "not the tokens of their text"),
    ],
)
async def test_openais_errors_have_its_shape(
    served: Running, body: Any, status: int, code: str, param: str | None, message: str
) -> None:
    reply = await served.client.post("/v1/embeddings", json=body)
    told = reply.json()["error"]
    assert (reply.status_code, told["code"], told["param"]) == (status, code, param)
    assert told["type"] == "invalid_request_error"
    assert message in told["message"]
    assert "of_nobody" not in reply.text


async def test_a_body_that_is_no_json_and_another_method_are_refused(served: Running) -> None:
    reply = await served.client.post(
        "/v1/embeddings", content=b"{", headers={"content-type": "application/json"}
    )
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "E_JSON")
    reply = await served.client.get("/v1/embeddings")
    assert (reply.status_code, reply.headers["allow"]) == (405, "POST")
    reply = await served.client.post(
        "/v1/embeddings", json={"input": "a"}, headers={"X-Partial": "1"}
    )
    assert reply.json()["error"]["code"] == "E_UNSUPPORTED"


async def test_a_request_that_names_no_model_gets_the_default_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("made", "other"):
        embedding_bundle(tmp_path, monkeypatch, name=name)
    async with run_app(tmp_path) as running:
        reply = await embed(running, "ship")
        assert reply.status_code == 404
        assert "serve with --default-model" in reply.json()["error"]["message"]
    async with run_app(tmp_path, default_model="other") as running:
        assert (await embed(running, "ship")).json()["model"] == "other"


async def test_a_request_by_another_clients_route_is_counted_as_any_other(served: Running) -> None:
    await embed(served, "ship")
    await embed(served, "x" * 11)
    served.metrics.flush()
    text = (await served.client.get("/v1/models/made")).text
    assert text
    from prometheus_client import generate_latest

    lines = generate_latest(served.metrics.registry).decode().splitlines()
    counted = [line for line in lines if line.startswith("seatrial_requests_total{")]
    assert any('code="ok"' in line and line.endswith(" 1.0") for line in counted), counted
    assert any('code="E_TOKENS"' in line and line.endswith(" 1.0") for line in counted), counted
    assert served.drain.in_flight == 0
