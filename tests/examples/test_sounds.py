"""The sounds example: trained, sealed, tried by every runner, and asked with files."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile

import seatrial as st
from seatrial_parity.runners.runner import TrialRequest
from seatrial_parity.trial import try_bundle


@pytest.mark.slow
def test_the_sounds_example_answers_files_of_each_format_as_training_did_in_every_way(
    tmp_path: Path, serve: Callable[..., Any]
) -> None:
    pipeline = st.load_pipeline("examples/sounds/pipeline.py:pipeline")
    bundle = st.export(pipeline, tmp_path)
    server = serve(tmp_path)
    assert server.wait_until_loaded()[0] == 200
    receipt = try_bundle(TrialRequest(bundle, pipeline, server.url, server.grpc))
    assert receipt.passed
    assert {"pytorch", "onnxruntime", "http v1", "grpc"} < {each.runner for each in receipt.trials}
    times = np.arange(22_050) / 44_100
    whistle = np.sin(2 * np.pi * 1_500 * times)[:, None] * (0.4, 0.2)
    for form, media in (("WAV", "wav"), ("FLAC", "flac"), ("OGG", "ogg"), ("MP3", "mpeg")):
        sink = io.BytesIO()
        soundfile.write(sink, whistle, 44_100, format=form)
        reply = httpx.post(
            f"{server.url}/v1/models/sounds:predict",
            content=sink.getvalue(),
            headers={"Content-Type": f"audio/{media}"},
        )
        assert reply.json()["predictions"][0]["sort"]["label"] == "tone", form
