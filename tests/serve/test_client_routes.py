"""Routes of other projects' clients, by hand; their own clients are in tests/clients."""

from __future__ import annotations

import binascii
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
from prometheus_client import generate_latest
from support.documented import ask_as_documented
from support.embedded import (
    CUT,
    LETTERS,
    ROWS,
    TABLE,
    TOKENIZER,
    TOKENS,
    Text,
    embedding_bundle,
    vector_of,
)
from support.made import made_bundle
from support.running import Running, run_app

import seatrial as st
from seatrial_contracts.kinds.kind import Array
from seatrial_serve.api.routes import client_routes


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
        reply = await embed(running, ["ship"] * 1000)
        assert reply.status_code == 404
        assert "serve with --default-model" in reply.json()["error"]["message"]
    async with run_app(tmp_path, default_model="other") as running:
        assert (await embed(running, "ship")).json()["model"] == "other"


async def test_a_request_by_another_clients_route_is_counted_as_any_other(served: Running) -> None:
    await embed(served, "ship")
    await embed(served, "x" * 11)
    served.metrics.flush()
    lines = generate_latest(served.metrics.registry).decode().splitlines()
    counted = [line for line in lines if line.startswith("seatrial_requests_total{")]
    assert any('code="ok"' in line and line.endswith(" 1.0") for line in counted), counted
    assert any('code="E_TOKENS"' in line and line.endswith(" 1.0") for line in counted), counted
    assert served.drain.in_flight == 0


async def test_models_are_listed_as_openai_has_them_beside_our_own_list(served: Running) -> None:
    listed = (await served.client.get("/v1/models")).json()
    model = {"id": "made", "object": "model", "created": 0, "owned_by": "seatrial"}
    assert (listed["object"], listed["data"]) == ("list", [model])
    assert listed["models"][0]["name"] == "made"
    assert (await served.client.get("/v1/models/made")).json().items() >= model.items()


async def post(served: Running, path: str, **body: Any) -> Any:
    return await served.client.post(path, json=body)


async def test_cohere_gets_every_type_that_it_names_by_the_prompt_of_its_input_type(
    served: Running,
) -> None:
    types = ["float", "base64", "int8", "uint8", "binary", "ubinary"]
    reply = (
        await post(served, "/v2/embed", model="made", texts=["ship", "keel"],
                   input_type="search_query", embedding_types=types, output_dimension=CUT)
    ).json()  # fmt: skip
    found = reply["embeddings"]
    assert list(found) == types
    want = vector_of("q: ship")[:CUT]
    assert np.allclose(found["float"][0], want / np.linalg.norm(want), atol=1e-6)
    coded = np.frombuffer(binascii.a2b_base64(found["base64"][1]), "<f4")
    assert np.allclose(coded, found["float"][1])
    assert found["ubinary"][0] == np.packbits(want > 0).tolist()
    assert reply["meta"]["billed_units"] == {"input_tokens": 18}
    assert reply["texts"] == ["ship", "keel"]


async def test_cohere_is_refused_in_its_own_shape(served: Running) -> None:
    for body, code in (
        ({"texts": ["a"]}, "E_SCHEMA"),
        ({"texts": ["a"], "input_type": "image"}, "E_SCHEMA"),
        ({"texts": ["a"], "input_type": "search_query", "output_dimension": 7}, "E_OPTION"),
        ({"texts": ["x" * 12], "input_type": "clustering"}, "E_TOKENS"),
    ):
        reply = await post(served, "/v2/embed", **body)
        told = reply.json()
        assert (reply.status_code, told["code"]) == (400, code)
        assert told["id"] == reply.headers["x-request-id"]
        assert told["message"]


async def test_tei_embeds_texts_by_a_prompt_and_in_a_size(served: Running) -> None:
    one = (await post(served, "/embed", inputs="ship")).json()
    assert np.allclose(one, [vector_of("ship")], atol=1e-6)
    several = await post(
        served,
        "/embed",
        inputs=["ship", "keel"],
        prompt_name="query",
        dimensions=CUT,
        truncate=True,
    )
    want = vector_of("q: keel")[:CUT]
    assert np.allclose(several.json()[1], want / np.linalg.norm(want), atol=1e-6)


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("/embed", {"inputs": "a", "normalize": False}, "E_OPTION"),
        ("/embed", {"inputs": "a", "prompt_name": "title"}, "E_OPTION"),
        ("/embed", {"inputs": ["x" * 12]}, "E_TOKENS"),
        ("/embed", {"input": "a"}, "E_SCHEMA"),
        ("/embed_all", {"inputs": "a"}, "E_UNSUPPORTED"),
        ("/embed_sparse", {"inputs": "a"}, "E_UNSUPPORTED"),
        ("/predict", {"inputs": "a"}, "E_UNSUPPORTED"),
        ("/similarity", {"inputs": {"source_sentence": "a", "sentences": []}}, "E_SCHEMA"),
    ],
)
async def test_tei_is_refused_in_its_own_shape(
    served: Running, path: str, body: Any, code: str
) -> None:
    reply = await post(served, path, **body)
    told = reply.json()
    assert (reply.status_code, told["code"], told["error_type"]) == (400, code, "validation")
    assert told["error"]


