"""A bundle of several sorts of fields, run by a Python function."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest

import seatrial as st
from seatrial_contracts.kinds.kind import Array
from support.made import made_bundle


class Animal(st.Row):
    """Fields that enter the graph as they come, so that columns of them do."""

    island: Literal["Biscoe", "Dream"]
    mass: Annotated[float | None, st.Number(ge=0, le=100, unit="<b>kg</b>")]
    year: Annotated[int, st.Number(ge=2000, le=2030)]


class Found(st.Answer):
    """A number, a label and a tensor that no data frame holds in one column."""

    size: float
    species: Annotated[str, st.Label("small", "<b>large</b>")]


ROWS: list[dict[str, Any]] = [
    {"island": "Biscoe", "mass": 1.5, "year": 2001},
    {"island": "Dream", "mass": None, "year": 2002},
    {"island": "Dream", "mass": 60.25, "year": 2030},
]


def answer(feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Size is the mass and a hundredth for the island; the label says whether it is above 50."""
    mass = np.nan_to_num(feeds["mass"]).astype(np.float32)
    size = mass + np.float32(0.01) * (feeds["island"] == "Dream")
    large = np.clip(mass / 100, 0.05, 0.95)
    return {"size": size.astype(np.float32), "species": np.stack([1 - large, large], 1)}


def animals_bundle(folder: Path, monkeypatch: pytest.MonkeyPatch) -> st.Bundle:
    """The bundle below a folder, opened."""
    contract = st.contract_from_rows(Animal, Found, limits=st.Limits(max_rows=4))
    made_bundle(folder, monkeypatch, contract, answer, ROWS, name="animals")
    return st.open_bundle(folder / "animals" / "1.0.0")
