"""Entries of vocabularies, hash buckets, plain texts and defaults, over every protocol."""

from __future__ import annotations

import enum
import json
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, Literal

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as some
from onnx import TensorProto, helper
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.preprocessing import OrdinalEncoder
from support.made import bundle_of
from support.properties import drawing
from support.running import Running, run_app
from tritonclient.grpc import model_config_pb2 as pb

import seatrial as st
from seatrial_contracts.bundle import open_bundle
from seatrial_contracts.errors import BundleError
from seatrial_contracts.golden import Golden
from seatrial_contracts.host_stage import HostStage
from seatrial_export.gate.lookup import lookup_attributes
from seatrial_serve.triton.config import raw_config
from seatrial_serve.triton.exchange import read_columns

PRODUCTS = ["anchor", "b\u00fcchse", "keel", "\u5e06"]
IDS = [-1, 7, 12, 2**53 + 1]
TEXTS = ["a ship at sea", "a sea a sea", "", "keel"]


class Plan(enum.Enum):
    FREE = "free"
    TEAM = "team"


class Seen(st.Answer):
    codes: st.Tensor[np.int64, 6]
    counts: st.Tensor[np.float32, 4]


FIELDS = ["product", "id", "shop", "plan", "tier", "level"]


def contract_of(folder: Path) -> st.Contract:
    files = {}
    for name, entries in (("products", PRODUCTS), ("ids", IDS)):
        files[name] = folder / f"{name}.txt"
        files[name].write_text("".join(f"{entry}\n" for entry in entries), "utf-8")

    class Row(st.Row):
        product: Annotated[str, st.Category(file=str(files["products"]))]
        id: Annotated[int | None, st.Category(file=str(files["ids"]), unknown="bucket")]
        shop: Annotated[str, st.Category("a", unknown="hash", buckets=5)]
        plan: Plan = Plan.TEAM
        tier: Literal[1, 2, 3] = 3
        level: Annotated[int, st.Category(5, unknown="hash", buckets=3)]
        note: Annotated[str, st.Text(max_chars=40)] = "sea"

    return st.contract_from_rows(Row, Seen)


JUDGE = CountVectorizer(token_pattern=r"\S+", lowercase=False).fit(["a keel sea ship"])


def graph_of(contract: st.Contract) -> bytes:
    """The code of each category, and how often each of four words stands in the note."""
    node, value = helper.make_node, helper.make_tensor_value_info
    nodes, inputs = [], []
    for field in contract.inputs:
        (spec,) = field.tensors
        element = TensorProto.STRING if spec.dtype == "string" else TensorProto.INT64
        inputs.append(value(field.name, element, ["batch"]))
        if isinstance(field.kind, st.Category):
            table = lookup_attributes(field.kind)
            nodes += [
                node(
                    "LabelEncoder", [field.name], [f"_{field.name}"], domain="ai.onnx.ml", **table
                ),
                node("Unsqueeze", [f"_{field.name}", "_last"], [f"_{field.name}_"]),
            ]
    words = JUDGE.get_feature_names_out().tolist()
    nodes += [
        node("Concat", [f"_{name}_" for name in FIELDS], ["codes"], axis=1),
        node("StringSplit", ["note"], ["_words", "_"]),
        node(
            "TfIdfVectorizer", ["_words"], ["counts"], mode="TF", min_gram_length=1,
            max_gram_length=1, max_skip_count=0, ngram_counts=[0],
            ngram_indexes=list(range(len(words))), pool_strings=words,
        ),
    ]  # fmt: skip
    outputs = [
        value("codes", TensorProto.INT64, ["batch", 6]),
        value("counts", TensorProto.FLOAT, ["batch", 4]),
    ]
    made: Any = helper.make_model(
        helper.make_graph(
            nodes, "entries", inputs, outputs,
            initializer=[onnx.numpy_helper.from_array(np.array([1]), "_last")],
        ),
        opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid("ai.onnx.ml", 4)],
        ir_version=10,
    )  # fmt: skip
    onnx.checker.check_model(made)
    return bytes(made.SerializeToString())


ROW: dict[str, Any] = {
    "product": "keel", "id": 2**53 + 1, "shop": "a", "plan": "free", "tier": 1, "level": 5,
    "note": "a ship at sea",
}  # fmt: skip


