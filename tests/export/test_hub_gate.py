"""A hub folder from disk to a served answer, judged by its own library from the raw text."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from sentence_transformers import SentenceTransformer
from support.hub_folders import make_sentence_folder
from support.running import run_app

import seatrial as st
from seatrial.main import cli

pytestmark = pytest.mark.slow
TEXTS = ("How do I reset my password?", "", "word " * 200, "深度学习 e\u0301")


async def test_an_adopted_sentence_transformer_answers_as_it_does_itself(tmp_path: Path) -> None:
    folder = make_sentence_folder(
        tmp_path / "sentences", "bert", ["mean", "Dense", "Normalize"],
        prompts={"query": "query: ", "passage": "passage: "}, default_prompt_name="query",
    )  # fmt: skip
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(f"{json.dumps({'text': text})}\n" for text in TEXTS))
    ran = CliRunner().invoke(
        cli,
        ["adopt", f"hf:{folder}", "--rows", str(rows), "--out", f"{tmp_path}/bundles", "--json"],
        catch_exceptions=False,
    )  # fmt: skip
    sealed = json.loads(ran.stdout)
    bundle = st.open_bundle(Path(sealed["path"]))
    judged = [
        trial
        for receipt in bundle.receipts()
        for trial in receipt.trials
        if trial.runner == "judge"
    ]
    assert [(trial.row_set, trial.rows > 3, trial.passed) for trial in judged] == [
        ("golden", True, True), ("drawn", True, True)
    ]  # fmt: skip
    assert judged[0].provider is not None
    assert judged[0].provider.startswith("sentence-transformers ")
    assert "the prompt 'query' stands before a text" in ran.stderr + ran.stdout
    assert sorted(bundle.manifest.waivers) == ["fresh process", "surroundings"]

    judge = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    async with run_app(tmp_path / "bundles") as served:
        for parameters, options in (
            ({}, {}), ({"prompt": "none"}, {"prompt": ""}),
            ({"prompt": "passage"}, {"prompt_name": "passage"}),
        ):  # fmt: skip
            instances = [{"text": text} for text in TEXTS]
            body = {"instances": instances, "parameters": parameters}
            reply = await served.client.post("/v1/models/sentences:predict", json=body)
            assert reply.status_code == 200, reply.text
            got = [each["embedding"] for each in reply.json()["predictions"]]
            want = judge.encode(list(TEXTS), **options)
            np.testing.assert_allclose(got, want, atol=1e-5)
        body = {"model": "sentences", "input": ["Bread rises."]}
        reply = await served.client.post("/v1/embeddings", json=body)
        [told] = reply.json()["data"]
        np.testing.assert_allclose(told["embedding"], judge.encode("Bread rises."), atol=1e-5)
