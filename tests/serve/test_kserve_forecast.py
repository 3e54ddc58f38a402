"""KServe's route of forecasts over a series and its quantiles."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as some
from support.documented import ask_as_documented
from support.made import made_bundle
from support.running import Running, run_app

import seatrial as st
from seatrial_contracts.kinds.kind import Array
from seatrial_serve.api.routes.kserve_forecast import later

PATH = "/v1/timeseries/forecast"


class Plant(st.Row):
    load: Annotated[list[float], st.Series(length=(2, 6), missing=True, frequency="D")]


class Ahead(st.Answer):
    ahead: Annotated[dict[str, list[float]], st.Forecast(horizon=3, quantiles=(0.1, 0.5, 0.9))]


def carried_on(feeds: Mapping[str, Array]) -> dict[str, Array]:
    """The largest number, and one less and more of it, each step one further."""
    top = feeds["load"].max(1)[:, None, None] + np.arange(3)[None, :, None]
    return {"ahead": (top + np.array([-1, 0, 1])).astype(np.float32)}


@pytest.fixture
async def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    contract = st.contract_from_rows(Plant, Ahead)
    made_bundle(tmp_path, monkeypatch, contract, carried_on, [{"load": [1.0, 2.0]}])
    async with run_app(tmp_path) as running:
        yield running


def body(*series: list[float | None], **changes: Any) -> dict[str, Any]:
    inputs = [
        {
            "type": "univariate_time_series", "name": f"load {place}", "series": numbers,
            "frequency": "D", "start_timestamp": "2026-02-26",
        }
        for place, numbers in enumerate(series)
    ]  # fmt: skip
    return {"model": "made", "inputs": inputs, "options": {"horizon": 2}, **changes}


async def test_each_series_gets_the_steps_that_follow_it(served: Running) -> None:
    told = await ask_as_documented(served, PATH, body([1.0, None, 5.0], [2.0, 3.0]))
    assert (told["status"], told["model"]) == ("completed", "made")
    first, second = told["outputs"][0]["content"]
    assert first == {
        "type": "univariate_time_series", "name": "load 0", "mean_forecast": [5, 6],
        "frequency": "D", "start_timestamp": "2026-03-01T00:00:00",
        "quantiles": {"0.1": [4, 5], "0.5": [5, 6], "0.9": [6, 7]},
    }  # fmt: skip
    assert (second["name"], second["mean_forecast"]) == ("load 1", [3, 4])


async def test_the_wanted_quantiles_alone_are_told_and_a_series_needs_no_start(
    served: Running,
) -> None:
    asked = body([1.0, 2.0], options={"horizon": 1, "quantiles": [0.9]})
    del asked["inputs"][0]["start_timestamp"]
    asked["inputs"][0]["frequency"] = "day"
    [told] = (await ask_as_documented(served, PATH, asked))["outputs"][0]["content"]
    assert (told["quantiles"], told["start_timestamp"], told["frequency"]) == (
        {"0.9": [3]}, "", "day",
    )  # fmt: skip


def changed(**fields: Any) -> dict[str, Any]:
    asked = body([1.0, 2.0])
    asked["inputs"][0] |= fields
    return asked


@pytest.mark.parametrize(
    ("asked", "code", "text"),
    [
        (body([1.0]), "E_SHAPE", "got a list of 1, want a list of 2 to 6 steps"),
        (body([1.0, 2.0], options={"horizon": 4}), "E_OPTION", "option 'horizon': got 4, want"),
        (
            body([1.0, 2.0], options={"horizon": 1, "quantiles": [0.2]}),
            "E_OPTION", "option 'quantiles': got 0.2, want some of 0.1, 0.5, 0.9",
        ),
        (body(), "E_EMPTY_BATCH", ""),
        (changed(type="multivariate_time_series"), "E_UNSUPPORTED", "several channels"),
        (changed(frequency="H"), "E_OPTION", "series 0, frequency: got another one, want D"),
        (changed(frequency="fortnight"), "E_SCHEMA", "want a list of series"),
        (changed(start_timestamp="yesterday"), "E_DATE", "series 0, start_timestamp: got another"),
        (changed(start_timestamp="9999-12-31"), "E_DATE", "before the year 10000"),
        (body([1.0, 2.0], options={"horizon": 0}), "E_SCHEMA", "want a whole number from 1"),
    ],
)  # fmt: skip
async def test_what_cannot_be_forecast_is_refused_in_kserves_shape(
    served: Running, asked: dict[str, Any], code: str, text: str
) -> None:
    told = await ask_as_documented(served, PATH, asked, 400)
    assert (told["error"]["type"], told["error"]["code"]) == (code, "400")
    assert text in told["error"]["message"]


async def test_a_model_of_something_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Ends(st.Answer):
        ahead: Annotated[dict[str, list[float]], st.Forecast(horizon=3, quantiles=(0.1, 0.9))]

    contract = st.contract_from_rows(Plant, Ends)
    ends = lambda feeds: {"ahead": carried_on(feeds)["ahead"][..., ::2]}
    made_bundle(tmp_path, monkeypatch, contract, ends, [{"load": [1.0, 2.0]}])
    async with run_app(tmp_path) as served:
        reply = await served.client.post(PATH, json=body([1.0, 2.0]))
        assert PATH not in (await served.client.get("/openapi.json")).json()["paths"]
    assert reply.json()["error"]["type"] == "E_UNSUPPORTED"
    assert "the quantile 0.5" in reply.json()["error"]["message"]


@given(
    some.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)),
    some.sampled_from("STHDWMQY"),
    some.integers(0, 200),
)
def test_steps_of_time_are_those_of_pandas(start: datetime, frequency: str, steps: int) -> None:
    offsets = {
        "S": {"seconds": 1}, "T": {"minutes": 1}, "H": {"hours": 1}, "D": {"days": 1},
        "W": {"weeks": 1}, "M": {"months": 1}, "Q": {"months": 3}, "Y": {"years": 1},
    }[frequency]  # fmt: skip
    step = pd.DateOffset(**{unit: count * steps for unit, count in offsets.items()})
    want = pd.Timestamp(start) + step if steps else pd.Timestamp(start)
    assert later(start, frequency, steps) == want.to_pydatetime()
