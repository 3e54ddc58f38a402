"""Objects within rows, and lists of objects: fields of dotted names."""

from __future__ import annotations

import copy
import json
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from hypothesis import given
from support.declared import row_of
from support.properties import drawing

import seatrial as st
from seatrial_contracts.contract_changes import compare_contracts
from seatrial_contracts.drawn_rows import draw_rows
from seatrial_contracts.errors import Refusal
from seatrial_contracts.golden import wire_row
from seatrial_contracts.host_stage import HostStage
from seatrial_contracts.predict_request import RequestReader
from seatrial_parity.fuzz.case import good_rows


class Place(st.Row):
    north: float
    zone: Literal["a", "b"]


class Address(st.Row):
    zip: Annotated[int, st.Number(ge=0, le=9999)]
    place: Place


class Extra(st.Row):
    note: Literal["x", "y"] | None
    weight: float | None


class Line(st.Row):
    price: Annotated[float, st.Number(ge=0)]
    kind: Literal["tea", "soup"]
    place: Place


class Order(st.Row):
    address: Address
    lines: Annotated[list[Line], st.Items(max_items=3)]
    extra: Extra | None
    paid: bool


class Out(st.Answer):
    y: float


CONTRACT = st.contract_from_rows(Order, Out)
LINE = {"price": 2.0, "kind": "tea", "place": {"north": 1.0, "zone": "a"}}
ROW: dict[str, Any] = {
    "address": {"zip": 150, "place": {"north": 59.9, "zone": "b"}},
    "lines": [LINE, {**LINE, "price": 3.5, "kind": "soup"}],
    "extra": {"note": "x", "weight": None},
    "paid": True,
}
VALUES = {
    "address.zip": 150, "address.place.north": 59.9, "address.place.zone": "b",
    "lines.price": [2.0, 3.5], "lines.kind": ["tea", "soup"], "lines.place.north": [1.0, 1.0],
    "lines.place.zone": ["a", "a"], "extra.note": "x", "extra.weight": None, "paid": True,
}  # fmt: skip


def test_a_row_with_objects_is_fields_of_dotted_names_and_comes_back() -> None:
    assert [field.name for field in CONTRACT.inputs] == list(VALUES)
    assert CONTRACT.validate_row(ROW) == VALUES
    assert CONTRACT.record.nested(VALUES) == ROW
    assert CONTRACT.record.flat(ROW) == VALUES
    assert st.Contract.from_json(CONTRACT.to_json()) == CONTRACT


def test_the_graph_sees_names_that_a_model_can_have() -> None:
    names = [spec.name for spec in CONTRACT.tensors]
    assert names[:3] == ["address_zip", "address_place_north", "address_place_zone"]
    assert [name for name in names if name.startswith("lines")] == [
        "lines_price", "lines_mask", "lines_kind", "lines_place_north", "lines_place_zone",
    ]  # fmt: skip
    assert all(name.isidentifier() for name in names)


def test_rows_of_the_class_are_taken_as_their_json_is() -> None:
    row = Order.model_validate(ROW)
    assert CONTRACT.validate_row(row) == VALUES
    assert wire_row(row) == ROW


@pytest.mark.parametrize("extra", [None, {}, {"note": None}, {"note": None, "weight": None}])
def test_an_object_that_may_be_missing_is_fields_that_are(extra: Any) -> None:
    seen = CONTRACT.validate_row({**ROW, "extra": extra})
    assert (seen["extra.note"], seen["extra.weight"]) == (None, None)
    left_out = {name: value for name, value in ROW.items() if name != "extra"}
    assert CONTRACT.validate_row(left_out) == seen


