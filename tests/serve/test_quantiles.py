"""Quantiles, forecasts and rankings, as clients see them over V1 and V2."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as some
from jsonschema import Draft202012Validator
from sklearn.metrics import mean_pinball_loss
from sklearn.metrics import ndcg_score as ndcg
from support.made import made_bundle
from support.running import Running, run_app

import seatrial as st
from seatrial_contracts.contract_changes import compare_contracts
from seatrial_contracts.kinds.forecast import Forecast
from seatrial_contracts.kinds.kind import Array
from seatrial_contracts.kinds.mapped_kind import MappedKind
from seatrial_contracts.kinds.quantiles import Quantiles
from seatrial_contracts.kinds.ranking import Ranking

ROWS: list[dict[str, Any]] = [{"x": value / 8, "items": [0.0, value, 3.0]} for value in range(9)]
LEVELS = (0.1, 0.5, 0.9)


class Row(st.Row):
    x: Annotated[float, st.Number(ge=-1, le=1)]
    items: st.Tensor[np.float32, 1:40]


class Ahead(st.Answer):
    price: Annotated[dict[str, float], st.Quantiles(*LEVELS)]
    ahead: Annotated[
        dict[str, list[float]], st.Forecast(horizon=2, quantiles=LEVELS, rearrange=True, ge=-9)
    ]
    ranked: Annotated[list[dict[str, float]], st.Ranking(top=2)]


class Options(st.Options):
    top_k: Annotated[int, st.Option(2, ge=1, le=40)]


CONTRACT = st.contract_from_rows(Row, Ahead, options=Options)


def answered(feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Prices cross where x is below 0; forecasts fall always, and leave their bound at -0.5."""
    x = feeds["x"].astype(np.float32)
    price = np.stack([-x, x * 0, x], 1)
    steps = np.stack([np.stack([x + 2, x + 1, x], 1), np.stack([x, x, 20 * x], 1)], 1)
    return {"price": price, "ahead": steps, "ranked": feeds["items"]}


@pytest.fixture
async def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    made_bundle(tmp_path, monkeypatch, CONTRACT, answered, ROWS)
    async with run_app(tmp_path) as running:
        yield running


async def test_quantiles_come_by_name_and_a_rearranged_forecast_in_order(served: Running) -> None:
    reply = await served.ask([{"x": 0.5, "items": [1.0, 7.0, 7.0]}], model="made")
    assert reply.json()["predictions"] == [
        {
            "price": {"0.1": -0.5, "0.5": 0.0, "0.9": 0.5},
            "ahead": {"0.1": [0.5, 0.5], "0.5": [1.5, 0.5], "0.9": [2.5, 10.0]},
            "ranked": [{"index": 1, "score": 7.0}, {"index": 2, "score": 7.0}],
        }
    ]


async def test_v2_gives_the_rearranged_tensor_and_counts_ranked_items(served: Running) -> None:
    inputs = [
        {"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [0.5]},
        {"name": "items", "datatype": "FP32", "shape": [1, 3], "data": [1, 7, 8]},
    ]
    body = {"inputs": inputs, "parameters": {"top_k": 3}}
    reply = await served.client.post("/v2/models/made/infer", json=body)
    found = {output["name"]: output for output in reply.json()["outputs"]}
    assert found["ahead"]["shape"] == [1, 2, 3]
    assert found["ahead"]["data"] == [0.5, 1.5, 2.5, 0.5, 0.5, 10.0]
    assert found["ranked_indices"]["data"] == [2, 1, 0]
    assert found["ranked_scores"]["data"] == [8.0, 7.0, 1.0]
    assert found["ranked_count"]["data"] == [3]


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (-0.25, "output 'price', row 0: the model answered quantiles that cross"),
        (-0.5, "output 'price', row 0: the model answered quantiles that cross"),
    ],
)
async def test_quantiles_that_cross_are_no_answer(served: Running, x: float, message: str) -> None:
    reply = await served.ask([{"x": x, "items": [1.0]}], model="made")
    assert (reply.status_code, reply.json()["code"]) == (500, "E_OUTPUT_RANGE")
    assert message in reply.json()["error"]


async def test_openapi_describes_them(served: Running) -> None:
    schema = CONTRACT.answer_schema()
    [told] = (await served.ask(ROWS[4:5], model="made")).json()["predictions"]
    Draft202012Validator(schema).validate(told)
    examples = {field.name: field.kind.example() for field in CONTRACT.outputs}
    Draft202012Validator(schema).validate(examples)


def as_json(value: Any) -> Any:
    return json.loads(orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY))


def kinds() -> list[tuple[MappedKind, Array]]:
    some_numbers = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    forecast = Forecast(horizon=6, quantiles=LEVELS, rearrange=True)
    return [(Quantiles(*LEVELS), some_numbers[0]), (forecast, some_numbers),
            (Ranking(), some_numbers.ravel())]  # fmt: skip


