"""Spans, extracted answers and pairs of texts, served over V1, V2 and gRPC's message."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
from support.made import made_bundle
from support.running import Running, run_app
from support.word_tokenizer import word_tokenizer

import seatrial as st
from seatrial_contracts.kinds.kind import Array
from seatrial_serve.observers.drift import DriftObserver

LABELS = ("O", "B-PER", "I-PER")
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "who", "sails", "Ada", "Lovelace", "東京", "🚢"]


TOKENIZER = word_tokenizer(WORDS)


class Sentence(st.Row):
    text: Annotated[
        str, st.Text(tokenizer=TOKENIZER, max_tokens=8, overflow="truncate", max_chars=200)
    ]


class Named(st.Answer):
    people: Annotated[list[dict], st.Spans(*LABELS, of="text")]  # type: ignore[type-arg]
    read: Annotated[dict, st.Truncation(of="text")]  # type: ignore[type-arg]


class Asked(st.Row):
    pair: Annotated[
        dict[str, str],
        st.TextPair(
            "question", "passage", tokenizer=TOKENIZER, max_tokens=12, cut="second", max_chars=200
        ),
    ]


class Found(st.Answer):
    found: Annotated[list[dict], st.Extract(of="pair", top=2, null_threshold=0.0)]  # type: ignore[type-arg]
    relevance: float


class Options(st.Options):
    top_k: Annotated[int, st.Option(1, ge=1, le=5)]


def name_people(feeds: Mapping[str, Array]) -> dict[str, Array]:
    """ "Ada" begins a person, "Lovelace" goes on with one. "sails" breaks the contract's shape."""
    ids = feeds["text_ids"]
    labels = np.where(ids == 6, 1, np.where(ids == 7, 2, 0))
    made = np.full((*ids.shape, 3), 0.125, np.float32)
    np.put_along_axis(made, labels[..., None], 0.75, 2)
    return {"people": made if not (ids == 5).any() else np.concatenate([made, made], 1)}


def find_people(feeds: Mapping[str, Array]) -> dict[str, Array]:
    """An answer begins at "Ada" and ends at "Lovelace"; without them there is none."""
    ids = feeds["pair_ids"] * feeds["pair_types"]
    made = np.stack([ids == 6, ids == 7], 2).astype(np.float32) * 6
    made[:, 0] = 2
    return {"found": made, "relevance": made.max((1, 2))}


SENTENCES = [{"text": "who Ada Lovelace"}, {"text": "東京"}]
QUESTIONS = [
    {"pair": {"question": "who", "passage": "🚢  Ada Lovelace"}},
    {"pair": {"question": "who", "passage": "東京"}},
]


@pytest.fixture
async def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    contract = st.contract_from_rows(Sentence, Named)
    files = {"front/text.tokenizer.json": TOKENIZER}
    made_bundle(tmp_path, monkeypatch, contract, name_people, SENTENCES, files)
    async with run_app(tmp_path) as running:
        yield running


@pytest.fixture
async def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    contract = st.contract_from_rows(Asked, Found, options=Options)
    files = {"front/pair.tokenizer.json": TOKENIZER}
    made_bundle(tmp_path, monkeypatch, contract, find_people, QUESTIONS, files)
    async with run_app(tmp_path) as running:
        yield running


async def test_spans_are_parts_of_the_clients_own_text(served: Running) -> None:
    text = "🚢 \t Ada  Lovelace who 東京 who 東京 who 東京"
    [answer] = (await served.ask([{"text": text}], "made")).json()["predictions"]
    assert answer["people"] == [
        {"label": "PER", "score": 0.75, "start": 4, "end": 17, "text": "Ada  Lovelace"}
    ]
    assert text[4:17] == "Ada  Lovelace"
    assert answer["read"] == {"truncated": True, "start": 0, "end": 28}
    assert text[:28] == "🚢 \t Ada  Lovelace who 東京 who"


async def test_rows_of_unlike_length_and_number_come_in_one_answer_and_are_counted_in_v2(
    served: Running,
) -> None:
    texts = ["Ada who Ada", "東京", "Ada Lovelace"]
    inputs = [{"name": "text", "datatype": "BYTES", "shape": [3], "data": texts}]
    reply = await served.client.post("/v2/models/made/infer", json={"inputs": inputs})
    assert reply.status_code == 200, reply.text
    found = {output["name"]: output["data"] for output in reply.json()["outputs"]}
    assert found["people_count"] == [2, 0, 1]
    assert found["people_labels"] == ["PER", "PER", "", "", "PER", ""]
    assert found["people_starts"] == [0, 8, 0, 0, 0, 0]
    assert found["people_ends"] == [3, 11, 0, 0, 12, 0]
    assert found["people_texts"] == ["Ada", "Ada", "", "", "Ada Lovelace", ""]
    assert found["read_truncated"] == [False, False, False]
    assert found["read_end"] == [11, 2, 12]


