"""A `tokenizer.json`, loaded once for all who read texts alike."""

from __future__ import annotations

import gc
import json
from typing import Annotated, Any

import pytest
from support.embedded import TOKENIZER
from tokenizers import Tokenizer, models

import seatrial as st
from seatrial_contracts.canonical import sha256
from seatrial_contracts.host_stage import HostStage
from seatrial_contracts.kinds.tokenizer_file import SHARED, unknown_id

ODD = 'a "unk_id": 5'


def words(*others: str) -> dict[str, int]:
    return {word: place for place, word in enumerate((ODD, "[UNK]", "unk_id", *others))}


MODELS: dict[str, Any] = {
    "word level": models.WordLevel(words("b"), unk_token="[UNK]"),
    "word piece": models.WordPiece(words("##b"), unk_token="[UNK]"),
    "byte pairs": models.BPE(words("b"), [], unk_token="[UNK]"),
    "byte pairs without one": models.BPE(words("b"), []),
    "unigram": models.Unigram([(ODD, 0.0), ("<unk>", 0.0), ("b", -1.0)], unk_id=1),
    "unigram without one": models.Unigram([(ODD, 0.0), ("b", -1.0)]),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_unknown_token_is_that_of_the_file(name: str) -> None:
    file = Tokenizer(MODELS[name]).to_str().encode()
    model = json.loads(file)["model"]
    want = model.get("unk_id")
    if want is None:
        want = model["vocab"].get(model.get("unk_token"), -1) if "merges" in model else None
    if name in ("word level", "word piece"):
        want = model["vocab"][model["unk_token"]]
    assert unknown_id(Tokenizer.from_str(file.decode()), file) == (-1 if want is None else want)


class Score(st.Answer):
    score: float


def front(**options: Any) -> HostStage:
    kind = st.Text(tokenizer=TOKENIZER, max_chars=77, **options)  # as no other test has it

    class Sentence(st.Row):
        text: Annotated[str, kind]

    Sentence.model_rebuild(_types_namespace={"kind": kind, "Annotated": Annotated})
    return HostStage(st.contract_from_rows(Sentence, Score), kind.front_files("text"))


def tokenizer_of(stage: HostStage) -> Any:
    return stage.stages["text"].tokenizer  # type: ignore[attr-defined]


def test_stages_that_read_alike_share_a_tokenizer_as_long_as_one_is_there() -> None:
    one, two = front(), front()
    other, whole = front(special="take"), front(overflow="truncate", max_tokens=4)
    assert tokenizer_of(one) is tokenizer_of(two)
    kind, files = one.contract.inputs[0].kind, one.files
    assert kind.noting_stage("text", files).tokenizer is tokenizer_of(one)  # type: ignore[attr-defined]
    assert len({id(tokenizer_of(each)) for each in (one, other, whole)}) == 3
    ids, _ = whole.encode_row({"text": "a long text"})
    assert len(ids) == 4
    ids, _ = one.encode_row({"text": "a long text"})
    assert len(ids) == len("a long text") + 2
    reads = kind.model_dump_json()
    assert (sha256(TOKENIZER), reads) in SHARED
    del one, two
    gc.collect()
    assert (sha256(TOKENIZER), reads) not in SHARED


def test_a_file_that_is_no_text_is_refused() -> None:
    with pytest.raises(st.DeclarationError, match="a file that"):
        st.Text(tokenizer=b"\xff\xfe").declared(str, nullable=False)
