"""scikit-learn estimators, adopted: their own answers are the judge, in process and over HTTP."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
import pytest
from annotated_types import Interval
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.compose import (
    ColumnTransformer,
    TransformedTargetRegressor,
    make_column_transformer,
)
from sklearn.cross_decomposition import PLSRegression
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
)
from sklearn.svm import LinearSVC
from support.foreign import answers, findings

import seatrial as st

pytestmark = pytest.mark.slow
RNG = np.random.default_rng(0)

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/how-to/adopt.md").read_text("utf-8")
FILES = {
    name: text for text, name in re.findall(r"```python\n(# ([a-z]+\.py).*?)```", PAGE, re.DOTALL)
}
ROWS = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)[0]
ESTIMATOR, GRAPH = (
    block.strip().splitlines() for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
)


def paste(line: str, folder: Path) -> str:
    """What a line of the page prints, in a folder with its files."""
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "COLUMNS": "200",
    }
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    return done.stdout


def written(folder: Path) -> Path:
    for name, text in {**FILES, "rows.jsonl": ROWS}.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def pasted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A folder with the page's files, and what its first lines said."""
    folder = written(tmp_path_factory.mktemp("estimator"))
    assert ESTIMATOR[-1] == "seatrial serve bundles"
    return folder, [paste(line, folder) for line in ESTIMATOR[:-1]]


