"""Open Inference Protocol conformance, judged by clients that are not ours. See README.md."""

from __future__ import annotations

import asyncio
import json
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np
import pytest
import tritonclient.grpc as over_grpc
import tritonclient.grpc.aio as over_grpc_aio
import tritonclient.http as over_http
import tritonclient.http.aio as over_http_aio
from support.conformance import DTYPES, V2, WORDS, seal
from tritonclient.utils import InferenceServerException

pytestmark = pytest.mark.slow
MODEL = "conformance"
Tensors = dict[str, np.ndarray[Any, Any]]


class Target(NamedTuple):
    """The server under test, and whether it is ours."""

    url: str
    grpc: str
    ours: bool

    @property
    def address(self) -> str:
        return urlsplit(self.url).netloc


@pytest.fixture(scope="module")
def target(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    serve: Callable[..., Any],
) -> Target:
    url, grpc = request.config.getoption("--oip-url"), request.config.getoption("--oip-grpc-url")
    if url:
        return Target(url, grpc, False)
    folder = tmp_path_factory.mktemp("conformance")
    seal(folder)
    server = serve(folder)
    status, body = server.wait_until_loaded()
    assert status == 200, body
    return Target(server.url, server.grpc, True)


@pytest.fixture(params=["http", "grpc"])
def client(request: pytest.FixtureRequest, target: Target) -> Iterator[Any]:
    kind = over_http if request.param == "http" else over_grpc
    made = kind.InferenceServerClient(target.address if kind is over_http else target.grpc)
    yield made
    made.close()


def kit(client: Any) -> Any:
    """The module that a client's inputs come from."""
    return over_grpc if "grpc" in type(client).__module__ else over_http


def tensors(rows: int, side: int = 2, seed: int = 0) -> Tensors:
    """Values of every datatype, its ends among them."""
    some = np.random.default_rng(seed)
    made: Tensors = {"in_word": np.array([[WORDS[(i + seed) % 3]] for i in range(rows)], object)}
    for name in DTYPES:
        kind = np.dtype(name)
        if kind.kind == "b":
            made[f"in_{name}"] = some.integers(0, 2, (rows, side)).astype(bool)
        elif kind.kind == "f":
            made[f"in_{name}"] = some.normal(size=(rows, side)).astype(kind)
        else:
            ends = np.iinfo(kind)
            made[f"in_{name}"] = some.integers(
                ends.min, ends.max, (rows, side), dtype=kind, endpoint=True
            )
    return made


def inputs_of(client: Any, given: Tensors, binary: bool = True) -> list[Any]:
    made = []
    for name, array in given.items():
        datatype = "BYTES" if array.dtype == object else V2[name.removeprefix("in_")]
        tensor = kit(client).InferInput(name, list(array.shape), datatype)
        if kit(client) is over_http:
            tensor.set_data_from_numpy(array, binary_data=binary)
        else:
            tensor.set_data_from_numpy(array)
        made.append(tensor)
    return made


def check(result: Any, given: Tensors) -> None:
    for name in DTYPES:
        got = result.as_numpy(f"out_{name}")
        assert got.dtype == np.dtype(name)
        np.testing.assert_array_equal(got, given[f"in_{name}"])
    assert result.as_numpy("out_word").ravel().tolist() == [
        WORDS.index(word) for word in given["in_word"].ravel()
    ]


