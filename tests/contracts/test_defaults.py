"""Defaults: what a row without the field has there, by every way in which rows come."""

from __future__ import annotations

import enum
import json
from typing import Annotated, Any, Literal

import jsonschema
import numpy as np
import pytest
from pydantic import Field

import seatrial as st
from seatrial_contracts.contract import Contract
from seatrial_contracts.contract_changes import compare_contracts
from seatrial_contracts.drawn_rows import draw_rows
from seatrial_contracts.errors import DeclarationError, Refusal
from seatrial_contracts.host_stage import HostStage
from seatrial_contracts.predict_request import RequestReader


class Plan(enum.Enum):
    FREE = "free"
    TEAM = "team"


class Known(st.Row):
    age: Annotated[int, st.Number(ge=0, le=120)] = 30
    weight: float | None = 70.5
    plan: Plan = Plan.FREE
    tier: Literal[1, 2] = 2
    member: bool = False
    place: st.Tensor[np.float32, 2] = [1.0, 2.0]  # type: ignore[assignment]
    name: Annotated[str, st.Category("a", "b", unknown="bucket")]


class Value(st.Answer):
    value: float


CONTRACT = Contract.from_json(st.contract_from_rows(Known, Value).to_json())
DEFAULTS = {"age": 30, "weight": 70.5, "plan": "free", "tier": 2, "member": False}


def plain(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"place": row["place"].tolist()}


def test_a_row_that_lacks_a_field_has_its_default() -> None:
    row = CONTRACT.validate_row({"name": "a"})
    assert plain(row) == {**DEFAULTS, "place": [1.0, 2.0], "name": "a"}
    assert CONTRACT.validate_row({"name": "a", "weight": None, "age": 4})["weight"] is None


def test_columns_that_are_left_out_have_their_defaults_too() -> None:
    body = json.dumps({"inputs": {"name": ["a", "b"], "tier": [1, 2]}}).encode()
    rows = [plain(row) for row in RequestReader(CONTRACT).read(body).rows]
    assert [row["tier"] for row in rows] == [1, 2]
    assert rows[1] == {**DEFAULTS, "place": [1.0, 2.0], "name": "b"}
    columns = CONTRACT.validate_columns({"name": ["a", "b"]}, 2)
    assert {name: np.asarray(column).tolist() for name, column in columns.items()} == {
        **{name: [value] * 2 for name, value in DEFAULTS.items()},
        "place": [[1.0, 2.0]] * 2,
        "name": ["a", "b"],
    }
    assert columns["tier"].dtype == np.int64
    assert [raw.name for raw in CONTRACT.raw_tensors.values() if not raw.optional] == ["name"]


def test_null_is_no_default() -> None:
    with pytest.raises(Refusal) as refused:
        CONTRACT.validate_row({"name": "a", "age": None}, 3)
    assert (refused.value.code, refused.value.where) == ("E_MISSING", "input 'age', row 3")


def test_schemas_name_defaults_and_do_not_require_the_field() -> None:
    schema = CONTRACT.row_schema()
    assert schema["required"] == ["name"]
    assert schema["properties"]["age"]["default"] == 30
    assert schema["properties"]["weight"]["default"] == 70.5
    jsonschema.validate({"name": "a"}, schema, jsonschema.Draft202012Validator)


def test_drawn_rows_leave_out_what_has_a_default() -> None:
    known = [{**DEFAULTS, "place": [0.0, 0.0], "name": "b"}]
    drawn = [each.row for each in draw_rows(HostStage(CONTRACT, {}), known)]
    assert {"name": "b"} in drawn
    assert any("age" not in row and "plan" in row for row in drawn)


def with_(annotation: Any, *default: Any) -> Contract:
    rows = type("Rows", (st.Row,), {
        "__annotations__": {"x": annotation, "y": float}, "__module__": __name__,
        **({"x": default[0]} if default else {}),
    })  # fmt: skip
    return st.contract_from_rows(rows, Value)


@pytest.mark.parametrize(
    ("old", "new", "text", "breaking"),
    [
        ((), (30,), "default none -> 30", False),
        ((30,), (40,), "default 30 -> 40", False),
        ((30,), (), "default 30 -> none", True),
    ],
)
def test_a_changed_default_is_named_and_one_that_is_gone_is_breaking(
    old: Any, new: Any, text: str, breaking: bool
) -> None:
    (difference,) = compare_contracts(with_(int, *old), with_(int, *new))
    assert (difference.text, difference.breaking) == (text, breaking)


def test_a_new_field_with_a_default_breaks_no_client() -> None:
    class Before(st.Row):
        y: float

    difference, _ = compare_contracts(st.contract_from_rows(Before, Value), with_(int, 30))
    assert (difference.text, difference.breaking) == ("new, 30 where it is left out", False)


def test_a_contract_without_defaults_is_written_as_before() -> None:
    assert b"default" not in with_(int).to_json()


@pytest.mark.parametrize(
    ("annotation", "default", "words"),
    [
        (Annotated[int, st.Number(le=9)], 30, "got 30, want a whole number at most 9"),
        (int, "30", "got '30', want a whole number"),
        (Literal["a"], "b", "got 'b', want one of 'a'"),
        (float, None, "'| None' in the type"),
        (float, Field(default_factory=float), "default_factory"),
        (float, object(), "got a object, want a value that JSON can carry"),
    ],
)
def test_a_default_that_no_row_may_have_is_refused_where_it_is_declared(
    annotation: Any, default: Any, words: str
) -> None:
    with pytest.raises(DeclarationError) as refused:
        with_(annotation, default)
    assert words in str(refused.value)


def test_answers_have_no_defaults() -> None:
    class Guess(st.Answer):
        value: float = 3.0

    class Row(st.Row):
        y: float

    with pytest.raises(DeclarationError, match="no default: models answer"):
        st.contract_from_rows(Row, Guess)


class Address(st.Row):
    zip: Literal["0150", "1010"] = "1010"
    town: Annotated[str, st.Category("Oslo", unknown="bucket")]


class Nested(st.Row):
    address: Address


def test_a_field_of_an_object_has_its_default_too() -> None:
    contract = Contract.from_json(st.contract_from_rows(Nested, Value).to_json())
    row = contract.validate_row({"address": {"town": "Oslo"}})
    assert row == {"address.zip": "1010", "address.town": "Oslo"}
    columns = contract.validate_columns({"address.town": ["Oslo"]}, 1)
    assert list(columns["address.zip"]) == ["1010"]
    schema = contract.row_schema()["properties"]["address"]
    assert schema["required"] == ["town"]
    assert schema["properties"]["zip"]["default"] == "1010"
    drawn = [each.row for each in draw_rows(HostStage(contract, {}), [{"address": {"town": "a"}}])]
    assert {"address": {"town": "a"}} in drawn


def test_objects_and_fields_of_listed_objects_have_no_defaults() -> None:
    class Whole(st.Row):
        address: Address = Address(town="Oslo")

    class Listed(st.Row):
        addresses: Annotated[list[Address], st.Items(max_items=3)]

    with pytest.raises(DeclarationError, match="defaults of the fields of its class"):
        st.contract_from_rows(Whole, Value)
    with pytest.raises(DeclarationError, match="default '1010', within a list"):
        st.contract_from_rows(Listed, Value)