def test_a_pipeline_answers_over_http_as_scikit_learn_does(
    pasted: tuple[Path, list[str]], serve: Callable[..., Any]
) -> None:
    folder, said = pasted
    assert "warning" not in said[0]
    assert said[1].count("yes") == 1
    assert json.loads(said[2])[0]["worth"]["label"] in ("cheap", "dear", "fair")
    bundle = st.open_bundle(folder / "bundles" / "flats" / "1.0.0")
    assert json.loads(bundle.files["profile.json"])["rows"] == 4
    manifest = bundle.manifest
    assert (manifest.origin.source, manifest.origin.reference, manifest.batchable) == (
        "adopted",
        "scikit-learn",
        True,
    )
    assert manifest.origin.producer == f"skl2onnx {manifest.made_with['skl2onnx']}"
    server = serve(folder / "bundles")
    status, body = server.wait_until_loaded()
    assert status == 200, body
    made: dict[str, Any] = {}
    exec(FILES["train.py"], made)  # the judge is the estimator as the user's file makes it
    towns, sizes, rooms = (
        RNG.choice(["Graz", "Linz", "Wien"], 200),
        RNG.uniform(20, 200, 200),
        RNG.integers(1, 9, 200),
    )
    rows = [
        dict(zip(("town", "size_m2", "rooms"), row, strict=True))
        for row in zip(towns.tolist(), sizes.tolist(), rooms.tolist(), strict=True)
    ]
    request = urllib.request.Request(
        f"{server.url}/v1/models/flats:predict",
        json.dumps({"instances": rows}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as reply:
        predictions = json.load(reply)["predictions"]
    table = pd.DataFrame({"town": towns, "size (m2)": sizes, "rooms": rooms})
    scores = np.array(
        [
            [row["worth"]["scores"][name] for name in ("cheap", "dear", "fair")]
            for row in predictions
        ]
    )
    assert scores == pytest.approx(made["flats"].predict_proba(table), abs=1e-5)
    assert [row["worth"]["label"] for row in predictions] == made["flats"].predict(table).tolist()


def test_another_process_in_another_folder_seals_the_same_digest(
    pasted: tuple[Path, list[str]], tmp_path: Path
) -> None:
    again = paste(ESTIMATOR[0], written(tmp_path))
    assert again == pasted[1][0]


def test_the_pages_lines_adopt_a_file_too(tmp_path: Path) -> None:
    said = [paste(line, written(tmp_path)) for line in GRAPH]
    assert "sealed bundles/price/1.0.0" in said[1]
    assert "warning" not in said[1]
    assert "adopted; reference: a function of the user's" in said[2]


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
        (make_pipeline(StandardScaler(), LogisticRegression()), Flower, Species, "predict_proba"),
        (HistGradientBoostingClassifier(max_iter=5), Measured, Species, "predict_proba"),
        (make_pipeline(StandardScaler(), MLPClassifier((8,), max_iter=2000, random_state=0)),
         Measured, Species, "predict_proba"),
        (LogisticRegression(max_iter=500), Flower, Class, "predict"),
        (RandomForestRegressor(5, random_state=0), Measured, Value, "predict"),
        (LinearSVC(), Flower, Class, "predict"), (PCA(2), Flower, Two, "transform"),
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


class Sized(st.Row):
    measures: st.Tensor[np.float32, 4, Interval(ge=0, le=100)]


@pytest.mark.parametrize("clusters", [KMeans, MiniBatchKMeans])
def test_clusters_before_a_model_hand_on_their_distances(clusters: Any, tmp_path: Path) -> None:
    model = make_pipeline(clusters(4, random_state=0, n_init=1), LogisticRegression(max_iter=500))
    model.fit(IRIS.data, IRIS.target)
    bundle = adopted(model, tmp_path, Sized, Species, TENSORS)
    got = np.stack([answer["species"] for answer in answers(bundle, TENSORS, batch_rows=8)])
    assert got == pytest.approx(model.predict_proba(IRIS.data[::11]), rel=1e-4, abs=1e-5)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_network_of_counts_has_its_exponential(tmp_path: Path) -> None:
    model = MLPRegressor(loss="poisson", hidden_layer_sizes=(6,), max_iter=50, random_state=0)
    model.fit(IRIS.data, IRIS.target)
    got = answers(adopted(model, tmp_path, Sized, Value, TENSORS), TENSORS)
    assert [float(answer["value"]) for answer in got] == pytest.approx(
        model.predict(IRIS.data[::11]), rel=1e-4
    )


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "estimator",
    [
        LinearRegression(),
        MLPRegressor(hidden_layer_sizes=(6, 5), max_iter=30, random_state=0),
        MLPRegressor(hidden_layer_sizes=(6,), activation="tanh", max_iter=30, random_state=0),
    ],
)
def test_several_targets_become_a_tensor(estimator: Any, tmp_path: Path) -> None:
    estimator.fit(IRIS.data, IRIS.data[:, :2] * 3)
    got = answers(adopted(estimator, tmp_path, Flower, Two, TENSORS), TENSORS, batch_rows=4)
    assert np.stack([answer["pair"] for answer in got]) == pytest.approx(
        estimator.predict(IRIS.data[::11]), rel=1e-4, abs=1e-5
    )


class Turned(st.Answer):
    species: Annotated[str, st.Label("2", "1", "0")]


class Fewer(st.Row):
    a: float
    b: float


FRAME = pd.DataFrame(IRIS.data, columns=["a", "b", "c", "petal width"])


@pytest.mark.parametrize(
    ("estimator", "inputs", "outputs", "words"),
    [
        (LogisticRegression(), Flower, Species, "one that is not fitted"),
        (
            LogisticRegression(max_iter=500).fit(IRIS.data, IRIS.target),
            Flower,
            Turned,
            "want the estimator's own, in its order: 0, 1, 2",
        ),
        (
            LogisticRegression(max_iter=500).fit(IRIS.data, IRIS.target),
            Fewer,
            Species,
            (
                "the fields a, b, want the columns that the estimator was fitted on: "
                "4 columns without names"
            ),
        ),
        (
            LogisticRegression(max_iter=500).fit(FRAME, IRIS.target),
            Measured,
            Species,
            (
                "the fields a, b, c, d, want the columns that the estimator was fitted on: "
                "a, b, c, petal width"
            ),
        ),
        (LinearRegression().fit(IRIS.data, IRIS.target), Flower, Species, "no predict_proba"),
        (LinearSVC().fit(IRIS.data, IRIS.target), Flower, Species, "no predict_proba"),
        (
            make_pipeline(FunctionTransformer(np.sinc), LinearRegression()).fit(
                IRIS.data, IRIS.target
            ),
            Flower,
            Value,
            "FunctionTransformer(sinc): the graph cannot hold a function of yours",
        ),
    ],
)
def test_an_estimator_that_does_not_fit_is_told_why(
    estimator: Any, inputs: type[st.Row], outputs: type[st.Answer], words: str, tmp_path: Path
) -> None:
    rows = {Flower: TENSORS, Measured: SCALARS, Fewer: [{"a": 1.0, "b": 2.0}] * 2}[inputs]
    with pytest.raises(st.SeatrialError) as said:
        adopted(estimator, tmp_path, inputs, outputs, rows)
    assert words in str(said.value)
    assert not list(tmp_path.rglob("*"))


class House(st.Row):
    built: Annotated[int, st.Number(ge=1800, le=2030)]
    rooms: Annotated[int, st.Number(ge=1, le=20)]
    garden: bool
    size: Annotated[float, st.Number(ge=10, le=500)]


class Seen(st.Row):
    at: Annotated[int, st.Number(ge=1_600_000_000, le=1_800_000_000)]
    size: Annotated[float, st.Number(ge=10, le=500)]


class Costs(st.Answer):
    costs: float


def houses(seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "built": rng.integers(1800, 2030, 200),
            "rooms": rng.integers(1, 20, 200),
            "garden": rng.random(200) < 0.5,
            "size": rng.uniform(10, 500, 200).astype(np.float32).astype(float),
            "at": rng.integers(1_600_000_000, 1_800_000_000, 200),
        }
    )


