"""V1's request bodies: rows and columns are read alike.

Read by row, each row is refused or taken as it is alone.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as some
from support.properties import drawing
from test_kinds import GOOD, Every, Value, contracts

import seatrial as st
from seatrial_contracts.contract import Contract
from seatrial_contracts.predict_request import RequestReader

JUNK: some.SearchStrategy[Any] = some.sampled_from(
    [
        None,
        True,
        0,
        -1,
        7,
        1.5,
        2.0,
        10**30,
        "",
        "a",
        "7",
        "\u0000",
        "aGVsbG8=",
        [],
        [1],
        [[1.5]],
        [True],
        {},
        {"a": 1},
    ]
)


def body(key: str, value: Any, **more: Any) -> bytes:
    return json.dumps({key: value, **more}).encode()


def same(left: Any, right: Any) -> bool:
    if isinstance(left, np.ndarray):
        return left.dtype == right.dtype and np.array_equal(left, right)
    return type(left) is type(right) and left == right


def outcome(reader: RequestReader, data: bytes) -> dict[str, Any] | st.Refusal:
    try:
        (row,) = reader.read(data).rows
    except st.Refusal as refusal:
        return refusal
    return row


@given(contracts(), some.data())
@drawing(40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_by_row_and_by_column_a_row_is_what_it_is_alone(
    contract: Contract, data: some.DataObject
) -> None:
    reader = RequestReader(contract.model_copy(update={"limits": st.Limits(max_rows=8)}))
    rows = [
        {field.name: data.draw(JUNK | field.kind.strategy()) for field in contract.inputs}
        for _ in range(data.draw(some.integers(1, 4)))
    ]
    columns = {field.name: [row[field.name] for row in rows] for field in contract.inputs}
    by_row, by_column = (
        reader.read(data, by_row=True)
        for data in (body("instances", rows), body("inputs", columns))
    )
    taken = [iter(by_row.rows), iter(by_column.rows)]
    for place, row in enumerate(rows):
        alone = outcome(reader, body("instances", [row]))
        if isinstance(alone, st.Refusal):
            for found in (by_row, by_column):
                assert found.refused[place].code == alone.code
                assert str(found.refused[place]) == str(alone).replace("row 0", f"row {place}")
            assert str(
                outcome(reader, body("inputs", {name: [value] for name, value in row.items()}))
            ) == str(alone)
        else:
            for found in taken:
                got = next(found)
                assert got.keys() == alone.keys()
                assert all(same(got[name], alone[name]) for name in alone)
    assert [next(found, None) for found in taken] == [None, None]


@pytest.mark.parametrize(
    ("data", "code", "says"),
    [
        (body("inputs", {"count": [1]}), "E_MISSING",
         "input 'ratio': got nothing, want a list, for each row"),
        (body("inputs", {}), "E_MISSING", "want a list"),
        (body("inputs", 7), "E_SCHEMA", "'inputs': an object with a list for each input"),
        (body("inputs", {**{name: [value] for name, value in GOOD.items()}, "other": [1]}),
         "E_UNKNOWN_FIELD", "inputs: got a column that"),
        (body("instances", [GOOD], inputs={name: [value] for name, value in GOOD.items()}),
         "E_SCHEMA", "both"),
        (body("instances", [GOOD], signature_name="classify"), "E_SCHEMA", "'serving_default'"),
        (body("instances", [GOOD], signature_name=None), "E_SCHEMA", "'serving_default'"),
        (b'{"signature_name": "serving_default"}', "E_MISSING",
         "'instances': a list of 1 to 1024 rows"),
    ],
)  # fmt: skip
def test_what_is_no_request_is_refused_and_says_what_is_one(
    data: bytes, code: str, says: str
) -> None:
    reader = RequestReader(st.contract_from_rows(Every, Value))
    for by_row in (False, True):
        with pytest.raises(st.Refusal) as refused:
            reader.read(data, by_row=by_row)
        assert refused.value.code == code, str(refused.value)
        assert says in str(refused.value)
