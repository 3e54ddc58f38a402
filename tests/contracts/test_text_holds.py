"""Texts that have to hold one token once, as a model that fills a mask needs them."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from support.declared import row_of
from support.word_tokenizer import word_tokenizer

import seatrial as st
from seatrial_contracts.host_stage import HostStage

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "ship", "sails"]


def tokenizer() -> bytes:
    from tokenizers import Tokenizer

    made = Tokenizer.from_str(word_tokenizer(WORDS).decode())
    made.add_special_tokens(["[MASK]"])
    return bytes(made.to_str(), "utf-8")


def stage(**options: Any) -> HostStage:
    class Answer(st.Answer):
        score: float

    kind = st.Text(tokenizer=tokenizer(), **{"special": "take", "holds": "[MASK]"} | options)
    contract = st.contract_from_rows(row_of(text=Annotated[str, kind]), Answer)
    return HostStage(contract, {"front/text.tokenizer.json": tokenizer()})


@pytest.mark.parametrize("overflow", ["refuse", "truncate"])
@pytest.mark.parametrize(
    ("text", "times"), [("a ship", 0), ("a [MASK] [MASK]", 2), ("", 0), ("a mask", 0)]
)
def test_a_text_that_holds_it_otherwise_is_refused(text: str, times: int, overflow: str) -> None:
    front = stage(overflow=overflow)
    with pytest.raises(
        st.Refusal, match=rf"text': got a text that holds it {times} times, want \[MASK\] once"
    ) as caught:
        front.encode_row({"text": text})
    assert caught.value.code == "E_TOKENS"
    found = front.stages["text"].together([text, "a [MASK]"])  # type: ignore[attr-defined]
    assert isinstance(found[0], st.Refusal)
    assert found[1][0].tolist() == [2, 5, 4, 3]


def test_a_text_whose_token_is_cut_off_is_refused() -> None:
    with pytest.raises(st.Refusal, match="holds it 0 times"):
        stage(max_tokens=4, overflow="truncate").encode_row({"text": "a ship sails [MASK]"})


def test_examples_blanks_and_drawn_texts_hold_it() -> None:
    front = stage(max_chars=40)
    kind = front.contract.inputs[0].kind
    values = [kind.example(), kind.blank(), *(e.value for e in kind.edges(front.stages["text"]))]  # type: ignore[attr-defined]
    assert len(values) > 6
    for value in values:
        assert len(value) <= 40
        front.encode_row(front.contract.validate_row({"text": value}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"holds": "<mask>"}, "got holds='<mask>', want a token of the tokenizer"),
        ({"special": "words"}, 'got holds without it, want special="take"'),
        ({"special": None}, 'got holds without it, want special="take"'),
        ({"max_chars": 3}, r"got max_chars=3, want room for '\[MASK\]'"),
    ],
)
def test_a_token_that_no_text_can_hold_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(st.DeclarationError, match=message):
        stage(**options)


def test_a_text_without_a_tokenizer_has_no_token_to_hold() -> None:
    with pytest.raises(st.DeclarationError, match="'holds' and no tokenizer"):
        st.contract_from_rows(
            row_of(text=Annotated[str, st.Text(holds="[MASK]")]),
            type("Answer", (st.Answer,), {"__annotations__": {"score": float}}),
        )
