"""Dates, times and durations by every way in: V1 by row and column, V2 in JSON, binary and gRPC."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
import torch
from hypothesis import strategies as some
from support.every_way import asked_by_v1, asked_by_v2_binary, asked_by_v2_json
from support.made import made_bundle
from support.parity import hold_to_parity
from support.running import run_app
from torch import Tensor, nn

import seatrial as st
from seatrial_contracts.drawn_rows import draw_rows
from seatrial_contracts.host_stage import HostStage
from seatrial_contracts.kinds.kind import Array
from seatrial_serve.triton.warm_up import raw_tensors

FIELDS = ("born", "at", "local", "took", "words")


class Row(st.Row):
    born: Annotated[date, st.Date(ge=date(1900, 1, 1))]
    at: datetime
    local: Annotated[datetime | None, st.DateTime(zone="Europe/Berlin")]
    took: timedelta
    words: Annotated[date | None, st.Date(v2="BYTES")]


class Seen(st.Answer):
    seen: st.Tensor[np.int64, 5]
    there: st.Tensor[np.int64, 2]


ROWS: list[dict[str, Any]] = [
    {
        "born": "2000-02-29",
        "at": "2024-01-01T12:00:00+01:00",
        "local": "2024-07-01T12:30:00",
        "took": "-PT1.5S",
        "words": "1969-12-31",
    },
    {
        "born": "1999-01-01",
        "at": "0001-01-01T00:00:00Z",
        "local": None,
        "took": "P1D",
        "words": None,
    },
]
WANT = [
    [11_016, 1_704_106_800_000_000, 1_719_829_800_000_000, -1_500_000, -1],
    [10_592, -62_135_596_800_000_000, 0, 86_400_000_000, 0],
]


def seen(feeds: Mapping[str, Array]) -> dict[str, Array]:
    marks = np.stack([feeds["local_present"], feeds["words_present"]], 1)
    return {
        "seen": np.stack([feeds[name] for name in FIELDS], 1),
        "there": marks.astype(np.int64),
    }


def tensor(name: str, datatype: str, data: list[Any]) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": [len(data), 1], "data": data}


async def test_days_and_microseconds_reach_the_graph_by_row_by_column_and_over_v2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contract = st.contract_from_rows(Row, Seen)
    bundle = made_bundle(tmp_path, monkeypatch, contract, seen, ROWS)
    warm = {name: array.tolist() for name, (_, array) in raw_tensors(bundle).items()}
    assert warm == dict(
        zip(FIELDS, [*([each] for each in WANT[0][:4]), ["1969-12-31"]], strict=True)
    )
    async with run_app(tmp_path) as running:
        url = "/v1/models/made:predict"
        reply = await running.client.post(url, json={"instances": ROWS})
        assert [row["seen"] for row in reply.json()["predictions"]] == WANT
        columns = {name: [row[name] for row in ROWS] for name in FIELDS}
        reply = await running.client.post(url, json={"inputs": columns})
        assert reply.json()["outputs"]["seen"] == WANT
        inputs = [
            *(tensor(name, "INT64", [row[n] for row in WANT]) for n, name in enumerate(FIELDS[:4])),
            tensor("local_present", "BOOL", [True, False]),
            tensor("words", "BYTES", ["1969-12-31", None]),
        ]
        reply = await running.client.post("/v2/models/made/infer", json={"inputs": inputs})
        outputs = {output["name"]: output["data"] for output in reply.json()["outputs"]}
        assert np.reshape(outputs["seen"], (2, 5)).tolist() == WANT
        assert outputs["there"] == [1, 1, 0, 0]
        document = (await running.client.get("/openapi.json")).json()
        assert '"format": "date"' in json.dumps(document)
        reply = await running.client.post(
            url, json={"instances": [{**ROWS[0], "born": "2023-02-31"}]}
        )
        assert (reply.status_code, reply.json()["code"]) == (400, "E_DATE")
        inputs[0]["data"] = [0, -25_568]
        reply = await running.client.post("/v2/models/made/infer", json={"inputs": inputs})
        assert reply.json()["error"] == (
            "input 'born', row 1: got 1899-12-31, want a date from 1900-01-01 on"
        )


async def test_dates_at_their_edges_are_answered_alike_in_every_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contract = st.contract_from_rows(Row, Seen)
    made_bundle(tmp_path, monkeypatch, contract, seen, ROWS)
    edges = draw_rows(HostStage(contract, {}), ROWS)
    rows = [edge.row for edge in edges]
    assert {"0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"} <= {row["at"] for row in rows}
    async with run_app(tmp_path) as running:
        by_v1 = await asked_by_v1(running, contract, rows)
        assert by_v1 == await asked_by_v2_json(running, contract, rows)
        assert by_v1 == await asked_by_v2_binary(running, contract, rows)
    numbers = {field.name: field.kind for field in contract.inputs}
    for row, answered in zip(rows, by_v1[0]["seen"], strict=True):
        for name, number in zip(FIELDS, answered, strict=True):
            want = 0 if row[name] is None else numbers[name].number_of(row[name])  # type: ignore[attr-defined]
            assert number == want, (name, row)


class Net(nn.Module):
    """What is cyclic is the model's own: the weekday, the hour."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.weekday, self.hour = nn.Embedding(7, 3), nn.Embedding(24, 3)

    def forward(
        self, born: Tensor, at: Tensor, local: Tensor, local_present: Tensor, took: Tensor,
        words: Tensor, words_present: Tensor,
    ) -> Tensor:  # fmt: skip
        weekday = self.weekday((born + 3) % 7)
        hour = self.hour(at // 3_600_000_000 % 24)
        later = self.hour(local // 3_600_000_000 % 24) * local_present.unsqueeze(1)
        since = ((words - born) % 1000).to(torch.float32) / 1000 * words_present
        return (weekday + hour + later).sum(1) + since + (took % 1_000_000).to(torch.float32) / 1e6


class Score(st.Answer):
    score: float


def drawn(count: int) -> list[dict[str, Any]]:
    """Rows as the kinds themselves draw them."""
    kinds = {field.name: field.kind for field in st.contract_from_rows(Row, Score).inputs}
    found: list[dict[str, Any]] = []

    from hypothesis import HealthCheck, given, settings

    @settings(max_examples=count, database=None, derandomize=True, deadline=None,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(some.fixed_dictionaries({
        name: some.none() | kind.strategy() if kind.nullable else kind.strategy()
        for name, kind in kinds.items()
    }))  # fmt: skip
    def keep(row: dict[str, Any]) -> None:
        found.append(row)

    keep()
    return found


@pytest.mark.slow
def test_drawn_dates_are_answered_alike_by_every_runner(tmp_path: Path) -> None:
    golden = [*ROWS, *drawn(20)]
    pipeline = st.Pipeline(
        name="calendar", version="1.0.0", inputs=Row, outputs=Score, model=Net().eval(),
        golden=golden, reference=golden,
        refused=[st.Refused({**ROWS[0], "born": "2023-02-31"}, "E_DATE")],
    )  # fmt: skip
    hold_to_parity(pipeline, tmp_path)
