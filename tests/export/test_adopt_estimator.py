"""scikit-learn estimators, adopted: their own answers are the judge, in process and over HTTP."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import pytest
from foreign import answers, findings
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import LinearSVC

import seatrial as st

pytestmark = pytest.mark.slow
RNG = np.random.default_rng(0)

TRAIN = """
import numpy as np, pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

def data():
    random = np.random.default_rng(0)
    table = pd.DataFrame({"Town": random.choice(["Graz", "Linz", "Wien"], 300), "size (m2)": random.normal(70, 20, 300), "rooms": random.integers(1, 6, 300)})
    worth = table["size (m2)"] * 0.05 + table["rooms"] + (table["Town"] == "Wien") * 2 + random.normal(0, 1, 300)
    return table, np.digitize(worth, [5, 8]).astype(str).astype(object)

def pipeline():
    table, worth = data()
    columns = ColumnTransformer([
        ("words", OneHotEncoder(), ["Town"]),
        ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), ["size (m2)", "rooms"]),
    ])
    return make_pipeline(columns, GradientBoostingClassifier(n_estimators=30, random_state=0)).fit(table, worth)

estimator = pipeline()
"""
ROWS = """
from typing import Annotated, Literal
import seatrial as st

class Flat(st.Row):
    town: Literal["Graz", "Linz", "Wien"]
    size_m2: Annotated[float | None, st.Number(ge=10, le=500, unit="m2")]
    rooms: Annotated[int, st.Number(ge=1, le=9)]

class Worth(st.Answer):
    worth: Annotated[str, st.Label("0", "1", "2")]
"""
GOLDEN: list[dict[str, Any]] = [
    {"town": town, "size_m2": size, "rooms": rooms}
    for rooms, (town, size) in enumerate(
        [("Graz", 45.5), ("Wien", 80.0), ("Linz", None), ("Wien", 12.25), ("Graz", 130.0), ("Linz", 71.7)], 1
    )
]


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the user's files and the bundle that the command made of them."""
    folder = tmp_path_factory.mktemp("estimator")
    return seal_in(folder)