def seal(folder: Path, contract: st.Contract) -> st.Bundle:
    want = {"codes": np.array([2, 3, 0, 0, 0, 0]), "counts": np.array([1, 0, 1, 1], np.float32)}
    files = {
        name: data
        for field in contract.inputs
        for name, data in field.kind.front_files(field.name).items()
    }
    golden = Golden((ROW,), (want,))
    return bundle_of(folder, contract, golden, ("onnx", graph_of(contract)), files, "made")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("entries")
    seal(path / "models", contract_of(path))
    return path / "models"


@pytest.fixture
async def served(folder: Path) -> AsyncIterator[Running]:
    async with run_app(folder) as running:
        yield running


async def predict(served: Running, *rows: dict[str, Any]) -> Any:
    reply = await served.client.post("/v1/models/made:predict", json={"instances": list(rows)})
    body = reply.json()
    return body["predictions"] if reply.status_code == 200 else (body["code"], body["error"])


def judged(contract: st.Contract, row: dict[str, Any]) -> dict[str, list[float]]:
    """What scikit-learn makes of a raw row; unknown entries where hashing or a bucket has them."""
    codes = []
    for field in contract.inputs[:6]:
        value = row.get(field.name, field.default)
        entries = list(field.kind.known)  # type: ignore[attr-defined]
        if value is None:
            codes.append(len(entries))
        elif value in entries:
            codes.append(int(OrdinalEncoder(categories=[entries]).fit_transform([[value]])[0, 0]))
        else:
            kind: Any = field.kind
            other = kind.bucket_of(value) if kind.unknown == "hash" else 0
            codes.append(len(entries) + kind.nullable + other)
    note = row.get("note", "sea")
    return {"codes": codes, "counts": JUDGE.transform([note]).toarray()[0].tolist()}


async def test_rows_over_v1_become_what_sklearn_makes_of_them(
    served: Running, folder: Path
) -> None:
    contract = open_bundle(folder / "made" / "1.0.0").contract
    rows: list[dict[str, Any]] = [
        ROW,
        {"product": "\u5e06", "id": None, "shop": "b", "level": 6},
        {"product": "b\u00fcchse", "id": 8, "shop": "\u6d77", "level": -(2**62), "tier": 2},
        {"product": "anchor", "shop": "a", "level": 5, "note": "sea sea keel  sea"},
    ]
    assert await predict(served, *rows) == [judged(contract, row) for row in rows]


async def test_what_is_no_entry_is_refused_over_v1_and_v2(served: Running) -> None:
    for change, code in (
        ({"product": "kee"}, "E_CATEGORY"), ({"tier": 4}, "E_CATEGORY"), ({"tier": "1"}, "E_TYPE"),
        ({"plan": "pro"}, "E_CATEGORY"), ({"id": 1.5}, "E_TYPE"), ({"id": 2**63}, "E_RANGE"),
        ({"shop": ""}, "E_TEXT_LIMIT"), ({"note": "x" * 41}, "E_TEXT_LIMIT"),
        ({"plan": None}, "E_MISSING"),
    ):  # fmt: skip
        said = await predict(served, ROW, ROW | change)
        assert said[0] == code, said
        assert f"input '{next(iter(change))}', row 1" in said[1]
    for name, datatype, value, code in (
        ("product", "BYTES", "kee", "E_CATEGORY"), ("tier", "INT64", 4, "E_CATEGORY"),
        ("tier", "INT32", 1, "E_DTYPE"), ("note", "BYTES", "x" * 41, "E_TEXT_LIMIT"),
    ):  # fmt: skip
        inputs = [each for each in v2_of([ROW]) if each["name"] != name]
        inputs.append({"name": name, "datatype": datatype, "shape": [1], "data": [value]})
        reply = await served.client.post("/v2/models/made/infer", json={"inputs": inputs})
        assert reply.json()["code"] == code, reply.text


