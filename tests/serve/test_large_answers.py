"""Large answers: written in pieces, by a thread, to the byte as small ones are."""

from __future__ import annotations

import asyncio
import gzip
import threading
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as some
from support.properties import drawing
from support.toys import toy_bundle
from test_direct import WAYS, Client, Served, post, row, run_app, tensors

from seatrial_serve.api.http_request import HttpExchange
from seatrial_serve.models import served_model
from seatrial_serve.process import json_pieces
from seatrial_serve.process.json_pieces import LARGE_BYTES, PIECE_ITEMS, write_json
from seatrial_serve.runtimes.fake import FakeRuntime

LEAVES = (
    some.none()
    | some.booleans()
    | some.integers(-(2**53), 2**53)
    | some.floats(allow_nan=False)
    | some.text()
)
VALUES = some.recursive(
    LEAVES, lambda inner: some.lists(inner) | some.dictionaries(some.text(), inner), max_leaves=40
)


@drawing(60)
@given(VALUES)
def test_pieces_make_the_bytes_that_orjson_writes(value: Any) -> None:
    assert write_json(value, LARGE_BYTES + 1) == orjson.dumps(value)


@pytest.mark.parametrize(
    "value",
    [
        np.arange(70_000, dtype=np.float32) / 7,
        np.ones((300, 500)),
        np.ones((3, 20_000), np.float32),
        np.zeros((0, 9)),
        np.arange(9),
        list(range(3 * PIECE_ITEMS + 1)),
        {"a": np.ones((9, 9, 500)), "b": [{"c": np.ones(3), "d": "é"}] * 70},
        np.array([np.nan, np.inf]),
        {},
        [],
    ],
)
def test_arrays_in_pieces_are_the_bytes_that_orjson_writes(value: Any) -> None:
    assert write_json(value, LARGE_BYTES + 1) == orjson.dumps(
        value, option=orjson.OPT_SERIALIZE_NUMPY
    )


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("form", ["v1", "v2"])
async def test_a_large_answer_is_described_written_and_compressed_by_a_thread(
    tmp_path: Path, runtime: FakeRuntime, monkeypatch: pytest.MonkeyPatch, way: str, form: str
) -> None:
    for module in (json_pieces, served_model):
        monkeypatch.setattr(module, "LARGE_BYTES", 1000)
    written, write = [], HttpExchange.write

    def watched(*args: Any) -> Any:
        written.append(threading.current_thread() is threading.main_thread())
        return write(*args)

    monkeypatch.setattr(HttpExchange, "write", watched)
    toy_bundle(tmp_path)
    async with run_app(tmp_path) as running:
        served, seen = Served(running, way), []
        monkeypatch.setattr(served.running.taps, "offer", lambda *asked: seen.append(asked[1].rows))
        monkeypatch.setattr(type(served.running.taps), "open", True)
        client = Client(served)
        for rows, on_the_loop in ((40, True), (900, False)):
            xs = [float(x % 100) for x in range(rows)]
            value = {"instances": [row(x) for x in xs]} if form == "v1" else tensors(*xs)
            path = "/v1/models/toy:predict" if form == "v1" else "/v2/models/toy/infer"
            client.wire.written = b""
            client.say(post(value, path, Accept_Encoding="gzip"))
            while not served.untouched() or not client.wire.written:
                await asyncio.sleep(0)
            head, _, body = client.wire.written.partition(b"\r\n\r\n")
            said = orjson.loads(
                gzip.decompress(body) if b"content-encoding: gzip" in head else body
            )
            outputs = said["predictions"] if form == "v1" else said["outputs"]
            got = [each["twice"] for each in outputs] if form == "v1" else outputs[0]["data"]
            assert got == [2 * x for x in xs]
            assert written.pop() is on_the_loop
        assert seen == [40, 900], "compressed or not, the observers see the answer"