@pytest.mark.parametrize(
    ("row", "code", "text"),
    [
        ({"address": {**ROW["address"], "zip": -1}}, "E_RANGE", "'address.zip', row 4: got -1"),
        (
            {"address": {"zip": 1, "place": {"north": 1.0, "zone": "c"}}},
            "E_CATEGORY", "'address.place.zone', row 4: got a string of 1 characters",
        ),
        (
            {"address": {"zip": 1}},
            "E_MISSING", "'address.place', row 4: got nothing, want an object with north, zone",
        ),
        ({"address": 3}, "E_TYPE", "'address', row 4: got 3, want an object with zip, place"),
        ({"address": None}, "E_MISSING", "'address', row 4: got null"),
        (
            {"address": {**ROW["address"], "street": "x"}},
            "E_UNKNOWN_FIELD", "'address', row 4: got a field that the contract does not",
        ),
        (
            {"lines": [LINE] * 4},
            "E_LIMIT", "'lines', row 4: got a list of 4, want a list of 0 to 3 objects with price,",
        ),
        (
            {"lines": [LINE, {**LINE, "price": -1.0}]},
            "E_RANGE", "'lines.price', item 1, row 4: got -1.0, want a number at least 0",
        ),
        (
            {"lines": [LINE, {"price": 1.0, "place": LINE["place"]}]},
            "E_MISSING", "'lines.kind', item 1, row 4: got nothing, want one of 'tea', 'soup'",
        ),
        ({"lines": [3]}, "E_TYPE", "'lines', item 0, row 4: got 3"),
        ({"unknown": 1}, "E_UNKNOWN_FIELD", "row 4: got a field that the contract does not have"),
    ],
)  # fmt: skip
def test_a_refusal_names_the_field_within(row: Any, code: str, text: str) -> None:
    with pytest.raises(st.Refusal) as refused:
        CONTRACT.validate_row({**ROW, **row}, 4)
    assert refused.value.code == code
    assert str(refused.value).removeprefix("input ").startswith(text)


def test_both_forms_of_a_v1_request_hold_objects() -> None:
    reader = RequestReader(CONTRACT)
    import orjson

    by_row = reader.read(orjson.dumps({"instances": [ROW, ROW]}))
    assert by_row.rows == [VALUES, VALUES]
    columns = {name: [value, value] for name, value in ROW.items()}
    assert reader.read(orjson.dumps({"inputs": columns})).rows == [VALUES, VALUES]
    bad = {**ROW, "address": {"zip": -1, "place": ROW["address"]["place"]}}
    lenient = reader.read(orjson.dumps({"instances": [bad, ROW]}), by_row=True)
    assert lenient.rows == [VALUES]
    assert lenient.refused[0].field == "address.zip"


def test_columns_go_by_the_dotted_names() -> None:
    columns: dict[str, Any] = {
        "address.zip": np.array([1]), "address.place.north": np.zeros(1, np.float32),
        "address.place.zone": ["a"], "lines.price": np.zeros((1, 2), np.float32),
        "lines.kind": np.array([["tea", "tea"]], object),
        "lines.place.north": np.zeros((1, 2), np.float32),
        "lines.place.zone": np.array([["a", "b"]], object), "paid": np.array([True]),
    }  # fmt: skip
    assert list(CONTRACT.validate_columns(columns, 1)) == list(VALUES)


def test_lists_of_the_fields_of_one_object_are_of_one_length() -> None:
    columns: dict[str, Any] = {
        "address.zip": np.array([1]), "address.place.north": np.zeros(1, np.float32),
        "address.place.zone": ["a"], "lines.price": np.zeros((1, 2), np.float32),
        "lines.kind": np.array([["tea"]], object),
        "lines.place.north": np.zeros((1, 2), np.float32),
        "lines.place.zone": np.array([["a", "b"]], object), "paid": np.array([True]),
    }  # fmt: skip
    with pytest.raises(st.Refusal) as refused:
        CONTRACT.validate_columns(columns, 1)
    assert refused.value.code == "E_SHAPE"
    assert str(refused.value).startswith("input 'lines.kind', row 0: got 1 items, want 2 items, as")