async def test_an_answer_of_other_tokens_than_the_text_has_reaches_nobody(served: Running) -> None:
    reply = await served.ask([{"text": "who sails"}], "made")
    assert (reply.status_code, reply.json()["code"]) == (500, "E_OUTPUT_CONTRACT")
    assert "the model answered 8 tokens of a text of 4" in reply.json()["error"]
    assert (await served.ask(SENTENCES, "made")).status_code == 200


async def test_a_pair_is_answered_by_rows_by_columns_and_by_tensors(asked: Running) -> None:
    part = {"answer": "Ada Lovelace", "start": 3, "end": 15}
    none = {"answer": "", "start": 0, "end": 0}

    def same(answers: list[Any]) -> None:
        firsts = [{key: each[0][key] for key in part} for each in answers]
        assert firsts == [part, none]

    rows = (await asked.ask(QUESTIONS, "made")).json()["predictions"]
    same([row["found"] for row in rows])
    assert rows[0]["found"][0]["score"] > 0.8
    assert [len(row["found"]) for row in rows] == [1, 1]
    pairs = [row["pair"] for row in QUESTIONS]
    path = "/v1/models/made:predict"
    columns = await asked.client.post(path, json={"inputs": {"pair": pairs}})
    same(columns.json()["outputs"]["found"])
    data = [text for pair in pairs for text in (pair["question"], pair["passage"])]
    inputs = [{"name": "pair", "datatype": "BYTES", "shape": [2, 2], "data": data}]
    reply = await asked.client.post(
        "/v2/models/made/infer", json={"inputs": inputs, "parameters": {"top_k": 3}}
    )
    found = {output["name"]: output["data"] for output in reply.json()["outputs"]}
    assert found["found_count"] == [3, 2]
    assert (found["found_answers"][0], found["found_answers"][3]) == ("Ada Lovelace", "")
    told = (await asked.client.get("/v2/models/made")).json()["inputs"]
    assert told == [{"name": "pair", "datatype": "BYTES", "shape": [-1, 2]}]


@pytest.mark.parametrize(
    ("pair", "code", "said"),
    [
        ({"question": "who"}, "E_MISSING", "input 'pair', row 0: got no passage"),
        ({"question": "who", "passage": 1}, "E_TYPE", "passage: no string"),
        ("who", "E_TYPE", "no object"),
        ({"question": "who " * 12, "passage": "Ada"}, "E_TOKENS", "whatever is cut"),
    ],
)
async def test_a_row_that_is_no_pair_is_refused(
    asked: Running, pair: Any, code: str, said: str
) -> None:
    reply = await asked.ask([{"pair": pair}], "made")
    assert (reply.status_code, reply.json()["code"]) == (400, code)
    assert said in reply.json()["error"]


async def test_a_tensor_of_single_texts_is_refused_for_a_pair(asked: Running) -> None:
    inputs = [{"name": "pair", "datatype": "BYTES", "shape": [2], "data": ["who", "Ada"]}]
    reply = await asked.client.post("/v2/models/made/infer", json={"inputs": inputs})
    assert (reply.status_code, reply.json()["code"]) == (400, "E_SHAPE")
    assert "want shape [rows, 2]" in reply.json()["error"]


async def test_openapi_describes_pairs_and_spans(asked: Running) -> None:
    schemas = (await asked.client.get("/openapi.json")).json()["components"]["schemas"]
    pair = schemas["made-1.0.0-row"]["properties"]["pair"]
    assert (pair["required"], pair["x-kind"]) == (["question", "passage"], "text_pair")
    found = schemas["made-1.0.0-answer"]["properties"]["found"]
    assert "code points" in found["items"]["properties"]["start"]["description"]


async def test_drift_is_counted_of_rows_of_unlike_length_that_came_by_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contract = st.contract_from_rows(Sentence, Named)
    files = {"front/text.tokenizer.json": TOKENIZER}
    made_bundle(tmp_path, monkeypatch, contract, name_people, SENTENCES, files)
    inputs = [
        {"name": "text", "datatype": "BYTES", "shape": [3],
         "data": ["Ada who Ada", "東京", "Ada Lovelace"]},
    ]  # fmt: skip
    async with run_app(tmp_path, [DriftObserver()]) as running:
        reply = await running.client.post("/v2/models/made/infer", json={"inputs": inputs})
        assert reply.status_code == 200
        await running.taps.wait_idle()
        registry = running.metrics.registry
        sampled = registry.get_sample_value(
            "seatrial_drift_sampled_total", {"model": "made", "version": "1.0.0"}
        )
    assert sampled == 3
