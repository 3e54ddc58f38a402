"""Sounds over every way in: JSON, a file as the body, V2 as JSON and as bytes, Triton's front."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as some
from support.made import made_bundle
from support.properties import drawing
from support.running import Running, run_app

import seatrial as st
from seatrial_contracts.host_stage import HostStage
from seatrial_contracts.kinds.file_kind import base64_text
from seatrial_contracts.kinds.kind import Array
from seatrial_contracts.kinds.sound import draw_sound
from seatrial_parity.runners.tensors import tensors_of
from seatrial_serve.triton.exchange import read_columns

LOUD = draw_sound(3_200, 16_000, level=0.8)
QUIET = draw_sound(4_410, 44_100, fmt="FLAC", channels=2, level=0.1)


class Recording(st.Row):
    clip: Annotated[bytes | None, st.Audio(max_seconds=1)]


class Heard(st.Answer):
    heard: st.Tensor[np.float32, 3]


class Alone(st.Row):
    clip: Annotated[bytes, st.Audio(max_seconds=1, formats=("WAV", "FLAC"))]


CONTRACT = st.contract_from_rows(Recording, Heard)
AUDIO = CONTRACT.inputs[0].kind


def heard(feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Energy and length of each row, and whether it is there."""
    own = np.arange(feeds["clip"].shape[1]) < feeds["clip_length"][:, None]
    assert not feeds["clip"][~own].any()
    there = feeds.get("clip_present", np.ones(len(own), bool))
    energy = np.square(feeds["clip"], dtype=np.float64).sum(1)
    seen = np.stack([energy, feeds["clip_length"], there], 1)
    return {"heard": seen.astype(np.float32)}


@pytest.fixture
async def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    rows = [{"clip": base64_text(LOUD)}, {"clip": None}]
    made_bundle(tmp_path, monkeypatch, CONTRACT, heard, rows)
    async with run_app(tmp_path) as running:
        yield running


async def test_sounds_of_unlike_length_and_missing_ones_are_answered_alike_in_every_way(
    served: Running,
) -> None:
    rows = [{"clip": base64_text(LOUD)}, {"clip": None}, {"clip": base64_text(QUIET)}]
    reply = await served.client.post("/v1/models/made:predict", json={"instances": rows})
    answers = [row["heard"] for row in reply.json()["predictions"]]
    assert [row[1:] for row in answers] == [[3_200, 1], [1, 0], [1_600, 1]]
    for row, answer in zip(rows, answers, strict=True):
        alone = await served.client.post("/v1/models/made:predict", json={"instances": [row]})
        assert alone.json()["predictions"][0]["heard"] == pytest.approx(answer, rel=1e-6)
    inputs = [
        {"name": "clip", "datatype": "BYTES", "shape": [3, 1],
         "data": [row["clip"] for row in rows]},
    ]  # fmt: skip
    over_v2 = await served.client.post("/v2/models/made/infer", json={"inputs": inputs})
    assert over_v2.json()["outputs"][0]["data"] == [each for row in answers for each in row]
    assert await binary(served, [LOUD, b"", QUIET], [True, False, True]) == answers


async def binary(served: Running, files: list[bytes], present: list[bool]) -> Any:
    """The answers over V2 with binary tensor data."""
    data = b"".join(struct.pack("<I", len(file)) + file for file in files)
    marks = bytes(present)
    head = orjson.dumps({"inputs": [
        {"name": "clip", "datatype": "BYTES", "shape": [len(files), 1],
         "parameters": {"binary_data_size": len(data)}},
        {"name": "clip_present", "datatype": "BOOL", "shape": [len(files), 1],
         "parameters": {"binary_data_size": len(marks)}},
    ]})  # fmt: skip
    reply = await served.client.post(
        "/v2/models/made/infer", content=head + data + marks,
        headers={"Inference-Header-Content-Length": str(len(head))},
    )  # fmt: skip
    assert reply.status_code == 200, reply.text
    return np.array(reply.json()["outputs"][0]["data"]).reshape(-1, 3).tolist()


@pytest.mark.parametrize(
    ("media", "file"),
    [
        ("audio/wav", LOUD),
        ("audio/x-wav; codecs=1", LOUD),
        ("AUDIO/FLAC", QUIET),
        ("application/octet-stream", QUIET),
    ],
)
async def test_a_file_is_a_body_of_its_own(served: Running, media: str, file: bytes) -> None:
    reply = await served.client.post(
        "/v1/models/made:predict", content=file, headers={"Content-Type": media}
    )
    assert reply.status_code == 200, reply.text
    (row,) = reply.json()["predictions"]
    assert row["heard"][1:] == [len(AUDIO.decode(file)), 1]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("media", "file", "status", "code", "text"),
    [
        ("image/png", LOUD, 415, "E_CONTENT_TYPE", "want application/json or audio/wav, audio/"),
        ("audio/wav", b"no sound", 415, "E_AUDIO_FORMAT", "want a WAV, FLAC, OGG or MP3 file"),
        ("audio/wav", LOUD[:900], 400, "E_AUDIO", "got a truncated file, want a whole one"),
        ("audio/wav", draw_sound(8_001, 8_000), 413, "E_AUDIO_LENGTH", "got 1.00 seconds, want"),
        ("audio/wav", draw_sound(9, 8_000, channels=9), 400, "E_AUDIO_CHANNELS", "got 9 channels"),
    ],
)
async def test_a_bad_file_is_refused_in_words_and_by_code(
    served: Running, media: str, file: bytes, status: int, code: str, text: str
) -> None:
    reply = await served.client.post(
        "/v1/models/made:predict", content=file, headers={"Content-Type": media}
    )
    assert (reply.status_code, reply.json()["code"]) == (status, code)
    assert text in reply.json()["error"]


async def test_openapi_and_metadata_name_the_files(served: Running) -> None:
    paths = (await served.client.get("/openapi.json")).json()["paths"]
    (body,) = [
        path["post"]["requestBody"]["content"]
        for name, path in paths.items()
        if name.endswith("made:predict")
    ]
    assert {"audio/wav", "audio/flac", "audio/ogg", "audio/mpeg"} < body.keys()
    inputs = (await served.client.get("/v2/models/made")).json()["inputs"]
    assert {"name": "clip", "datatype": "BYTES", "shape": [-1, 1]} in inputs


@given(some.data())
@drawing(40)
def test_a_row_that_is_drawn_is_the_same_by_row_and_by_column(data: some.DataObject) -> None:
    """Of V1 and of V2, gRPC and Triton's front, before the graph."""
    contract = st.contract_from_rows(Alone, Heard)
    front = HostStage(contract, {})
    row = {"clip": data.draw(contract.inputs[0].kind.strategy())}
    by_row = front.encode_row(contract.validate_row(row))
    array = tensors_of(contract, [row])["clip"][1]
    request = SimpleNamespace(
        inputs=lambda: [SimpleNamespace(name=lambda: "clip", as_numpy=lambda: array)]
    )
    columns = read_columns(request, contract)
    by_column = front.encode_row({"clip": columns["clip"][0]})
    assert np.array_equal(by_row[0], by_column[0])
    assert by_row[1] == by_column[1]
