"""A row that is read without arrays passes the columns' own checks, and is the same to the bit."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

import seatrial as st
from seatrial_contracts.errors import Refusal
from seatrial_contracts.host_stage import HostStage, collate, collate_parts
from seatrial_serve.v2.columns import columns_of
from seatrial_serve.v2.http_body import read_request
from seatrial_serve.v2.plain_row import PlainRow


class Voyage(st.Row):
    length: Annotated[float, st.Number(ge=0.1, le=0.3)]
    weight: Annotated[float | None, st.Number(dtype="float64", ge=-5, le=5)]
    count: Annotated[int, st.Number(ge=0, le=9)]
    word: Literal["a", "b"] | None
    other: Annotated[str, st.Category("p", "q", unknown="bucket")]
    ok: bool


class Score(st.Answer):
    score: float


CONTRACT = st.contract_from_rows(Voyage, Score)
STAGE, PLAIN = HostStage(CONTRACT, {}), PlainRow(CONTRACT)
GOOD = {"length": 0.2, "weight": 1, "count": 3, "word": "a", "other": "other", "ok": True}
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


def by_columns(head: dict[str, Any]) -> Any:
    """The tensors of a request as its columns make them; None where they are refused."""
    try:
        request = read_request(orjson.dumps(head), None, CONTRACT)
        columns, rows = columns_of(CONTRACT, request.inputs)
        return collate_parts(
            STAGE.specs, [STAGE.encode_columns(CONTRACT.validate_columns(columns, rows))]
        )
    except Refusal:
        return None


def same(head: dict[str, Any]) -> bool:
    """Is it read as a plain row? Then its tensors are those of its columns."""
    row = PLAIN.read(orjson.loads(orjson.dumps(head)))
    if row is None:
        return False
    found, want = collate(STAGE.specs, [STAGE.encode_row(row)]), by_columns(head)
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


@settings(deadline=None, max_examples=300)
@given(some.sampled_from(sorted(GOOD)), EDGES)
def test_whatever_value_is_read_as_plain_is_one_that_the_columns_take(
    name: str, value: Any
) -> None:
    same(asked(GOOD | {name: value}))


@settings(deadline=None)
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
