"""XGBoost and LightGBM in MLflow's flavours; their own `predict` is the judge."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from seatrial.main import cli
from seatrial_contracts.bundle import open_bundle
from seatrial_serve.inference.engine import load_engine
from seatrial_serve.runtimes.runtime import RuntimeOptions

lightgbm = pytest.importorskip("lightgbm", reason="make test-boosters")
xgboost = pytest.importorskip("xgboost", reason="make test-boosters")
pytest.importorskip("mlflow", reason="MLflow's library is not here: make setup")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::UserWarning:mlflow.*")]
RANDOM = np.random.default_rng(0)
TABLE = pd.DataFrame(RANDOM.normal(size=(300, 3)), columns=["a", "b", "width (m)"])
TABLE.loc[[1, 2], "b"] = None
CLASS = (TABLE["a"] > 0).astype(int)
VALUE = TABLE["a"] * 2 + TABLE["width (m)"]
SMALL = {"n_estimators": 8, "max_depth": 3}
QUIET = {"verbose": -1, "min_child_samples": 5}


def booster(library: str) -> Any:
    """The library's own object, without scikit-learn's form."""
    if library == "xgboost":
        data = xgboost.DMatrix(TABLE, CLASS)
        return xgboost.train({"objective": "binary:logistic", "max_depth": 3}, data, 8)
    data = lightgbm.Dataset(TABLE.rename(columns={"width (m)": "width_m"}), CLASS)
    return lightgbm.train({"objective": "binary", **QUIET}, data, 8)


CASES = {
    "xgboost classifier": ("xgboost", lambda: xgboost.XGBClassifier(**SMALL).fit(TABLE, CLASS)),
    "xgboost regressor": ("xgboost", lambda: xgboost.XGBRegressor(**SMALL).fit(TABLE, VALUE)),
    "xgboost booster": ("xgboost", lambda: booster("xgboost")),
    "lightgbm classifier": (
        "lightgbm", lambda: lightgbm.LGBMClassifier(**SMALL, **QUIET).fit(TABLE.to_numpy(), CLASS),
    ),
    "lightgbm regressor": (
        "lightgbm", lambda: lightgbm.LGBMRegressor(**SMALL, **QUIET).fit(TABLE.to_numpy(), VALUE),
    ),
    "lightgbm booster": ("lightgbm", lambda: booster("lightgbm")),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_flavour_is_adopted_with_its_signature(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.models import infer_signature

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    library, fit = CASES[case]
    model, example = fit(), TABLE.head(8)
    if case == "lightgbm booster":
        example = example.rename(columns={"width (m)": "width_m"})
    asked: Any = xgboost.DMatrix(example) if case == "xgboost booster" else example
    if library == "lightgbm" and "booster" not in case:
        asked = example.to_numpy()
    verb = "predict_proba" if "classifier" in case else "predict"
    want = np.asarray(getattr(model, verb)(asked))
    importlib.import_module(f"mlflow.{library}").save_model(
        model, "saved", signature=infer_signature(example, want.astype(np.float64)[:, None][:, 0]),
        input_example=example, pip_requirements=["numpy"],
    )  # fmt: skip
    ran = CliRunner().invoke(cli, ["adopt", "mlflow:saved", "--name", "it"])
    assert ran.exit_code == 0, f"{ran.output}{ran.exception}"
    assert "b: Annotated[float | None, st.Number" in Path("rows.py").read_text()
    bundle = open_bundle(Path("bundles/it/1.0.0"))
    engine = load_engine(bundle, RuntimeOptions())
    got = np.stack([each["answer"] for each in engine.answer([*map(dict, bundle.golden.rows)])])
    got = got[:, 1] if "booster" in case else got
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)