def worth(frame: pd.DataFrame) -> Any:
    return frame["size"] * 2 + frame["rooms"] * 10 + (frame["at"] - 1_700_000_000) / 1e6


SCALED = make_pipeline(SimpleImputer(), StandardScaler())
BUILT = ["built", "rooms", "garden", "size"]


@pytest.mark.parametrize(
    ("estimator", "inputs", "columns"),
    [
        (LinearRegression(), House, BUILT),
        (RandomForestRegressor(5, random_state=0), House, BUILT),
        (make_pipeline(SCALED, LinearRegression()), House, BUILT),
        (
            make_pipeline(
                StandardScaler(), MLPRegressor(hidden_layer_sizes=(4,), max_iter=50, random_state=0)
            ),
            House,
            BUILT,
        ),
        (
            make_pipeline(
                ColumnTransformer(
                    [("n", SCALED, np.array([True, False, False, True]))], remainder="passthrough"
                ),
                LinearRegression(),
            ),
            House,
            BUILT,
        ),
        (
            make_pipeline(
                ColumnTransformer(
                    [
                        ("n", SCALED, [-1, -4]),
                        ("k", KBinsDiscretizer(3, quantile_method="averaged_inverted_cdf"), [1]),
                    ]
                ),
                LinearRegression(),
            ),
            House,
            BUILT,
        ),
        (
            make_pipeline(
                ColumnTransformer(
                    [("n", SCALED, slice("built", "rooms")), ("w", OneHotEncoder(), ["garden"])]
                ),
                LinearRegression(),
            ),
            House,
            BUILT,
        ),
        (make_pipeline(StandardScaler(), LinearRegression()), Seen, ["at", "size"]),
        (
            TransformedTargetRegressor(LinearRegression(), func=np.log1p, inverse_func=np.expm1),
            House,
            BUILT,
        ),
        (GridSearchCV(LinearRegression(), {"fit_intercept": [True]}, cv=2), House, BUILT),
        (HistGradientBoostingRegressor(loss="poisson", max_iter=5), House, BUILT),
        (PLSRegression(2), House, BUILT),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_what_was_fitted_on_a_data_frame_takes_its_columns_by_name(
    estimator: Any, inputs: type[st.Row], columns: list[str], tmp_path: Path
) -> None:
    train, asked = houses(0), houses(7)
    made = estimator.fit(train[columns], worth(train) + 400)
    golden, rows = train[columns].head(8).to_dict("records"), asked[columns].to_dict("records")
    bundle = adopted(made, tmp_path, inputs, Costs, golden)
    got = [float(answer["costs"]) for answer in answers(bundle, rows, batch_rows=16)]
    assert got == pytest.approx(np.ravel(made.predict(asked[columns])), rel=2e-5, abs=1e-4)


class Named(st.Row):
    label: float
    variable: float


def test_columns_may_have_the_names_of_values_inside(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        IRIS.data[:, :2].astype(np.float32).astype(float), columns=["label", "variable"]
    )
    made = LogisticRegression(max_iter=500).fit(frame, IRIS.target)
    rows = frame.to_dict("records")
    got = answers(adopted(made, tmp_path, Named, Species, rows[::11]), rows, batch_rows=8)
    assert np.stack([answer["species"] for answer in got]) == pytest.approx(
        made.predict_proba(frame), abs=1e-5
    )


class Tiered(st.Row):
    tier: Literal[1, 2, 30]
    spent: float


@pytest.mark.parametrize("encoder", [OneHotEncoder(), OrdinalEncoder()])
def test_categories_of_whole_numbers_enter_an_estimator_as_they_are(
    encoder: Any, tmp_path: Path
) -> None:
    frame = pd.DataFrame({"tier": [1, 2, 30] * 20, "spent": np.arange(60) / 8})
    made = make_pipeline(
        make_column_transformer((encoder, ["tier"]), remainder="passthrough"),
        LogisticRegression(max_iter=500),
    ).fit(frame, [0, 1, 2] * 20)
    rows = frame.to_dict("records")
    got = answers(adopted(made, tmp_path, Tiered, Species, rows[:8]), rows, batch_rows=8)
    assert np.stack([answer["species"] for answer in got]) == pytest.approx(
        made.predict_proba(frame), abs=1e-5
    )
