"""Tensors with holes, empty, named and padded sizes by every way in, and a real model of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
import torch
from support.every_way import asked_by_v1, asked_by_v2_binary, asked_by_v2_json
from support.made import made_bundle
from support.parity import hold_to_parity
from support.running import run_app
from torch import Tensor, nn

import seatrial as st
from seatrial_contracts.drawn_rows import draw_rows
from seatrial_contracts.host_stage import HostStage
from seatrial_contracts.kinds.kind import Array


class Row(st.Row):
    grid: Annotated[np.ndarray, st.Tensor(dims=(2, 2), missing="nan", ge=-9, le=9)]
    few: Annotated[np.ndarray, st.Tensor(dims=((0, 5),), ge=-9, le=9)]
    walk: Annotated[np.ndarray, st.Tensor(dims=((0, 8), 2), pad=0, ge=-9, le=9)]
    ids: Annotated[
        np.ndarray | None,
        st.Tensor(dtype="int64", dims=((1, 8),), pad=-1, mark="length", ge=0, le=99),
    ]
    frames: Annotated[np.ndarray, st.Tensor(dims=(st.Size("t", 1, 6), 3), ge=-9, le=9)]
    labels: Annotated[np.ndarray, st.Tensor(dtype="int4", dims=(st.Size("t", 1, 6),))]


class Seen(st.Answer):
    seen: st.Tensor[np.float32, 6]


def row(n: int) -> dict[str, Any]:
    rng = np.random.default_rng(n)

    def numbers(*shape: int) -> Any:
        return rng.integers(-9, 10, shape).astype(float).tolist()

    grid = np.array(numbers(2, 2), object)
    grid[rng.random((2, 2)) < 0.3] = None
    steps = 1 + n % 6
    return {
        "grid": grid.tolist(),
        "few": numbers(n % 6),
        "walk": numbers(n % 9, 2),
        "ids": None if n % 5 == 0 else rng.integers(0, 100, 1 + n % 8).tolist(),
        "frames": numbers(steps, 3),
        "labels": rng.integers(-8, 8, steps).tolist(),
    }


ROWS = [row(n) for n in range(18)]


def seen(feeds: Mapping[str, Array]) -> dict[str, Array]:
    ids = feeds["ids"]
    counted = np.arange(ids.shape[1]) < feeds["ids_length"][:, None]
    each = [
        np.nan_to_num(feeds["grid"]).sum((1, 2)),
        feeds["few"].sum(1),
        (feeds["walk"] * feeds["walk_mask"][..., None]).sum((1, 2)),
        (ids * counted).sum(1),
        feeds["frames"].sum((1, 2)),
        feeds["labels"].sum(1),
    ]
    return {"seen": np.stack(each, 1).astype(np.float32)}


async def test_such_tensors_are_answered_alike_in_every_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contract = st.contract_from_rows(Row, Seen)
    made_bundle(tmp_path, monkeypatch, contract, seen, ROWS)
    edges = [edge.row for edge in draw_rows(HostStage(contract, {}), ROWS)]
    rows = [*ROWS, *edges[:100]]
    assert any(not each["few"] for each in rows)
    async with run_app(tmp_path) as running:
        by_v1 = await asked_by_v1(running, contract, rows)
        assert by_v1 == await asked_by_v2_json(running, contract, rows)
        assert by_v1 == await asked_by_v2_binary(running, contract, rows)
        reply = await running.client.post(
            "/v1/models/made:predict", json={"instances": [{**ROWS[1], "labels": [0] * 5}]}
        )
        assert reply.json()["error"] == (
            "input 'labels', row 0: got 5 for the size 't', want 2, as input 'frames' has"
        )
        inputs = (await running.client.get("/v2/models/made")).json()["inputs"]
        assert {"name": "walk_length", "datatype": "INT64", "shape": [-1, 1]} in inputs


class Net(nn.Module):
    """Sums of what counts, weighed."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.score = nn.Linear(6, 1)

    def forward(
        self, grid: Tensor, few: Tensor, walk: Tensor, walk_mask: Tensor, ids: Tensor,
        ids_length: Tensor, ids_present: Tensor, frames: Tensor, labels: Tensor,
    ) -> Tensor:  # fmt: skip
        counted = torch.arange(ids.shape[1]) < ids_length[:, None]
        each = [
            torch.where(grid.isnan(), 0.0, grid).sum((1, 2)),
            few.sum(1),
            (walk * walk_mask[..., None]).sum((1, 2)),
            (ids * counted).sum(1).float() / 100 * ids_present,
            (frames * labels.float()[..., None]).sum((1, 2)),
            labels.float().sum(1),
        ]
        return self.score(torch.stack(each, 1) / 10).squeeze(1)


class Score(st.Answer):
    score: float


@pytest.mark.slow
def test_a_model_of_such_tensors_is_sealed_served_and_held_to_parity(tmp_path: Path) -> None:
    pipeline = st.Pipeline(
        name="sizes", version="1.0.0", inputs=Row, outputs=Score, model=Net().eval(),
        golden=ROWS, reference=ROWS,
        refused=[st.Refused({**ROWS[1], "labels": [0] * 5}, "E_SHAPE")],
    )  # fmt: skip
    hold_to_parity(pipeline, tmp_path)
