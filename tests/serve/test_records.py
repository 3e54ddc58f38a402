"""Rows with objects in them over every way of asking, and a real model over them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

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


class Address(st.Row):
    zone: Literal["north", "south", "east"]
    floor: Annotated[int, st.Number(ge=0, le=40)] | None


class Line(st.Row):
    price: Annotated[float, st.Number(ge=0, le=100)]
    kind: Literal["tea", "soup"]


class Order(st.Row):
    address: Address
    lines: Annotated[list[Line], st.Items(max_items=4)]
    paid: bool


class Worth(st.Answer):
    worth: float
    seen: st.Tensor[np.float32, 3]


CONTRACT = st.contract_from_rows(Order, Worth)


def order(n: int) -> dict[str, Any]:
    rng = np.random.default_rng(n)
    lines = [
        {"price": round(float(rng.uniform(0, 50)), 2), "kind": ["tea", "soup"][place % 2]}
        for place in range(n % 5)
    ]
    address = {"zone": ["north", "south", "east"][n % 3], "floor": None if n % 4 == 0 else n}
    return {"address": address, "lines": lines, "paid": bool(n % 2)}


ORDERS = [order(n) for n in range(15)]


def added_up(feeds: Mapping[str, Array]) -> dict[str, Array]:
    there = feeds["lines_mask"]
    seen = [
        there.sum(1),
        ((feeds["lines_kind"] == "soup") & there).sum(1),
        (feeds["address_zone"] == "south") + np.nan_to_num(feeds["address_floor"]) * 10,
    ]
    return {
        "worth": (feeds["lines_price"] * there).sum(1).astype(np.float32),
        "seen": np.stack(seen, 1).astype(np.float32),
    }


async def test_every_way_of_asking_gets_the_same_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_bundle(tmp_path, monkeypatch, CONTRACT, added_up, ORDERS)
    rows = [each.row for each in draw_rows(HostStage(CONTRACT, {}), ORDERS)] + ORDERS
    async with run_app(tmp_path) as served:
        by_row = await asked_by_v1(served, CONTRACT, rows)
        assert await asked_by_v2_json(served, CONTRACT, rows) == by_row
        assert await asked_by_v2_binary(served, CONTRACT, rows) == by_row
        inputs = (await served.client.get("/v2/models/made")).json()["inputs"]
        openapi = (await served.client.get("/openapi.json")).json()
    want = sum(len(row["lines"]) for row in rows)
    assert sum(row[0] for batch in by_row for row in batch["seen"]) == want
    assert {"name": "lines.price", "datatype": "FP32", "shape": [-1, -1]} in inputs
    schema = openapi["components"]["schemas"]["made-1.0.0-row"]
    assert schema["properties"]["lines"]["items"]["required"] == ["price", "kind"]


class Net(nn.Module):
    """Seeded: a bag of kinds weighed by prices, a zone, a floor where it is known."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.zone, self.bag, self.head = nn.Embedding(3, 4), nn.Embedding(2, 4), nn.Linear(5, 3)

    def forward(
        self, address_zone: Tensor, address_floor: Tensor, lines_price: Tensor,
        lines_mask: Tensor, lines_kind: Tensor, paid: Tensor,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        price = lines_price * lines_mask / 100
        bag = (self.bag(lines_kind) * price[..., None]).sum(1)
        floor = torch.nan_to_num(address_floor)[:, None] / 40
        seen = torch.cat([bag + self.zone(address_zone), floor], 1)
        return price.sum(1) + paid.float(), self.head(seen)


@pytest.mark.slow
def test_a_model_over_objects_is_sealed_served_and_held_to_parity(tmp_path: Path) -> None:
    golden = [*ORDERS[:-1], Order.model_validate(ORDERS[-1])]
    pipeline = st.Pipeline(
        name="orders", version="1.0.0", inputs=Order, outputs=Worth, model=Net().eval(),
        golden=golden,
    )  # fmt: skip
    hold_to_parity(pipeline, tmp_path)
