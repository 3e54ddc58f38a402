"""A JSON text of too many values is refused before it is parsed.

A text that the contract takes never is.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from support.properties import drawing

import seatrial as st
from seatrial_contracts.contract import Contract
from seatrial_contracts.errors import Refusal
from seatrial_contracts.json_values import SPARE, check_values
from seatrial_contracts.predict_request import RequestReader


class Row(st.Row):
    x: float
    word: Annotated[str, st.Category("a", unknown="bucket", max_chars=256)]
    t: st.Tensor[np.int16, 2, 1:3]


class Answer(st.Answer):
    y: float


ROWS = 64
CONTRACT = st.contract_from_rows(Row, Answer, limits=st.Limits(max_rows=ROWS))
READER = RequestReader(CONTRACT)
MOST = 2 * ROWS * 8 + SPARE
TOLD = drawing(50)


def test_the_largest_request_is_counted_by_its_kinds() -> None:
    assert CONTRACT.most_values == ROWS * (1 + 1 + 6)


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        (b'"a",' * MOST + b'"a"', "E_BATCH"),
        (b"[]," * MOST + b"[]", "E_BATCH"),
        (b"{}," * MOST + b"{}", "E_BATCH"),
        (b'{"t":[' + b"1," * MOST + b"1]}", "E_LIMIT"),
        (b"{" + b'"x":1,' * MOST + b'"x":1}', "E_LIMIT"),
    ],
    ids=["letters", "lists", "objects", "numbers in one row", "keys"],
)
def test_too_many_values_are_refused_before_they_are_parsed(
    rows: bytes, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RequestReader, "_strict", None)  # nothing can be parsed
    with pytest.raises(Refusal) as refused:
        READER.read(b'{"instances":[' + rows + b"]}")
    assert refused.value.code == code
    assert str(refused.value).startswith("request body: got more than ")


WORDS = some.text(some.sampled_from(',,,"\\[]{}:a'), min_size=200, max_size=256)


@TOLD
@given(some.lists(WORDS, min_size=1, max_size=4), some.booleans())
def test_commas_within_strings_count_for_nothing(words: list[str], ascii_only: bool) -> None:
    row = {"x": 1.0, "t": [[1], [2]]}
    rows: list[dict[str, Any]] = [
        row | {"word": words[place % len(words)]} for place in range(ROWS)
    ]
    body = json.dumps({"instances": rows}, ensure_ascii=ascii_only).encode()
    assert READER.read(body).rows[0]["word"] == words[0]
    check_values(json.dumps(words * 500).encode(), len(words) * 500)


@TOLD
@given(some.lists(some.text(some.sampled_from(',"\\a')), min_size=1, max_size=9))
def test_commas_outside_strings_are_counted_exactly(words: list[str]) -> None:
    body = json.dumps(words * 2000).encode()
    values = 2000 * len(words)
    if values - 1 >= SPARE and len(body) > 2 * SPARE:
        with pytest.raises(Refusal):
            check_values(body, (values - 1 - SPARE) // 2)
    check_values(body, values)


def test_a_contract_of_open_sizes_counts_what_its_kinds_allow() -> None:
    assert Contract.from_json(CONTRACT.to_json()).most_values == CONTRACT.most_values
