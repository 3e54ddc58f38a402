"""Models of MLflow's flavours, with their signature as a first contract; the library is the judge.

XGBoost's and LightGBM's are in tests/boosters.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from support.real_mlflow import mlflow_database

from seatrial.main import cli
from seatrial_contracts.bundle import Bundle, open_bundle
from seatrial_serve.inference.engine import load_engine
from seatrial_serve.runtimes.runtime import RuntimeOptions

pytest.importorskip("mlflow", reason="MLflow's library is not here: make setup")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::UserWarning:mlflow.*")]
RANDOM = np.random.default_rng(0)
TABLE = pd.DataFrame(
    {
        "town": RANDOM.choice(["Graz", "Linz", "Wien"], 200),
        "size (m2)": RANDOM.normal(70, 20, 200),
        "rooms": RANDOM.integers(1, 6, 200),
        "sold": RANDOM.random(200) > 0.5,
    }
)
TABLE.loc[[1, 3], "size (m2)"] = None
MATRIX = RANDOM.normal(size=(40, 3))
FLAT = np.float32(MATRIX)
NEEDS: dict[str, Any] = {"pip_requirements": ["numpy"]}
"""Without it MLflow loads the model in a process of its own to see what it imports."""


@pytest.fixture(scope="module", autouse=True)
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_database(tmp_path_factory.mktemp("mlflow")) as uri:
        yield uri


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def adopt(*words: str, status: int = 0) -> str:
    ran = CliRunner().invoke(cli, ["adopt", *words])
    said = f"{ran.output}{ran.exception or ''}"
    assert (ran.exit_code == 0) == (status == 0), said
    return said


def adopted(address: str, *words: str) -> Bundle:
    adopt(address, *words, "--name", "it")
    return open_bundle(Path("bundles/it/1.0.0"))


def flats() -> Any:
    columns = ColumnTransformer(
        [
            ("words", OneHotEncoder(), ["town"]),
            ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), ["size (m2)", "rooms"]),
            ("flag", "passthrough", ["sold"]),
        ]
    )
    wanted = np.where(TABLE["rooms"] > 3, "big", "small")
    return make_pipeline(columns, LogisticRegression()).fit(TABLE, wanted)


def save(flavour: str, model: Any, example: Any, **options: Any) -> str:
    """The address of a folder that a flavour saved, with the signature that MLflow infers."""
    import importlib

    module = importlib.import_module(f"mlflow.{flavour}")
    module.save_model(model, "saved", input_example=example, **NEEDS, **options)
    return "mlflow:saved"


def scores(bundle: Bundle, rows: list[dict[str, Any]], name: str) -> Any:
    engine = load_engine(bundle, RuntimeOptions())
    return np.stack([answer[name] for answer in engine.answer(rows)])


def test_a_pipeline_of_a_table_with_words_gaps_and_flags(capsys: Any) -> None:
    model = flats()
    example = TABLE.head(6)
    address = save("sklearn", model, example, skops_trusted_types=["numpy.dtype"])
    bundle = adopted(address)
    text = Path("rows.py").read_text()
    assert 'town: Literal["Graz", "Linz", "Wien"]' in text
    assert 'size_m2: Annotated[float | None, st.Number(dtype="float64")]' in text
    assert "    rooms: int\n" in text
    assert "    sold: bool\n" in text
    assert "answer: Annotated[str, st.Label('big', 'small')]" in text
    assert [row["size_m2"] for row in bundle.golden.rows].count(None) == 2
    got = scores(bundle, [dict(row) for row in bundle.golden.rows], "answer")
    np.testing.assert_allclose(got, model.predict_proba(example), rtol=1e-4, atol=1e-6)


def test_a_registered_version_an_alias_and_a_runs_model_are_fetched() -> None:
    import mlflow
    from mlflow import MlflowClient

    model = LinearRegression().fit(MATRIX, MATRIX @ [1.0, 2.0, 3.0])
    with mlflow.start_run() as run:
        mlflow.sklearn.log_model(
            model, name="line", input_example=MATRIX[:5], registered_model_name="line", **NEEDS
        )
    MlflowClient().set_registered_model_alias("line", "champion", "1")
    made: list[Bundle] = []
    for place, address in enumerate(
        ("models:/line/1", "models:/line@champion", f"runs:/{run.info.run_id}/line")
    ):
        adopt(f"mlflow:{address}", "--write", f"rows{place}.py", "--out", f"bundles{place}")
        made.append(open_bundle(Path(f"bundles{place}/line/1.0.0")))
    assert len({bundle.manifest.files["golden/answers.jsonl"].sha256 for bundle in made}) == 1
    bundle = made[0]
    assert "x: st.Tensor[np.float64, 3]" in Path("rows0.py").read_text()
    got = scores(bundle, [{"x": row.tolist()} for row in MATRIX[:5]], "answer")
    np.testing.assert_allclose(got, model.predict(MATRIX[:5]), rtol=1e-5)


def test_texts_of_a_vectorizer_are_texts() -> None:
    texts = pd.DataFrame({"review": ["a good ship", "a bad boat", "good good", "bad day"]})
    model = make_pipeline(
        ColumnTransformer([("terms", CountVectorizer(), "review")]), LogisticRegression()
    ).fit(texts, [1, 0, 1, 0])
    bundle = adopted(save("sklearn", model, texts))
    assert "review: Annotated[str, st.Text(max_chars=2048)]" in Path("rows.py").read_text()
    got = scores(bundle, [dict(row) for row in bundle.golden.rows], "answer")
    np.testing.assert_allclose(got, model.predict_proba(texts), rtol=1e-4, atol=1e-6)


def test_an_onnx_file_with_tensors_by_name() -> None:
    text = """<ir_version: 9, opset_import: ["": 18]>
    g (float[batch, 3] features, float[batch] scale) => (float[batch, 1] price, float[batch, 3] all)
    <float[3, 1] weights = {2.0, 0.5, -1.0}, int64[1] one = {1}> {
        price = MatMul(features, weights)
        column = Unsqueeze(scale, one)
        all = Mul(features, column)
    }"""
    model = onnx.parser.parse_model(text)
    example = {"features": FLAT[:4], "scale": np.float32([1, 2, 3, 4])}
    from mlflow.models import infer_signature

    answers = {"price": FLAT[:4, :1], "all": FLAT[:4]}
    bundle = adopted(
        save("onnx", model, example, signature=infer_signature(example, answers)),
    )
    drafted = Path("rows.py").read_text()
    for line in ("features: st.Tensor[np.float32, 3]", "scale: float", "price: float"):
        assert f"    {line}\n" in drafted
    rows = [dict(row) for row in bundle.golden.rows]
    np.testing.assert_allclose(
        scores(bundle, rows, "price"), FLAT[:4] @ np.float32([2, 0.5, -1]), rtol=1e-5
    )


def net() -> tuple[Any, Any]:
    """A small model of torch's, and what it answers to four rows."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    model.eval()
    return model, model(torch.tensor(FLAT[:4])).detach().numpy()


