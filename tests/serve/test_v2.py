"""V2 over HTTP: what `reference` clients send is answered.

What breaks the protocol is refused with its own code.
"""

from __future__ import annotations

import gzip
import json
import zlib
from contextlib import suppress
from typing import Annotated, Any, Literal

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from support.running import Running

import seatrial as st
from seatrial_contracts.element_types import DTYPES, NOT_IN_JSON
from seatrial_contracts.errors import Refusal
from seatrial_contracts.kinds.floats import rounded
from seatrial_serve.runtimes.fake import FakeRuntime
from seatrial_serve.v2.elements import LITTLE, from_bytes, from_json, to_bytes
from seatrial_serve.v2.http_body import read_request

INFER = "/v2/models/toy/infer"
X = {"name": "x", "datatype": "FP32", "shape": [2, 1], "data": [1.5, -2]}
WORD = {"name": "word", "datatype": "BYTES", "shape": [2, 1], "data": ["a", "b"]}


async def infer(running: Running, body: Any, **headers: str) -> httpx.Response:
    return await running.client.post(INFER, content=json.dumps(body), headers=headers)


def words(*items: bytes) -> bytes:
    return b"".join(len(item).to_bytes(4, "little") + item for item in items)


def binary(
    inputs: list[dict[str, Any]], *blobs: bytes, **more: Any
) -> tuple[bytes, dict[str, str]]:
    head = json.dumps({"inputs": inputs, **more}).encode()
    return head + b"".join(blobs), {"inference-header-content-length": str(len(head))}


def sized(tensor: dict[str, Any], size: int) -> dict[str, Any]:
    return {key: value for key, value in tensor.items() if key != "data"} | {
        "parameters": {"binary_data_size": size}
    }


async def test_json_tensors_are_answered_in_json(running: Running) -> None:
    reply = await infer(running, {"id": "seven", "inputs": [X, WORD]})
    answer = reply.json()
    assert (reply.status_code, answer["id"], answer["model_name"], answer["model_version"]) == (
        200,
        "seven",
        "toy",
        "1.0.0",
    )
    assert answer["parameters"]["digest"]
    assert answer["outputs"] == [
        {"name": "twice", "datatype": "FP32", "shape": [2, 1], "data": [3.0, -4.0]},
        {"name": "pair", "datatype": "FP32", "shape": [2, 2], "data": [1.5, 1.0, -2.0, 0.0]},
    ]


@pytest.mark.parametrize("shape", [[2], [2, 1]])
@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.asyncio(loop_scope="module")
async def test_shapes_with_and_without_a_last_one_and_nested_or_flat_data_mean_the_same(
    shared: Running, shape: list[int], nested: bool
) -> None:
    data = [[1.5], [-2]] if nested and len(shape) == 2 else [1.5, -2]
    reply = await infer(shared, {"inputs": [X | {"shape": shape, "data": data}, WORD]})
    assert reply.json()["outputs"][0]["data"] == [3.0, -4.0]


async def test_binary_and_json_mix_in_and_out(running: Running) -> None:
    body, headers = binary(
        [sized(X, 8), WORD], np.array([1.5, -2], "<f4").tobytes(),
        outputs=[{"name": "pair", "parameters": {"binary_data": True}}, {"name": "twice"}],
    )  # fmt: skip
    reply = await running.client.post(INFER, content=body, headers=headers)
    head = int(reply.headers["inference-header-content-length"])
    answer = json.loads(reply.content[:head])
    assert [output["name"] for output in answer["outputs"]] == ["pair", "twice"]
    assert answer["outputs"][0]["parameters"] == {"binary_data_size": 16}
    assert np.frombuffer(reply.content[head:], "<f4").tolist() == [1.5, 1, -2, 0]
    assert answer["outputs"][1]["data"] == [3.0, -4.0]


async def test_v1_and_v2_answer_alike(running: Running) -> None:
    v1 = (await running.ask([{"x": 1.5, "word": "a"}, {"x": -2, "word": "b"}])).json()[
        "predictions"
    ]
    v2 = {
        output["name"]: output["data"]
        for output in (await infer(running, {"inputs": [X, WORD]})).json()["outputs"]
    }
    assert [row["twice"] for row in v1] == v2["twice"]
    assert [value for row in v1 for value in row["pair"]] == v2["pair"]


