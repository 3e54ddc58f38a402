"""Packed columns over every way of asking, and a real model over two hundred of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import jsonschema
import numpy as np
import pytest
import torch
from pydantic import create_model
from support.every_way import asked_by_v1, asked_by_v2_binary, asked_by_v2_json
from support.made import made_bundle
from support.parity import hold_to_parity
from support.running import run_app
from torch import Tensor, nn

import seatrial as st
from seatrial_contracts.drawn_rows import draw_rows
from seatrial_contracts.host_stage import HostStage
from seatrial_contracts.kinds.kind import Array


class Plant(st.Row, packed="readings"):
    load: float
    heat: float | None
    on: bool
    site: Literal["Oslo", "Bergen"]
    count: int


class Out(st.Answer):
    total: float


CONTRACT = st.contract_from_rows(Plant, Out)
PLANTS: list[dict[str, Any]] = [
    {"load": n / 8, "heat": None if n % 3 else n / 4, "on": n % 2 == 0, "count": n, "site": "Oslo"}
    for n in range(8)
]


def total(feeds: Mapping[str, Array]) -> dict[str, Array]:
    """The sum of what is there."""
    with np.errstate(over="ignore"):
        return {"total": np.nan_to_num(feeds["readings"] / 1e4).sum(1, dtype=np.float32)}


async def test_every_way_of_asking_gets_the_same_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_bundle(tmp_path, monkeypatch, CONTRACT, total, PLANTS)
    rows = [each.row for each in draw_rows(HostStage(CONTRACT, {}), PLANTS)] + PLANTS
    async with run_app(tmp_path) as served:
        by_row = await asked_by_v1(served, CONTRACT, rows)
        assert await asked_by_v2_json(served, CONTRACT, rows) == by_row
        assert await asked_by_v2_binary(served, CONTRACT, rows) == by_row
        whole = {name: [row[name] for row in rows] for name in PLANTS[0]}
        reply = await served.client.post("/v1/models/made:predict", json={"inputs": whole})
        got = np.array(reply.json()["outputs"]["total"], np.float32)
        assert got.tolist() == by_row[0]["total"]


async def test_a_tensor_is_read_wherever_its_bytes_lie_in_the_body(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_bundle(tmp_path, monkeypatch, CONTRACT, total, PLANTS)
    rows = np.arange(8, dtype="<f4").reshape(2, 4) % 2
    tensor = {"name": "readings", "datatype": "FP32", "shape": [2, 4]}
    site = {"name": "site", "datatype": "BYTES", "shape": [2, 1], "data": ["Oslo", "Oslo"]}
    async with run_app(tmp_path) as served:
        for spaces in range(4):
            given = {**tensor, "parameters": {"binary_data_size": rows.nbytes}}
            head = json.dumps({"inputs": [given, site]}).encode() + b" " * spaces
            reply = await served.client.post(
                "/v2/models/made/infer",
                content=head + rows.tobytes(),
                headers={"Inference-Header-Content-Length": str(len(head))},
            )
            got = np.array(reply.json()["outputs"][0]["data"], np.float32)
            np.testing.assert_array_equal(got, total({"readings": rows})["total"])


async def test_two_thousand_columns_are_described_in_few_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields: dict[str, Any] = dict.fromkeys((f"sensor_{n}" for n in range(2000)), (float, ...))
    rows = create_model("Rows", __base__=st.Row, __cls_kwargs__={"packed": "readings"}, **fields)
    contract = st.contract_from_rows(rows, Out)
    row = dict.fromkeys(fields, 0.5)
    made_bundle(tmp_path, monkeypatch, contract, total, [row])
    async with run_app(tmp_path) as served:
        reply = await served.client.get("/openapi.json")
        assert len(reply.content) < 350_000
        components = reply.json()["components"]
        for name, right, wrong in (
            ("row", row, row | {"sensor_7": "x"}),
            ("columns", {each: [0.5] for each in row}, dict.fromkeys(row, 0.5)),
        ):
            schema = {"$ref": f"#/components/schemas/made-1.0.0-{name}", "components": components}
            checker = jsonschema.Draft202012Validator(schema)
            assert checker.is_valid(right)
            assert not checker.is_valid(wrong)
        metadata = (await served.client.get("/v2/models/made")).json()
        assert metadata["inputs"] == [{"name": "readings", "datatype": "FP32", "shape": [-1, 2000]}]


def network(width: int) -> nn.Module:
    """Seeded: one hidden layer over what is there."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.layers = nn.Sequential(nn.Linear(width, 8), nn.ReLU(), nn.Linear(8, 1))

        def forward(self, numbers: Tensor) -> Tensor:
            return self.layers(torch.nan_to_num(numbers).clamp(-10, 10)).squeeze(1)

    return Net().eval()


@pytest.mark.slow
def test_a_model_over_two_hundred_columns_is_sealed_served_and_held_to_parity(
    tmp_path: Path,
) -> None:
    pandas = pytest.importorskip("pandas")
    values = np.random.default_rng(0).normal(size=(24, 200)).round(3)
    values[::5, 7] = np.nan
    frame = pandas.DataFrame(values, columns=[f"sensor_{n}" for n in range(200)])
    pipeline = st.Pipeline(
        name="wide", version="1.0.0", inputs=st.Row.from_frame(frame), outputs=Out,
        model=network(200), golden=st.rows_of_frame(frame), reference=st.rows_of_frame(frame),
    )  # fmt: skip
    hold_to_parity(pipeline, tmp_path)
