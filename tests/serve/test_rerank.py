"""Reranking over three protocols: one query, several texts, the most relevant first."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
from support.documented import ask_as_documented
from support.made import made_bundle
from support.running import Running, run_app
from test_text_answers import TOKENIZER

import seatrial as st
from seatrial_contracts.kinds.kind import Array

FILES = {"front/pair.tokenizer.json": TOKENIZER}
GOLDEN = [{"pair": {"query": "who", "passage": text}} for text in ("Ada", "sails")]
TEXTS = ["sails", "Ada Lovelace", "東京", "Ada"]
"""Their scores are how often "Ada" and "Lovelace" stand in them."""


class Pair(st.Row):
    pair: Annotated[
        dict[str, str],
        st.TextPair(
            "query", "passage", tokenizer=TOKENIZER, max_tokens=8, cut="second", max_chars=100
        ),
    ]


class Logit(st.Answer):
    relevance: float


class Relevant(st.Answer):
    relevance: Annotated[str, st.Label("no", "yes")]


def logits(feeds: Mapping[str, Array]) -> dict[str, Array]:
    ids = feeds["pair_ids"] * feeds["pair_types"]
    return {"relevance": ((ids == 6) | (ids == 7)).sum(1).astype(np.float32) * 2 - 2}


def labels(feeds: Mapping[str, Array]) -> dict[str, Array]:
    yes = 1 / (1 + np.exp(-logits(feeds)["relevance"]))
    return {"relevance": np.stack([1 - yes, yes], 1).astype(np.float32)}


@pytest.fixture
async def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    contract = st.contract_from_rows(Pair, Logit)
    made_bundle(tmp_path, monkeypatch, contract, logits, GOLDEN, FILES)
    async with run_app(tmp_path) as running:
        yield running


def sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


async def test_tei_ranks_texts_by_their_probability(served: Running) -> None:
    body = {"query": "who", "texts": TEXTS, "return_text": True}
    reply = await served.client.post("/rerank", json=body)
    found = reply.json()
    assert [each["index"] for each in found] == [1, 3, 0, 2]
    assert [each["text"] for each in found] == ["Ada Lovelace", "Ada", "sails", "東京"]
    assert [each["score"] for each in found] == pytest.approx(
        [sigmoid(2), sigmoid(0), sigmoid(-2), sigmoid(-2)]
    )
    raw = await served.client.post("/rerank", json={**body, "raw_scores": True})
    assert [each["score"] for each in raw.json()] == [2, 0, -2, -2]
    plain = await served.client.post("/rerank", json={"query": "who", "texts": TEXTS})
    assert plain.json()[0].keys() == {"index", "score"}


async def test_cohere_and_jina_answer_the_best_by_index_and_score(served: Running) -> None:
    body = {"model": "made", "query": "who", "documents": TEXTS, "top_n": 2}
    cohere = (await served.client.post("/v2/rerank", json=body)).json()
    assert [each["index"] for each in cohere["results"]] == [1, 3]
    assert cohere["results"][0] == {
        "index": 1, "relevance_score": pytest.approx(sigmoid(2)),
    }  # fmt: skip
    documents = [{"text": text} for text in TEXTS]
    jina = (await served.client.post("/v1/rerank", json={**body, "documents": documents})).json()
    assert (jina["model"], len(jina["results"])) == ("made", 2)
    assert jina["results"][1]["document"] == {"text": "Ada"}


async def test_ranks_are_those_of_rows_over_v1(served: Running) -> None:
    rows = [{"pair": {"query": "who", "passage": text}} for text in TEXTS]
    scores = [row["relevance"] for row in (await served.ask(rows, "made")).json()["predictions"]]
    body = {"query": "who", "texts": TEXTS, "raw_scores": True}
    found = (await served.client.post("/rerank", json=body)).json()
    assert [scores[each["index"]] for each in found] == [each["score"] for each in found]
    assert sorted(scores, reverse=True) == [each["score"] for each in found]


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ({"query": "who", "texts": []}, "E_EMPTY_BATCH", "no texts"),
        ({"query": "who", "texts": ["Ada"] * 1025}, "E_BATCH", "got 1025 texts"),
        ({"query": "who"}, "E_SCHEMA", "field 'texts': got nothing"),
        ({"query": "who", "texts": ["Ada", "x" * 101]}, "E_TEXT_LIMIT", "row 1"),
        ({"query": "who", "texts": ["Ada", "Ada " * 9], "truncate": False}, "E_TOKENS", "text 1"),
        ({"query": "who " * 9, "texts": ["Ada"]}, "E_TOKENS", "whatever is cut"),
        ({"query": "who", "texts": ["Ada"], "truncation_direction": "Left"}, "E_OPTION", "right"),
    ],
)
async def test_teis_errors_have_its_shape(
    served: Running, body: Any, code: str, message: str
) -> None:
    reply = await served.client.post("/rerank", json=body)
    told = reply.json()
    assert (reply.status_code, told["code"], told["error_type"]) == (400, code, "validation")
    assert message in told["error"]


async def test_a_label_of_two_classes_is_ranked_by_its_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contract = st.contract_from_rows(Pair, Relevant)
    made_bundle(tmp_path, monkeypatch, contract, labels, GOLDEN, FILES)
    async with run_app(tmp_path) as running:
        body = {"query": "who", "texts": TEXTS}
        found = (await running.client.post("/rerank", json=body)).json()
        assert [each["index"] for each in found] == [1, 3, 0, 2]
        assert found[0]["score"] == pytest.approx(sigmoid(2))
        raw = await running.client.post("/rerank", json={**body, "raw_scores": True})
        assert (raw.status_code, raw.json()["code"]) == (400, "E_UNSUPPORTED")


async def test_a_model_of_other_rows_ranks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Row(st.Row):
        x: float

    class Twice(st.Answer):
        twice: float

    Row.model_rebuild()
    contract = st.contract_from_rows(Row, Twice)
    made_bundle(
        tmp_path, monkeypatch, contract, lambda feeds: {"twice": feeds["x"] * 2},
        [{"x": 1.0}, {"x": 2.0}],
    )  # fmt: skip
    async with run_app(tmp_path) as running:
        body = {"query": "who", "documents": TEXTS}
        reply = await running.client.post("/v2/rerank", json=body)
        assert (reply.status_code, reply.json()["code"]) == (400, "E_UNSUPPORTED")
        assert "st.TextPair" in reply.json()["message"]


async def test_the_openapi_document_has_the_routes_of_ranks(served: Running) -> None:
    for path, body in (
        ("/rerank", {"query": "who", "texts": TEXTS, "return_text": True}),
        ("/v2/rerank", {"query": "who", "documents": [{"text": "Ada"}], "return_documents": True}),
        ("/v1/rerank", {"query": "who", "documents": TEXTS, "model": "made"}),
    ):
        await ask_as_documented(served, path, body)
        await ask_as_documented(served, path, {"query": 7}, 400)
    assert "/embed" not in (await served.client.get("/openapi.json")).json()["paths"]
