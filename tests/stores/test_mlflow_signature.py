"""What MLflow says of a contract, and how it serves a bundle; its own checks are the judge."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from support.input_kinds import KINDS
from support.real_mlflow import mlflow_database

import seatrial as st
from seatrial_contracts.bundle import Bundle, open_bundle

pytest.importorskip("mlflow", reason="MLflow's library is not here: make setup")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_database(tmp_path_factory.mktemp("mlflow")) as uri:
        yield uri


class Place(st.Row):
    zip: Annotated[str, st.Text()]
    floor: int | None


class Mixed(st.Row):
    size: Annotated[float, st.Number(ge=10, le=500, unit="m2")]
    rooms: int
    floor: int | None
    town: Literal["Graz", "Linz"]
    code: Literal[3, 5]
    sold: bool
    text: Annotated[str | None, st.Text()]
    curve: st.Tensor[np.float32, 2, None]
    place: Place


class Tensors(st.Row):
    x: st.Tensor[np.float32, 3, None]
    n: st.Tensor[np.int64, 2]


class Worth(st.Answer):
    price: float
    label: Annotated[str, st.Label("low", "high")]
    curve: st.Tensor[np.float32, 3]


def test_columns_have_types_and_say_what_may_be_missing() -> None:
    from seatrial_serve.mlflow.signature import signature_of, wanted

    contract = st.contract_from_rows(Mixed, Worth)
    signature = signature_of(contract)
    assert {each["name"]: each for each in signature.inputs.to_dict()} == {
        "size": {"type": "double", "name": "size", "required": True},
        "rooms": {"type": "long", "name": "rooms", "required": True},
        "floor": {"type": "double", "name": "floor", "required": False},
        "town": {"type": "string", "name": "town", "required": True},
        "code": {"type": "long", "name": "code", "required": True},
        "sold": {"type": "boolean", "name": "sold", "required": True},
        "text": {"type": "string", "name": "text", "required": False},
        "curve": {
            "type": "array", "name": "curve", "required": True,
            "items": {"type": "array", "items": {"type": "double"}},
        },
        "place": {
            "type": "object", "name": "place", "required": True,
            "properties": {
                "floor": {"type": "long", "required": False},
                "zip": {"type": "string", "required": True},
            },
        },
    }  # fmt: skip
    outputs = {each["name"]: each for each in signature.outputs.to_dict()}
    assert outputs["price"] == {"type": "double", "name": "price", "required": True}
    assert outputs["label"]["properties"]["label"] == {"type": "string", "required": True}
    assert outputs["curve"]["items"] == {"type": "double"}
    said = wanted(contract)
    assert said["size"] == "a number from 10 to 500 m2"
    assert said["town"] == "one of 'Graz', 'Linz'"
    assert said["floor"].endswith(", or null")


def test_tensors_alone_are_tensor_specs() -> None:
    from seatrial_serve.mlflow.signature import signature_of

    signature = signature_of(st.contract_from_rows(Tensors, Worth))
    assert signature.inputs.is_tensor_spec()
    assert [(each.name, each.type, each.shape) for each in signature.inputs.inputs] == [
        ("x", np.dtype("float32"), (-1, 3, -1)), ("n", np.dtype("int64"), (-1, 2)),
    ]  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_mlflow_takes_rows_of_every_kind_by_the_signature(name: str) -> None:
    """MLflow's own check of inputs, and the loader's rows are those of the contract again."""
    import pandas as pd
    from mlflow.models.utils import _enforce_schema

    from seatrial_contracts.golden import wire_row
    from seatrial_serve.mlflow.pyfunc import PlainRows
    from seatrial_serve.mlflow.signature import is_tensors, signature_of, tensor_of

    kind = KINDS[name]
    contract = kind.contract
    text = json.dumps([wire_row(row) for row in kind.golden(4)])
    rows = json.loads(text)
    signature = signature_of(contract)
    if is_tensors(contract):
        tensor = tensor_of(contract.inputs[0])
        alike = [row["x"] for row in rows if np.shape(row["x"]) == np.shape(rows[0]["x"])]
        rows = [{"x": value} for value in alike]
        given: Any = {"x": np.array(alike, tensor.dtype)}
    else:
        given = pd.DataFrame(json.loads(text), columns=["x"], dtype=object)
    enforced = _enforce_schema(given, signature.inputs)
    back = PlainRows(contract).rows(enforced)
    assert len(back) == len(rows)
    for got, want in zip(back, rows, strict=True):
        got, want = contract.validate_row(got), contract.validate_row(want)
        np.testing.assert_equal(dict(got), dict(want))


@pytest.fixture(scope="module")
def penguins(examples: Path) -> Bundle:
    return open_bundle(examples / "penguins" / "1.0.0")


@pytest.fixture(scope="module")
def logged(penguins: Bundle, database: str) -> str:
    from seatrial_serve.mlflow.push import push_to_mlflow
    from seatrial_serve.stores.address import InMlflow, read_address

    address = read_address("mlflow:models:/penguins@stable")
    assert isinstance(address, InMlflow)
    push_to_mlflow(penguins, address)
    return "models:/penguins@stable"


def test_golden_rows_pass_through_mlflows_own_model_and_scoring_server(
    penguins: Bundle, logged: str
) -> None:
    import mlflow
    import pandas as pd
    from mlflow.pyfunc import scoring_server
    from starlette.testclient import TestClient

    model = mlflow.pyfunc.load_model(logged)
    rows = [dict(row) for row in penguins.golden.rows]
    answers = model.predict(pd.DataFrame(rows, dtype=object))
    client = TestClient(scoring_server.init(model))
    reply = client.post("/invocations", json={"dataframe_records": rows})
    assert reply.status_code == 200, reply.text
    for found in (answers, reply.json()["predictions"]):
        assert len(found) == len(rows)
        for got, want in zip(found, penguins.golden.answers, strict=True):
            for name, array in penguins.contract.recover(got).items():
                np.testing.assert_allclose(array, want[name], rtol=1e-3, atol=1e-4)
    assert len(model.predict(model.input_example)) == 5
    refused = penguins.golden.refusals[0]
    bad = client.post("/invocations", json={"dataframe_records": [refused.row]})
    assert bad.status_code == 400


def test_metrics_params_and_tags_are_those_of_the_bundle(penguins: Bundle, logged: str) -> None:
    from mlflow import MlflowClient

    client = MlflowClient()
    version = client.get_model_version_by_alias("penguins", "stable")
    model = client.get_logged_model(version.source.removeprefix("models:/"))
    metrics = {metric.key: metric.value for metric in model.metrics}
    trials = [trial for receipt in penguins.receipts() for trial in receipt.trials]
    for trial in trials:
        place = f"{trial.variant}/{trial.runner}/{trial.row_set}"
        if trial.rows and trial.worst_error is not None:
            assert f"{place}/worst_error" in metrics
    assert metrics["fp32/onnxruntime/golden/passed"] == 1.0
    assert metrics["fp32/onnxruntime/golden/rows"] == len(penguins.golden.rows)
    promises = {each.name: str(each.promise) for each in penguins.manifest.variants if each.promise}
    assert {f"promise/{name}" for name in promises} <= model.params.keys()
    assert version.tags["seatrial.contract.digest"].startswith("sha256:")
