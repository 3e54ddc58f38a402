"""Partial answers, with `X-Partial: 1`.

A row that cannot be answered is an error of its own, and the others are answered as they are alone.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from support.properties import drawing
from support.running import Running, run_app
from support.toys import Feeds, answer, fake_runtimes, toy_bundle
from test_app import scrape

import seatrial as st
from seatrial_contracts.errors import ModelError, Refusal, Unavailable
from seatrial_serve.runtimes.fake import FakeRuntime
from seatrial_serve.scheduling.admission import Quarantine

PARTIAL = {"X-Partial": "1"}
NAN, UNKNOWN, BROKEN, AWAY = 13.0, 17.0, 19.0, 23.0
GOOD = {"x": 3.5, "word": "a"}


def fails_at_some(feeds: Feeds) -> dict[str, Any]:
    """Run the toy model, which has no answer for some numbers.

    For some the batch fails, for others the answer is NaN.
    """
    if (feeds["x"] == AWAY).any():
        raise Unavailable("E_RUNTIME_DOWN", "away")
    if (feeds["x"] == BROKEN).any():
        raise ModelError("E_MODEL", "the model failed on this input")
    if (feeds["x"] == UNKNOWN).any():
        raise Refusal("E_MODEL_INPUT", "the model", "a value that it cannot take")
    outputs = answer(feeds)
    outputs["pair"] = np.where(feeds["x"][:, None] == NAN, np.float32(np.inf), outputs["pair"])
    return outputs


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> FakeRuntime:
    return fake_runtimes(monkeypatch, fails_at_some)


@pytest.fixture
async def served(tmp_path: Path, failing: FakeRuntime) -> AsyncIterator[Running]:
    toy_bundle(tmp_path)
    async with run_app(tmp_path) as running:
        failing.batches.clear()
        yield running


def x(*values: Any) -> list[dict[str, Any]]:
    return [{"x": value, "word": "a"} for value in values]


def tensors(values: list[Any], words: list[str], **more: Any) -> dict[str, Any]:
    return {
        "inputs": [
            {"name": "x", "datatype": "FP32", "shape": [len(values)], "data": values},
            {"name": "word", "datatype": "BYTES", "shape": [len(words)], "data": words},
        ],
        **more,
    }


async def infer(running: Running, body: dict[str, Any], **headers: str) -> Any:
    return await running.client.post("/v2/models/toy/infer", json=body, headers=headers)


async def test_bad_rows_take_no_good_ones_with_them_where_the_client_asks(served: Running) -> None:
    rows = [*x(1.0, 412.0, 2.0, NAN), {"x": 4.0}, *x(UNKNOWN, 5.0, BROKEN)]
    reply = await served.ask(rows, headers=PARTIAL)
    said = reply.json()
    assert reply.status_code == 200
    assert [row and row["twice"] for row in said["predictions"]] == [
        2.0,
        None,
        4.0,
        None,
        None,
        None,
        10.0,
        None,
    ]
    assert [(error["row"], error["code"]) for error in said["errors"]] == [
        (1, "E_RANGE"),
        (3, "E_OUTPUT_CONTRACT"),
        (4, "E_MISSING"),
        (5, "E_MODEL_INPUT"),
        (7, "E_MODEL"),
    ]
    assert (
        said["errors"][0]["error"] == "input 'x', row 1: got 412.0, want a number from -100 to 100"
    )
    assert said["errors"][1]["error"].startswith("output 'pair', row 3: ")


async def test_without_the_header_the_whole_request_fails_and_names_the_row(
    served: Running,
) -> None:
    for headers in ({}, {"X-Partial": "0"}):
        reply = await served.ask(x(1.0, NAN, 2.0), headers=headers)
        assert (reply.status_code, reply.json()["code"]) == (500, "E_OUTPUT_CONTRACT")
        assert "output 'pair', row 1" in reply.json()["error"]
        assert (await served.ask(x(1.0, 412.0), headers=headers)).json()["code"] == "E_RANGE"


async def test_a_row_with_nan_makes_nobody_run_again(served: Running, failing: FakeRuntime) -> None:
    replies = await asyncio.gather(*(served.ask(x(float(place))) for place in range(16)))
    assert [reply.status_code for reply in replies] == [200] * 13 + [500, 200, 200]
    assert sum(failing.batches) == 16


async def test_whoever_shares_a_batch_with_partial_answers_is_answered(served: Running) -> None:
    bad = [served.ask(x(BROKEN, NAN, UNKNOWN, 1.0), headers=PARTIAL) for _ in range(2)]
    replies = await asyncio.gather(*bad, *(served.ask(x(float(place))) for place in range(12)))
    assert [reply.status_code for reply in replies] == [200] * 14


async def test_what_is_wrong_with_a_whole_request_stays_an_error_of_it(served: Running) -> None:
    assert (await served.ask(7, headers=PARTIAL)).json()["code"] == "E_SCHEMA"
    assert (await served.ask([], headers=PARTIAL)).json()["code"] == "E_EMPTY_BATCH"
    assert (await served.ask(x(*range(1025)), headers=PARTIAL)).json()["code"] == "E_BATCH"
    assert (await served.ask(x(1.0, AWAY), headers=PARTIAL)).json()["code"] == "E_RUNTIME_DOWN"
    reply = await infer(served, {"inputs": tensors([1.0], ["a"])["inputs"][:1]}, **PARTIAL)
    assert (reply.status_code, reply.json()["code"]) == (400, "E_MISSING")
    for value in ("2", "true", ""):
        reply = await served.ask(x(1.0), headers={"X-Partial": value})
        assert (reply.status_code, reply.json()["code"]) == (400, "E_PARAMETER")


async def test_a_request_of_bad_rows_alone_is_answered_with_errors_alone(
    served: Running, failing: FakeRuntime
) -> None:
    assert (await served.ask(x(412.0, 413.0), headers=PARTIAL)).json()["predictions"] == [
        None,
        None,
    ]
    assert not failing.batches
    said = (await infer(served, tensors([412.0, NAN], ["a", "b"]), **PARTIAL)).json()
    assert said["outputs"][1]["shape"] == [2, 2]
    assert said["outputs"][1]["data"] == [None] * 4


async def test_v2_holds_nan_where_a_row_has_no_answer_and_says_why_in_its_parameters(
    served: Running,
) -> None:
    said = (
        await infer(
            served, tensors([1.0, 412.0, NAN, 2.0, BROKEN], ["a", "a", "b", "c", "a"]), **PARTIAL
        )
    ).json()
    twice, pair = said["outputs"]
    assert (twice["shape"], twice["data"]) == ([5, 1], [2.0, None, None, None, None])
    assert pair["data"][:2] == [1.0, 1.0]
    errors = json.loads(said["parameters"]["errors"])
    assert [(error["row"], error["code"]) for error in errors] == [
        (1, "E_RANGE"), (2, "E_OUTPUT_CONTRACT"), (3, "E_CATEGORY"), (4, "E_MODEL"),
    ]  # fmt: skip
    assert "row 3" in errors[2]["error"]
    assert "errors" not in (await infer(served, tensors([1.0], ["a"]))).json()["parameters"]


async def test_nan_for_rows_without_an_answer_counts_as_answer(
    tmp_path: Path, failing: FakeRuntime
) -> None:
    toy_bundle(tmp_path, limits=st.Limits(max_answer_bytes=60))
    async with run_app(tmp_path) as running:
        said = (await infer(running, tensors([1.0] + [412.0] * 6, ["a"] * 7), **PARTIAL)).json()
        assert len(said["outputs"][1]["data"]) == 14
        refused = (await infer(running, tensors([1.0] + [412.0] * 7, ["a"] * 8), **PARTIAL)).json()
        assert (refused["code"], "64 bytes" in refused["error"]) == ("E_ANSWER_BYTES", True)


async def test_columns_in_v1_are_answered_by_column(served: Running) -> None:
    body = {
        "signature_name": "serving_default",
        "inputs": {"x": [1.0, 412.0, 2.0], "word": ["a", "b", "b"]},
    }
    ask = lambda body, **headers: served.client.post(
        "/v1/models/toy:predict", json=body, headers=headers
    )
    assert (await ask(body)).json()[
        "error"
    ] == "input 'x', row 1: got 412.0, want a number from -100 to 100"
    said = (await ask(body, **PARTIAL)).json()
    assert said["outputs"] == {"twice": [2.0, None, 4.0], "pair": [[1.0, 1.0], None, [2.0, 0.0]]}
    assert [error["row"] for error in said["errors"]] == [1]
    whole = (await ask({"inputs": {"x": [1.0, 2.0], "word": ["a", "b"]}})).json()
    assert whole == {
        "outputs": {"twice": [2.0, 4.0], "pair": [[1.0, 1.0], [2.0, 0.0]]},
        "model_version": "1.0.0",
    }


async def test_a_partial_answer_counts_as_ok_and_its_rows_by_code(
    served: Running, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "seatrial.request")
    await served.ask(x(1.0, 412.0, NAN, 413.0), headers=PARTIAL | {"X-Request-Id": "mixed"})
    text = scrape(served)
    assert 'seatrial_requests_total{code="ok",model="toy",version="1.0.0"} 1.0' in text
    assert 'seatrial_row_errors_total{code="E_RANGE",model="toy",version="1.0.0"} 2.0' in text
    assert (
        'seatrial_row_errors_total{code="E_OUTPUT_CONTRACT",model="toy",version="1.0.0"} 1.0'
        in text
    )
    (line,) = [record for record in caplog.records if record.name == "seatrial.request"]
    assert (line.levelname, vars(line)["row_errors"]) == (
        "ERROR",
        {"E_RANGE": 2, "E_OUTPUT_CONTRACT": 1},
    )
    assert "mixed" in line.getMessage()
    assert "rows failed (2 E_RANGE, 1 E_OUTPUT_CONTRACT)" in line.getMessage()
    assert "412" not in line.getMessage()


async def test_rows_that_make_batches_fail_are_quarantined_as_whole_requests_are(
    served: Running,
) -> None:
    for turn in range(Quarantine.BLAMES + 1):
        reply = await served.ask(x(1.0, BROKEN), headers=PARTIAL)
        assert reply.status_code == (200 if turn < Quarantine.BLAMES else 400)
        assert (await served.ask(x(1.0, NAN), headers=PARTIAL)).status_code == 200


ROWS = some.one_of(
    some.fixed_dictionaries({
        "x": some.sampled_from([1.0, 2.5, -99.0, NAN, UNKNOWN, BROKEN, 412.0, "3", None, True]),
        "word": some.sampled_from(["a", "b", "c", 7]),
    }),
    some.sampled_from([7, {}, {"x": 1.0}, GOOD | {"more": 1}, GOOD]),
)  # fmt: skip


async def compare(running: Running, rows: list[Any]) -> None:
    """Compare every row of a partial answer with the same row sent alone.

    It is compared over V1, and over V2 where tensors can hold the rows.
    """
    said = (await running.ask(rows, headers=PARTIAL)).json()
    errors = {error["row"]: (error["code"], error["error"]) for error in said["errors"]}
    for place, row in enumerate(rows):
        alone = (await running.ask([row])).json()
        if "predictions" in alone:
            assert place not in errors
            assert said["predictions"][place] == alone["predictions"][0]
        else:
            assert said["predictions"][place] is None
            assert errors[place] == (alone["code"], alone["error"].replace("row 0", f"row {place}"))
    if all(
        isinstance(row, dict)
        and type(row.get("x")) is float
        and row.keys() == GOOD.keys()
        and row["word"] != 7
        for row in rows
    ):
        body = tensors([row["x"] for row in rows], [row["word"] for row in rows])
        tensor = (await infer(running, body, **PARTIAL)).json()
        assert tensor["outputs"][0]["data"] == [row and row["twice"] for row in said["predictions"]]
        told = {error["row"]: error["code"] for error in json.loads(tensor["parameters"]["errors"])}
        assert told == {place: code for place, (code, _) in errors.items()}


def test_rows_and_errors_of_a_partial_answer_are_those_of_the_rows_alone(
    tmp_path: Path, failing: FakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Quarantine, "BLAMES", 10**9)
    toy_bundle(tmp_path)
    with asyncio.Runner() as runner:
        app = run_app(tmp_path)
        running = runner.run(app.__aenter__())

        @drawing(40)
        @given(some.lists(ROWS, min_size=1, max_size=9))
        def check(rows: list[Any]) -> None:
            runner.run(compare(running, rows))

        try:
            check()
        finally:
            runner.run(app.__aexit__(None, None, None))
