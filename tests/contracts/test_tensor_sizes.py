"""Tensors with holes, empty sides, named sizes, padded rows and elements of 4 bits."""

from __future__ import annotations

import json
from typing import Annotated, Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from support.properties import drawing

import seatrial as st
from seatrial_contracts.contract import Contract
from seatrial_contracts.contract_changes import compare_contracts
from seatrial_contracts.golden import wire_row
from seatrial_contracts.host_stage import HostStage, collate
from seatrial_contracts.kinds.kind import Kind
from seatrial_contracts.predict_request import RequestReader
from seatrial_contracts.profile import DriftFeatures


class Score(st.Answer):
    score: float


class Holes(st.Row):
    grid: Annotated[np.ndarray, st.Tensor(dims=(2, 2), missing="nan", ge=0, le=9)]


class Empty(st.Row):
    points: st.Tensor[np.float32, 0:5, 2]
    codes: st.Tensor[np.int64, 0:3]


class Shared(st.Row):
    frames: st.Tensor[np.float32, st.Size("t", 1, 512), 3]
    labels: st.Tensor[np.int64, st.Size("t", 1, 512)]
    square: st.Tensor[np.float32, st.Size("n"), st.Size("n")]


class Padded(st.Row):
    walk: Annotated[np.ndarray, st.Tensor(dims=((0, 8), 2), pad=0)]
    ids: Annotated[
        np.ndarray | None,
        st.Tensor(dtype="int64", dims=((1, 8),), pad=-100, mark="length", fill=7),
    ]


def contract_of(row: Any) -> Contract:
    contract = st.contract_from_rows(row, Score)
    assert Contract.from_json(contract.to_json()) == contract
    return contract


def refusal(contract: Contract, row: Any) -> str:
    with pytest.raises(st.Refusal) as refused:
        HostStage(contract, {}).encode_row(contract.validate_row(row, 0), 0)
    return f"{refused.value.code}: {refused.value}"


def test_null_is_nan_in_the_graph_where_it_may_be() -> None:
    contract = contract_of(Holes)
    given = np.array([[1, np.nan], [np.nan, 2]], np.float32)
    sent = wire_row({"grid": given})
    assert sent == {"grid": [[1.0, None], [None, 2.0]]}
    for row in (sent, {"grid": given}, {"grid": [1.0, None, None, 2.0]}):
        assert np.array_equal(contract.validate_row(row)["grid"], given, equal_nan=True)
    jsonschema.validate(sent, contract.row_schema(), jsonschema.Draft202012Validator)
    column = contract.validate_columns({"grid": given[None]}, 1)["grid"]
    assert np.array_equal(column[0], given, equal_nan=True)
    infinite = np.full((1, 2, 2), np.inf, np.float32)
    with pytest.raises(st.Refusal, match=r"row 0: got an infinity, want float32 numbers from 0"):
        contract.validate_columns({"grid": infinite}, 1)
    assert refusal(contract, {"grid": [[1.0, None], [None, 10.0]]}).startswith("E_RANGE")
    plain = st.contract_from_rows(
        type("Plain", (st.Row,), {"__annotations__": {"grid": st.Tensor[np.float32, 2]}}), Score
    )
    assert refusal(plain, {"grid": [1.0, None]}).startswith("E_TYPE: input 'grid', row 0: got null")


def test_drift_takes_what_is_there_and_counts_the_holes() -> None:
    contract = contract_of(Holes)
    rows = [contract.validate_row({"grid": [[n % 10, None], [None, None]]}) for n in range(50)]
    rows.append(contract.validate_row({"grid": [[None] * 2] * 2}))
    front = HostStage(contract, {})
    profile = DriftFeatures(front).profile(rows, [{"score": 0.0}] * len(rows))
    mean = profile.inputs["grid.mean"]
    assert dict(zip(mean.bins.names, mean.counts, strict=True))["(missing)"] == 1
    assert sum(profile.inputs["grid.holes"].counts) == 51


def test_a_side_may_be_empty_where_its_least_size_is_0() -> None:
    contract = contract_of(Empty)
    for points, shape in (([], (0, 2)), ([[1.0, 2.0]], (1, 2))):
        row = contract.validate_row({"points": points, "codes": []})
        assert (row["points"].shape, row["codes"].shape) == (shape, (0,))
        assert wire_row(row)["codes"] == []
    assert "shape [6, 2], want" in refusal(contract, {"points": [[0, 0]] * 6, "codes": []})
    read = contract.validate_columns(
        {"points": np.zeros((2, 0, 2), np.float32), "codes": np.zeros((2, 3), np.int64)}, 2
    )
    assert np.shape(read["points"]) == (2, 0, 2)
    bounded = st.Tensor(dims=((1, 5),))
    assert bounded.want() == "float32 numbers of shape [1 to 5]"
    with pytest.raises(st.DeclarationError, match="a shape of sizes above 0"):
        st.Tensor(dims=((0, 0),)).check()


