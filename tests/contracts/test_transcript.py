"""Transcripts: what tokens spell, judged by transformers' own CTC tokenizer and by tokenizers."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

import seatrial as st
from seatrial_contracts.compare import Tolerance
from seatrial_contracts.contract_changes import compare_contracts
from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.kinds.transcript import Transcript

WORDS = ["<pad>", "<s>", "</s>", "<unk>", "|", "a", "b", "é", "'", "東"]
TEXTS = ["a ship is tried at sea", "Das Schiff wird erprobt", "東京 🚢", "a  b\n c"]
ids = some.lists(some.integers(0, len(WORDS) - 1), max_size=60)


class Row(st.Row):
    x: float


def spelling(words: list[str], delimiter: str = "|") -> bytes:
    made = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}))
    made.decoder = decoders.Sequence([decoders.Replace(delimiter, " "), decoders.Fuse()])
    return made.to_str().encode()


def contract_of(**options: Any) -> st.Contract:
    class Said(st.Answer):
        said: Annotated[str, Transcript(tokenizer=spelling(WORDS), **options)]

    return st.contract_from_rows(Row, Said)


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from transformers import Wav2Vec2CTCTokenizer

    file = tmp_path_factory.mktemp("ctc") / "vocab.json"
    file.write_text(json.dumps({word: place for place, word in enumerate(WORDS)}))
    return Wav2Vec2CTCTokenizer(str(file))


@given(path=ids)
def test_a_path_without_repeats_and_blanks_is_spelt_as_transformers_decodes_it(
    judge: Any, path: list[int]
) -> None:
    kept = [token for token, _ in groupby(path) if token != 0]
    kind = Transcript(tokenizer=spelling(WORDS), max_ids=64)
    filled = np.full(64, -1)
    filled[: len(kept)] = kept
    [text] = kind.client([filled], None, {})
    assert text.item() == judge.decode(path)
    assert kind.recover(kind.written((text,)))[0].item() == text.item()


@pytest.mark.parametrize("text", TEXTS)
def test_pieces_of_words_become_the_text_that_they_were_cut_from(text: str) -> None:
    learnt = Tokenizer(models.BPE())
    learnt.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    learnt.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<end>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    learnt.train_from_iterator(TEXTS, trainer)
    kind = Transcript(tokenizer=learnt.to_str().encode())
    tokens = np.array([*learnt.encode(text).ids, 0, -1, -1])
    assert kind.describe([tokens], None, {}) == text


@pytest.mark.parametrize(
    ("want", "got", "said"),
    [
        ("a ship", "a ship", ""),
        ("a ship", "a shop", "6 characters, want one of 6: they part at character 4"),
        ("a ship", "a", "1 characters, want one of 6: they part at character 1"),
        ("", "a", "1 characters, want one of 0: they part at character 0"),
    ],
)
def test_texts_are_equal_or_they_are_not(want: str, got: str, said: str) -> None:
    pair = ((np.array(text, object),) for text in (want, got))
    found = Transcript().match(*pair, Tolerance())
    assert (found.passed, said in found.mismatch) == (not said, True)
    assert "ship" not in found.mismatch


def test_what_fills_a_row_up_is_no_part_of_its_answer() -> None:
    kind = Transcript(tokenizer=spelling(WORDS))
    assert kind.agrees(np.array([5, 6, -1]), np.array([5, 6]))
    assert not kind.agrees(np.array([5, 6, -1]), np.array([5, 5]))


def test_a_token_beyond_the_vocabulary_reaches_nobody() -> None:
    contract = contract_of(max_ids=3)
    rows = {"said": np.array([[5, 6, -1], [5, 10, -1]])}
    found = contract.faulty_rows(rows, 2)
    assert {row: fault.cause for row, fault in found.items()} == {
        1: "the model answered a token that is not below 10"
    }


def test_the_tokenizer_lies_beside_the_contract_in_a_bundle() -> None:
    contract = contract_of()
    files = contract.outputs[0].kind.front_files("said")
    assert files == {"front/said.tokenizer.json": spelling(WORDS)}
    alone = st.Contract.from_json(contract.to_json())
    with pytest.raises(DeclarationError, match="a contract without its tokenizer"):
        alone.describe({"said": np.array([[5]])}, 0)
    with pytest.raises(KeyError):
        alone.with_files({})
    with pytest.raises(DeclarationError, match="a file that tokenizers cannot read"):
        alone.with_files({"front/said.tokenizer.json": b"{}"})
    told = alone.with_files(files).describe({"said": np.array([[5, 5, 4, 7]])}, 0)
    assert told == {"said": "aa é"}


@pytest.mark.parametrize(
    ("kind", "annotation", "message"),
    [
        (Transcript(tokenizer=spelling(WORDS)), list[str], "want str"),
        (Transcript(), str, "no tokenizer"),
    ],
)
def test_a_declaration_that_is_not_whole_is_refused(
    kind: Transcript, annotation: Any, message: str
) -> None:
    with pytest.raises(DeclarationError, match=message):
        kind.declared(annotation, False)
    with pytest.raises(DeclarationError, match=r"tokenizer 'nowhere\.json': got No such file"):
        Transcript(tokenizer=Path("nowhere.json"))
    with pytest.raises(DeclarationError, match="a file that tokenizers cannot read"):
        Transcript(tokenizer=b"{}")


def test_more_tokens_break_no_client() -> None:
    found = compare_contracts(contract_of(max_ids=8), contract_of(max_ids=16))
    assert found
    assert not any(change.breaking for change in found)


def test_drift_looks_at_how_many_tokens_there_are() -> None:
    features = Transcript().features("said", {}, None)
    values = [np.array([5, 5, 6, -1]), np.array([-1, -1])]
    assert features(values) == {"tokens": [3.0, 0.0], "different": [2.0, 0.0]}
