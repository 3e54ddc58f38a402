"""Series over every way of asking, and a real model that forecasts."""

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


class Plant(st.Row):
    load: Annotated[
        list[float],
        st.Series(length=(2, 24), missing=True, padding_side="left", ge=-100, le=100),
    ]
    walk: Annotated[list[list[float]] | None, st.Series(length=(1, 4), channels=2, ge=-10, le=10)]


class Ahead(st.Answer):
    ahead: Annotated[
        dict[str, list[float]], st.Forecast(horizon=3, quantiles=(0.1, 0.5), rearrange=True)
    ]
    known: float


CONTRACT = st.contract_from_rows(Plant, Ahead)


def plant(n: int) -> dict[str, Any]:
    rng = np.random.default_rng(n)
    load = [round(float(value), 3) for value in rng.normal(0, 20, 2 + n % 20)]
    walk = rng.uniform(-9, 9, (1 + n % 4, 2)).round(3).tolist()
    return {
        "load": [None if n % 3 == 0 and place % 4 == 1 else v for place, v in enumerate(load)],
        "walk": None if n % 4 == 0 else walk,
    }


PLANTS = [plant(n) for n in range(16)]


def carried_on(feeds: Mapping[str, Array]) -> dict[str, Array]:
    """What is known, and the last number."""
    last = feeds["load"][:, -1]
    ahead = np.repeat(np.stack([last, last + 1], 1)[:, None], 3, 1)
    known = feeds["load_mask"].sum(1) + 100 * feeds["walk_mask"].sum((1, 2))
    return {"ahead": ahead.astype(np.float32), "known": known.astype(np.float32)}


async def test_every_way_of_asking_gets_the_same_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Seen(st.Answer):
        known: float

    contract = st.contract_from_rows(Plant, Seen)
    known = lambda feeds: {"known": carried_on(feeds)["known"]}
    made_bundle(tmp_path, monkeypatch, contract, known, PLANTS)
    rows = [each.row for each in draw_rows(HostStage(contract, {}), PLANTS)] + PLANTS
    async with run_app(tmp_path) as served:
        by_row = await asked_by_v1(served, contract, rows)
        assert await asked_by_v2_json(served, contract, rows) == by_row
        assert await asked_by_v2_binary(served, contract, rows) == by_row
    want = sum(value is not None for row in rows for value in row["load"])
    want += 200 * sum(len(row["walk"] or ()) for row in rows)
    assert sum(value for batch in by_row for value in batch["known"]) == want


class Net(nn.Module):
    """Seeded: a GRU over what is known of the load, and the mean of the walk."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.past, self.head = nn.GRU(2, 6, batch_first=True), nn.Linear(8, 6)

    def forward(
        self, load: Tensor, load_mask: Tensor, walk: Tensor, walk_mask: Tensor, walk_present: Tensor
    ) -> tuple[Tensor, Tensor]:
        there = load_mask.float()
        seen, _ = self.past(torch.stack([load / 100, there], -1))
        # What stands before a series must not be seen: a mean over its own steps alone.
        steps = (seen * there[..., None]).sum(1) / there.sum(1, keepdim=True).clamp(min=1)
        count = walk_mask[..., 0].sum(1, keepdim=True).clamp(min=1)
        walked = walk.sum(1) / count * walk_present[:, None]
        out = self.head(torch.cat([steps, walked], 1)).reshape(-1, 3, 2)
        return out, there.sum(1)


@pytest.mark.slow
def test_a_model_over_series_is_sealed_served_and_held_to_parity(tmp_path: Path) -> None:
    class Padded(Net):
        """Without the GRU, whose state the filling before a shorter series changes."""

        def forward(
            self, load: Tensor, load_mask: Tensor, walk: Tensor, walk_mask: Tensor,
            walk_present: Tensor,
        ) -> tuple[Tensor, Tensor]:  # fmt: skip
            there = load_mask.float()
            total = (load * there).sum(1, keepdim=True) / 100
            mean = total / there.sum(1, keepdim=True).clamp(min=1)
            count = walk_mask[..., 0].sum(1, keepdim=True).clamp(min=1)
            walked = walk.sum(1) / count * walk_present[:, None]
            seen = torch.cat([mean, total, mean**2, total - mean, mean, total, walked], 1)
            return self.head(seen).reshape(-1, 3, 2), there.sum(1)

    pipeline = st.Pipeline(
        name="plant", version="1.0.0", inputs=Plant, outputs=Ahead, model=Padded().eval(),
        golden=PLANTS,
    )  # fmt: skip
    with pytest.raises(st.GateError, match="shorter rows of 'load' and counts in the answer"):
        st.export(
            st.Pipeline(
                name="plant", version="1.0.0", inputs=Plant, outputs=Ahead, model=Net().eval(),
                golden=PLANTS,
            ),
            tmp_path / "refused",
        )  # fmt: skip
    hold_to_parity(pipeline, tmp_path)