def test_one_name_is_one_size_in_a_row() -> None:
    contract = contract_of(Shared)
    assert contract.sizes == {"t": (1, 512), "n": (1, 1_000_000)}
    assert [spec.dims for spec in contract.tensors] == [("t", 3), ("t",), ("n", "n")]
    good = {"frames": [[0.0] * 3] * 4, "labels": [0] * 4, "square": [[1.0, 2.0], [3.0, 4.0]]}
    front = HostStage(contract, {})
    front.encode_row(contract.validate_row(good))
    assert refusal(contract, {**good, "labels": [0] * 5}) == (
        "E_SHAPE: input 'labels', row 0: got 5 for the size 't', want 4, as input 'frames' has"
    )
    assert "got 2 for the size 'n', want 1" in refusal(contract, {**good, "square": [[1.0, 2.0]]})
    columns = {name: np.asarray(value)[None] for name, value in contract.validate_row(good).items()}
    front.encode_columns(contract.validate_columns(columns, 1))
    columns["labels"] = np.zeros((1, 5), np.int64)
    with pytest.raises(st.Refusal, match="got 5 for the size 't'"):
        front.encode_columns(contract.validate_columns(columns, 1))
    made = front.encode_together(
        [contract.validate_row(row) for row in (good, {**good, "labels": [0]}, good)], [0, 1, 2]
    )
    assert [isinstance(each, st.Refusal) for each in made] == [False, True, False]


def test_rows_of_unlike_first_size_share_a_batch_beside_a_mask_or_a_length() -> None:
    contract = contract_of(Padded)
    front = HostStage(contract, {})
    rows = [{"walk": [[1, 2]] * 3, "ids": [5]}, {"walk": [], "ids": [6, 7]}, {"walk": [[3, 4]]}]
    encoded = [front.encode_row(contract.validate_row(row)) for row in rows]
    feeds = collate(front.specs, encoded)
    assert feeds["walk"].shape == (3, 3, 2)
    assert feeds["walk_mask"].tolist() == [[True] * 3, [False] * 3, [True, False, False]]
    assert feeds["walk"][2].tolist() == [[3, 4], [0, 0], [0, 0]]
    assert feeds["ids"].tolist() == [[5, -100], [6, 7], [7, -100]]
    assert feeds["ids_length"].tolist() == [1, 2, 0]
    assert feeds["ids_present"].tolist() == [True, True, False]
    columns: dict[str, Any] = {
        "walk": feeds["walk"],
        "walk_length": np.array([3, 0, 1]),
        "ids": feeds["ids"],
        "ids_length": np.array([1, 2, 1]),
        "ids_present": np.array([True, True, False]),
    }
    read = contract.validate_columns(columns, 3)
    again = [
        front.encode_row(dict(zip(read, values, strict=True)))
        for values in zip(*read.values(), strict=True)
    ]
    for name, array in collate(front.specs, again).items():
        assert (array == feeds[name]).all(), name
    with pytest.raises(st.Refusal, match="the length 4, want 0 to 3, the values that came"):
        contract.validate_columns({**columns, "walk_length": np.array([4, 0, 1])}, 3)


@pytest.mark.parametrize(("dtype", "least", "most"), [("int4", -8, 7), ("uint4", 0, 15)])
def test_elements_of_4_bits_are_bounds_of_8(dtype: str, least: int, most: int) -> None:
    kind = st.Tensor(dtype=dtype, dims=(2,))  # type: ignore[arg-type]
    assert (kind.dtype, kind.ge, kind.le) == (f"{dtype[:-1]}8", least, most)
    tighter = st.Tensor(dtype=dtype, dims=(2,), ge=1)  # type: ignore[arg-type]
    assert (tighter.ge, tighter.le) == (1, most)
    row = type("Row4", (st.Row,), {"__annotations__": {"x": st.Tensor[dtype, 2]}})
    contract = contract_of(row)
    assert contract.validate_row({"x": [least, most]})["x"].dtype.name == f"{dtype[:-1]}8"
    assert refusal(contract, {"x": [least - 1, most]}).startswith("E_RANGE")
    assert refusal(contract, {"x": [least, most + 1]}).startswith("E_RANGE")


