"""Token ids in the place of a text, judged by the tokenizer that made them."""

from __future__ import annotations

import json
from typing import Annotated, Any

import numpy as np
import pytest
from support.embedded import LETTERS, TOKENIZER
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

import seatrial as st
from seatrial_client.row_models import row_model
from seatrial_contracts.contract_changes import compare_contracts
from seatrial_contracts.errors import Refusal
from seatrial_contracts.host_stage import HostStage

INPUTS = ("input_ids", "attention_mask", "token_type_ids", "position_ids")
TEXTS = ["a", "ship", "sea: trial", "Unknown LETTERS", ""]


class Score(st.Answer):
    score: float


def front(file: bytes = TOKENIZER, **options: Any) -> HostStage:
    kind = st.Text(tokenizer=file, **{"token_ids": True, "max_tokens": 20, **options})

    class Sentence(st.Row):
        text: Annotated[str, kind]

    Sentence.model_rebuild(_types_namespace={"kind": kind, "Annotated": Annotated})
    return HostStage(st.contract_from_rows(Sentence, Score), kind.front_files("text"))


def encoded(front: HostStage, value: Any) -> list[list[int]]:
    row = front.contract.validate_row({"text": value})
    return [np.asarray(each).tolist() for each in front.encode_row(row)]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("special", [True, False], ids=["special", "alone"])
def test_ids_become_what_their_text_becomes(text: str, special: bool) -> None:
    ids = Tokenizer.from_buffer(TOKENIZER).encode(text, add_special_tokens=special).ids
    stage = front(model_inputs=INPUTS)
    if ids:
        assert encoded(stage, ids) == encoded(stage, text)
    else:
        with pytest.raises(Refusal, match="got 0 token ids, want 1 to 20 of them"):
            encoded(stage, ids)


def test_types_of_tokens_are_those_of_the_tokenizers_template() -> None:
    made = Tokenizer(WordLevel({"[UNK]": 0, "<cls>": 1, "<sep>": 2, "a": 3}, unk_token="[UNK]"))
    made.pre_tokenizer = Whitespace()
    made.add_special_tokens(["<cls>", "<sep>"])
    made.post_processor = TemplateProcessing(
        single="$A:1 <sep>:1 <cls>:2", special_tokens=[("<cls>", 1), ("<sep>", 2)]
    )
    stage = front(made.to_str().encode(), model_inputs=INPUTS)
    for ids in ([3, 3, 2, 1], [3, 3]):
        assert encoded(stage, ids) == encoded(stage, "a a")
    assert encoded(stage, [3])[2] == [1, 1, 2]


@pytest.mark.parametrize(
    ("ids", "code", "message"),
    [
        ([len(LETTERS) + 4], "E_TOKENS", "got the token id 32, want ids from 0 to 31"),
        ([2, 2, 3], "E_TOKENS", "got the special token 2 in a text"),
        ([5, 3], "E_TOKENS", "begins with [2] and ends with [3], or has neither"),
        ([5] * 19, "E_TOKENS", "got a text of 21 tokens, want 1 to 20 tokens"),
        ([5] * 21, "E_TOKENS", "got 21 token ids, want 1 to 20 of them"),
        ([], "E_TOKENS", "got 0 token ids"),
        ([-1], "E_TOKENS", "got the token id -1"),
        ([2**70], "E_TOKENS", "got the token id"),
        ([True], "E_TYPE", "got a list of other values than token ids"),
        ([5.0], "E_TYPE", "got a list of other values than token ids"),
        (["a"], "E_TYPE", "or the ids of its tokens"),
        (7, "E_TYPE", "or the ids of its tokens"),
    ],
)
def test_ids_that_no_text_has_are_refused(ids: Any, code: str, message: str) -> None:
    with pytest.raises(Refusal) as refused:
        encoded(front(), ids)
    assert refused.value.code == code
    assert message in str(refused.value)
    assert "input 'text'" in str(refused.value)


def test_special_tokens_of_a_text_that_may_spell_them_are_taken() -> None:
    stage = front(special="take")
    assert encoded(stage, [2, 5, 3, 5, 3])[0] == [2, 5, 3, 5, 3]


def test_texts_and_ids_are_encoded_together() -> None:
    stage = front()
    values = ["ship", [5, 6], [99], "x" * 30, [2, 5, 3]]
    rows = [stage.contract.validate_row({"text": value}) for value in values]
    found = stage.encode_together(rows, range(len(rows)))
    want: list[Any] = []
    for place, row in enumerate(rows):
        try:
            want.append([array.tolist() for array in stage.encode_row(row, place)])
        except Refusal as refusal:
            want.append(str(refusal))
    assert want == [
        str(each) if isinstance(each, Refusal) else [array.tolist() for array in each]
        for each in found
    ]


def columns_of(stage: HostStage, rows: int, **columns: Any) -> list[Any]:
    return list(stage.contract.validate_columns(columns, rows)["text"])


