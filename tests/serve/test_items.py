"""Lists over every way of asking, and a real model over them."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image as Pillow
from support.declared import row_of
from support.every_way import asked_by_v1, asked_by_v2_binary, asked_by_v2_json
from support.made import made_bundle
from support.parity import hold_to_parity
from support.running import run_app
from torch import Tensor, nn

import seatrial as st
from seatrial_contracts.drawn_rows import draw_rows
from seatrial_contracts.host_stage import HostStage
from seatrial_contracts.kinds.file_kind import base64_text
from seatrial_contracts.kinds.image import draw
from seatrial_contracts.kinds.kind import Array
from seatrial_contracts.kinds.sound import draw_sound

WORDS = ("tea", "coffee", "milk", "bread")


class Basket(st.Row):
    products: Annotated[list[Literal["tea", "coffee", "milk", "bread"]], st.Items(max_items=6)]
    prices: Annotated[list[float], st.Items(max_items=6)]
    days: Annotated[
        list[Annotated[int, st.Number(ge=0, le=6)]] | None,
        st.Items(min_items=1, max_items=4, mark="length"),
    ]
    pair: Annotated[list[bool], st.Items(min_items=2, max_items=2)]
    member: bool | None


class Spend(st.Answer):
    spend: float
    seen: st.Tensor[np.float32, 4]


CONTRACT = st.contract_from_rows(Basket, Spend)


def basket(n: int) -> dict[str, Any]:
    rng = np.random.default_rng(n)
    return {
        "products": [WORDS[place] for place in rng.integers(0, 4, n % 7)],
        "prices": [round(float(price), 2) for price in rng.uniform(0, 9, 3 * n % 7)],
        "days": None if n % 5 == 0 else rng.integers(0, 7, 1 + n % 4).tolist(),
        "pair": [bool(n % 2), True],
        "member": [None, True, False][n % 3],
    }


BASKETS = [basket(n) for n in range(20)]


def added_up(feeds: Mapping[str, Array]) -> dict[str, Array]:
    """What counts of each list, and nothing of what fills it up."""
    at = np.arange(feeds["days"].shape[1]) < feeds["days_length"][:, None]
    seen = [
        ((feeds["products"] == "tea") & feeds["products_mask"]).sum(1),
        feeds["products_mask"].sum(1),
        (feeds["days"] * at).sum(1) * feeds["days_present"],
        feeds["pair"].sum(1) + 10 * feeds["member"] + 100 * feeds["member_present"],
    ]
    return {
        "spend": (feeds["prices"] * feeds["prices_mask"]).sum(1).astype(np.float32),
        "seen": np.stack(seen, 1).astype(np.float32),
    }


async def test_every_way_of_asking_gets_the_same_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_bundle(tmp_path, monkeypatch, CONTRACT, added_up, BASKETS)
    rows = [each.row for each in draw_rows(HostStage(CONTRACT, {}), BASKETS)] + BASKETS
    async with run_app(tmp_path) as served:
        by_row = await asked_by_v1(served, CONTRACT, rows)
        assert await asked_by_v2_json(served, CONTRACT, rows) == by_row
        assert await asked_by_v2_binary(served, CONTRACT, rows) == by_row
    want = sum(len(row["products"]) for row in rows)
    assert sum(row[1] for batch in by_row for row in batch["seen"]) == want


class Album(st.Row):
    photos: Annotated[list[Annotated[bytes, st.Image(size_px=(8, 6))]], st.Items(max_items=3)]


class Brightness(st.Answer):
    mean: float


def brightness(feeds: Mapping[str, Array]) -> dict[str, Array]:
    each = feeds["photos"].mean((2, 3, 4)) * feeds["photos_mask"]
    return {"mean": each.sum(1).astype(np.float32)}


async def test_lists_of_pictures_are_padded_with_black_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contract = st.contract_from_rows(Album, Brightness)
    pictures = [base64_text(draw(9, 7 + n, (40 * n, 90, 20), "PNG")) for n in range(4)]
    rows = [{"photos": pictures[start:stop]} for start, stop in ((0, 3), (1, 2), (3, 3), (2, 4))]
    made_bundle(tmp_path, monkeypatch, contract, brightness, rows)
    async with run_app(tmp_path) as served:
        by_row = await asked_by_v1(served, contract, rows)
        assert await asked_by_v2_binary(served, contract, rows) == by_row
    alone = [np.asarray(Pillow.open(BytesIO(b64decode(p))).resize((6, 8))).mean() for p in pictures]
    want = [sum(alone[:3]), alone[1], 0, sum(alone[2:])]
    np.testing.assert_allclose(by_row[0]["mean"], want, rtol=1e-5)


SOUND = st.Audio(rate_hz=8000, max_seconds=0.1, padding="max_length", mark="none")


class Takes(st.Row):
    clips: Annotated[list[Annotated[bytes, SOUND]], st.Items(max_items=3)]


def loudness(feeds: Mapping[str, Array]) -> dict[str, Array]:
    each = np.abs(feeds["clips"]).sum(2) * feeds["clips_mask"]
    return {"mean": each.sum(1).astype(np.float32)}


async def test_lists_of_sounds_are_padded_with_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contract = st.contract_from_rows(Takes, Brightness)
    assert [(spec.name, spec.dims) for spec in contract.tensors] == [
        ("clips", ("clips_items", 800)),
        ("clips_mask", ("clips_items",)),
    ]
    files = [draw_sound(200 * n + 100, 8000, level=0.2 * n + 0.1) for n in range(4)]
    texts = [*map(base64_text, files)]
    rows = [{"clips": texts[start:stop]} for start, stop in ((0, 3), (1, 2), (3, 3), (2, 4))]
    made_bundle(tmp_path, monkeypatch, contract, loudness, rows)
    async with run_app(tmp_path) as served:
        by_row = await asked_by_v1(served, contract, rows)
        assert await asked_by_v2_binary(served, contract, rows) == by_row
        long = [base64_text(draw_sound(801, 8000))]
        reply = await served.client.post(
            "/v1/models/made:predict", json={"instances": [{"clips": texts[:1] + long}]}
        )
        assert (reply.status_code, reply.json()["code"]) == (413, "E_AUDIO_LENGTH")
        assert reply.json()["error"].startswith("input 'clips', item 1, row 0: got 0.10 seconds")
    alone = [np.abs(soundfile.read(BytesIO(data))[0]).sum() for data in files]
    want = [sum(alone[:3]), alone[1], 0, sum(alone[2:])]
    np.testing.assert_allclose(by_row[0]["mean"], want, rtol=1e-5)


@pytest.mark.parametrize("options", [{}, {"mark": "mask"}, {"padding": "max_length"}])
def test_sounds_of_unlike_length_are_no_items_and_the_mend_says_which_are(options: Any) -> None:
    kind = Annotated[list[Annotated[bytes, st.Audio(**options)]], st.Items(max_items=3)]
    with pytest.raises(st.DeclarationError, match=r"padding='max_length', mark='none'"):
        st.contract_from_rows(row_of(clips=kind), Brightness)


class Net(nn.Module):
    """Seeded: a bag of products, an embedding of days up to their number, and a sum of prices."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.bag = nn.EmbeddingBag(4, 8, mode="sum")
        self.day, self.head = nn.Embedding(7, 8), nn.Linear(8, 4)

    def forward(
        self, products: Tensor, products_mask: Tensor, prices: Tensor, prices_mask: Tensor,
        days: Tensor, days_length: Tensor, days_present: Tensor, pair: Tensor,
        member: Tensor, member_present: Tensor,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        bought = self.bag(products, per_sample_weights=products_mask.float())
        at = torch.arange(days.shape[1])[None] < days_length[:, None]
        day = (self.day(days) * at[..., None]).sum(1) * days_present[:, None]
        seen = self.head(bought + day + pair.float().sum(1, keepdim=True))
        return (prices * prices_mask).sum(1) + member.float() - member_present.float(), seen


@pytest.mark.slow
def test_a_model_over_lists_is_sealed_served_and_held_to_parity(tmp_path: Path) -> None:
    pipeline = st.Pipeline(
        name="basket", version="1.0.0", inputs=Basket, outputs=Spend, model=Net().eval(),
        golden=BASKETS,
    )  # fmt: skip
    hold_to_parity(pipeline, tmp_path)
