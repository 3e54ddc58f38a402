"""Spans of texts, judged by transformers' token classification and by the tokenizers' offsets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Annotated, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE, Unigram, WordPiece
from tokenizers.normalizers import NFD, Lowercase, StripAccents
from tokenizers.pre_tokenizers import BertPreTokenizer, ByteLevel, Metaspace
from tokenizers.processors import TemplateProcessing

import seatrial as st
from seatrial_contracts.errors import ModelError
from seatrial_contracts.host_stage import HostStage
from seatrial_contracts.kinds.notes import TextNote
from seatrial_contracts.kinds.spans import Spans

LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
TEXTS = [
    "Ada Lovelace sailed from London to New York.",
    "micro soft  microsoft\tLondon\nYork",
    "東京 と 大阪",
    "مرحبا London שלום",
    "ship 🚢 👩‍👩‍👧‍👦 York",
    "",
    "   ",
    "a",
]
LETTERS = sorted(set("".join(TEXTS)) - {" ", "\t", "\n"})
PIECES = ["ship", "London", "Lon", "don", "York", "micro", "soft", "Ada", "New", "東京"]


def word_piece() -> Tokenizer:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *PIECES, *LETTERS]
    words += [f"##{piece}" for piece in (*PIECES, *LETTERS)]
    tokenizer = Tokenizer(
        WordPiece(
            {word: place for place, word in enumerate(dict.fromkeys(words))}, unk_token="[UNK]"
        )
    )
    tokenizer.pre_tokenizer = BertPreTokenizer()
    return with_template(tokenizer)


def byte_level(*, trim: bool = False) -> Tokenizer:
    words = ["[CLS]", "[SEP]", *sorted(ByteLevel.alphabet())]
    merges = [("Ġ", "L"), ("o", "n"), ("ĠL", "on")]
    words += ["ĠL", "on", "ĠLon"]
    tokenizer = Tokenizer(BPE({word: place for place, word in enumerate(words)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return with_template(tokenizer) if not trim else tokenizer


def metaspace() -> Tokenizer:
    pieces = ["[CLS]", "[SEP]", "<unk>", "▁", *[f"▁{piece}" for piece in PIECES], *PIECES, *LETTERS]
    scores = [(piece, -float(len(pieces)) / len(piece)) for piece in dict.fromkeys(pieces)]
    tokenizer = Tokenizer(Unigram(scores, unk_id=2))
    tokenizer.pre_tokenizer = Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return with_template(tokenizer)


def with_template(tokenizer: Tokenizer) -> Tokenizer:
    ends = [(word, tokenizer.token_to_id(word)) for word in ("[CLS]", "[SEP]")]
    tokenizer.add_special_tokens(["[CLS]", "[SEP]"])
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    return tokenizer


TOKENIZERS = {"word_piece": word_piece, "byte_level": byte_level, "metaspace": metaspace}


def contract_of(tokenizer: Tokenizer, spans: Spans, **options: Any) -> HostStage:
    kind = st.Text(tokenizer=tokenizer.to_str().encode(), **options)

    class Row(st.Row):
        text: Annotated[str, kind]

    class Found(st.Answer):
        found: Annotated[list[dict], spans]  # type: ignore[type-arg]

    names = {"kind": kind, "spans": spans, "Annotated": Annotated}
    Row.model_rebuild(_types_namespace=names)
    Found.model_rebuild(_types_namespace=names)
    return HostStage(st.contract_from_rows(Row, Found), kind.front_files("text"))


def note_of(front: HostStage, text: str) -> TextNote:
    [note] = front.notes({"text": text})
    assert isinstance(note, TextNote)
    return note


def drawn(note: TextNote, labels: int, seed: int) -> Any:
    """Seeded probabilities that often keep the label of the token before."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(len(note.offsets), labels))
    for place in range(1, len(logits)):
        if rng.random() < 0.5:
            logits[place] += logits[place - 1]
    made = np.exp(logits)
    return (made / made.sum(1, keepdims=True)).astype(np.float32)


def certain(note: TextNote, labels: Sequence[str], names: Sequence[str] = LABELS) -> Any:
    """Probabilities of 0.6 for these labels of the tokens that are not special."""
    scores = np.full((len(note.offsets), len(names)), 0.4 / (len(names) - 1), np.float32)
    places = np.flatnonzero(~note.special)
    assert len(places) == len(labels), [note.text[a:b] for a, b in note.offsets[places]]
    for place, label in zip(places, labels, strict=True):
        scores[place, names.index(label)] = 0.6
    return scores


def seen(spans: Spans, scores: Any, note: TextNote) -> list[Mapping[str, Any]]:
    written = spans.describe([scores], note, {})
    assert isinstance(written, list)
    return written