@pytest.mark.parametrize(("kind", "array"), kinds())
def test_their_json_comes_back_to_the_bit(kind: MappedKind, array: Array) -> None:
    client = kind.client([array], None, {})
    back = kind.recover(as_json(kind.written(client)))
    for want, got in zip(client, back, strict=True):
        assert want.dtype == got.dtype
        assert np.array_equal(want, got)
    assert kind.match(client, back, st.Tolerance()).passed
    off = (*client[:-1], client[-1] + np.float32(0.01))
    assert not kind.match(client, off, st.Tolerance()).passed


def test_rearranged_quantiles_lose_no_more_than_those_that_cross() -> None:
    """Rearrangement never raises the pinball loss, by scikit-learn's own measure."""
    some_numbers = np.random.default_rng(3)
    truth = some_numbers.normal(size=200)
    crossing = some_numbers.normal(size=(200, 3)).astype(np.float32)
    kind = Quantiles(*LEVELS, rearrange=True)
    sorted_ = np.stack([kind.client([row], None, {})[0] for row in crossing])
    before, after = (
        sum(mean_pinball_loss(truth, each[:, place], alpha=level)
            for place, level in enumerate(LEVELS))
        for each in (crossing, sorted_)
    )  # fmt: skip
    assert after <= before


@given(some.lists(some.sampled_from([0.0, 1.0, 2.0, 3.0]), min_size=2, max_size=30))
def test_a_ranking_is_the_ideal_order_by_its_own_scores(values: list[float]) -> None:
    scores = np.array(values, np.float32)
    indices, found = Ranking().client([scores], None, {})
    assert sorted(indices.tolist()) == list(range(len(values)))
    assert np.array_equal(scores[indices], found)
    if scores.any():
        places = np.argsort(indices)
        assert ndcg([values], [-places.astype(float)]) == pytest.approx(1.0)
    for first, second in pairwise(indices):
        assert scores[first] > scores[second] or first < second


def test_a_ranking_finds_a_swapped_item_and_no_fault_in_a_tie_at_its_end() -> None:
    kind = Ranking(top=2)
    want, tie, other = (
        kind.client([np.array(scores, np.float32)], None, {})
        for scores in ([0.9, 0.5, 0.500001], [0.9, 0.500001, 0.5], [0.5, 0.9, 0.1])
    )
    assert kind.match(want, tie, st.Tolerance()).passed
    assert "item 1, score 0.9: not wanted" in str(kind.match(want, other, st.Tolerance()))
    assert "got 1 items, want 2" in str(
        kind.match(want, [each[:1] for each in want], st.Tolerance())
    )


def test_bounds_and_crossings_are_told_apart_from_right_rows() -> None:
    found = CONTRACT.faulty_rows(
        {
            "price": np.array([[0, 0, 0], [0, 1, 0.5], [1, 2, 3]], np.float32),
            "ahead": np.array([np.zeros((2, 3)), np.zeros((2, 3)), np.full((2, 3), -10)], "f4"),
            "ranked": np.ones((3, 4), np.float32),
        },
        3,
    )
    assert {row: fault.error(row).code for row, fault in found.items()} == dict.fromkeys(
        (1, 2), "E_OUTPUT_RANGE"
    )
    assert "cross" in str(found[1].error(1))
    assert "cross" not in str(found[2].error(2))


@pytest.mark.parametrize(
    "kind",
    [
        lambda: Quantiles().declared(dict[str, float], False),
        lambda: Quantiles(0.5, 0.5).declared(dict[str, float], False),
        lambda: Quantiles(0.9, 0.1).declared(dict[str, float], False),
        lambda: Quantiles(0.5, ge=2, le=1).declared(dict[str, float], False),
        lambda: Quantiles(0.5).declared(list[float], False),
        lambda: Forecast(quantiles=LEVELS).declared(dict[str, list[float]], False),
        lambda: Forecast(horizon=3).declared(dict[str, list[float]], False),
        lambda: Ranking().declared(str, False),
        lambda: Quantiles(1.0),
        lambda: Ranking(top=0),
    ],
)
def test_a_declaration_that_makes_no_sense_is_refused(kind: Any) -> None:
    with pytest.raises(st.DeclarationError):
        kind()


def test_a_shorter_ranking_breaks_clients_and_a_longer_one_does_not() -> None:
    def contract(top: int | None) -> st.Contract:
        fields = {"ranked": Annotated[list[dict[str, float]], Ranking(top=top)]}
        return st.contract_from_rows(Row, type("Made", (st.Answer,), {"__annotations__": fields}))

    changes = [compare_contracts(contract(old), contract(new)) for old, new in ((2, 3), (3, 2))]
    assert [[each.breaking for each in change] for change in changes] == [[False], [True]]
