"""A row that is read without arrays passes the columns' own checks, and is the same to the bit."""

from __future__ import annotations

import struct
from collections.abc import Callable
from math import nan
from typing import Annotated, Any, Literal

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as some
from support.properties import drawing

import seatrial as st
from seatrial_contracts.errors import Refusal
from seatrial_contracts.host_stage import HostStage, collate, collate_parts
from seatrial_serve.v2.columns import columns_of
from seatrial_serve.v2.elements import CONTENTS
from seatrial_serve.v2.grpc_message import read_message, write_message
from seatrial_serve.v2.http_body import read_request
from seatrial_serve.v2.message import InferRequest, InferResponse, Wanted
from seatrial_serve.v2.plain_row import PlainRow
from seatrial_serve.v2.proto import inference_pb2 as pb


class Voyage(st.Row):
    length: Annotated[float, st.Number(ge=0.1, le=0.3)]
    weight: Annotated[float | None, st.Number(dtype="float64", ge=-5, le=5)]
    count: Annotated[int, st.Number(ge=0, le=9)]
    word: Literal["a", "b"] | None
    other: Annotated[str, st.Category("p", "q", unknown="bucket")]
    ok: bool
    tier: Literal[1, 5]
    shop: Annotated[int, st.Category(7, unknown="hash", buckets=3)]


class Score(st.Answer):
    score: float


CONTRACT = st.contract_from_rows(Voyage, Score)
STAGE, PLAIN = HostStage(CONTRACT, {}), PlainRow(CONTRACT)
GOOD = {"length": 0.2, "weight": 1, "count": 3, "word": "a", "other": "other", "ok": True,
    "tier": 5, "shop": 9}  # fmt: skip
TYPES = {field.name: field.kind.datatype for field in CONTRACT.inputs}
EDGES = some.sampled_from(
    [
        0.1,
        0.3,
        0.30000001,
        0.09999999,
        0,
        9,
        10,
        -1,
        5,
        5.0000001,
        2.5,
        2.0,
        True,
        None,
        "",
        "a",
        "c",
        "é",
        1e39,
        2**63,
        [1],
        [[1]],
        {},
    ]
)
ODD = {
    "a shape of flags": {"shape": [True]},
    "a shape of another rank": {"shape": [1, 1, 1]},
    "two rows": {"shape": [2]},
    "another type": {"datatype": "FP16"},
    "a text": {"data": "a"},
    "no data": {"data": []},
    "a key more": {"kept": 1},
    "parameters": {"parameters": {"a": 1}},
    "another name": {"name": "none"},
}