@pytest.mark.parametrize(
    ("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)]
)
async def test_compressed_requests_and_answers(running: Running, encoding: str, pack: Any) -> None:
    rows = 1000
    body, headers = binary(
        [sized(X | {"shape": [rows, 1]}, 4 * rows), sized(WORD | {"shape": [rows, 1]}, 5 * rows)],
        bytes(4 * rows),
        words(*[b"a"] * rows),
    )
    reply = await running.client.post(
        INFER,
        content=pack(body),
        headers=headers | {"content-encoding": encoding, "accept-encoding": encoding},
    )
    assert (reply.status_code, reply.headers["content-encoding"]) == (200, encoding)
    assert len(reply.json()["outputs"][0]["data"]) == rows


async def test_columns_of_many_rows_run_in_batches(running: Running, runtime: FakeRuntime) -> None:
    runtime.batches.clear()
    values = np.linspace(-100, 100, 1000, dtype=np.float32)
    body, headers = binary(
        [sized(X | {"shape": [1000, 1]}, 4000), sized(WORD | {"shape": [1000, 1]}, 5000)],
        values.tobytes(),
        words(*[b"a"] * 1000),
        parameters={"binary_data_output": True},
    )
    reply = await running.client.post(INFER, content=body, headers=headers)
    head = int(reply.headers["inference-header-content-length"])
    assert np.array_equal(np.frombuffer(reply.content[head : head + 4000], "<f4"), values * 2)
    assert sum(runtime.batches) == 1000


BAD_TENSORS: list[tuple[dict[str, Any], str]] = [
    ({"datatype": "FP33"}, "E_DTYPE"),
    ({"datatype": "BF16"}, "E_DTYPE"),
    ({"datatype": "FP16"}, "E_DTYPE"),
    ({"datatype": 7}, "E_DTYPE"),
    ({"datatype": "INT64", "data": [1, 2]}, "E_DTYPE"),
    ({"shape": [2, 2]}, "E_SHAPE"),
    ({"shape": [3, 1]}, "E_SHAPE"),
    ({"shape": [-2, 1]}, "E_SHAPE"),
    ({"shape": [2.0, 1]}, "E_SHAPE"),
    ({"shape": [True, 1]}, "E_SHAPE"),
    ({"shape": ["2"]}, "E_SHAPE"),
    ({"shape": [2**4, 2**60 + 2]}, "E_SHAPE"),
    ({"shape": [2**63, 1]}, "E_SHAPE"),
    ({"shape": []}, "E_SHAPE"),
    ({"shape": [1] * 65}, "E_LIMIT"),
    ({"shape": None}, "E_SHAPE"),
    ({"shape": [0, 1], "data": []}, "E_SHAPE"),
    ({"shape": [1, 1], "data": [1]}, "E_SHAPE"),
    ({"data": [[1], [2, 3]]}, "E_SHAPE"),
    ({"data": [[1, 2]]}, "E_SHAPE"),
    ({"data": [1, True]}, "E_TYPE"),
    ({"data": [1, "2"]}, "E_TYPE"),
    ({"data": 3}, "E_TYPE"),
    ({"data": [1, 1e39]}, "E_RANGE"),
    ({"data": [1, 101]}, "E_RANGE"),
    ({"data": [1, None]}, "E_NONFINITE"),
    ({"parameters": {"binary_data_size": 8}}, "E_SCHEMA"),
    ({"parameters": {"shared_memory_region": "r"}}, "E_UNSUPPORTED"),
    ({"parameters": [1]}, "E_SCHEMA"),
    ({"name": "y"}, "E_UNKNOWN_FIELD"),
    ({"name": 3}, "E_SCHEMA"),
    ({"name": "word"}, "E_DTYPE"),
]


@pytest.mark.parametrize(("change", "code"), BAD_TENSORS)
@pytest.mark.asyncio(loop_scope="module")
async def test_a_bad_tensor_is_refused(shared: Running, change: dict[str, Any], code: str) -> None:
    reply = await infer(shared, {"inputs": [X | change, WORD]})
    assert (reply.status_code, reply.json()["code"]) == (400, code), reply.text


BAD_REQUESTS: list[tuple[Any, str]] = [
    (
        {"inputs": [X | {"shape": [0, 1], "data": []}, WORD | {"shape": [0], "data": []}]},
        "E_EMPTY_BATCH",
    ),
    (
        {
            "inputs": [
                X | {"shape": [1025], "data": [1] * 1025},
                WORD | {"shape": [1025], "data": ["a"] * 1025},
            ]
        },
        "E_BATCH",
    ),
    ([], "E_SCHEMA"),
    ({}, "E_SCHEMA"),
    ({"inputs": []}, "E_SCHEMA"),
    ({"inputs": {}}, "E_SCHEMA"),
    ({"inputs": [X]}, "E_MISSING"),
    ({"inputs": [X, X, WORD]}, "E_UNKNOWN_FIELD"),
    ({"inputs": [X, WORD], "outputs": [{"name": "none"}]}, "E_OUTPUT"),
    ({"inputs": [X, WORD], "outputs": [{"name": "twice"}] * 2}, "E_OUTPUT"),
    ({"inputs": [X, WORD], "outputs": 3}, "E_SCHEMA"),
    (
        {"inputs": [X, WORD], "outputs": [{"name": "twice", "parameters": {"classification": 3}}]},
        "E_UNSUPPORTED",
    ),
    (
        {"inputs": [X, WORD], "outputs": [{"name": "twice", "parameters": {"binary_data": 1}}]},
        "E_PARAMETER",
    ),
    ({"inputs": [X, WORD], "id": 7}, "E_SCHEMA"),
    ({"inputs": [X, WORD], "id": "x" * 129}, "E_LIMIT"),
    ({"inputs": [X] * 65}, "E_LIMIT"),
    ({"inputs": [X, WORD], "parameters": {"timeout": -1}}, "E_PARAMETER"),
    ({"inputs": [X, WORD], "parameters": {"priority": "high"}}, "E_PARAMETER"),
    ({"inputs": [X, WORD], "parameters": {"sequence_id": 4}}, "E_UNSUPPORTED"),
    ({"inputs": [X, WORD | {"data": ["a", "zebra"]}]}, "E_CATEGORY"),
    ({"inputs": [X, WORD | {"data": ["a", None]}]}, "E_MISSING"),
    ({"inputs": [X, WORD | {"data": ["a", 3]}]}, "E_TYPE"),
]


@pytest.mark.parametrize(("body", "code"), BAD_REQUESTS)
@pytest.mark.asyncio(loop_scope="module")
async def test_a_bad_request_is_refused(shared: Running, body: Any, code: str) -> None:
    reply = await infer(shared, body)
    assert (reply.status_code, reply.json()["code"]) == (400, code), reply.text


@pytest.mark.parametrize("value", ["-1", "+5", "99999999999", "x", "", "100000"])
@pytest.mark.asyncio(loop_scope="module")
async def test_a_bad_header_length_is_refused(shared: Running, value: str) -> None:
    reply = await shared.client.post(
        INFER, content=b"{}", headers={"inference-header-content-length": value}
    )
    assert (reply.status_code, reply.json()["code"]) == (400, "E_HEADER")


BAD_BLOBS = [
    ((8, 10), (bytes(8), words(b"a", b"b") + b"?"), "E_SHAPE"),
    ((7, 10), (bytes(7), words(b"a", b"b")), "E_SHAPE"),
    ((8, 10), (bytes(8), words(b"a", b"bc")[:10]), "E_SHAPE"),
    ((8, 10), (bytes(8), b"\xff\xff\xff\xff" + bytes(6)), "E_SHAPE"),
    ((8, 5), (bytes(8), words(b"a")), "E_SHAPE"),
    ((800, 10), (bytes(8), words(b"a", b"b")), "E_SHAPE"),
    ((8, 10), (b"\x00\x00\xc0\x7f" * 2, words(b"a", b"b")), "E_NONFINITE"),
    ((8, 10), (bytes(8), words(b"a", b"\xff")), "E_ENCODING"),
    ((-8, 10), (bytes(8), words(b"a", b"b")), "E_SHAPE"),
]


@pytest.mark.parametrize(("sizes", "blobs", "code"), BAD_BLOBS)
@pytest.mark.asyncio(loop_scope="module")
async def test_bad_binary_data_is_refused(
    shared: Running, sizes: Any, blobs: Any, code: str
) -> None:
    body, headers = binary([sized(X, sizes[0]), sized(WORD, sizes[1])], *blobs)
    reply = await shared.client.post(INFER, content=body, headers=headers)
    assert (reply.status_code, reply.json()["code"]) == (400, code), reply.text


@pytest.mark.parametrize(
    ("content", "headers", "status", "code"),
    [
        (gzip.compress(b"{}", mtime=0)[:-4], {"content-encoding": "gzip"}, 400, "E_COMPRESSION"),
        (gzip.compress(b"{}", mtime=0) * 2, {"content-encoding": "gzip"}, 400, "E_COMPRESSION"),
        (gzip.compress(bytes(2**26), mtime=0), {"content-encoding": "gzip"}, 413, "E_BODY_BYTES"),
        (b"{}", {"content-encoding": "gzip, gzip"}, 415, "E_CONTENT_ENCODING"),
        (b"{}", {"content-type": "text/plain"}, 415, "E_CONTENT_TYPE"),
        (b"{", {}, 400, "E_JSON"), (b"", {}, 400, "E_EMPTY"),
        (b'{"inputs": [{"name": "x", "data": [NaN]}]}', {}, 400, "E_JSON"),
        (b"{}", {"x-request-timeout-ms": "0"}, 400, "E_PARAMETER"),
        (b"{}", {"x-request-timeout-ms": "nan"}, 400, "E_PARAMETER"),
    ],
)  # fmt: skip
@pytest.mark.asyncio(loop_scope="module")
async def test_bad_bodies_and_headers_are_refused(
    shared: Running, content: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    reply = await shared.client.post(INFER, content=content, headers=headers)
    assert (reply.status_code, reply.json()["code"]) == (status, code), reply.text


async def test_metadata_config_statistics_and_index_agree(running: Running) -> None:
    get = running.client.get
    assert (await get("/v2")).json()["name"] == (await get("/v2/")).json()["name"] == "seatrial"
    meta = (await get("/v2/models/toy")).json()
    assert meta["inputs"] == [
        {"name": "x", "datatype": "FP32", "shape": [-1, 1]},
        {"name": "word", "datatype": "BYTES", "shape": [-1, 1]},
    ]
    assert meta["outputs"][1] == {"name": "pair", "datatype": "FP32", "shape": [-1, 2]}
    assert meta == (await get("/v2/models/toy/versions/1.0.0")).json()
    config = (await get("/v2/models/toy/config")).json()
    assert (
        config["max_batch_size"],
        config["input"][0]["data_type"],
        config["input"][0]["dims"],
    ) == (
        1024,
        "TYPE_FP32",
        [1],
    )
    await infer(running, {"inputs": [X, WORD]})
    await infer(running, {"inputs": [X]})
    seen = (await get("/v2/models/toy/stats")).json()["model_stats"][0]
    assert (seen["inference_count"], seen["execution_count"]) == (2, 1)
    assert (
        seen["inference_stats"]["success"]["count"],
        seen["inference_stats"]["fail"]["count"],
    ) == (1, 1)
    assert seen["batch_stats"][0]["batch_size"] == 2
    assert (await get("/v2/models/stats")).json()["model_stats"] == [seen]
    for body in (b"", b"{}", b'{"ready": true}'):
        models = (await running.client.post("/v2/repository/index", content=body)).json()
        assert models == [{"name": "toy", "version": "1.0.0", "state": "READY", "reason": ""}]
    assert (await running.client.post("/v2/repository/index", content=b"[]")).status_code == 400


async def test_a_spent_timeout_never_runs(
    running: Running, runtime: FakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime.batches.clear()
    now = [0.0]
    monkeypatch.setattr("seatrial_serve.api.v2_infer.now_s", lambda: now[0] - 1e9)
    reply = await infer(running, {"inputs": [X, WORD], "parameters": {"timeout": 1}})
    assert (reply.status_code, reply.json()["code"], runtime.batches) == (504, "E_DEADLINE", [])


async def test_a_version_that_is_not_there_is_not_found(running: Running) -> None:
    for path in (
        "/v2/models/toy/versions/01/infer",
        "/v2/models/none/infer",
        "/v2/models/toy/versions/1.0.0/infer/x",
    ):
        assert (await running.client.post(path, content=b"{}")).status_code == 404


class Every(st.Row):
    f: Annotated[float | None, st.Number(ge=0, lt=10)]
    n: Annotated[int, st.Number(ge=0, le=9)]
    m: int | None
    flag: bool
    word: Annotated[str, st.Category("a", "b", unknown="bucket")]
    kind: Literal["u", "v"] | None
    t: st.Tensor[np.int16, 2, 1:4]


class Out(st.Answer):
    y: float


EVERY = st.contract_from_rows(Every, Out)


@given(
    some.lists(
        some.fixed_dictionaries({field.name: field.kind.strategy() for field in EVERY.inputs}),
        min_size=1,
        max_size=5,
    )
)
def test_columns_take_what_rows_take(rows: list[dict[str, Any]]) -> None:
    side = len(rows[0]["t"][0])
    rows = [row | {"t": [[0] * side] * 2} for row in rows]
    for row in rows:
        EVERY.validate_row(row)
    columns = {
        field.name: np.array([row[field.name] for row in rows], LITTLE[field.kind.datatype])
        if field.kind.datatype != "BYTES"
        else [row[field.name] for row in rows]
        for field in EVERY.inputs
    }
    assert EVERY.validate_columns(columns, len(rows)).keys() == columns.keys()


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("f", np.float32(-1), "E_RANGE"), ("f", np.float32(10), "E_RANGE"),
        ("f", np.float32(np.inf), "E_NONFINITE"), ("n", np.int64(10), "E_RANGE"),
        ("m", np.float32(1.5), "E_TYPE"),
        ("m", np.float32(2**25), "E_RANGE"), ("word", b"", "E_TEXT_LIMIT"),
        ("word", b"x" * 300, "E_TEXT_LIMIT"), ("kind", b"w", "E_CATEGORY"),
        ("t", np.zeros((2, 5), np.int16), "E_SHAPE"),
    ],
)  # fmt: skip
def test_columns_refuse_what_rows_refuse_and_name_the_row(name: str, value: Any, code: str) -> None:
    good = {
        "f": np.float32(1),
        "n": np.int64(1),
        "m": np.float32(np.nan),
        "flag": np.True_,
        "word": b"zebra",
        "kind": b"",
        "t": np.zeros((2, 3), np.int16),
    }
    rows = [good, good if name != "t" else good | {name: value}, good | {name: value}]
    rows = [row | {name: value} for row in rows] if name == "t" else rows
    columns = {
        key: [row[key] for row in rows]
        if isinstance(good[key], bytes)
        else np.array([row[key] for row in rows])
        for key in good
    }
    with pytest.raises(Refusal) as refused:
        EVERY.validate_columns(columns, 3)
    assert refused.value.code == code
    assert refused.value.where == (f"input '{name}'" if name == "t" else f"input '{name}', row 2")


def test_an_input_that_may_be_missing_may_be_left_out() -> None:
    checked = EVERY.validate_columns(
        {
            "n": np.zeros(2, np.int64),
            "flag": np.ones(2, bool),
            "word": ["a", "b"],
            "t": np.zeros((2, 2, 1), np.int16),
        },
        2,
    )
    assert np.isnan(checked["f"]).all()
    assert list(checked["kind"]) == ["", ""]


@given(
    some.data(),
    some.sampled_from(sorted(LITTLE)),
    some.lists(some.integers(0, 3), min_size=1, max_size=3),
)
def test_elements_survive_bytes_and_json(
    data: some.DataObject, datatype: str, shape: list[int]
) -> None:
    dtype = np.dtype(DTYPES[datatype]).newbyteorder("<")
    count = int(np.prod(shape))
    if dtype.kind == "b":
        element: Any = some.booleans()
    elif dtype.kind == "f":
        element = some.floats(
            width=LITTLE[datatype].itemsize * 8, allow_nan=False, allow_infinity=False
        )  # type: ignore[arg-type]
    else:
        element = some.integers(int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))
    array = np.array(data.draw(some.lists(element, min_size=count, max_size=count)), dtype)
    if datatype == "BF16":
        array = rounded(array, "bfloat16")
    there = from_bytes(datatype, tuple(shape), memoryview(b"?" + to_bytes(array, datatype))[1:], "")
    assert isinstance(there, np.ndarray)
    assert there.tolist() == array.tolist()
    if datatype not in NOT_IN_JSON:
        assert (
            np.asarray(
                from_json(datatype, tuple(shape), array.reshape(shape).tolist(), "")
            ).tolist()
            == array.tolist()
        )


@given(some.binary(max_size=200), some.none() | some.integers(0, 200))
def test_no_bytes_do_more_than_be_refused(body: bytes, head: int | None) -> None:
    with suppress(Refusal):
        read_request(body, None if head is None else min(head, len(body)), EVERY)


TENSOR = json.dumps({"inputs": [X, WORD], "id": "a"}).encode()


@given(
    some.lists(
        some.tuples(some.integers(0, len(TENSOR) - 1), some.integers(0, 255)),
        min_size=1,
        max_size=4,
    )
)
def test_changed_bytes_are_refused_or_read(changes: list[tuple[int, int]]) -> None:
    body = bytearray(TENSOR)
    for place, value in changes:
        body[place] = value
    with suppress(Refusal):
        read_request(bytes(body), None, EVERY)


async def test_a_raw_request_is_for_models_of_one_input(running: Running) -> None:
    reply = await running.client.post(
        INFER, content=bytes(4), headers={"inference-header-content-length": "0"}
    )
    # The toy has two inputs.
    assert (reply.status_code, reply.json()["code"]) == (
        400,
        "E_UNSUPPORTED",
    )