async def test_tei_tells_cosines_and_tokens(served: Running) -> None:
    sentences = {"source_sentence": "ship", "sentences": ["ship", "keel"]}
    cosines = (await post(served, "/similarity", inputs=sentences)).json()
    assert cosines == pytest.approx([1.0, float(vector_of("ship") @ vector_of("keel"))], abs=1e-6)
    (tokens,) = (await post(served, "/tokenize", inputs="sea")).json()
    assert [each["id"] for each in tokens] == ids_of("sea")
    assert tokens[1] == {"id": 22, "text": "s", "special": False, "start": 0, "stop": 1}
    (plain,) = (await post(served, "/tokenize", inputs=["sea"], add_special_tokens=False)).json()
    assert [each["text"] for each in plain] == ["s", "e", "a"]


async def test_tei_predicts_the_labels_of_texts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Topic(st.Answer):
        topic: Annotated[str, st.Label("sea", "land", "air")]

    def scores(feeds: Mapping[str, Array]) -> dict[str, Array]:
        letters = feeds["text_mask"].sum(1) / 16
        return {"topic": np.stack([letters, 1 - letters, 0 * letters], 1).astype(np.float32)}

    contract = st.contract_from_rows(Text, Topic)
    files = {"front/text.tokenizer.json": TOKENIZER}
    made_bundle(tmp_path, monkeypatch, contract, scores, ROWS, files)
    async with run_app(tmp_path) as running:
        one = (await post(running, "/predict", inputs="ship")).json()
        assert one == [
            {"label": "land", "score": 0.625}, {"label": "sea", "score": 0.375},
            {"label": "air", "score": 0.0},
        ]  # fmt: skip
        assert (await post(running, "/predict", inputs=[["ship"], ["ship"]])).json() == [one, one]
        pairs = await post(running, "/predict", inputs=[["ship", "sea"]])
        assert pairs.json()["code"] == "E_UNSUPPORTED"
        assert (await embed(running, "ship")).json()["error"]["code"] == "E_UNSUPPORTED"


async def test_tei_embeds_every_token_where_the_model_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Tokens(st.Answer):
        tokens: st.Tensor[np.float32, None, 16]

    contract = st.contract_from_rows(Text, Tokens)
    files = {"front/text.tokenizer.json": TOKENIZER}

    def vectors(feeds: Mapping[str, Array]) -> dict[str, Array]:
        return {"tokens": TABLE[feeds["text_ids"]]}

    made_bundle(tmp_path, monkeypatch, contract, vectors, ROWS, files)
    async with run_app(tmp_path) as running:
        found = (await post(running, "/embed_all", inputs=["ship", "a"])).json()
        assert [len(each) for each in found] == [6, 3]
        assert np.allclose(found[0], TABLE[ids_of("ship")])


class Terms(st.Answer):
    terms: Annotated[list[dict[str, float]], st.SparseEmbedding(32, threshold=0.5, max_terms=3)]
    topic: Annotated[str, st.Label("sea", "land")]
    tokens: st.Tensor[np.float32, None, 16]


def count_letters(feeds: Mapping[str, Array]) -> dict[str, Array]:
    """How often each letter stands in a text, special tokens aside; never 0."""
    counts = np.zeros((len(feeds["text_ids"]), 32), np.float32)
    for row, ids, mask in zip(counts, feeds["text_ids"], feeds["text_mask"], strict=True):
        np.add.at(row, ids[mask == 1], 1)
    counts[:, :4] = 0
    topic = np.full((len(counts), 2), 0.5, np.float32)
    return {"terms": np.maximum(counts, 0.25), "topic": topic, "tokens": TABLE[feeds["text_ids"]]}


class CutText(st.Row):
    text: Annotated[
        str, st.Text(tokenizer=TOKENIZER, max_tokens=TOKENS, max_chars=40, overflow="truncate")
    ]


@pytest.fixture
async def sparse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    contract = st.contract_from_rows(CutText, Terms)
    files = {"front/text.tokenizer.json": TOKENIZER}
    made_bundle(tmp_path, monkeypatch, contract, count_letters, ROWS, files)
    async with run_app(tmp_path) as running:
        yield running


def places(text: str) -> list[int]:
    return sorted({4 + LETTERS.index(letter) for letter in text})