def test_a_program_of_torchs() -> None:
    from mlflow.models import infer_signature

    model, want = net()
    address = save("pytorch", model, FLAT[:4], signature=infer_signature(FLAT[:4], want))
    bundle = adopted(address)
    rows = [dict(row) for row in bundle.golden.rows]
    np.testing.assert_allclose(scores(bundle, rows, "answer"), want, rtol=1e-4, atol=1e-6)


def test_torchscript_is_a_program_too() -> None:
    from seatrial_export.adopt.mlflow_model import read_mlflow_model
    from seatrial_export.programs.read import read_program

    model, want = net()
    traced = torch.jit.trace(model, torch.tensor(FLAT[:4]))
    address = save("pytorch", traced, FLAT[:4], serialization_format="pickle")
    found = read_mlflow_model(Path("saved"), Path(), address)
    np.testing.assert_allclose(read_program(found.file)(torch.tensor(FLAT[:4])).detach(), want)


class Harm:
    """A pickle that writes a file where it is read."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return exec, ("open('harmed', 'w').close()",)

    def fit(self) -> None: ...

    def predict(self, rows: Any) -> Any:
        return rows


@pytest.mark.parametrize("flavour", ["sklearn", "pytorch"])
def test_pickles_are_refused_with_a_mend_and_not_read(flavour: str) -> None:
    options = {"serialization_format": "pickle"}
    if flavour == "sklearn":
        address = save("sklearn", flats(), TABLE.head(4), **options)
        import pickle

        Path("saved/model.pkl").write_bytes(pickle.dumps(Harm()))
        mend = "mlflow.sklearn.load_model('saved')"
    else:
        address = save("pytorch", torch.nn.Linear(3, 2), FLAT[:4], **options)
        mend = "st.Pipeline(model=mlflow.pytorch.load_model('saved'))"
    said = adopt(address, status=1)
    assert "want no pickle" in said
    assert mend in said
    assert not Path("harmed").exists()
    assert not Path("rows.py").exists()


def test_what_a_model_says_of_its_own_types_counts_for_nothing() -> None:
    import skops.io
    import yaml

    address = save("sklearn", LinearRegression().fit(MATRIX, MATRIX[:, 0]), MATRIX[:4])
    skops.io.dump(Harm(), "saved/model.skops")
    file = Path("saved/MLmodel")
    told = yaml.safe_load(file.read_text())
    types = skops.io.get_untrusted_types(file=Path("saved/model.skops"))
    told["flavors"]["sklearn"]["skops_trusted_types"] = types
    file.write_text(yaml.safe_dump(told))
    said = adopt(address, status=1)
    assert "which skops does not trust" in said
    assert not Path("harmed").exists()


def test_a_skops_file_alone_is_an_estimator_in_a_file() -> None:
    import skops.io

    model = LinearRegression().fit(MATRIX, MATRIX @ [1.0, 2.0, 3.0])
    skops.io.dump(model, "line.skops")
    pd.DataFrame(MATRIX, columns=["a", "b", "c"]).to_csv("table.csv", index=False)
    adopt("line.skops", "--frame", "table.csv")
    assert open_bundle(Path("bundles/line/1.0.0")).manifest.origin.reference == "scikit-learn"


def changed(**changes: Any) -> str:
    """A saved model whose MLmodel was changed."""
    import yaml

    address = save("sklearn", LinearRegression().fit(MATRIX, MATRIX[:, 0]), MATRIX[:4])
    file = Path("saved/MLmodel")
    told = yaml.safe_load(file.read_text())
    told.update(changes)
    file.write_text(yaml.safe_dump({k: v for k, v in told.items() if v is not None}))
    return address


SIGNED = {"inputs": '[{"type": "tensor", "tensor-spec": {"dtype": "str", "shape": [-1, 2]}}]'}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"flavors": {"prophet": {}}}, "got the flavours prophet, want one of onnx"),
        ({"flavors": {"onnx": {"data": "../x.onnx"}}}, "'../x.onnx', want a file of the model"),
        ({"flavors": {"onnx": {"data": "none.onnx"}}}, "'none.onnx', want a file of the model"),
        ({"flavors": {"xgboost": {"data": "model.skops"}}}, "model_format='ubj'"),
        ({"signature": None}, "got no signature"),
        ({"signature": SIGNED}, "tensor of"),
        ({"saved_input_example_info": None}, "its input example has 0 rows"),
    ],
    ids=["flavour", "outside", "missing", "form", "no signature", "no kind", "no rows"],
)
def test_what_cannot_be_taken_is_refused_by_name(changes: dict[str, Any], says: str) -> None:
    assert says in adopt(changed(**changes), status=1).replace("\n", " ")
    assert not Path("bundles").exists()


def test_golden_rows_and_a_contract_of_ones_own_take_the_place_of_the_draft() -> None:
    address = changed(saved_input_example_info=None, signature=None)
    Path("own.py").write_text(
        "import numpy as np\nimport seatrial as st\n\n\n"
        "class Rows(st.Row):\n    x: st.Tensor[np.float64, 3]\n\n\n"
        "class Answers(st.Answer):\n    answer: float\n"
    )
    rows = json.dumps([{"x": row} for row in MATRIX[:3].tolist()])
    bundle = adopted(address, "--contract", "own.py:Rows", "--golden", rows)
    assert len(bundle.golden.rows) == 3
    assert not Path("rows.py").exists()


def test_a_folder_without_a_model_is_refused() -> None:
    Path("empty").mkdir()
    assert "no file MLmodel" in adopt("mlflow:empty", status=1)