def test_columns_of_ids_stand_beside_how_many_of_each_row_count() -> None:
    stage = front()
    ids = np.array([[5, 6, 7], [5, 0, 0]])
    assert [*stage.contract.raw_tensors] == ["text", "text_token_ids", "text_length"]
    assert columns_of(stage, 2, text_token_ids=ids) == [[5, 6, 7], [5, 0, 0]]
    lengths = np.array([3, 1])
    assert columns_of(stage, 2, text_token_ids=ids, text_length=lengths) == [[5, 6, 7], [5]]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"text": [b"a"], "text_token_ids": np.array([[5]])}, "one of the two in a request"),
        ({}, "input 'text': got nothing, want a text"),
        (
            {"text_token_ids": np.array([[5]]), "text_length": np.array([2])},
            "input 'text_token_ids', row 0: got the length 2, want 0 to 1",
        ),
        (
            {"text_token_ids": np.array([[5]]), "text_length": np.array([0])},
            "input 'text_token_ids', row 0: got 0 token ids, want 1 to 20",
        ),
    ],
)
def test_columns_of_ids_that_say_two_things_are_refused(columns: Any, message: str) -> None:
    with pytest.raises(Refusal) as refused:
        columns_of(front(), 1, **columns)
    assert message in str(refused.value)


def test_a_text_that_may_be_missing_may_come_as_ids() -> None:
    kind = st.Text(tokenizer=TOKENIZER, token_ids=True)

    class Row(st.Row):
        text: Annotated[str | None, kind] = None

    Row.model_rebuild(_types_namespace={"kind": kind, "Annotated": Annotated})
    contract = st.contract_from_rows(Row, Score)
    stage = HostStage(contract, kind.front_files("text"))
    ids, mark = np.array([[5], [0]]), np.array([True, False])
    columns = {"text_token_ids": ids, "text_present": mark}
    assert contract.validate_columns(columns, 2)["text"] == [[5], None]
    ids, _, present = encoded(stage, [5])
    assert (ids, present) == ([2, 5, 3], True)


def test_the_schema_and_clients_made_of_it_take_both() -> None:
    schema = front().contract.row_schema()
    text = schema["properties"]["text"]
    assert (text["type"], text["maxLength"], text["maxItems"]) == (["string", "array"], 4096, 20)
    made = row_model("Row", schema)
    for value in ("ship", [5, 6]):
        assert made(text=value).text == value  # type: ignore[attr-defined]
    for value in ([], [1.5], 3):
        with pytest.raises(ValueError, match="validation error"):
            made(text=value)


def test_contracts_say_it_only_where_it_is_so_and_taking_it_away_breaks() -> None:
    with_ids, without = (front(token_ids=each).contract for each in (True, False))
    (told,) = json.loads(without.model_dump_json())["inputs"]
    assert "token_ids" not in told["kind"]
    found = {
        name: [change.breaking for change in compare_contracts(*pair)]
        for name, pair in {"more": (without, with_ids), "less": (with_ids, without)}.items()
    }
    assert found == {"more": [False], "less": [True]}


@pytest.mark.parametrize("output", ["spans", "part"])
def test_answers_that_read_the_text_are_refused(output: str) -> None:
    kind = st.Text(tokenizer=TOKENIZER, token_ids=True)
    answers: dict[str, Any] = {
        "spans": Annotated[list[dict], st.Spans("O", "B-x", of="text")],  # type: ignore[type-arg]
        "part": Annotated[dict[str, Any], st.Truncation(of="text")],
    }

    class Row(st.Row):
        text: Annotated[str, kind]

    Row.model_rebuild(_types_namespace={"kind": kind, "Annotated": Annotated})
    answer = type("Answer", (st.Answer,), {"__annotations__": {output: answers[output]}})
    with pytest.raises(st.DeclarationError, match="whose token_ids have no text"):
        st.contract_from_rows(Row, answer)


def test_golden_rows_show_a_tokenizer_that_does_more_than_its_ids_say() -> None:
    stage = front()
    kind = stage.contract.inputs[0].kind
    kind.check_rows([text for text in TEXTS if text], stage.files, "text")
    other = {"front/text.tokenizer.json": TOKENIZER.replace(b'"id":"[SEP]"', b'"id":"[CLS]"')}
    between = Tokenizer(WordLevel({"[UNK]": 0, "[X]": 1}, unk_token="[UNK]"))
    between.pre_tokenizer = Whitespace()
    between.add_special_tokens(["[X]"])
    between.post_processor = TemplateProcessing(single="$A [X] $A", special_tokens=[("[X]", 1)])
    other["front/text.tokenizer.json"] = between.to_str().encode()
    with pytest.raises(st.DeclarationError, match="between those of a text"):
        kind.check_rows(["a"], other, "text")


def test_drift_sees_the_text_that_ids_spell() -> None:
    stage = front()
    kind = stage.contract.inputs[0].kind
    features = kind.features("text", stage.files, stage.stages["text"])
    ids = Tokenizer.from_buffer(TOKENIZER).encode("ship").ids
    seen = features(["ship", ids])
    assert list(seen["chars"]) == [4, 4]
    assert list(seen["unknown"]) == [0, 0]