def test_the_schema_is_nested_and_takes_what_the_contract_takes() -> None:
    import jsonschema

    schema = CONTRACT.row_schema()
    jsonschema.validate(ROW, schema)
    jsonschema.validate(CONTRACT.example_row(), schema)
    for bad in ({**ROW, "lines": [LINE] * 4}, {**ROW, "address": {"zip": 1}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(bad, schema)


@drawing(100)
@given(good_rows(CONTRACT))
def test_every_drawn_row_is_taken(row: dict[str, Any]) -> None:
    values = CONTRACT.validate_row(row)
    again = {name: value for name, value in CONTRACT.record.flat(row).items() if value is not None}
    assert {name: value for name, value in values.items() if value is not None} == again


def test_gates_draw_rows_with_each_field_within_at_its_edges() -> None:
    drawn = [each.row for each in draw_rows(HostStage(CONTRACT, {}), [ROW])]
    assert {row["address"]["zip"] for row in drawn} >= {0, 9999}
    assert {len(row["lines"]) for row in drawn} >= {0, 1, 3}
    assert any(row["extra"] is None for row in drawn)


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (Address | None, "`| None` for each field of it"),
        (list[Line], "no max_items"),
        (Annotated[Address, st.Items(max_items=2)], "no words beside its class"),
    ],
)
def test_an_object_that_cannot_be_kept_is_refused_where_it_is_declared(
    annotation: Any, text: str
) -> None:
    with pytest.raises(st.DeclarationError) as refused:
        st.contract_from_rows(row_of(x=annotation), Out)
    assert text in str(refused.value)


def test_lists_within_lists_are_refused() -> None:
    class Outer(st.Row):
        lines: Annotated[list[Line], st.Items(max_items=3)]

    class Whole(st.Row):
        outer: Annotated[list[Outer], st.Items(max_items=2)]

    with pytest.raises(st.DeclarationError, match="a list within a list"):
        st.contract_from_rows(Whole, Out)


def test_the_difference_is_told_by_field() -> None:
    class Wider(st.Row):
        zip: Annotated[int, st.Number(ge=0, le=999)]
        place: Place

    found = compare_contracts(CONTRACT, st.contract_from_rows(row_of(Order, address=Wider), Out))
    assert [(each.place, each.breaking) for each in found] == [("input 'address.zip'", True)]


REQUIRED = [
    ("address",),
    ("address", "zip"),
    ("address", "place"),
    ("address", "place", "north"),
    ("address", "place", "zone"),
    ("lines",),
    ("lines", 1, "price"),
    ("lines", 0, "place", "north"),
    ("extra", "note"),
    ("paid",),
]


@pytest.mark.parametrize("path", REQUIRED, ids=lambda path: ".".join(map(str, path)))
@pytest.mark.parametrize("by_row", [False, True])
def test_what_is_required_is_missed_in_rows_and_in_columns_at_any_depth(
    path: tuple[Any, ...], by_row: bool
) -> None:
    row = copy.deepcopy(ROW)
    *way, last = path
    at: Any = row
    for part in way:
        at = at[part]
    if path == ("extra", "note"):
        row["extra"] = {"note": "x"}  # nullable itself, its fields optional: nothing is missing
    else:
        del at[last]
    rows = [copy.deepcopy(ROW), row]
    columns = {name: [each[name] for each in rows if name in each] for name in ROW if name in row}
    reader, found = RequestReader(CONTRACT), []
    for body in ({"instances": rows}, {"inputs": columns}):
        try:
            read = reader.read(json.dumps(body).encode(), by_row=by_row)
            found.append(read.refused.get(1))
        except Refusal as refusal:
            found.append(refusal)
    if path == ("extra", "note"):
        assert found == [None, None]
        return
    assert [each.code for each in found if each is not None] == ["E_MISSING"] * 2
    named = {each.field for each in found if each is not None}
    assert len(named) == 1
    assert {each.row for each in found if each is not None} <= {1, None}