async def test_tei_gets_the_terms_of_texts_with_their_weights(sparse: Running) -> None:
    one, two = (await post(sparse, "/embed_sparse", inputs=["aab", "keeled"])).json()
    assert one == [{"index": 4, "value": 2.0}, {"index": 5, "value": 1.0}]
    assert [each["index"] for each in two] == places("edk")
    assert (await post(sparse, "/embed_sparse", inputs=ids_of("aab"))).json() == [one]
    [row] = (await sparse.ask([{"text": "aab"}], "made")).json()["predictions"]
    assert row["terms"] == one
    inputs = [{"name": "text", "datatype": "BYTES", "shape": [2], "data": ["aab", "aaa"]}]
    reply = await sparse.client.post("/v2/models/made/infer", json={"inputs": inputs})
    found = {output["name"]: output["data"] for output in reply.json()["outputs"]}
    assert found["terms_indices"] == [4, 5, 4, 0]
    assert found["terms_values"] == [2, 1, 3, 0]
    assert found["terms_count"] == [2, 1]


@pytest.mark.parametrize("path", ["/embed_sparse", "/embed_all", "/predict"])
async def test_a_text_that_shall_not_be_cut_is_refused_where_it_would_be(
    sparse: Running, path: str
) -> None:
    for inputs, truncate, status in (("a" * 10, False, 200), ("a" * 20, None, 200)):
        reply = await post(sparse, path, inputs=inputs, truncate=truncate)
        assert reply.status_code == status, reply.text
    told = (await post(sparse, path, inputs=["a", "a" * 20], truncate=False)).json()
    assert (told["code"], told["error_type"]) == ("E_TOKENS", "validation")
    assert "text 1: got a longer one, want 12 tokens at most" in told["error"]


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ({"inputs": "a" * 20, "truncate": False}, "E_TOKENS", "text 0: got a longer one"),
        ({"inputs": "a", "prompt_name": "query"}, "E_OPTION", "a body without them"),
        ({"inputs": "a", "truncate": True, "truncation_direction": "Left"}, "E_OPTION", "right"),
    ],
)
async def test_terms_that_a_model_cannot_give_as_asked_are_refused(
    sparse: Running, body: Any, code: str, message: str
) -> None:
    told = (await post(sparse, "/embed_sparse", **body)).json()
    assert told["code"] == code
    assert message in told["error"]
    assert len((await post(sparse, "/embed_sparse", inputs="a" * 20)).json()[0]) == 1


async def test_tei_is_told_of_the_model_of_requests_that_name_none(served: Running) -> None:
    told = (await served.client.get("/info")).json()
    assert (told["model_id"], told["max_input_length"]) == ("made", 12)
    assert (told["max_client_batch_size"], told["auto_truncate"]) == (1024, False)
    assert told["model_type"]["embedding"]["size"] == 16


SENTENCES = {"source_sentence": "ship", "sentences": ["keel"]}


async def test_the_openapi_document_has_the_routes_that_a_loaded_model_offers(
    served: Running,
) -> None:
    for path, good, bad in (
        ("/v1/embeddings", {"input": "a", "model": "made"}, {"input": 7}),
        ("/v2/embed", {"texts": ["a"], "input_type": "clustering"}, {"texts": ["a"]}),
        ("/embed", {"inputs": ["a"], "dimensions": CUT}, {"inputs": "a", "dimensions": 7}),
        ("/similarity", {"inputs": SENTENCES}, {"inputs": "a"}),
        ("/tokenize", {"inputs": "a"}, {"inputs": 7}),
        ("/hf/made", {"inputs": SENTENCES}, {"inputs": {}}),
        ("/", {"inputs": "a", "prompt_name": "query"}, {"inputs": "a", "prompt_name": "title"}),
    ):
        await ask_as_documented(served, path, good)
        await ask_as_documented(served, path, bad, 400)
    document = (await served.client.get("/openapi.json")).json()
    others = {"/embed_all", "/embed_sparse", "/predict", "/rerank", "/v1/rerank", "/v2/rerank"}
    assert not others & document["paths"].keys()
    models = document["components"]["schemas"]["v1_embeddings-body"]["properties"]["model"]
    assert models == {"enum": ["made", None]}


async def test_the_document_has_the_routes_of_terms_tokens_and_labels(sparse: Running) -> None:
    for path in ("/embed_sparse", "/embed_all", "/predict"):
        await ask_as_documented(sparse, path, {"inputs": ["a", "b"]})
    await ask_as_documented(sparse, "/predict", {"inputs": "a"})
    await ask_as_documented(sparse, "/hf/made", {"inputs": "a"})


async def test_a_body_is_not_parsed_before_there_is_room_for_what_that_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedding_bundle(tmp_path, monkeypatch)
    route, parsed = client_routes()["/v1/embeddings"], []
    read = type(route).read
    monkeypatch.setattr(
        type(route), "read", lambda self, raw: parsed.append(len(raw)) or read(self, raw)
    )
    async with run_app(tmp_path) as running:
        budget = running.app._exchanges.budget
        other = budget.begin("another client")
        other.work(budget.all.limit_bytes - 100_000)
        reply = await embed(running, ["ship"] * 1000)
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "E_MEMORY")
        assert not parsed
        other.give_back()
        assert (await embed(running, "ship")).status_code == 200
