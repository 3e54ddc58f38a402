"""Estimators over packed columns, judged by scikit-learn itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from support.foreign import answers

import seatrial as st

pytestmark = pytest.mark.slow


class Value(st.Answer):
    value: float


def frame_of(width: int) -> pd.DataFrame:
    """Tenths, whose midpoints are themselves values, with whole numbers and flags among them."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        rng.integers(0, 21, (120, width)) / 10, columns=[f"sensor_{n}" for n in range(width)]
    )
    frame["count"] = rng.integers(0, 9, 120)
    frame["on"] = rng.random(120) > 0.5
    return frame


def value_of(frame: pd.DataFrame) -> Any:
    return np.sin(9 * frame["sensor_3"]) + frame["count"] + frame["on"] * frame["sensor_7"]


def check(made: Any, frame: pd.DataFrame, given: Any, folder: Path) -> st.Bundle:
    """Fail where the adopted estimator answers a row of the frame otherwise than it does itself."""
    rows = st.rows_of_frame(frame)
    adoption = st.Adoption.of_estimator(
        made, name="wide", version="1.0.0", inputs=st.Row.from_frame(frame), outputs=Value,
        golden=rows[:20],
    )  # fmt: skip
    bundle = st.open_bundle(st.adopt_model(adoption, folder).path)
    got = np.ravel([row["value"] for row in answers(bundle, rows, 64)])
    assert got == pytest.approx(made.predict(given), rel=1e-5, abs=1e-5)
    return bundle


def test_columns_of_another_order_than_the_contracts_are_one_input(tmp_path: Path) -> None:
    frame = frame_of(40)
    trained = frame[frame.columns[::-1]]
    made = make_pipeline(StandardScaler(), Ridge()).fit(trained, value_of(frame))
    bundle = check(made, frame, trained, tmp_path)
    assert [spec.name for spec in bundle.contract.tensors] == ["numbers"]


def test_packed_columns_stand_beside_words(tmp_path: Path) -> None:
    frame = frame_of(40)
    frame["site"] = np.where(frame["on"], "Oslo", "Bergen")
    numbers = [name for name in frame.columns if name != "site"]
    columns = make_column_transformer((OneHotEncoder(), ["site"]), ("passthrough", numbers))
    made = make_pipeline(columns, Ridge()).fit(frame, value_of(frame))
    bundle = check(made, frame, frame, tmp_path)
    assert [spec.name for spec in bundle.contract.tensors] == ["numbers", "site"]


def test_trees_that_part_packed_float64_take_float64(tmp_path: Path) -> None:
    frame = frame_of(40)
    made = HistGradientBoostingRegressor(max_iter=5, random_state=0).fit(frame, value_of(frame))
    bundle = check(made, frame, frame, tmp_path)
    assert [spec.dtype for spec in bundle.contract.tensors] == ["float64"]


def test_a_matrix_without_names_is_the_packed_tensor(tmp_path: Path) -> None:
    frame = frame_of(40)
    made = Ridge().fit(frame.to_numpy(float), value_of(frame))
    check(made, frame, frame.to_numpy(float), tmp_path)
