"""Answers extracted from texts: rules worked by hand, and a search of all candidates."""

from __future__ import annotations

from itertools import product
from typing import Annotated, Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from scipy.special import softmax
from test_text_pair import front

import seatrial as st
from seatrial_contracts.errors import ModelError
from seatrial_contracts.kinds.notes import TextNote

PASSAGE = "b c d e"


def note_of(query: str = "a", passage: str = PASSAGE) -> TextNote:
    class Found(st.Answer):
        found: Annotated[list[dict], st.Extract(of="pair")]  # type: ignore[type-arg]

    [note] = front(Found).notes({"pair": {"query": query, "passage": passage}})
    assert isinstance(note, TextNote)
    return note


NOTE = note_of()
"""[CLS] a [SEP] b c d e [SEP]: the passage's tokens are 3 to 6."""


def logits(starts: dict[int, float], ends: dict[int, float], tokens: int = 8) -> Any:
    made = np.zeros((tokens, 2), np.float32)
    for column, values in enumerate((starts, ends)):
        for place, value in values.items():
            made[place, column] = value
    return made


def seen(kind: st.Extract, values: Any, note: TextNote = NOTE, **options: Any) -> Any:
    return kind.describe([values], note, options)


def short(found: Any) -> list[str]:
    return [each["answer"] for each in found]


def test_the_best_start_and_end_are_the_answer_and_its_score_is_their_product() -> None:
    kind = st.Extract(of="pair")
    found = seen(kind, logits({4: 3.0}, {5: 2.0}))
    # Softmax over [CLS] and the passage's four tokens: e^3 / (e^3 + 4) and e^2 / (e^2 + 4).
    assert found == [
        {"answer": "c d", "score": pytest.approx(0.83392 * 0.64878, abs=1e-5), "start": 2, "end": 5}
    ]


def test_tokens_of_the_question_are_no_answers_and_have_no_part_in_the_softmax() -> None:
    kind = st.Extract(of="pair")
    loud = logits({1: 99.0, 2: 99.0, 7: 99.0, 4: 3.0}, {1: 99.0, 5: 2.0})
    assert seen(kind, loud) == seen(kind, logits({4: 3.0}, {5: 2.0}))
    assert short(seen(st.Extract(of="pair", text="query"), loud)) == ["a"]


def test_an_answer_ends_where_it_begins_or_later_and_is_not_too_long() -> None:
    assert short(seen(st.Extract(of="pair"), logits({6: 5.0}, {3: 5.0, 6: 1.0}))) == ["e"]
    far = logits({3: 5.0}, {6: 5.0})
    assert short(seen(st.Extract(of="pair", longest=4), far)) == [PASSAGE]
    assert short(seen(st.Extract(of="pair", longest=3), far)) == ["b"]


def test_equal_scores_stand_by_place_then_by_length() -> None:
    found = seen(st.Extract(of="pair", top=4), logits({}, {}))
    assert short(found) == ["b", "b c", "b c d", "b c d e"]
    assert short(seen(st.Extract(of="pair", top=4), logits({}, {}), top_k=2)) == ["b", "b c"]


def test_no_answer_goes_first_where_it_is_above_the_threshold() -> None:
    values = logits({0: 4.0, 4: 3.0}, {0: 4.0, 4: 3.0})  # 8 against 6
    null = {"answer": "", "start": 0, "end": 0}
    for threshold, first in ((0.0, True), (1.9, True), (2.1, False), (None, False)):
        found = seen(st.Extract(of="pair", null_threshold=threshold, top=2), values)
        assert (found[0].items() >= null.items()) == first, threshold
        assert short(found)[1 if first else 0] == "c"
        assert len(found) == 2
    alone = seen(st.Extract(of="pair", null_threshold=0.0), values)
    # 54.598 / (54.598 + 20.086 + 3), squared.
    assert alone[0]["score"] == pytest.approx(0.70283**2, abs=1e-4)


def test_an_empty_text_has_no_answer() -> None:
    note = note_of(passage="")
    values = logits({}, {}, tokens=4)
    assert seen(st.Extract(of="pair"), values, note) == []
    assert short(seen(st.Extract(of="pair", null_threshold=0.0), values, note)) == [""]


@settings(max_examples=100, deadline=None)
@given(
    values=some.lists(some.integers(-4, 4), min_size=16, max_size=16),
    longest=some.integers(1, 5),
    top=some.integers(1, 12),
)
def test_no_candidate_is_better_than_the_answers(values: list[int], longest: int, top: int) -> None:
    made = np.array(values, np.float32).reshape(8, 2)
    allowed = [0, 3, 4, 5, 6]
    starts, ends = (softmax(made[allowed, column].astype(np.float64)) for column in (0, 1))
    every = [
        (-starts[first] * ends[last], first, last)
        for first, last in product(range(1, 5), repeat=2)
        if 0 <= last - first < longest
    ]
    every.sort(key=lambda each: (round(each[0], 12), *each[1:]))
    places = [(0, 1), (2, 3), (4, 5), (6, 7)]
    own = {(places[first - 1][0], places[last - 1][1]): -score for score, first, last in every}
    found = seen(st.Extract(of="pair", top=top, longest=longest), made)
    assert [each["score"] for each in found] == pytest.approx([-each[0] for each in every[:top]])
    for each in found:
        assert each["score"] == pytest.approx(own[each["start"], each["end"]])


def test_answers_come_back_from_their_json_and_fit_their_schema() -> None:
    kind = st.Extract(of="pair", top=3)
    client = kind.client([logits({4: 3.0}, {5: 2.0})], NOTE, {})
    written = kind.written(client)
    jsonschema.validate(kind.example(), kind.json_schema())
    for got, want in zip(kind.recover(written), client, strict=True):
        assert (got.dtype, got.tolist()) == (want.dtype, want.tolist())


def test_a_tie_at_the_end_of_the_list_is_no_mismatch_and_another_answer_is() -> None:
    kind, tolerance = st.Extract(of="pair", top=2), st.Tolerance()

    def client(**changed: Any) -> Any:
        return kind.client([logits(**changed)], NOTE, {})

    want = client(starts={3: 5.0}, ends={3: 4.0, 4: 2.0, 5: 2.0})
    tied = client(starts={3: 5.0}, ends={3: 4.0, 4: 2.0, 5: 2.000001})
    assert [each.tolist() for each in (want[0], tied[0])] == [["b", "b c"], ["b", "b c d"]]
    assert kind.match(want, tied, tolerance).passed
    other = client(starts={6: 5.0}, ends={6: 4.0})
    assert "part from 0 to 1: only wanted" in str(kind.match(want, other, tolerance))


def test_answers_of_another_number_of_tokens_reach_nobody() -> None:
    with pytest.raises(ModelError, match="answered 9 tokens of a text of 8"):
        seen(st.Extract(of="pair"), logits({}, {}, tokens=9))


def test_drift_looks_at_how_certain_start_and_end_are() -> None:
    read = st.Extract(of="pair").features("found", {}, None)
    found = read([logits({}, {}, tokens=4)])
    assert found == {"start_confidence": [0.25], "end_confidence": [0.25]}


def test_extraction_is_of_a_text_and_names_one() -> None:
    class Wrong(st.Answer):
        found: Annotated[list[dict], st.Extract(of="pair", text="title")]  # type: ignore[type-arg]

    with pytest.raises(st.DeclarationError, match="text='title'"):
        front(Wrong)