def asked(row: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A request for this row; `changes` are those of its first input."""
    inputs = [
        {"name": name, "shape": [1], "datatype": TYPES[name], "data": [value]}
        for name, value in row.items()
    ]
    inputs[0] |= changes
    return {"inputs": inputs, "id": "x"}


def by_columns(read: Callable[[], InferRequest]) -> Any:
    """The tensors of a request as its columns make them; None where they are refused."""
    try:
        request = read()
        columns, rows = columns_of(CONTRACT, request.inputs)
        return collate_parts(
            STAGE.specs, [STAGE.encode_columns(CONTRACT.validate_columns(columns, rows))]
        )
    except Refusal:
        return None


def same(head: dict[str, Any]) -> bool:
    """Is it read as a plain row? Then its tensors are those of its columns."""
    body = orjson.dumps(head)
    row = PLAIN.read(orjson.loads(body))
    return same_row(row, lambda: read_request(body, None, CONTRACT))


def same_message(message: pb.ModelInferRequest) -> bool:
    """The same of a gRPC message."""
    return same_row(PLAIN.read_message(message), lambda: read_message(message, CONTRACT))


def same_row(row: dict[str, Any] | None, read: Callable[[], InferRequest]) -> bool:
    """See `same`."""
    if row is None:
        return False
    found, want = collate(STAGE.specs, [STAGE.encode_row(row)]), by_columns(read)
    assert want is not None, "the columns refuse it"
    for name, array in found.items():
        assert array.dtype == want[name].dtype
        assert repr(array.tolist()) == repr(want[name].tolist())
    return True


def test_the_ordinary_row_is_plain() -> None:
    assert same(asked(GOOD))
    assert same(asked(dict(reversed(GOOD.items())), shape=[1, 1]))
    assert same(asked(GOOD | {"word": ""}))
    assert same(asked(GOOD | {"word": None, "weight": None}))
    assert not same(asked(GOOD | {"length": None}))
    assert not same(asked(GOOD | {"other": ""}))
    assert read_request(orjson.dumps(asked(GOOD)), None, CONTRACT, PLAIN).row == PLAIN.read(
        asked(GOOD)
    )


@drawing(300)
@given(some.sampled_from(sorted(GOOD)), EDGES)
def test_whatever_value_is_read_as_plain_is_one_that_the_columns_take(
    name: str, value: Any
) -> None:
    same(asked(GOOD | {name: value}))


@given(some.floats(0.05, 0.35), some.floats(-6, 6))
def test_numbers_near_their_bounds_are_the_same(length: float, weight: float) -> None:
    same(asked(GOOD | {"length": length, "weight": weight}))


@pytest.mark.parametrize("change", ODD.values(), ids=ODD)
def test_whatever_is_odd_about_a_request_is_left_to_the_columns(change: dict[str, Any]) -> None:
    assert not same(asked(GOOD, **change))


def test_requests_that_want_more_are_left_to_the_columns() -> None:
    head = asked(GOOD)
    for more in (
        {"parameters": {"priority": 1}},
        {"outputs": [{"name": "score"}]},
        {"inputs": head["inputs"][:-1]},
        {"inputs": head["inputs"][:1] * 6},
        {"inputs": {}},
    ):
        assert PLAIN.read(head | more) is None


RAW_GOOD: dict[str, Any] = GOOD | {"word": b"a", "other": b"other"}
FORMS = {"FP32": "<f", "FP64": "<d", "INT64": "<q", "BOOL": "<?"}


def message(row: dict[str, Any], *, raw: bool, **changes: Any) -> pb.ModelInferRequest:
    """A gRPC message for this row; `changes` are those of its first input."""
    asked = pb.ModelInferRequest(model_name="m", id="x")
    for name, value in row.items():
        datatype = TYPES[name]
        given = asked.inputs.add(name=name, datatype=datatype, shape=[1])
        if raw and datatype == "BYTES":
            asked.raw_input_contents.append(struct.pack("<I", len(value)) + value)
        elif raw:
            asked.raw_input_contents.append(struct.pack(FORMS[datatype], value))
        else:
            getattr(given.contents, CONTENTS[datatype]).append(value)
    for name, value in changes.items():
        if isinstance(value, list):
            del asked.inputs[0].shape[:]
            asked.inputs[0].shape.extend(value)
        else:
            setattr(asked.inputs[0], name, value)
    return asked


@pytest.mark.parametrize("raw", [False, True], ids=["typed", "raw"])
def test_the_ordinary_row_of_a_message_is_plain(raw: bool) -> None:
    assert same_message(message(RAW_GOOD, raw=raw))
    assert same_message(message(dict(reversed(RAW_GOOD.items())), raw=raw, shape=[1, 1]))
    assert same_message(message(RAW_GOOD | {"word": b"", "weight": nan}, raw=raw))
    whole = read_message(message(RAW_GOOD, raw=raw), CONTRACT, PLAIN)
    assert (whole.row, whole.id, whole.binary, whole.inputs) == (
        PLAIN.read(asked(GOOD)), "x", True, (),
    )  # fmt: skip


@drawing(300)
@given(
    some.booleans(),
    some.one_of(
        some.tuples(
            some.just("length"), some.floats(0, 0.5, width=32) | some.sampled_from([0.1, 0.3, nan])
        ),
        some.tuples(some.just("weight"), some.floats(-6, 6) | some.just(nan)),
        some.tuples(some.just("count"), some.integers(-2, 11)),
        some.tuples(some.sampled_from(["word", "other"]), some.binary(max_size=4)),
        some.tuples(some.sampled_from(["word", "other"]), some.sampled_from([b"a", b"b", b"p"])),
        some.tuples(some.just("ok"), some.booleans()),
    ),
)
def test_whatever_element_of_a_message_is_plain_is_one_that_the_columns_take(
    raw: bool, changed: tuple[str, Any]
) -> None:
    same_message(message(RAW_GOOD | {changed[0]: changed[1]}, raw=raw))


@pytest.mark.parametrize("raw", [False, True], ids=["typed", "raw"])
def test_whatever_is_odd_about_a_message_is_left_to_the_columns(raw: bool) -> None:
    for changes in (
        {"shape": []}, {"shape": [0]}, {"shape": [2]}, {"shape": [1, 2]}, {"shape": [1, 1, 1]},
        {"datatype": "FP64"}, {"name": "none"}, {"name": "weight"},
    ):  # fmt: skip
        assert PLAIN.read_message(message(RAW_GOOD, raw=raw, **changes)) is None
    for change in (
        lambda odd: odd.inputs.pop(),
        lambda odd: odd.outputs.add(name="score"),
        lambda odd: odd.parameters["priority"].MergeFrom(pb.InferParameter(int64_param=1)),
        lambda odd: odd.inputs[0].parameters["a"].MergeFrom(pb.InferParameter(bool_param=True)),
        lambda odd: odd.raw_input_contents.append(b""),
        lambda odd: odd.inputs[0].contents.fp32_contents.append(0.2),
    ):
        odd = message(RAW_GOOD, raw=raw)
        change(odd)
        assert PLAIN.read_message(odd) is None
    for element in (b"", b"\0", b"\0\0\0\0\0", b"\2\0\0\0a", b"\1\0\0\0\xff"):
        for place in range(len(RAW_GOOD)):
            odd = message(RAW_GOOD, raw=True)
            odd.raw_input_contents[place] = element
            same_message(odd)
    flag = message(RAW_GOOD, raw=True)
    flag.raw_input_contents[5] = b"\2"
    assert PLAIN.read_message(flag) is None


def test_an_answer_over_grpc_is_the_message_that_protobuf_itself_writes() -> None:
    for errors in (None, [{"row": 1, "code": "E_RANGE", "error": "no"}]):
        for request_id in ("", "a"):
            score = np.array([[0.5], [0.25]], np.float32)
            outputs = [(Wanted("score", True), "FP32", score)]
            answered = InferResponse("m", "1", "sha256:0", "fp32", request_id, outputs, errors)
            want = pb.ModelInferResponse(model_name="m", model_version="1", id=request_id)
            for name, text in answered.parameters.items():
                want.parameters[name].string_param = text
            want.outputs.add(name="score", datatype="FP32", shape=[2, 1])
            want.raw_output_contents.append(score.tobytes())
            assert pb.ModelInferResponse.FromString(write_message(answered)) == want
