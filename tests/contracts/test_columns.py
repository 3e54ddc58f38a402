"""Packed columns: what a row class says of them, and which rows they take."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from pydantic import create_model

import seatrial as st
from seatrial_contracts.bins import Ranges
from seatrial_contracts.contract import Contract
from seatrial_contracts.contract_changes import compare_contracts
from seatrial_contracts.drawn_rows import draw_rows
from seatrial_contracts.errors import DeclarationError, Refusal
from seatrial_contracts.host_stage import HostStage, collate_parts
from seatrial_contracts.kinds.columns import Columns
from seatrial_contracts.predict_request import RequestReader
from seatrial_contracts.profile import DriftFeatures


class Out(st.Answer):
    y: float


class Plant(st.Row, packed="readings"):
    load: Annotated[float, st.Number(ge=0, lt=100, unit="kW")]
    site: Literal["Oslo", "Bergen"]
    count: int
    heat: Annotated[float | None, st.Number(ge=-50)]
    on: bool
    error: int | None


CONTRACT = st.contract_from_rows(Plant, Out)
KIND = CONTRACT.inputs[0].kind
ROW: dict[str, Any] = {
    "load": 5.5, "site": "Oslo", "count": 3, "heat": None, "on": True, "error": -2,
}  # fmt: skip


def contract_of(packed: Any, **fields: Any) -> Contract:
    declared: dict[str, Any] = {name: (kind, ...) for name, kind in fields.items()}
    rows = create_model("Rows", __base__=st.Row, __cls_kwargs__={"packed": packed}, **declared)
    return st.contract_from_rows(rows, Out)


def read(row: Any) -> dict[str, Any]:
    return RequestReader(CONTRACT).read(json.dumps({"instances": [row]}).encode()).rows[0]


def refusal(row: Any) -> str:
    with pytest.raises(Refusal) as found:
        read(row)
    return f"{found.value.code} {found.value}"


def test_numbers_and_flags_enter_as_one_tensor_in_the_order_of_the_class() -> None:
    assert [field.name for field in CONTRACT.inputs] == ["readings", "site"]
    values = read(ROW)
    assert values["site"] == "Oslo"
    want = np.array([5.5, 3, np.nan, 1, -2], np.float32)
    np.testing.assert_array_equal(values["readings"], want)
    assert values["readings"].dtype == np.float32
    spec = CONTRACT.tensors[0]
    assert (spec.name, spec.dtype, spec.dims) == ("readings", "float32", (5,))


def test_bytes_that_lie_askew_become_a_batch_as_runtimes_read_it() -> None:
    front = HostStage(contract_of("x", a=float, b=float), {})
    sent = np.arange(6, dtype="<f4").reshape(3, 2)
    askew = np.frombuffer(b"?" + sent.tobytes(), "<f4", offset=1).reshape(3, 2)
    assert not askew.flags.aligned
    block = front.encode_columns({"x": front.contract.inputs[0].kind.column(askew)})
    for parts, want in (([block], sent), ([[(askew[1],)]], sent[1:2])):
        batch = collate_parts(front.specs, parts)["x"]
        assert batch.flags.aligned
        np.testing.assert_array_equal(batch, want)


def test_a_column_that_may_be_missing_may_be_left_out() -> None:
    short = {name: value for name, value in ROW.items() if name not in ("heat", "error")}
    assert np.isnan(read(short)["readings"]).tolist() == [False, False, True, False, True]


def test_a_contract_is_read_from_its_json_as_it_was() -> None:
    again = Contract.from_json(CONTRACT.to_json())
    assert again == CONTRACT
    assert again.to_json() == CONTRACT.to_json()
    assert json.loads(CONTRACT.to_json())["inputs"][0]["kind"]["columns"][0] == {
        "name": "load", "ge": 0, "lt": 100, "unit": "kW",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"load": 100}, "E_RANGE input 'load', row 0: got 100, want a number at least 0 and below"),
        ({"load": -1e300}, "E_RANGE input 'load', row 0: got -1e+300, want"),
        ({"load": "5"}, "E_TYPE input 'load', row 0: got a string of 1 characters, want a number"),
        ({"load": True}, "E_TYPE input 'load', row 0: got true, want a number"),
        ({"load": None}, "E_MISSING input 'load', row 0: got null, want a number"),
        ({"load": [1]}, "E_TYPE input 'load', row 0: got a list of 1, want a number"),
        ({"load": 10**400}, "E_RANGE input 'load', row 0: got 10000"),
        (
            {"count": 3.0},
            "E_TYPE input 'count', row 0: got 3.0, want a whole number from -16777216",
        ),
        ({"count": 2**24 + 1}, "E_RANGE input 'count', row 0: got 16777217, want a whole number"),
        ({"on": 1}, "E_TYPE input 'on', row 0: got 1, want true or false"),
        ({"error": 0.5}, "E_TYPE input 'error', row 0: got 0.5, want a whole number"),
        ({"readings": [1] * 5}, "E_UNKNOWN_FIELD input 'readings', row 0: got the name of packed"),
        ({"other": 1}, "E_UNKNOWN_FIELD row 0: got a field that the contract does not have"),
        ({"site": "Rome"}, "E_CATEGORY input 'site', row 0"),
    ],
)
def test_what_is_wrong_is_said_of_its_column(change: dict[str, Any], said: str) -> None:
    assert refusal(ROW | change).startswith(said)


def test_a_column_that_is_not_there_is_named() -> None:
    row = {name: value for name, value in ROW.items() if name != "count"}
    assert refusal(row).startswith("E_MISSING input 'count', row 0: got nothing")


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_what_is_no_number_of_json_is_refused(word: str) -> None:
    body = json.dumps({"instances": [ROW]}).replace("5.5", word).encode()
    with pytest.raises(Refusal, match="input 'load', row 0"):
        RequestReader(CONTRACT).read(body)


def test_rows_may_come_by_column() -> None:
    columns = {"load": [1, 2.5], "site": ["Oslo", "Bergen"], "count": [1, 2], "on": [True, False]}
    found = RequestReader(CONTRACT).read(json.dumps({"inputs": columns}).encode())
    assert found.columnar
    assert [row["readings"].tolist()[:2] for row in found.rows] == [[1, 1], [2.5, 2]]
    assert all(np.isnan(row["readings"][[2, 4]]).all() for row in found.rows)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"count": [1]}, "input 'count': got 1 rows, want 2 rows, as 'load' has"),
        ({"count": 1}, "input 'count': got no list, want a list, for each row a whole number"),
        ({"count": [1, 2.5]}, "input 'count', row 1: got 2.5, want a whole number"),
        ({"other": [1, 2]}, "inputs: got a column that the contract does not have, want load"),
    ],
)
def test_what_is_wrong_with_a_column_is_said_of_it(change: dict[str, Any], said: str) -> None:
    columns = {"load": [1, 2.5], "site": ["Oslo", "Bergen"], "count": [1, 2], "on": [True, False]}
    with pytest.raises(Refusal) as found:
        RequestReader(CONTRACT).read(json.dumps({"inputs": columns | change}).encode())
    assert str(found.value).startswith(said)


def test_a_bad_row_fails_alone_where_the_client_asks() -> None:
    body = json.dumps({"instances": [ROW, ROW | {"load": 200}, ROW]}).encode()
    found = RequestReader(CONTRACT).read(body, by_row=True)
    assert len(found.rows) == 2
    assert str(found.refused[1]).startswith("input 'load', row 1: got 200")


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (0, 100, "E_RANGE column 'load', row 1: got 100, want a number at least 0 and below 100"),
        (0, np.nan, "E_NONFINITE column 'load', row 1: got NaN"),
        (2, np.inf, "E_NONFINITE column 'heat', row 1: got an infinity"),
        (1, 2.5, "E_TYPE column 'count', row 1: got a number with a fraction"),
        (3, 2, "E_RANGE column 'on', row 1: got 2, want true or false"),
    ],
)
def test_a_tensor_is_refused_by_row_and_column(place: int, value: float, said: str) -> None:
    rows = np.array([[5.5, 3, np.nan, 1, -2]] * 3, np.float32)
    np.testing.assert_array_equal(KIND.column(rows), rows)
    rows[1, place] = value
    with pytest.raises(Refusal) as found:
        KIND.column(rows)
    assert f"{found.value.code} {found.value}".startswith(said)


@given(some.data())
def test_drawn_rows_are_taken_and_come_back_as_they_were(data: some.DataObject) -> None:
    sent = data.draw(KIND.strategy()) | {"site": "Oslo"}
    jsonschema.validate(sent, CONTRACT.row_schema(), jsonschema.Draft202012Validator)
    array = read(sent)["readings"]
    np.testing.assert_array_equal(KIND.column(array[None])[0], array)
    np.testing.assert_array_equal(np.array(KIND.wire(sent), np.float32), array)
    back = KIND.json_value(array)
    np.testing.assert_array_equal(read(back | {"site": "Oslo"})["readings"], array)
    assert all(type(back[name]) is type(sent[name]) for name in back)


def test_the_schema_refuses_what_the_contract_refuses() -> None:
    checker = jsonschema.Draft202012Validator(CONTRACT.row_schema())
    assert checker.is_valid(ROW)
    for change in ({"load": 100}, {"count": 2.5}, {"on": 1}, {"other": 1}, {"load": None}):
        assert not checker.is_valid(ROW | change)


def test_the_gate_draws_every_column_at_its_edges() -> None:
    drawn = [each.row for each in draw_rows(HostStage(CONTRACT, {}), [ROW])]
    assert {row["load"] for row in drawn} >= {0, float(np.nextafter(np.float32(100), 0))}
    assert {row["count"] for row in drawn} >= {-(2**24), 2**24}
    assert {row["on"] for row in drawn} == {True, False}
    assert any(row["heat"] is None and row["error"] is None for row in drawn)
    assert any(row["heat"] is None and row["error"] is not None for row in drawn)


@pytest.mark.parametrize(
    ("packed", "fields", "said"),
    [
        ("x", {"a": Literal["b", "c"]}, "packed 'x': st.Columns: got no column"),
        ("a", {"a": float}, "input 'a': got a field and an object or packed columns of one name"),
        ("x", {"a": Annotated[float, Columns()]}, "Rows.a: st.Columns: got a field of this kind"),
        ("0", {"a": float}, "packed='0', want a letter"),
        ({"x": 3}, {"a": float}, "packed={'x': 3}, want st.Columns"),
        ({"x": Columns(watched=("b",))}, {"a": float}, "watched: 'b', want names of its columns"),
    ],
)
def test_what_cannot_be_packed_is_refused(packed: Any, fields: dict[str, Any], said: str) -> None:
    with pytest.raises(DeclarationError, match=said):
        contract_of(packed, **fields)


def test_a_default_of_a_packed_column_is_refused() -> None:
    class Rows(st.Row, packed="x"):
        a: float = 1.0

    with pytest.raises(DeclarationError, match=r"Rows.a: got a default of a packed column"):
        st.contract_from_rows(Rows, Out)


def test_an_object_with_packed_columns_is_refused() -> None:
    class Around(st.Row):
        plant: Plant

    with pytest.raises(DeclarationError, match=r"Around.plant: got an object with packed columns"):
        st.contract_from_rows(Around, Out)


def test_each_element_type_has_a_tensor_of_its_own() -> None:
    packed = {"counts": Columns(dtype="int64"), "sizes": Columns(dtype="float64")}
    wide = Annotated[float, st.Number(dtype="float64")]
    contract = contract_of(packed, a=float, b=int, c=wide, d=bool, e=int)
    assert [field.name for field in contract.inputs] == ["a", "counts", "sizes"]
    body = {"instances": [{"a": 1, "b": 2**60, "c": 1e300, "d": False, "e": -7}]}
    (row,) = RequestReader(contract).read(json.dumps(body).encode()).rows
    assert row["counts"].tolist() == [2**60, -7]
    assert row["sizes"].tolist() == [1e300, 0]
    for change in ({"b": 2**63}, {"b": 10**30}):
        body = {"instances": [{"a": 1, "b": 1, "c": 1, "d": True, "e": 1} | change]}
        with pytest.raises(Refusal, match=r"input 'b', row 0: got [0-9]+, want a whole number"):
            RequestReader(contract).read(json.dumps(body).encode())


def changes(before: Contract, after: Contract) -> dict[str, bool]:
    return {str(each): each.breaking for each in compare_contracts(before, after)}


def test_changes_of_columns_are_told_by_name() -> None:
    number = Annotated[float, st.Number(ge=0)]
    before = contract_of("x", a=number, b=float)
    assert changes(before, before) == {}
    wider = contract_of("x", a=float, b=float | None)
    assert changes(before, wider) == {"input 'x': columns changed: a, b": False}
    assert changes(wider, before) == {"input 'x': columns changed: a, b": True}
    more = contract_of("x", a=number, b=float, c=float)
    assert changes(before, more) == {"input 'x': columns new: c": True}
    assert changes(more, before) == {"input 'x': columns removed: c": True}
    moved = contract_of("x", b=float, a=number)
    said = "input 'x': columns in another order, which V2's tensor has"
    assert changes(before, moved) == {said: True}
    watched = contract_of({"x": Columns(watched=("a",))}, a=number, b=float)
    assert set(changes(before, watched).values()) == {False}


def test_drift_watches_each_of_few_columns_and_the_rows_of_many() -> None:
    rng = np.random.default_rng(0)
    few, names = contract_of("x", a=float, b=float | None), [f"c{n}" for n in range(100)]
    values = rng.normal(size=(400, 2)).astype(np.float32)
    values[::7, 1] = np.nan
    seen = DriftFeatures(HostStage(few, {})).inputs({"x": values})
    assert sorted(seen) == ["x.a", "x.b"]
    bins = few.inputs[0].kind.split("b", seen["x.b"])
    assert isinstance(bins, Ranges)
    counted = np.bincount(bins.places(seen["x.b"]), minlength=len(bins.names))
    there = values[:, 1][~np.isnan(values[:, 1])]
    edges = [-np.inf, *bins.edges, np.inf]
    assert counted.tolist() == [*np.histogram(there, edges)[0].tolist(), np.isnan(values).sum()]

    many = contract_of({"x": Columns(watched=("c7",))}, **dict.fromkeys(names, float | None))
    values = rng.normal(size=(50, 100)).astype(np.float32)
    values[3, :40] = np.nan
    seen = DriftFeatures(HostStage(many, {})).inputs({"x": values})
    assert sorted(seen) == ["x.(mean)", "x.(missing)", "x.(spread)", "x.c7"]
    wide = values.astype(np.float64)
    np.testing.assert_allclose(seen["x.(mean)"], np.nanmean(wide, axis=1))
    np.testing.assert_allclose(seen["x.(spread)"], np.nanstd(wide, axis=1))
    np.testing.assert_array_equal(seen["x.(missing)"], np.isnan(wide).mean(axis=1))


def test_a_misspelt_column_is_refused_though_the_right_one_may_be_missing() -> None:
    row = {name: value for name, value in ROW.items() if name != "heat"}
    assert refusal(row | {"haet": 1.0}).startswith("E_UNKNOWN_FIELD row 0: ")
