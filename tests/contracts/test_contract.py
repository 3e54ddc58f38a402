"""Contracts are read off row classes, written, and rebuilt."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import pytest

import seatrial as st
from seatrial_contracts.contract import Contract
from seatrial_contracts.kinds.labels import Labels
from seatrial_contracts.predict_request import RequestReader


class Penguin(st.Row):
    island: Literal["Biscoe", "Dream"]
    sex: Literal["female", "male"] | None
    bill: Annotated[float | None, st.Number(ge=10, le=100, unit="mm")]
    year: int


class Species(st.Answer):
    species: Annotated[str, st.Label("a", "b")]


CONTRACT = st.contract_from_rows(Penguin, Species)
GOOD: dict[str, Any] = {"island": "Biscoe", "sex": None, "bill": 20.5, "year": 2007}


def test_a_contract_survives_its_json() -> None:
    assert Contract.from_json(CONTRACT.to_json()) == CONTRACT


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"island": "Atlantis"}, "E_CATEGORY"), ({"bill": 412.0}, "E_RANGE"),
        ({"bill": "39"}, "E_TYPE"), ({"bill": True}, "E_TYPE"),
        ({"bill": float("nan")}, "E_NONFINITE"), ({"year": 2.5}, "E_TYPE"),
        ({"year": None}, "E_MISSING"), ({"wings": 2}, "E_UNKNOWN_FIELD"),
        ({"year": 10**40}, "E_RANGE"),
    ],
)  # fmt: skip
def test_a_bad_value_is_refused_with_its_code(change: dict[str, Any], code: str) -> None:
    rebuilt = Contract.from_json(CONTRACT.to_json())
    with pytest.raises(st.Refusal) as refused:
        RequestReader(rebuilt).read(json.dumps({"instances": [GOOD, {**GOOD, **change}]}).encode())
    assert refused.value.code == code
    assert "row 1" in str(refused.value)


def test_a_refusal_says_where_got_and_want() -> None:
    with pytest.raises(st.Refusal) as refused:
        CONTRACT.validate_row({**GOOD, "bill": 412.0}, 3)
    assert str(refused.value) == "input 'bill', row 3: got 412.0, want a number from 10 to 100 mm"


def test_the_schema_of_an_answer_names_the_input_that_the_answer_is_about() -> None:
    class Seen(Labels):
        @property
        def about(self) -> str:
            return "photo"

    class Photo(st.Row):
        photo: Annotated[bytes, st.Image()]

    class Found(st.Answer):
        seen: Annotated[list[str], Seen("cat", "dog")]
        size: float

    schema = st.contract_from_rows(Photo, Found).answer_schema()["properties"]
    assert schema["seen"]["x-about"] == "photo"
    assert "x-about" not in schema["size"]
