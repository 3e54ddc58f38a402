"""Rows at thresholds and just beside them fall to the side that scikit-learn sends them to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import (
    BaggingRegressor,
    ExtraTreesRegressor,
    GradientBoostingRegressor,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestRegressor,
)
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import KBinsDiscretizer, StandardScaler
from sklearn.tree import DecisionTreeRegressor
from support.foreign import answers
from support.thresholds import Coin, Value, adoption, check_sides, learnt

import seatrial as st
from seatrial_export.adopt.estimator import Estimator
from seatrial_export.adopt.trees import compares_doubles

TREES = {
    "tree": DecisionTreeRegressor(random_state=0),
    "forest": RandomForestRegressor(5, random_state=0),
    "extra trees": ExtraTreesRegressor(5, random_state=0),
    "boosting": GradientBoostingRegressor(n_estimators=10, random_state=0),
    "histograms": HistGradientBoostingRegressor(max_iter=5, random_state=0),
    "bagging": BaggingRegressor(n_estimators=3, random_state=0),
    "bins": make_pipeline(
        KBinsDiscretizer(7, quantile_method="averaged_inverted_cdf"), LinearRegression()
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("scaled", [False, True], ids=["raw", "scaled"])
@pytest.mark.parametrize("name", TREES)
def test_rows_at_thresholds_are_answered_as_scikit_learn_does(
    name: str, scaled: bool, tmp_path: Path
) -> None:
    check_sides(TREES[name], tmp_path, scaled=scaled)


class Rounded(st.Row):
    x: Annotated[float, st.Number(ge=-1, le=3, dtype="float32")]
    k: Annotated[int, st.Number(ge=0, le=9)]


@pytest.mark.slow
def test_float32_that_was_asked_for_parts_float32_rows_rightly(tmp_path: Path) -> None:
    frame, value = learnt()
    frame["x"] = frame["x"].astype(np.float32).astype(float)
    made = HistGradientBoostingRegressor(max_iter=5, random_state=0).fit(frame, value)
    bundle = st.open_bundle(st.adopt_model(adoption(made, Rounded), tmp_path).path)
    assert [spec.dtype for spec in bundle.contract.tensors] == ["float32", "int64"]
    splits = {
        np.float32(node["num_threshold"])
        for round_ in made._predictors
        for tree in round_
        for node in tree.nodes
        if not node["is_leaf"] and node["feature_idx"] == 0
    }
    near = [np.nextafter(split, np.float32(side)) for split in splits for side in (-9, 9)]
    rows = pd.DataFrame({"x": [*map(float, splits), *map(float, near)]})
    rows["k"] = np.arange(len(rows)) % 10
    given = [{"x": x, "k": int(k)} for x, k in rows.itertuples(index=False)]
    got = np.ravel([row["value"] for row in answers(bundle, given, 16)])
    assert got == pytest.approx(made.predict(rows), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize(
    ("estimator", "doubles"),
    [
        (RandomForestRegressor(), False),
        (HistGradientBoostingRegressor(), True),
        (IsolationForest(), False),
        (make_pipeline(StandardScaler(), RandomForestRegressor()), True),
        (make_pipeline(StandardScaler(), LinearRegression()), False),
    ],
)
def test_numbers_are_float64_where_rounding_them_may_change_an_answer(
    estimator: Any, doubles: bool
) -> None:
    assert compares_doubles(estimator) is doubles
    frame, value = learnt()
    made = Estimator(estimator.fit(frame, value), Coin, Value)
    assert {name: kind.dtype for name, kind in made.kinds.items()} == (
        {"x": "float64"} if doubles else {}
    )