def short(found: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    return [(each["label"], each["text"]) for each in found]


@pytest.mark.slow
@pytest.mark.parametrize("aggregate", ["none", "simple", "first", "average", "max"])
@pytest.mark.parametrize("name", sorted(TOKENIZERS))
def test_spans_are_those_of_transformers(name: str, aggregate: str) -> None:
    import torch
    from transformers import PreTrainedTokenizerFast, TokenClassificationPipeline
    from transformers.pipelines.token_classification import AggregationStrategy

    tokenizer = TOKENIZERS[name]()
    judge = object.__new__(TokenClassificationPipeline)
    judge.tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token={"word_piece": "[UNK]"}.get(name)
    )
    judge.model = SimpleNamespace(config=SimpleNamespace(id2label=dict(enumerate(LABELS))))
    words = "tokenizer" if name == "word_piece" else "spaces"
    spans = st.Spans(*LABELS, of="text", aggregate=aggregate, words=words)
    front = contract_of(tokenizer, spans)
    compared = 0
    for seed, text in enumerate(TEXTS * 6):
        note = note_of(front, text)
        scores = drawn(note, len(LABELS), seed)
        [ids, *_] = front.encode_row({"text": text})
        output = {
            "logits": torch.log(torch.from_numpy(scores))[None],
            "input_ids": torch.from_numpy(ids)[None],
            "offset_mapping": torch.from_numpy(note.offsets)[None],
            "special_tokens_mask": torch.from_numpy(note.special)[None],
            "sentence": text,
        }
        with pytest.MonkeyPatch.context() as quiet:
            quiet.setattr("warnings.warn", lambda *_a, **_k: None)
            theirs = judge.postprocess([output], AggregationStrategy[aggregate.upper()])
        want = [
            (each.get("entity_group") or each["entity"], text[each["start"] : each["end"]].strip())
            for each in theirs
            if text[each["start"] : each["end"]].strip()
        ]
        found = seen(spans, scores, note)
        assert short(found) == want, text
        kept = [each for each in theirs if text[each["start"] : each["end"]].strip()]
        assert [each["score"] for each in found] == pytest.approx(
            [float(each["score"]) for each in kept], abs=1e-6
        )
        assert [each["end"] for each in found] == [
            each["end"] - len(text[: each["end"]]) + len(text[each["start"] : each["end"]].rstrip())
            + each["start"]
            for each in kept
        ]  # fmt: skip
        compared += len(found)
    assert compared > 40


@settings(max_examples=60, deadline=None)
@given(
    text=some.text(some.sampled_from("aé\u0301東م🚢👩\u200d \t\nLondon."), max_size=24),
    name=some.sampled_from(sorted(TOKENIZERS)),
    seed=some.integers(0, 2**16),
    max_tokens=some.integers(3, 12),
    side=some.sampled_from(["left", "right"]),
)
def test_each_token_is_the_slice_of_the_tokenizers_own_offsets(
    text: str, name: str, seed: int, max_tokens: int, side: str
) -> None:
    spans = st.Spans(*LABELS, of="text", aggregate="none", ignore_labels=())
    front = contract_of(
        TOKENIZERS[name](), spans, max_tokens=max_tokens, overflow="truncate", truncation_side=side,
        padding_side="left",
    )  # fmt: skip
    note = note_of(front, text)
    judge = Tokenizer.from_str(TOKENIZERS[name]().to_str())
    judge.enable_truncation(max_tokens, direction=side)
    encoding = judge.encode(text)
    own = [
        text[start:end].strip()
        for (start, end), special in zip(
            encoding.offsets, encoding.special_tokens_mask, strict=True
        )
        if not special and text[start:end].strip()
    ]
    found = seen(spans, drawn(note, len(LABELS), seed), note)
    assert [each["text"] for each in found] == own
    assert all(text[each["start"] : each["end"]] == each["text"] for each in found)
    assert note.cuts[0] == bool(encoding.overflowing)