def seal_in(folder: Path) -> Path:
    for name, text in (("train.py", TRAIN), ("rows.py", ROWS), ("rows.jsonl", "\n".join(map(json.dumps, GOLDEN)))):
        (folder / name).write_text(text)
    command = [
        sys.executable,
        "-m",
        "seatrial",
        "adopt",
        "train.py:estimator",
        "--contract",
        "rows.py:Flat",
        "--golden",
        "rows.jsonl",
    ]
    done = subprocess.run(
        [*command, "--name", "flats", "--json"], cwd=folder, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["warnings"] == []
    return folder


def test_a_pipeline_answers_over_http_as_scikit_learn_does(sealed: Path, serve: Callable[..., Any]) -> None:
    bundle = st.open_bundle(sealed / "bundles" / "flats" / "1.0.0")
    assert bundle.manifest.origin.reference == "scikit-learn"
    assert bundle.manifest.made_with["skl2onnx"]
    assert bundle.manifest.batchable
    server = serve(sealed / "bundles")
    status, body = server.wait_until_loaded()
    assert status == 200, body
    made: dict[str, Any] = {}
    exec(TRAIN, made)
    table = pd.DataFrame(
        {
            "Town": RNG.choice(["Graz", "Linz", "Wien"], 200),
            "size (m2)": RNG.uniform(20, 200, 200),
            "rooms": RNG.integers(1, 9, 200),
        }
    )
    rows = [
        dict(zip(("town", "size_m2", "rooms"), (town, float(size), int(rooms)), strict=True))
        for town, size, rooms in table.itertuples(index=False)
    ]
    request = urllib.request.Request(
        f"{server.url}/v1/models/flats:predict",
        json.dumps({"instances": rows}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as reply:
        predictions = json.load(reply)["predictions"]
    scores = np.array([[row["worth"]["scores"][name] for name in "012"] for row in predictions])
    assert scores == pytest.approx(made["estimator"].predict_proba(table), abs=1e-5)
    assert [row["worth"]["label"] for row in predictions] == made["estimator"].predict(table).tolist()


def test_two_processes_seal_the_same_digest(sealed: Path, tmp_path: Path) -> None:
    again = seal_in(tmp_path)
    assert (
        st.open_bundle(again / "bundles" / "flats" / "1.0.0").digest
        == st.open_bundle(sealed / "bundles" / "flats" / "1.0.0").digest
    )


IRIS = load_iris()


class Flower(st.Row):
    measures: st.Tensor[np.float32, 4]


class Measured(st.Row):
    a: float
    b: float
    c: float
    d: float


class Species(st.Answer):
    species: Annotated[str, st.Label("0", "1", "2")]


class Value(st.Answer):
    value: float


class Class(st.Answer):
    value: int


class Two(st.Answer):
    pair: st.Tensor[np.float32, 2]


TENSORS = [{"measures": row.astype(np.float32)} for row in IRIS.data[::11]]
SCALARS = [dict(zip("abcd", map(float, row), strict=True)) for row in IRIS.data[::11]]


def adopted(
    estimator: Any, folder: Path, inputs: type[st.Row], outputs: type[st.Answer], golden: list[Any]
) -> st.Bundle:
    made = st.Adoption.of_estimator(
        estimator, name="sk", version="1.0.0", inputs=inputs, outputs=outputs, golden=golden
    )
    return st.open_bundle(st.adopt_model(made, folder).path)


@pytest.mark.parametrize(
    ("estimator", "inputs", "outputs", "verb"),
    [
        (make_pipeline(StandardScaler(), LogisticRegression()), Flower, Species, "predict_proba"), (HistGradientBoostingClassifier(max_iter=5), Measured, Species, "predict_proba"),
        (make_pipeline(StandardScaler(), MLPClassifier((8,), max_iter=2000, random_state=0)), Measured, Species, "predict_proba"), (LogisticRegression(max_iter=500), Flower, Class, "predict"),
        (RandomForestRegressor(5, random_state=0), Measured, Value, "predict"), (LinearSVC(), Flower, Class, "predict"), (PCA(2), Flower, Two, "transform"),
    ],
)  # fmt: skip
def test_estimators_of_all_sorts_answer_as_they_do_in_scikit_learn(
    estimator: Any, inputs: type[st.Row], outputs: type[st.Answer], verb: str, tmp_path: Path
) -> None:
    estimator.fit(IRIS.data, IRIS.target)
    rows = TENSORS if inputs is Flower else SCALARS
    bundle = adopted(estimator, tmp_path, inputs, outputs, rows)
    (name,) = (field.name for field in bundle.contract.outputs)
    got = np.stack([answer[name] for answer in answers(bundle, rows, batch_rows=8)])
    assert got == pytest.approx(getattr(estimator, verb)(IRIS.data[::11]), rel=1e-4, abs=1e-5)
    assert findings(bundle).strip() == ""


def test_several_targets_become_a_tensor(tmp_path: Path) -> None:
    estimator = LinearRegression().fit(IRIS.data, IRIS.data[:, :2] * 3)
    got = answers(adopted(estimator, tmp_path, Flower, Two, TENSORS), TENSORS)
    assert np.stack([answer["pair"] for answer in got]) == pytest.approx(IRIS.data[::11, :2] * 3, rel=1e-4)


class Turned(st.Answer):
    species: Annotated[str, st.Label("2", "1", "0")]


class Fewer(st.Row):
    a: float
    b: float


FRAME = pd.DataFrame(IRIS.data, columns=["a", "b", "c", "petal width"])


@pytest.mark.parametrize(
    ("estimator", "inputs", "outputs", "words"),
    [
        (LogisticRegression(), Flower, Species, "one that is not fitted"), (LogisticRegression(max_iter=500).fit(IRIS.data, IRIS.target), Flower, Turned, "want the estimator's own, in its order: 0, 1, 2"),
        (LogisticRegression(max_iter=500).fit(IRIS.data, IRIS.target), Fewer, Species, "the fields a, b, want the columns that the estimator was fitted on: 4 columns without names"),
        (LogisticRegression(max_iter=500).fit(FRAME, IRIS.target), Measured, Species, "the fields a, b, c, d, want the columns that the estimator was fitted on: a, b, c, petal width"),
        (LinearRegression().fit(IRIS.data, IRIS.target), Flower, Species, "no predict_proba"), (LinearSVC().fit(IRIS.data, IRIS.target), Flower, Species, "no predict_proba"),
        (make_pipeline(FunctionTransformer(np.log1p), LinearRegression()).fit(IRIS.data, IRIS.target), Flower, Value, "skl2onnx: "),
    ],
)  # fmt: skip
def test_an_estimator_that_does_not_fit_is_told_why(
    estimator: Any, inputs: type[st.Row], outputs: type[st.Answer], words: str, tmp_path: Path
) -> None:
    rows = {Flower: TENSORS, Measured: SCALARS, Fewer: [{"a": 1.0, "b": 2.0}] * 2}[inputs]
    with pytest.raises(st.SeatrialError) as said:
        adopted(estimator, tmp_path, inputs, outputs, rows)
    assert words in str(said.value)
    assert not list(tmp_path.rglob("*"))