def test_more_than_a_million_values_are_taken_where_the_contract_says_so() -> None:
    class Long(st.Row):
        samples: Annotated[np.ndarray, st.Tensor(dims=(None,), max_values=3_000_000)]

    limits = st.Limits(max_body_bytes=64 * 2**20)
    contract = st.contract_from_rows(Long, Score, limits=limits)
    body = json.dumps({"instances": [{"samples": [0] * 2_000_000}]}).encode()
    (row,) = RequestReader(contract).read(body).rows
    assert row["samples"].shape == (2_000_000,)
    column = np.zeros((1, 3_000_001), np.float32)
    with pytest.raises(st.Refusal, match="got shape") as refused:
        contract.validate_columns({"samples": column}, 1)
    assert refused.value.code == "E_SHAPE"
    assert len(contract.validate_columns({"samples": column[:, 1:]}, 1)["samples"]) == 1


@pytest.mark.parametrize("row", [Holes, Empty, Padded], ids=lambda row: row.__name__)
def test_what_such_a_field_draws_it_takes(row: Any) -> None:
    contract = contract_of(row)
    front = HostStage(contract, {})
    kinds = {field.name: field.kind for field in contract.inputs}
    example = contract.example_row()
    for name, kind in kinds.items():
        for edge in kind.edges(front.stages[name]):
            body = json.dumps({"instances": [{**example, name: edge.value}]}).encode()
            (read,) = RequestReader(contract).read(body).rows
            front.encode_row(read)

    @given(some.fixed_dictionaries({name: kind.strategy() for name, kind in kinds.items()}))
    @drawing(30)
    def drawn(values: dict[str, Any]) -> None:
        jsonschema.validate(values, contract.row_schema(), jsonschema.Draft202012Validator)
        (read,) = RequestReader(contract).read(json.dumps({"instances": [values]}).encode()).rows
        front.encode_row(read)

    drawn()


FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"dtype": "int8", "dims": (2,), "missing": "nan"}, "a float type, which has NaN"),
    ({"dims": (2,), "pad": 0}, "a first side that varies"),
    ({"pad": 0}, "a first side that varies"),
    ({"dims": (None,), "mark": "length"}, "one beside a pad"),
    ({"dtype": "uint8", "dims": (None,), "pad": -100}, "numbers of uint8"),
    ({"dtype": "bool", "dims": (2,), "fill": 2}, "numbers of bool"),
    ({"dims": (st.Size("t"),), "nullable": True}, "a tensor that is always there"),
]


@pytest.mark.parametrize(("options", "message"), FAULTS)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(st.DeclarationError, match=message):
        st.Tensor(**options).check()


def test_a_name_has_one_range_and_stands_in_no_answer() -> None:
    class Two(st.Row):
        a: st.Tensor[np.float32, st.Size("t", 1, 5)]
        b: st.Tensor[np.float32, st.Size("t", 1, 6)]

    with pytest.raises(st.DeclarationError, match=r"the size 't' from 1 to 6, want 1 to 5, as"):
        st.contract_from_rows(Two, Score)

    class Odd(st.Answer):
        y: st.Tensor[np.float32, st.Size("t", 1, 5)]

    with pytest.raises(st.DeclarationError, match="output 'y': got a named size"):
        st.contract_from_rows(Holes, Odd)
    for name in ("1t", "t t", "t\n", ""):
        with pytest.raises(st.DeclarationError, match=r"st\.Size: got name="):
            st.Size(name)


DIFFERENCES: list[tuple[Kind, Kind, bool]] = [
    (st.Tensor(dims=(2,)), st.Tensor(dims=(2,), missing="nan"), False),
    (st.Tensor(dims=(2,), missing="nan"), st.Tensor(dims=(2,)), True),
    (st.Tensor(dims=((1, 5),)), st.Tensor(dims=((0, 5),)), False),
    (st.Tensor(dims=((1, 5),)), st.Tensor(dims=((1, 5),), pad=0), False),
    (st.Tensor(dims=((1, 5),), pad=0), st.Tensor(dims=((1, 5),)), True),
    (st.Tensor(dims=((1, 5),), pad=0), st.Tensor(dims=((1, 5),), pad=1, mark="length"), False),
    (st.Tensor(dims=((1, 5),)), st.Tensor(dims=(st.Size("t", 1, 5),)), True),
    (st.Tensor(dims=(st.Size("t", 1, 5),)), st.Tensor(dims=((1, 5),)), False),
]


@pytest.mark.parametrize(("old", "new", "breaks"), DIFFERENCES)
def test_a_change_breaks_clients_where_their_rows_are_refused(
    old: Kind, new: Kind, breaks: bool
) -> None:
    outputs = st.contract_from_rows(Holes, Score).outputs
    before, after = (
        Contract(inputs=({"name": "x", "kind": kind},), outputs=outputs)  # type: ignore[arg-type]
        for kind in (old, new)
    )
    found = compare_contracts(before, after)
    assert any(difference.breaking for difference in found) == breaks
    assert not {"missing", "pad", "mark", "fill"} & st.Tensor().model_dump().keys()
