"""LightGBM, XGBoost and CatBoost (`make test-boosters`).

Their own `predict` is the judge, missing cells and thresholds included.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from support.foreign import answers
from support.thresholds import check_sides

import seatrial as st
from seatrial_export.adopt.draft import Draft
from seatrial_export.adopt.native import read_native

lightgbm = pytest.importorskip("lightgbm", reason="make test-boosters")
xgboost = pytest.importorskip("xgboost", reason="make test-boosters")
catboost = pytest.importorskip("catboost", reason="make test-boosters")
pytestmark = pytest.mark.slow

L: dict[str, Any] = {
    "n_estimators": 12,
    "verbose": -1,
    "num_leaves": 7,
    "min_child_samples": 5,
    "random_state": 0,
}
RF = {"boosting_type": "rf", "bagging_freq": 1, "bagging_fraction": 0.7, "feature_fraction": 0.7}
X: dict[str, Any] = {"n_estimators": 12, "max_depth": 3}
C: dict[str, Any] = {"iterations": 12, "depth": 3, "verbose": 0, "allow_writing_files": False}
COUNTS = ("poisson", "tweedie")

CASES = [
    ("two", lightgbm.LGBMClassifier(**L)),
    ("three", lightgbm.LGBMClassifier(**L)),
    ("two", lightgbm.LGBMClassifier(**L, **RF)),
    ("value", lightgbm.LGBMRegressor(**L, **RF)),
    ("two", lightgbm.LGBMClassifier(**L, sigmoid=2.5)),
    ("three", lightgbm.LGBMClassifier(**L, objective="multiclassova", sigmoid=1.5)),
    ("two", lightgbm.LGBMClassifier(**L, zero_as_missing=True)),
    ("value", lightgbm.LGBMRegressor(**L, zero_as_missing=True)),
    ("two", lightgbm.LGBMClassifier(**L, use_missing=False)),
    ("value", lightgbm.LGBMRegressor(**L, reg_sqrt=True)),
    ("two", lightgbm.LGBMClassifier(**L, boosting_type="dart")),
    *(("count", lightgbm.LGBMRegressor(**L, objective=name)) for name in COUNTS),
    ("two", make_pipeline(StandardScaler(), lightgbm.LGBMClassifier(**L))),
    ("two", xgboost.XGBClassifier(**X)),
    ("three", xgboost.XGBClassifier(**X)),
    ("value", xgboost.XGBRegressor(**X)),
    ("two", xgboost.XGBRFClassifier(**X)),
    ("value", xgboost.XGBRegressor(**X, missing=0.0)),
    ("two", xgboost.XGBClassifier(**X, booster="dart", rate_drop=0.3)),
    *(
        ("count", xgboost.XGBRegressor(**X, objective=name))
        for name in ("count:poisson", "reg:tweedie")
    ),
    ("two", catboost.CatBoostClassifier(**C)),
    ("three", catboost.CatBoostClassifier(**C)),
    ("three", catboost.CatBoostClassifier(**C, loss_function="MultiClassOneVsAll")),
    ("value", catboost.CatBoostRegressor(**C)),
    ("value", catboost.CatBoostRegressor(**C, nan_mode="Max")),
    ("count", catboost.CatBoostRegressor(**C, loss_function="Poisson")),
    ("count", catboost.CatBoostRegressor(**C, loss_function="Tweedie:variance_power=1.5")),
]


def table(seed: int, *, holes: bool, rows: int = 300) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({name: rng.normal(0, 2, rows).astype(np.float32) for name in "abcd"})
    frame["d"] = np.where(rng.random(rows) < 0.4, 0, frame["d"]).astype(np.float32)
    return frame.mask(rng.random(frame.shape) < 0.15).astype(np.float32) if holes else frame


def truth(frame: pd.DataFrame, sort: str) -> Any:
    worth = frame.fillna(1).sum(axis=1) + frame["d"].fillna(3)
    if sort == "count":
        return np.random.default_rng(1).poisson(np.exp(np.clip(worth / 4, -2, 2)))
    return {
        "two": (worth > 0).astype(int),
        "three": pd.qcut(worth, 3, labels=False),
        "value": worth,
    }[sort]


def adopted(made: Any, sort: str, golden: pd.DataFrame, folder: Path) -> st.Bundle:
    answer = (
        Annotated[str, st.Label(*map(str, made.classes_))] if sort in ("two", "three") else float
    )
    inputs = type("Rows", (st.Row,), {"__annotations__": dict.fromkeys("abcd", float | None)})
    outputs = type("Answers", (st.Answer,), {"__annotations__": {"answer": answer}})
    adoption = st.Adoption.of_estimator(
        made,
        name="boosted",
        version="1.0.0",
        inputs=inputs,
        outputs=outputs,
        golden=golden.to_dict("records"),
    )
    return st.open_bundle(st.adopt_model(adoption, folder).path)


@pytest.mark.parametrize("holes", [False, True], ids=["whole", "holes"])
@pytest.mark.parametrize(("sort", "booster"), CASES)
@pytest.mark.filterwarnings("ignore")  # the libraries' own, of versions of each other
def test_a_booster_answers_as_its_library_does(
    sort: str, booster: Any, holes: bool, tmp_path: Path
) -> None:
    train, asked = table(0, holes=holes), table(5, holes=True)
    made = booster.fit(train, truth(train, sort))
    rows = pd.concat([asked, train.head(100)])  # training rows lie at thresholds
    if "StandardScaler" in str(made):
        rows = rows.dropna() if not holes else rows
    raw = [
        {name: None if pd.isna(value) else value for name, value in row.items()}
        for row in rows.to_dict("records")
    ]
    bundle = adopted(made, sort, train.dropna().head(8), tmp_path)
    got = np.stack([row["answer"] for row in answers(bundle, raw, batch_rows=16)])
    want = made.predict_proba(rows) if sort in ("two", "three") else np.ravel(made.predict(rows))
    assert got == pytest.approx(want, rel=1e-4, abs=1e-5)
    assert bundle.manifest.made_with[
        type(made).__module__.partition(".")[0].replace("sklearn", "lightgbm")
    ]


@pytest.mark.parametrize(
    ("booster", "words"),
    [
        (lightgbm.LGBMRegressor(**L, linear_tree=True), "linear_tree=True"),
        (xgboost.XGBRegressor(booster="gblinear"), "booster='gblinear', which is no tree"),
        (catboost.CatBoostRegressor(**C, grow_policy="Lossguide"), "trees that are not symmetric"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_has_no_form_is_refused_by_name(booster: Any, words: str, tmp_path: Path) -> None:
    train = table(0, holes=False)
    with pytest.raises(st.SeatrialError) as said:
        adopted(booster.fit(train, truth(train, "value")), "value", train.head(8), tmp_path)
    assert words in str(said.value)
    assert "mend: " in str(said.value)


STEPS = {
    "lightgbm": lightgbm.LGBMRegressor(**L),
    "xgboost": xgboost.XGBRegressor(**X),
    "catboost": catboost.CatBoostRegressor(**C),
}


@pytest.mark.parametrize("scaled", [False, True], ids=["raw", "scaled"])
@pytest.mark.parametrize("name", STEPS)
@pytest.mark.filterwarnings("ignore")
def test_rows_at_thresholds_fall_to_the_librarys_own_side(
    name: str, scaled: bool, tmp_path: Path
) -> None:
    check_sides(STEPS[name], tmp_path, scaled=scaled)


CALIBRATED = {
    "sigmoid": CalibratedClassifierCV(lightgbm.LGBMClassifier(**L), cv=2),
    "isotonic": CalibratedClassifierCV(lightgbm.LGBMClassifier(**L), cv=2, method="isotonic"),
    "xgboost": CalibratedClassifierCV(xgboost.XGBClassifier(**X), cv=2),
    "catboost": CalibratedClassifierCV(catboost.CatBoostClassifier(**C), cv=2),
    "around": CalibratedClassifierCV(
        make_pipeline(StandardScaler(), lightgbm.LGBMClassifier(**L)), cv=2
    ),
    "behind": make_pipeline(
        StandardScaler(), CalibratedClassifierCV(xgboost.XGBClassifier(**X), cv=2)
    ),
}


@pytest.mark.parametrize("sort", ["two", "three"])
@pytest.mark.parametrize("name", CALIBRATED)
@pytest.mark.filterwarnings("ignore")
def test_a_calibrated_booster_answers_as_its_calibrator_does(
    name: str, sort: str, tmp_path: Path
) -> None:
    train, rows = table(0, holes=False), table(5, holes=False)
    made = CALIBRATED[name].fit(train, truth(train, sort))
    bundle = adopted(made, sort, train.head(8), tmp_path)
    got = np.stack([row["answer"] for row in answers(bundle, rows.to_dict("records"), 16)])
    assert got == pytest.approx(made.predict_proba(rows), rel=1e-4, abs=1e-5)


def save(made: Any, path: Path) -> Path:
    (made.booster_ if hasattr(made, "booster_") else made).save_model(str(path))
    return path


FILES = {
    "model.json": xgboost.XGBClassifier(**X),
    "model.ubj": xgboost.XGBRegressor(**X),
    "model.txt": lightgbm.LGBMClassifier(**L),
    "values.txt": lightgbm.LGBMRegressor(**L),
    "model.cbm": catboost.CatBoostClassifier(**C),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.filterwarnings("ignore")
def test_a_librarys_own_file_is_adopted_by_the_table_of_its_training(
    name: str, tmp_path: Path
) -> None:
    train, rows = table(0, holes=True), table(5, holes=False)
    scores = hasattr(FILES[name], "predict_proba")
    made = FILES[name].fit(train, truth(train, "three" if scores else "value"))
    native = read_native(save(made, tmp_path / name))
    draft = Draft(native, train.assign(worth=0), "worth")
    held: dict[str, Any] = {}
    exec(compile(draft.code("boosted"), "rows", "exec", dont_inherit=True), held)
    declared = st.Adoption.of_estimator(
        native,
        name="boosted",
        version="1.0.0",
        inputs=held["Rows"],
        outputs=held["Answers"],
        golden=draft.golden(),
    )
    bundle = st.open_bundle(st.adopt_model(declared, tmp_path).path)
    got = np.stack([row["answer"] for row in answers(bundle, rows.to_dict("records"), 16)])
    want = made.predict_proba(rows) if scores else made.predict(rows)
    assert got == pytest.approx(want, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("name", ["bad.json", "bad.ubj", "bad.txt", "bad.cbm", "none.cbm"])
def test_a_file_that_is_no_model_is_refused(name: str, tmp_path: Path) -> None:
    if name.startswith("bad"):
        (tmp_path / name).write_bytes(b"{}")
    with pytest.raises(st.SeatrialError, match=r"does not read|no file"):
        read_native(tmp_path / name)
