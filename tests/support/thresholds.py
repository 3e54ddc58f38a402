"""Rows at thresholds: decimals whose midpoints, which trees split at, are themselves values."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import seatrial as st
from support.foreign import answers


class Coin(st.Row):
    x: Annotated[float, st.Number(ge=-1, le=3)]
    k: Annotated[int, st.Number(ge=0, le=9)]


class Value(st.Answer):
    value: float


def learnt(seed: int = 0, rows: int = 400) -> tuple[pd.DataFrame, Any]:
    """Rows in tenths and whole numbers, and a value that steps at many of them."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"x": rng.integers(0, 21, rows) / 10, "k": rng.integers(0, 10, rows)})
    return frame, np.sin(9 * frame["x"]) + np.cos(3 * frame["k"]) + rng.normal(0, 0.1, rows)


def asked() -> pd.DataFrame:
    """Every twentieth and its neighbours among float64, which fall to either side of a split."""
    steps = np.arange(41) / 20
    near = np.concatenate([steps, np.nextafter(steps, -9), np.nextafter(steps, 9), (steps + 1e-8)])
    return pd.DataFrame({"x": np.tile(near, 10), "k": np.repeat(np.arange(10), len(near))})


def check_sides(step: Any, folder: Path, *, scaled: bool) -> None:
    """Fail where rows at the thresholds of a fitted step fall to another side than its own."""
    frame, value = learnt()
    made = make_pipeline(StandardScaler(), step) if scaled else step
    made.fit(frame, value)
    bundle = st.open_bundle(st.adopt_model(adoption(made), folder).path)
    rows = asked()
    given = [{"x": x, "k": int(k)} for x, k in rows.itertuples(index=False)]
    got = np.ravel([row["value"] for row in answers(bundle, given, 64)])
    assert got == pytest.approx(made.predict(rows), rel=1e-4, abs=1e-5)


def adoption(made: Any, rows: type[st.Row] = Coin, **declared: Any) -> st.Adoption:
    """An estimator of that value, adopted."""
    golden = [{"x": 0.5, "k": 3}, {"x": 1.5, "k": 7}]
    options: dict[str, Any] = {"golden": golden, **declared}
    return st.Adoption.of_estimator(
        made, name="steps", version="1.0.0", inputs=rows, outputs=Value, **options
    )