def test_an_accent_that_the_tokenizer_strips_is_not_in_the_span() -> None:
    tokenizer = word_piece()
    tokenizer.normalizer = normalizers.Sequence([NFD(), StripAccents(), Lowercase()])
    spans = st.Spans(*LABELS, of="text")
    note = note_of(contract_of(tokenizer, spans), "e\u0301 a")
    assert note.offsets.tolist() == [[0, 0], [0, 1], [3, 4], [0, 0]]
    found = seen(spans, certain(note, ["B-PER", "B-LOC"]), note)
    assert [(each["start"], each["end"], each["text"]) for each in found] == [
        (0, 1, "e"), (3, 4, "a"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("names", "scheme", "labels", "want"),
    [
        (LABELS, "BIO", ["B-PER", "I-PER", "B-PER"], ["a b", "c"]),
        (LABELS, "BIO", ["I-PER", "I-PER", "I-LOC"], ["a b", "c"]),
        (LABELS, "BIO", ["B-PER", "O", "I-PER"], ["a", "c"]),
        (("O", "PER", "LOC"), "IO", ["PER", "PER", "LOC"], ["a b", "c"]),
        (("O", "E-MAIL", "CORP"), "IO", ["E-MAIL", "E-MAIL", "CORP"], ["a b", "c"]),
        (("O", "B-X", "I-X", "L-X", "U-X"), "BILOU", ["B-X", "L-X", "I-X"], ["a b", "c"]),
        (("O", "B-X", "I-X", "L-X", "U-X"), "BILOU", ["U-X", "U-X", "B-X"], ["a", "b", "c"]),
        (("O", "B-X", "I-X", "E-X", "S-X"), "BILOU", ["S-X", "B-X", "E-X"], ["a", "b c"]),
    ],
)
def test_labels_mark_spans_by_their_scheme(
    names: tuple[str, ...], scheme: str, labels: list[str], want: list[str]
) -> None:
    spans = st.Spans(*names, of="text")
    front = contract_of(word_piece(), spans)
    kind = front.contract.outputs[0].kind
    assert isinstance(kind, Spans)
    assert kind.scheme == scheme
    note = note_of(front, "a b c")
    found = seen(kind, certain(note, labels, names), note)
    assert [each["text"] for each in found] == want
    assert all(each["score"] == pytest.approx(0.6) for each in found)


def test_ignored_labels_part_spans_and_are_left_out() -> None:
    spans = st.Spans(*LABELS, of="text", ignore_labels=("O", "LOC"))
    note = note_of(contract_of(word_piece(), spans), "a b c")
    found = seen(spans, certain(note, ["B-PER", "B-LOC", "I-PER"]), note)
    assert short(found) == [("PER", "a"), ("PER", "c")]


def test_all_bytes_of_an_emoji_are_one_character() -> None:
    spans = st.Spans(*LABELS, of="text")
    note = note_of(contract_of(byte_level(), spans), "🚢 a")
    found = seen(spans, certain(note, ["B-PER", "I-PER", "I-PER", "I-PER", "O", "O"]), note)
    assert [(each["start"], each["end"], each["text"]) for each in found] == [(0, 1, "🚢")]


def test_answers_of_another_number_of_tokens_reach_nobody() -> None:
    spans = st.Spans(*LABELS, of="text")
    note = note_of(contract_of(word_piece(), spans), "a b c")
    with pytest.raises(ModelError, match="answered 7 tokens of a text of 5"):
        spans.client([np.full((7, 5), 0.2, np.float32)], note, {})


def test_json_of_spans_comes_back_to_the_bit() -> None:
    spans = st.Spans(*LABELS, of="text")
    note = note_of(contract_of(word_piece(), spans), TEXTS[0])
    client = spans.client([drawn(note, 5, 3)], note, {})
    for got, want in zip(spans.recover(spans.written(client)), client, strict=True):
        assert (got.dtype, got.tolist()) == (want.dtype, want.tolist())


def test_a_moved_an_unwanted_and_a_renamed_span_are_told() -> None:
    spans, tolerance = st.Spans(*LABELS, of="text"), st.Tolerance()
    note = note_of(contract_of(word_piece(), spans), "a b c")

    def client(*labels: str) -> Any:
        return spans.client([certain(note, labels)], note, {})

    want = client("B-PER", "I-PER", "O")
    assert spans.match(want, want, tolerance).passed
    for got, said in (
        (client("B-PER", "O", "O"), "span PER from 0 to 3: only wanted"),
        (client("B-PER", "I-PER", "B-LOC"), "span LOC from 4 to 5: not wanted"),
        (client("B-LOC", "I-LOC", "O"), "span PER from 0 to 3: only wanted"),
    ):
        assert said in str(spans.match(want, got, tolerance))
    nearly = [*want[:1], want[1] + np.float32(1e-3), *want[2:]]
    assert not spans.match(want, nearly, tolerance).passed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": ("O",)}, "two or more different names"),
        ({"labels": ("O", "O")}, "two or more different names"),
        ({"of": ""}, "no text"),
        ({"of": "x"}, "an answer about 'x'"),
        ({"ignore_labels": ("B-PER",)}, "ignore_labels with 'B-PER'"),
        ({"aggregate": "none", "ignore_labels": ("PER",)}, "ignore_labels with 'PER'"),
    ],
)
def test_spans_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(st.DeclarationError, match=message):
        contract_of(word_piece(), st.Spans(**{"labels": LABELS, "of": "text", **options}))


def test_schema_and_example_fit_each_other() -> None:
    import jsonschema

    for spans in (
        st.Spans(*LABELS, of="text"),
        st.Spans(*LABELS, of="text", aggregate="none"),
        st.Spans("O", "O-other", of="text", ignore_labels=("O", "O-other")),
    ):
        jsonschema.validate(spans.example(), spans.json_schema())


def test_drift_looks_at_labelled_tokens() -> None:
    spans = st.Spans(*LABELS, of="text")
    note = note_of(contract_of(word_piece(), spans), "a b c")
    read = spans.features("found", {}, None)
    found = read([certain(note, ["B-PER", "I-PER", "O"])[1:-1]])
    assert {name: pytest.approx(values) for name, values in found.items()} == {
        "labelled": [2 / 3], "confidence": [0.6], "share.PER": [2 / 3], "share.LOC": [0.0],
    }  # fmt: skip
