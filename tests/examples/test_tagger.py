"""The tagger example: trained, sealed, served, held to parity, and asked over its ways."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from support.servers import Server

import seatrial as st
from seatrial_parity.runners.runner import TrialRequest
from seatrial_parity.trial import try_bundle

TEXT = "The raise statement takes an instance of BaseException, as except does. 日本語"


@pytest.mark.slow
def test_the_tagger_finds_code_in_sentences_and_agrees_by_every_way(
    tmp_path: Path, serve: Callable[..., Server], capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline = st.load_pipeline("examples/tagger/pipeline.py:pipeline")
    told = re.search(r"F1 ([0-9.]+) on ([0-9]+) sentences", capsys.readouterr().out)
    assert told is not None
    assert float(told[1]) > 0.3
    assert int(told[2]) > 100
    bundle = st.export(pipeline, tmp_path)
    server = serve(tmp_path)
    assert server.wait_until_loaded()[0] == 200
    receipt = try_bundle(TrialRequest(bundle, pipeline, server.url, server.grpc))
    assert [trial.finding for trial in receipt.trials if trial.finding] == []
    assert {trial.runner for trial in receipt.trials} >= {"http v1", "v2 binary", "grpc"}
    asked = {"instances": [{"text": TEXT}]}
    [answer] = httpx.post(f"{server.url}/v1/models/tagger:predict", json=asked).json()[
        "predictions"
    ]
    code = [part for part in answer["parts"] if part["label"] == "CODE"]
    assert {part["text"] for part in code} >= {"raise", "BaseException"}
    assert all(TEXT[part["start"] : part["end"]] == part["text"] for part in answer["parts"])
    assert answer["read"] == {"truncated": False, "start": 0, "end": len(TEXT)}
