"""Pictures of every mode by every way in, and a real model that takes them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
import torch
from support.every_way import asked_by_v1, asked_by_v2_binary
from support.made import made_bundle
from support.parity import RUNNERS, hold_to_parity
from support.running import run_app
from torch import Tensor, nn

import seatrial as st
from seatrial_contracts.drawn_rows import draw_rows
from seatrial_contracts.host_stage import HostStage
from seatrial_contracts.kinds.kind import Array

SIZE: Any = {"size_px": (8, 8), "max_pixels": 30_000}


class Shots(st.Row):
    colour: Annotated[bytes, st.Image(frames="first", formats=("PNG", "GIF"), icc="srgb", **SIZE)]
    gray: Annotated[bytes, st.Image(mode="L", resample="lanczos", **SIZE)]
    clear: Annotated[bytes | None, st.Image(mode="RGBA", formats=("WEBP", "PNG"), **SIZE)]
    deep: Annotated[bytes, st.Image(mode="I;16", formats=("PNG", "TIFF"), **SIZE)]
    heat: Annotated[bytes, st.Image(mode="F", formats=("TIFF",), **SIZE)]


class Seen(st.Answer):
    means: st.Tensor[np.float32, 5]


NAMES = tuple(Shots.model_fields)
CONTRACT = st.contract_from_rows(Shots, Seen)
FIRST = CONTRACT.example_row()
ROWS = [FIRST, {**FIRST, "clear": None}]


def seen(feeds: Mapping[str, Array]) -> dict[str, Array]:
    means = [feeds[name].astype(np.float64).mean((1, 2, 3)) for name in NAMES]
    return {"means": np.stack(means, 1).astype(np.float32)}


async def test_pictures_of_every_mode_are_answered_alike_in_every_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_bundle(tmp_path, monkeypatch, CONTRACT, seen, ROWS)
    rows = [*ROWS, *(edge.row for edge in draw_rows(HostStage(CONTRACT, {}), ROWS)[:40])]
    async with run_app(tmp_path) as running:
        by_v1 = await asked_by_v1(running, CONTRACT, rows)
        assert by_v1 == await asked_by_v2_binary(running, CONTRACT, rows)


class Net(nn.Module):
    """Means of each picture, weighed."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.score = nn.Linear(5, 1)

    def forward(
        self, colour: Tensor, gray: Tensor, clear: Tensor, clear_present: Tensor, deep: Tensor,
        heat: Tensor,
    ) -> Tensor:  # fmt: skip
        shots = ((colour, 255), (gray, 255), (clear, 255), (deep, 65_535), (heat, 16))
        means = [(shot.float() / most).mean((1, 2, 3)) for shot, most in shots]
        means[2] = means[2] * clear_present
        return self.score(torch.stack(means, 1)).squeeze(1)


class Score(st.Answer):
    score: float


@pytest.mark.slow
def test_a_model_over_pictures_of_every_mode_is_sealed_served_and_held_to_parity(
    tmp_path: Path,
) -> None:
    front = HostStage(st.contract_from_rows(Shots, Score), {})
    golden = [*ROWS, *(dict(edge.row) for edge in draw_rows(front, ROWS)[5:60:9])]
    pipeline = st.Pipeline(
        name="shots", version="1.0.0", inputs=Shots, outputs=Score, model=Net().eval(),
        golden=golden, reference=golden,
    )  # fmt: skip
    hold_to_parity(pipeline, tmp_path, RUNNERS - {"v2 json"})