def v2_of(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The tensors of rows; a missing number is the least of int64."""
    datatypes = {"id": "INT64", "tier": "INT64", "level": "INT64"}
    return [
        {
            "name": name, "datatype": datatypes.get(name, "BYTES"), "shape": [len(rows)],
            "data": [-(2**63) if row[name] is None else row[name] for row in rows],
        }
        for name in rows[0]
    ]  # fmt: skip


@pytest.fixture(scope="module")
def contract(folder: Path) -> st.Contract:
    return open_bundle(folder / "made" / "1.0.0").contract


async def test_tensors_over_v2_are_answered_as_rows_are(
    served: Running, contract: st.Contract
) -> None:
    rows = [ROW, ROW | {"id": None, "shop": "z", "level": 8, "note": ""}, ROW | {"id": 3}]
    reply = await served.client.post("/v2/models/made/infer", json={"inputs": v2_of(rows)})
    codes = {each["name"]: each["data"] for each in reply.json()["outputs"]}
    want = [judged(contract, row) for row in rows]
    assert codes["codes"] == [code for row in want for code in row["codes"]]
    assert codes["counts"] == [count for row in want for count in row["counts"]]


async def test_an_input_that_is_left_out_over_v2_has_its_default(
    served: Running, contract: st.Contract
) -> None:
    row = {name: ROW[name] for name in ("product", "shop", "level")}
    reply = await served.client.post("/v2/models/made/infer", json={"inputs": v2_of([row])})
    assert reply.status_code == 200, reply.text
    assert reply.json()["outputs"][0]["data"] == judged(contract, row)["codes"]
    described = (await served.client.get("/v2/models/made")).json()["inputs"]
    assert {"name": "tier", "datatype": "INT64", "shape": [-1, 1]} in described


async def test_the_schema_names_a_few_entries_of_a_vocabulary(served: Running) -> None:
    document = (await served.client.get("/openapi.json")).json()
    row = document["components"]["schemas"]["made-1.0.0-row"]
    assert row["required"] == ["product", "shop", "level"]
    properties = row["properties"]
    assert properties["tier"]["enum"] == [1, 2, 3]
    assert properties["tier"]["default"] == 3
    assert properties["plan"]["default"] == "team"
    assert properties["id"]["anyOf"][0]["examples"] == IDS
    assert properties["note"]["maxLength"] == 40


@given(data=some.data())
@drawing(25)
def test_rows_that_the_contract_draws_mean_the_same_by_row_and_by_column(
    contract: st.Contract, data: some.DataObject
) -> None:
    strategies = {
        field.name: some.none() | field.kind.strategy()
        if field.kind.nullable
        else field.kind.strategy()
        for field in contract.inputs
    }
    rows = data.draw(some.lists(some.fixed_dictionaries(strategies), min_size=1, max_size=3))
    by_row = [contract.validate_row(json.loads(json.dumps(row))) for row in rows]
    tensors = v2_of(rows)
    columns = contract.validate_columns(
        {
            each["name"]: np.array(each["data"]) if each["datatype"] == "INT64" else each["data"]
            for each in tensors
        },
        len(rows),
    )
    for name, column in columns.items():
        missing = -(2**63) if name == "id" else None
        assert list(column) == [missing if row[name] is None else row[name] for row in by_row]


class FakeRequest:
    """A request as Triton's Python backend hands it on."""

    def __init__(self, **tensors: Any) -> None:
        self._tensors = tensors

    def inputs(self) -> list[Any]:
        return [
            SimpleNamespace(name=lambda name=name: name, as_numpy=lambda array=array: array)
            for name, array in self._tensors.items()
        ]


def test_the_front_for_triton_takes_entries_and_leaves_defaults_out(
    folder: Path, contract: st.Contract
) -> None:
    config = raw_config("made", {1: open_bundle(folder / "made" / "1.0.0")})
    taken = {each.name: (each.data_type, each.optional) for each in config.input}
    assert taken == {
        "product": (pb.TYPE_STRING, False), "id": (pb.TYPE_INT64, True),
        "shop": (pb.TYPE_STRING, False), "plan": (pb.TYPE_STRING, True),
        "tier": (pb.TYPE_INT64, True), "level": (pb.TYPE_INT64, False),
        "note": (pb.TYPE_STRING, True),
    }  # fmt: skip
    row = {"product": "keel", "shop": "z", "level": 4}
    request = FakeRequest(
        product=np.array([[b"keel"]], object), shop=np.array([[b"z"]], object),
        level=np.array([[4]]),
    )  # fmt: skip
    front = HostStage(contract, {})
    columns = read_columns(request, contract)
    by_triton = [column.tolist() for column in front.encode_columns(columns).columns]
    by_row = front.encode_row(contract.validate_row(row))
    assert by_triton == [[value] for value in by_row]


def test_a_bundle_with_another_vocabulary_is_refused(tmp_path: Path) -> None:
    contract = contract_of(tmp_path)
    bundle = seal(tmp_path / "models", contract)
    path = bundle.path / "front" / "product.vocabulary.txt"
    assert path.read_text("utf-8").splitlines() == PRODUCTS
    path.unlink()
    with pytest.raises(BundleError) as refused:
        open_bundle(bundle.path)
    assert refused.value.code == "E_BUNDLE_MISSING"