def post(
    target: Target, path: str, body: bytes, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    request = urllib.request.Request(
        target.url + path, body, {"Content-Type": "application/json", **headers}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return (
                reply.status,
                {key.lower(): value for key, value in reply.headers.items()},
                reply.read(),
            )
    except urllib.error.HTTPError as error:
        with error:
            return (
                error.code,
                {key.lower(): value for key, value in error.headers.items()},
                error.read(),
            )


def as_json(given: Tensors, **more: Any) -> dict[str, Any]:
    return {
        "inputs": [
            {
                "name": name,
                "shape": list(array.shape),
                "datatype": "BYTES" if array.dtype == object else V2[name.removeprefix("in_")],
                "data": array.ravel().tolist(),
            }
            for name, array in given.items()
        ],
        **more,
    }


def test_the_server_is_live_and_the_model_ready(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(MODEL)
    assert not client.is_model_ready("nothing")


def test_metadata_and_configuration_name_every_tensor(client: Any) -> None:
    options = {"as_json": True} if kit(client) is over_grpc else {}
    assert client.get_server_metadata(**options)["name"]
    about = client.get_model_metadata(MODEL, **options)
    assert {each["name"]: each["datatype"] for each in about["inputs"]} == {"in_word": "BYTES"} | {
        f"in_{name}": V2[name] for name in DTYPES
    }
    assert {each["name"]: [int(side) for side in each["shape"]] for each in about["outputs"]}[
        "out_float32"
    ] == [-1, -1]
    config = client.get_model_config(MODEL, **options)
    config = config.get("config", config)
    assert config["max_batch_size"] == 1024
    assert {each["name"]: each["data_type"] for each in config["input"]}["in_word"] == "TYPE_STRING"


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("binary", [True, False])
def test_every_datatype_comes_back_as_it_went(client: Any, rows: int, binary: bool) -> None:
    given = tensors(rows)
    wanted = None
    if kit(client) is over_http and not binary:
        wanted = [
            over_http.InferRequestedOutput(f"out_{name}", binary_data=False)
            for name in ("word", *DTYPES)
        ]
    check(client.infer(MODEL, inputs_of(client, given, binary), outputs=wanted), given)


def test_the_aio_clients_get_the_same(target: Target) -> None:
    async def ask() -> None:
        for kind, kit_, url in (
            (over_http_aio, over_http, target.address),
            (over_grpc_aio, over_grpc, target.grpc),
        ):
            given = tensors(2)
            asker = kind.InferenceServerClient(url)
            fake = type("Kit", (), {"__module__": kit_.__name__})()
            check(await asker.infer(MODEL, inputs_of(fake, given)), given)
            await asker.close()

    asyncio.run(ask())


def test_id_version_and_wanted_outputs(client: Any) -> None:
    given = tensors(2)
    wanted = [
        kit(client).InferRequestedOutput("out_int8"),
        kit(client).InferRequestedOutput("out_word"),
    ]
    result = client.infer(MODEL, inputs_of(client, given), request_id="seven", outputs=wanted)
    said = result.get_response() if kit(client) is over_http else result.get_response(as_json=True)
    assert said["id"] == "seven"
    assert said["model_name"] == MODEL
    assert sorted(each["name"] for each in said["outputs"]) == ["out_int8", "out_word"]
    with pytest.raises(InferenceServerException):
        client.infer(MODEL, inputs_of(client, given), model_version="77")


def test_keys_that_the_protocol_does_not_have_are_ignored(target: Target) -> None:
    body = as_json(tensors(1), model_name=MODEL, unknown={"deep": [1]})
    body["inputs"][1]["unknown"] = 7
    status, _, answer = post(target, f"/v2/models/{MODEL}/infer", json.dumps(body).encode())
    assert status == 200, answer
    if target.ours:
        body["inputs"][1]["datatype"] = "INT9"
        _, _, answer = post(target, f"/v2/models/{MODEL}/infer", json.dumps(body).encode())
        assert json.loads(answer)["error"].endswith(
            "; 2 unknown keys were ignored: 'model_name', 'unknown'"
        )


def test_a_bad_row_is_nan_in_a_partial_answer_and_says_why(client: Any, target: Target) -> None:
    if not target.ours:
        pytest.skip("X-Partial is ours")
    given = tensors(3)
    given["in_word"][1, 0] = "zebra"
    ask = partial(client.infer, MODEL, inputs_of(client, given), headers={"x-partial": "1"})
    result = ask(outputs=[kit(client).InferRequestedOutput("out_float32")])
    want = given["in_float32"].copy()
    want[1] = np.nan
    np.testing.assert_array_equal(result.as_numpy("out_float32"), want)
    said = result.get_response()
    told = (
        said["parameters"]["errors"]
        if kit(client) is over_http
        else said.parameters["errors"].string_param
    )
    (error,) = json.loads(told)
    assert (error["row"], error["code"]) == (1, "E_CATEGORY")
    with pytest.raises(InferenceServerException, match="has no NaN for a row without an answer"):
        ask()


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compression_both_ways(client: Any, algorithm: str) -> None:
    given = tensors(200, side=8)
    options = (
        {"request_compression_algorithm": algorithm, "response_compression_algorithm": algorithm}
        if kit(client) is over_http
        else {"compression_algorithm": algorithm}
    )
    check(client.infer(MODEL, inputs_of(client, given), **options), given)


def test_json_nested_and_flat_mean_the_same(target: Target) -> None:
    given = tensors(2)
    flat = as_json(given)
    nested = {
        "inputs": [
            each | {"data": given[each["name"]].tolist()}
            for each in flat["inputs"]
            if each["datatype"] != "BYTES"
        ]
        + [each for each in flat["inputs"] if each["datatype"] == "BYTES"]
    }
    answers = []
    for body in (flat, nested):
        status, _, answer = post(target, f"/v2/models/{MODEL}/infer", json.dumps(body).encode())
        assert status == 200, answer
        answers.append({each["name"]: each["data"] for each in json.loads(answer)["outputs"]})
    assert answers[0] == answers[1]


def changed(name: str, **change: Any) -> Callable[[dict[str, Any]], None]:
    def apply(body: dict[str, Any]) -> None:
        next(each for each in body["inputs"] if each["name"] == name).update(change)

    return apply


BAD: dict[str, Callable[[dict[str, Any]], Any]] = {
    "another datatype": changed("in_int8", datatype="INT16"),
    "an unknown datatype": changed("in_int8", datatype="INT9"),
    "too few elements": changed("in_int8", data=[1]),
    "too many elements": changed("in_int8", data=[1, 2, 3]),
    "no shape": changed("in_int8", shape=None),
    "a text for a shape": changed("in_int8", shape="2"),
    "a negative side": changed("in_int8", shape=[-1, 2]),
    "other rows than the rest": changed("in_int8", shape=[2, 1]),
    "another rank": changed("in_int8", shape=[1, 1, 2]),
    "words for numbers": changed("in_int8", data=["x", "y"]),
    "an unknown input": lambda body: body["inputs"].append(body["inputs"][1] | {"name": "in_none"}),
    "an input left out": lambda body: body["inputs"].pop(),
    "an unknown output": lambda body: body.update(outputs=[{"name": "out_none"}]),
    "no inputs": lambda body: body.update(inputs=[]),
    "inputs that are no list": lambda body: body.update(inputs={}),
    "an unknown word": changed("in_word", data=["zebra"]),
}


MALFORMED = {
    "too few elements",
    "too many elements",
    "no shape",
    "a text for a shape",
    "a negative side",
    "words for numbers",
    "inputs that are no list",
}


def server_name(target: Target) -> str:
    with urllib.request.urlopen(f"{target.url}/v2", timeout=30) as reply:
        return str(json.loads(reply.read())["name"])


@pytest.mark.parametrize("fault", BAD)
def test_what_breaks_the_protocol_is_a_400_with_a_text(target: Target, fault: str) -> None:
    body = as_json(tensors(1))
    BAD[fault](body)
    status, _, answer = post(target, f"/v2/models/{MODEL}/infer", json.dumps(body).encode())
    if status == 500 and fault in MALFORMED and server_name(target) == "triton":
        pytest.xfail("Triton says 500 to JSON of another form than it parses")
    assert status == 400, answer
    assert isinstance(json.loads(answer)["error"], str)


BAD_BINARY: dict[str, Callable[[bytes, int], tuple[bytes, str]]] = {
    "bytes behind the last tensor": lambda body, head: (body + b"??", str(head)),
    "a cut body": lambda body, head: (body[:-3], str(head)),
    "a header length that is no number": lambda body, head: (body, "x"),
    "a header length beyond the body": lambda body, head: (body, str(len(body) + 1)),
    "a negative header length": lambda body, head: (body, "-1"),
}


@pytest.mark.parametrize("fault", BAD_BINARY)
def test_binary_bodies_that_do_not_add_up_are_refused(target: Target, fault: str) -> None:
    fake = type("Kit", (), {"__module__": over_http.__name__})()
    good, head = over_http.InferenceServerClient.generate_request_body(inputs_of(fake, tensors(1)))
    body, value = BAD_BINARY[fault](good, head)
    status, _, answer = post(
        target, f"/v2/models/{MODEL}/infer", body, **{"Inference-Header-Content-Length": value}
    )
    assert status == 400, answer
    assert isinstance(json.loads(answer)["error"], str)


def test_unknown_models_versions_and_verbs(target: Target) -> None:
    body = json.dumps(as_json(tensors(1))).encode()
    for path in ("/v2/models/nothing/infer", f"/v2/models/{MODEL}/versions/77/infer"):
        status, _, answer = post(target, path, body)
        assert status in (400, 404), path
        assert isinstance(json.loads(answer)["error"], str)
    assert post(target, f"/v2/models/{MODEL}", b"")[0] == 405


def test_statistics_count(client: Any) -> None:
    def seen() -> tuple[int, int]:
        options = {"as_json": True} if kit(client) is over_grpc else {}
        each = client.get_inference_statistics(MODEL, **options)["model_stats"][0]
        return int(each["inference_count"]), int(each["inference_stats"]["success"]["count"])

    client.infer(MODEL, inputs_of(client, tensors(1)))
    before = seen()
    client.infer(MODEL, inputs_of(client, tensors(3)))
    assert seen() == (before[0] + 3, before[1] + 1)
    index = client.get_model_repository_index(
        **({"as_json": True} if kit(client) is over_grpc else {})
    )
    assert [each["name"] for each in (index["models"] if kit(client) is over_grpc else index)] == [
        MODEL
    ]


@pytest.mark.parametrize("kind", ["http", "grpc"])
def test_clients_at_once_with_shapes_outputs_and_faults_of_their_own_do_not_mix(
    target: Target, kind: str
) -> None:
    def ask(place: int) -> None:
        client: Any = (
            over_http.InferenceServerClient(target.address)
            if kind == "http"
            else over_grpc.InferenceServerClient(target.grpc)
        )
        for turn in range(12):
            given = tensors(1 + (place + turn) % 4, side=1 + place % 3, seed=100 * place + turn)
            if (place + turn) % 5 == 0:
                given["in_word"][0, 0] = "zebra"
                with pytest.raises(InferenceServerException):
                    client.infer(MODEL, inputs_of(client, given))
                continue
            name = f"out_{sorted(DTYPES)[(place + turn) % len(DTYPES)]}"
            if turn % 2:
                result = client.infer(
                    MODEL,
                    inputs_of(client, given),
                    outputs=[kit(client).InferRequestedOutput(name)],
                    request_id=f"{place}-{turn}",
                )
                np.testing.assert_array_equal(
                    result.as_numpy(name), given[name.replace("out_", "in_")]
                )
            else:
                check(
                    client.infer(MODEL, inputs_of(client, given), request_id=f"{place}-{turn}"),
                    given,
                )
        client.close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(8)))


def test_clients_that_leave_do_not_disturb_others(target: Target) -> None:
    host, port = target.address.rsplit(":", 1)
    body = json.dumps(as_json(tensors(1))).encode()
    head = (
        f"POST /v2/models/{MODEL}/infer HTTP/1.1\r\nHost: {host}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    for cut in (len(head) + len(body), len(head) + len(body) // 2, len(head) // 2) * 5:
        with socket.create_connection((host, int(port)), 10) as leaving:
            leaving.sendall((head + body)[:cut])
    client = over_http.InferenceServerClient(target.address)
    for seed in range(10):
        given = tensors(2, seed=seed)
        check(client.infer(MODEL, inputs_of(client, given)), given)
    client.close()


def test_rows_and_tensors_are_answered_alike(target: Target) -> None:
    if not target.ours:
        pytest.skip("rows (V1) are this server's own")
    given = tensors(3)
    rows = [
        {
            name: str(array[place, 0]) if array.dtype == object else array[place].tolist()
            for name, array in given.items()
        }
        for place in range(3)
    ]
    status, _, answer = post(
        target, f"/v1/models/{MODEL}:predict", json.dumps({"instances": rows}).encode()
    )
    assert status == 200, answer
    predictions = json.loads(answer)["predictions"]
    _, _, answer = post(target, f"/v2/models/{MODEL}/infer", json.dumps(as_json(given)).encode())
    for output in json.loads(answer)["outputs"]:
        by_row = [row[output["name"]] for row in predictions]
        assert output["data"] == (
            by_row if output["name"] == "out_word" else [value for row in by_row for value in row]
        )
