"""`/invocations` by the documented requests of MLflow and SageMaker, and the paths of clouds."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from support.running import Running, run_app
from support.toys import ROWS, toy_bundle

from seatrial_contracts.errors import DeclarationError
from seatrial_serve.api.invocations import reader_of, types_of
from seatrial_serve.models.scan import folder_homes
from seatrial_serve.runtimes.fake import FakeRuntime
from seatrial_serve.settings import load_settings

RECORDS = [{"x": 3.5, "word": "a"}, {"x": -1.0, "word": "b"}]
ANSWERS = [{"twice": 7.0, "pair": [3.5, 1.0]}, {"twice": -2.0, "pair": [-1.0, 0.0]}]
SPLIT = {"columns": ["word", "x"], "data": [["a", 3.5], ["b", -1.0]]}
BY_ROW = {"predictions": ANSWERS, "model_version": "1.0.0"}


@pytest.mark.parametrize(
    ("media", "body"),
    [
        ("application/json", json.dumps({"dataframe_split": SPLIT})),
        ("application/json", json.dumps({"dataframe_split": {**SPLIT, "index": [7, 8]}})),
        ("application/json; charset=utf-8", json.dumps({"dataframe_records": RECORDS})),
        ("application/json", json.dumps({"instances": RECORDS, "params": {}})),
        ("application/json", json.dumps({"inputs": RECORDS})),
        ("application/json", json.dumps({"inputs": {"x": [3.5, -1.0], "word": ["a", "b"]}})),
        ("text/csv", "x,word\n3.5,a\n-1.0,b\n"),
        ("text/csv; header=absent", "3.5,a\n-1.0,b\n"),
        ('text/csv;charset=utf-8; header="absent"', "3.5,a\r\n-1.0,b"),
        ("text/csv; charset=utf-8", '\ufeffword,x\r\n"a",3.5\r\nb,-1\r\n'),
    ],
    ids=[
        "split",
        "split with index",
        "records",
        "instances",
        "inputs",
        "columns",
        "csv",
        "csv without names",
        "csv without names in quotes",
        "csv of Excel",
    ],
)
async def test_rows_in_each_of_mlflows_forms(running: Running, media: str, body: str) -> None:
    reply = await running.client.post(
        "/invocations", content=body.encode(), headers={"content-type": media}
    )
    assert (reply.status_code, reply.json()) == (200, BY_ROW)


async def test_a_partial_answer_says_which_row_has_none(running: Running) -> None:
    reply = await running.client.post(
        "/invocations",
        content=b"x,word\n3.5,a\n3.5,zz\n",
        headers={"content-type": "text/csv", "x-partial": "1"},
    )
    told = reply.json()
    assert told["predictions"] == [ANSWERS[0], None]
    assert [each["row"] for each in told["errors"]] == [1]


def split(columns: list[str], data: list[Any]) -> str:
    """A data frame in a body."""
    return json.dumps({"dataframe_split": {"columns": columns, "data": data}})


@pytest.mark.parametrize(
    ("media", "body", "code", "says"),
    [
        ("application/json", "", "E_EMPTY", "dataframe_split"),
        ("application/json", "{", "E_JSON", "one of dataframe_split"),
        ("application/json", "[1]", "E_SCHEMA", "no object"),
        ("application/json", "{}", "E_SCHEMA", "0 of them"),
        ("application/json", '{"instances": [], "inputs": []}', "E_SCHEMA", "2 of them"),
        ("application/json", '{"instances": [], "other": 1}', "E_SCHEMA", "an unknown field"),
        ("application/json", '{"dataframe_split": []}', "E_SCHEMA", "'columns'"),
        ("application/json", split(["x"], [1]), "E_SCHEMA", "'data'"),
        ("application/json", split(["x"], [[1, 2]]), "E_SHAPE", "row 0"),
        ("application/json", split(["x", "x"], []), "E_SCHEMA", "two columns"),
        ("application/json", split(["x", "word"], [[412.0, "a"]]), "E_RANGE", "row 0"),
        ("text/csv", "", "E_EMPTY_BATCH", "a list of 0"),
        ("text/csv", "x,word\n3.5\n", "E_SHAPE", "1 cells in row 0"),
        ("text/csv", "3.5,a\n", "E_SCHEMA", "header=absent"),
        ("text/csv", "3.5,a\n-1.0,b\n", "E_SCHEMA", "names no input"),
        ("text/csv; header=absent", "3.5\n", "E_SHAPE", "1 cells in row 0"),
        ("text/csv; header=absent", "x,word\n3.5,a\n", "E_TYPE", "input 'x', row 0"),
        ("text/csv", "x,x\n3.5,1\n", "E_SCHEMA", "two columns"),
        ("text/csv", 'x,word\n"3.5,a\n', "E_SCHEMA", "no CSV"),
        ("text/csv", "x,word\nthree,a\n", "E_TYPE", "input 'x', row 0"),
        ("text/csv", "x,word,more\n3.5,a,1\n", "E_UNKNOWN_FIELD", "row 0"),
        ("text/csv; charset=latin-1", "x,word\n3.5,a\n", "E_CONTENT_TYPE", "charset"),
        ("application/x-recordio-protobuf", "x", "E_CONTENT_TYPE", "another type"),
    ],
)  # fmt: skip
async def test_what_is_refused(
    running: Running, media: str, body: str, code: str, says: str
) -> None:
    reply = await running.client.post(
        "/invocations", content=body.encode(), headers={"content-type": media}
    )
    told = reply.json()
    assert (reply.status_code // 100, told["code"]) == (4, code)
    assert says in told["error"]


async def test_csv_that_is_no_text_is_refused(running: Running) -> None:
    reply = await running.client.post(
        "/invocations", content=b"x,word\n\xff,a\n", headers={"content-type": "text/csv"}
    )
    assert (reply.status_code, reply.json()["code"]) == (400, "E_SCHEMA")


@pytest.mark.parametrize("path", ["/ping", "/health"])
async def test_probes_say_whether_models_take_traffic(running: Running, path: str) -> None:
    assert (await running.client.get(path)).status_code == 200
    running.drain.draining = True
    assert (await running.client.get(path)).status_code == 503


async def test_the_servers_version_is_told_where_mlflow_tells_its_own(running: Running) -> None:
    reply = await running.client.get("/version")
    assert (reply.status_code, reply.text) == (200, version("seatrial"))
    assert reply.headers["content-type"].startswith("text/plain")


async def test_the_documented_body_takes_what_the_route_takes(running: Running) -> None:
    document = (await running.client.get("/openapi.json")).json()
    content = document["paths"]["/invocations"]["post"]["requestBody"]["content"]
    schema = {**content["application/json"]["schema"], "components": document["components"]}
    for body in ({"dataframe_split": SPLIT}, {"dataframe_records": RECORDS}, {"inputs": {"x": []}}):
        jsonschema.validate(body, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"rows": RECORDS}, schema)


@pytest.mark.parametrize(
    ("schema", "cell", "value"),
    [
        ({"type": "number"}, "1e3", 1000.0),
        ({"type": "integer"}, "7", 7),
        ({"type": "boolean"}, "True", True),
        ({"type": ["number", "null"]}, "", None),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "", None),
        ({"type": "string"}, "", ""),
        ({"type": "string"}, "007", "007"),
        ({"enum": ["a", None]}, "", None),
        ({"enum": [1, 2]}, "2", 2),
        ({"type": "array"}, "[1, 2]", [1, 2]),
        ({"type": "number"}, "NaN", "NaN"),
    ],
)
def test_a_cell_is_read_as_its_field_stands_in_json(schema: Any, cell: str, value: Any) -> None:
    assert reader_of(types_of(schema))(cell) == value


async def test_a_model_under_another_name(tmp_path: Path, runtime: FakeRuntime) -> None:
    toy_bundle(tmp_path)
    async with run_app(tmp_path, model_name="churn-blue") as running:
        reply = await running.ask([RECORDS[0]], model="churn-blue")
        assert reply.json()["predictions"] == ANSWERS[:1]
        assert (await running.ask([RECORDS[0]])).status_code == 404
        listed = (await running.client.get("/v2/models")).json()
        assert listed == {"models": ["churn-blue"]}
        metadata = (await running.client.get("/v2/models/churn-blue")).json()
        assert metadata["name"] == "churn-blue"
        running.metrics.flush()
        names = {
            sample.labels.get("model")
            for family in running.metrics.registry.collect()
            for sample in family.samples
        }
        assert names <= {"churn-blue", "", None}


async def test_a_bundle_that_is_mounted_anywhere(tmp_path: Path, runtime: FakeRuntime) -> None:
    sealed = toy_bundle(tmp_path / "sealed")
    mounted = tmp_path / "mnt" / "models"
    mounted.parent.mkdir()
    sealed.path.rename(mounted)
    async with run_app(mounted) as running:
        assert (await running.ask([RECORDS[0]])).json()["predictions"] == ANSWERS[:1]
    async with run_app(mounted, model_name="churn") as running:
        assert (await running.client.get("/v2/models")).json() == {"models": ["churn"]}


def test_a_mounted_folder_whose_manifest_says_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(DeclarationError, match=r"bundles folder .*manifest\.json"):
        folder_homes(tmp_path)


async def test_one_name_for_several_models_is_refused(tmp_path: Path, runtime: FakeRuntime) -> None:
    toy_bundle(tmp_path, name="one")
    toy_bundle(tmp_path, name="two")
    with pytest.raises(DeclarationError, match="2 models"):
        async with run_app(tmp_path, model_name="churn"):
            pass


async def test_vertex_asks_at_paths_of_its_own(tmp_path: Path, runtime: FakeRuntime) -> None:
    toy_bundle(tmp_path)
    route = "/v1/endpoints/123/deployedModels/456"
    paths = {"predict_path": f"{route}:predict", "health_path": f"{route}/health"}
    async with run_app(tmp_path, **paths) as running:
        reply = await running.client.post(f"{route}:predict", json={"instances": ROWS[:1]})
        assert reply.status_code == 200
        assert len(reply.json()["predictions"]) == 1
        assert (await running.client.get(f"{route}/health")).json()["ready"] is True


@pytest.mark.parametrize(
    ("container", "variables", "settings"),
    [
        ("sagemaker", {}, {"http_port": 8080, "bundles": ("/opt/ml/model",)}),
        ("sagemaker", {"SAGEMAKER_BIND_TO_PORT": "9000"}, {"http_port": 9000}),
        ("vertex", {"AIP_HTTP_PORT": "8085", "AIP_PREDICT_ROUTE": "/v1/e:predict",
                    "AIP_HEALTH_ROUTE": "/v1/e"},
         {"http_port": 8085, "predict_path": "/v1/e:predict", "health_path": "/v1/e"}),
        ("azureml", {"AZUREML_MODEL_DIR": "/var/azureml-app/model"},
         {"http_port": 5001, "predict_path": "/score", "bundles": ("/var/azureml-app/model",)}),
        ("cloudrun", {"PORT": "8123"}, {"http_port": 8123, "host": "0.0.0.0"}),
    ],
)  # fmt: skip
def test_a_clouds_variables_become_settings(
    monkeypatch: pytest.MonkeyPatch, container: Any, variables: dict[str, str], settings: Any
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found = load_settings(container=container)
    assert {name: getattr(found, name) for name in settings} == settings
    monkeypatch.setenv("SEATRIAL_HTTP_PORT", "7001")
    assert load_settings(container=container).http_port == 7001
    assert load_settings(container=container, http_port=7002).http_port == 7002


def test_a_port_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "http")
    with pytest.raises(DeclarationError, match="setting 'http_port'"):
        load_settings(container="cloudrun")
