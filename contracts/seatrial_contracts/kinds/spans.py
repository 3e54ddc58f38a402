"""Spans: the parts of a text that carry a label, from the labels of its tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
from pydantic import Field

from seatrial_contracts.compare import Comparison, Tolerance
from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.kinds.classes import class_schema
from seatrial_contracts.kinds.kind import (
    MAX_WORDS,
    Array,
    Column,
    Features,
    JsonSchema,
    Kind,
    Stage,
    Word,
    closed_object,
)
from seatrial_contracts.kinds.mapped_kind import MappedKind
from seatrial_contracts.kinds.notes import TextNote
from seatrial_contracts.kinds.output_kind import AnswerTensor, Arrays, OptionValues
from seatrial_contracts.kinds.parts import (
    check_tokens,
    column_of,
    is_objects,
    match_parts,
    place_schemas,
    scored,
    trimmed,
)
from seatrial_contracts.kinds.text import Text
from seatrial_contracts.kinds.truth import MOST_THINGS, SPANS, Hit, fits

Scheme = Literal["BIO", "BILOU", "IO"]
OUTSIDE = "O"
"""The label of tokens that belong to no span, by common use."""
OPENS, CLOSES = frozenset("BUS"), frozenset("LEUS")
"""Letters of labels that open a span, and that close it.

B(egin), U(nit) or S(ingle), L(ast) or E(nd); I(nside) does neither.
"""
LETTERS: Mapping[Scheme, frozenset[str]] = {
    "BIO": frozenset("BI"),
    "BILOU": frozenset("BILUES"),
    "IO": frozenset(),
}
MOST_SHARES = 8
"""With more types of spans, drift looks at their tokens together."""


class Spans(MappedKind):
    """`Annotated[list[dict], Spans("O", "B-PER", "I-PER", of="text")]`: token classification.

    The model answers float32 probabilities, shape `(batch, tokens, labels)`, for each token of the
    `st.Text` field `of`: put the softmax in the model. A client sees
    `[{"label", "score", "start", "end", "text"}, ...]` in the order of the text. `start` and `end`
    count code points of the client's text, `end` is behind the span, and `text` is
    `text[start:end]`. A span has no white space at its ends; one of nothing else is left out, as
    are special tokens and spans whose label is in `ignore_labels`.

    `scheme` says how labels mark spans. `"BIO"`: `B-PER` opens a span, `I-PER` goes on with it or,
    where none is open, opens one. `"BILOU"` (and BIOES): `L-` or `E-` closes a span, `U-` or `S-`
    is a whole one. `"IO"`: neighbours of one label are one span. Unless said, the labels decide.

    `aggregate` says how tokens become spans, as transformers' pipeline has it:

    - `"none"`: each token is a span, with its own label (`B-PER`).
    - `"simple"`: each token has its most probable label, neighbours are joined by the scheme, and a
      span's score is the mean of its tokens' probabilities.
    - `"first"`, `"average"`, `"max"`: as `"simple"`, of words. A word has the label of its first
      token, of its tokens' mean probabilities, or of its most certain token.

    `words="tokenizer"` takes the words of the tokenizer's own pre-tokenizer. `words="spaces"` takes
    what stands between spaces, as transformers does for all but WordPiece tokenizers.
    """

    kind: Literal["spans"] = "spans"
    labels: Annotated[tuple[Word, ...], Field(strict=False, max_length=MAX_WORDS)] = ()
    of: Word = ""
    aggregate: Literal["none", "simple", "first", "average", "max"] = "simple"
    scheme: Scheme | None = None
    words: Literal["tokenizer", "spaces"] = "tokenizer"
    ignore_labels: Annotated[tuple[Word, ...], Field(strict=False, max_length=MAX_WORDS)] = (
        OUTSIDE,
    )

    by_words: ClassVar[frozenset[str]] = frozenset({"first", "average", "max"})

    def __init__(self, *labels: str, **options: Any) -> None:
        super().__init__(**({"labels": labels} | options if labels else options))

    def declared(self, annotation: Any, nullable: bool) -> Self:
        if not is_objects(annotation):
            raise DeclarationError("st.Spans", str(annotation), "list[dict]")
        return self.completed(nullable=nullable, scheme=self.scheme or scheme_of(self.labels))

    def check(self) -> None:
        names = self.labels
        if self.nullable or len(names) < 2 or len(set(names)) != len(names):
            got = f"labels {names!r}"[:100]
            raise DeclarationError("st.Spans", got, "two or more different names, never missing")
        if not self.of:
            raise DeclarationError("st.Spans", "no text", 'the field of a text: of="text"')
        seen = set(names if self.aggregate == "none" else self._types)
        odd = [name for name in self.ignore_labels if name not in seen and name != OUTSIDE]
        if odd:
            want = f"one that a span can have: {', '.join(sorted(seen))}"[:300]
            raise DeclarationError("st.Spans", f"ignore_labels with {odd[0]!r}", want)

    @property
    def needs_text(self) -> bool:
        return True

    def check_about(self, kind: Kind) -> None:
        if not isinstance(kind, Text):
            raise DeclarationError("st.Spans", f"of={self.of!r}, a {kind.name}", "an st.Text")

    @property
    def about(self) -> str | None:
        return self.of

    @property
    def hit_labels(self) -> Sequence[str]:
        """Labels that a span can have."""
        names = self.labels if self.aggregate == "none" else tuple(dict.fromkeys(self._types))
        return tuple(name for name in names if name not in self.ignore_labels)

    @property
    def truth_want(self) -> str:
        labels = ", ".join(self.hit_labels)[:200]
        return f'a list of {{"label", "start", "end"}}, not empty, each of {labels}'

    def truth_schema(self) -> JsonSchema:
        span = closed_object({"label": class_schema(self.hit_labels), **place_schemas()})
        return {"type": "array", "maxItems": MOST_THINGS, "items": span}

    def truth_example(self) -> Any:
        return [{key: each[key] for key in ("label", "start", "end")} for each in self.example()]

    def is_truth(self, value: Any) -> bool:
        return fits(SPANS, value) and all(
            each["label"] in self.hit_labels and each["start"] < each["end"] for each in value
        )

    def hits(self, arrays: Arrays, note: Any, options: OptionValues, truth: Any) -> Iterator[Hit]:
        """Spans are one span if label, start and end are the same."""
        labels, _, starts, ends, _ = self.client(arrays, note, options)
        answered = {*zip(labels.tolist(), starts.tolist(), ends.tolist(), strict=True)}
        true = {(each["label"], each["start"], each["end"]) for each in truth}
        for span in sorted(answered | true):
            yield Hit(span[0], span in answered, span in true)

    def annotation(self) -> Any:
        return list[dict[str, Any]]

    def want(self) -> str:
        return f"spans of '{self.of}' by {len(self.labels)} labels of its tokens"

    @property
    def datatype(self) -> str:
        return "FP32"

    @property
    def shape(self) -> tuple[int | None, ...]:
        return (None, len(self.labels))

    @property
    def is_bounded(self) -> bool:
        return True

    def outside(self, array: Array) -> Array:
        return (array < 0) | (array > 1)

    def client_tensors(self, name: str) -> tuple[AnswerTensor, ...]:
        return (
            AnswerTensor(f"{name}_labels", "BYTES", (None,)),
            AnswerTensor(f"{name}_scores", "FP32", (None,)),
            AnswerTensor(f"{name}_starts", "INT32", (None,)),
            AnswerTensor(f"{name}_ends", "INT32", (None,)),
            AnswerTensor(f"{name}_texts", "BYTES", (None,)),
        )

    def client(self, arrays: Arrays, note: Any, options: OptionValues) -> tuple[Array, ...]:
        found = [
            span._replace(start=start, end=end)
            for span in self._spans(arrays[0], note)
            if span.label not in self.ignore_labels
            for start, end in (trimmed(note.text, span.start, span.end),)
            if start < end
        ]
        return (
            np.array([span.label for span in found], object),
            np.array([span.score for span in found], np.float32),
            np.array([span.start for span in found], np.int32),
            np.array([span.end for span in found], np.int32),
            np.array([note.text[span.start : span.end] for span in found], object),
        )

    def _spans(self, scores: Array, note: TextNote) -> list[Span]:
        """All spans, those to be ignored and those of white space among them."""
        check_tokens(scores, note, f"spans of '{self.of}'")
        tokens = np.flatnonzero(~note.special)
        if not len(tokens):
            return []
        scores, offsets = scores[tokens], note.offsets[tokens]
        if self.aggregate in self.by_words:
            firsts = (
                changes(note.words[tokens])
                if self.words == "tokenizer"
                else behind_spaces(note.text, offsets)
            )
            scores, offsets = self._of_words(scores, firsts), joined(offsets, firsts)
        labels, best = scores.argmax(1).tolist(), scores.max(1)
        if self.aggregate == "none":
            names = [self.labels[label] for label in labels]
        else:
            firsts = self._firsts(labels)
            names = [self._types[labels[first]] for first in firsts]
            counts = np.diff([*firsts, len(labels)])
            best = np.add.reduceat(best.astype(np.float64), firsts) / counts
            offsets = joined(offsets, firsts)
        return [
            Span(name, score, start, end)
            for name, score, (start, end) in zip(
                names, best.tolist(), offsets.tolist(), strict=True
            )
        ]

    def _of_words(self, scores: Array, firsts: Sequence[int]) -> Array:
        """Probabilities of words, `(words, labels)`, from those of their tokens."""
        if self.aggregate == "first":
            return scores[firsts]
        if self.aggregate == "average":
            counts = np.diff([*firsts, len(scores)])
            return np.asarray(np.add.reduceat(scores, firsts, axis=0) / counts[:, None])
        best, stops = scores.max(1), [*firsts[1:], len(scores)]
        surest = [
            first + int(best[first:stop].argmax())
            for first, stop in zip(firsts, stops, strict=True)
        ]
        return scores[surest]

    def _firsts(self, labels: Sequence[int]) -> list[int]:
        """Where spans begin in a row of labels."""
        firsts, last = [], -1
        for place, label in enumerate(labels):
            goes_on = (
                last >= 0
                and self._types[label] == self._types[last]
                and not self._opens[label]
                and not self._closes[last]
            )
            if not goes_on:
                firsts.append(place)
            last = label
        return firsts

    @cached_property
    def _parts(self) -> list[tuple[str, str]]:
        """Each label's letter, or none, and its type."""
        letters = LETTERS[self.scheme or scheme_of(self.labels)]
        return [
            (label[0], label[2:])
            if label[1:2] == "-" and len(label) > 2 and label[0] in letters
            else ("", label)
            for label in self.labels
        ]

    @cached_property
    def _types(self) -> list[str]:
        return [of_type for _, of_type in self._parts]

    @cached_property
    def _opens(self) -> list[bool]:
        return [letter in OPENS for letter, _ in self._parts]

    @cached_property
    def _closes(self) -> list[bool]:
        return [letter in CLOSES for letter, _ in self._parts]

    def written(self, values: Arrays) -> Any:
        return [
            {"label": label, "score": score, "start": start, "end": end, "text": text}
            for label, score, start, end, text in zip(*values, strict=True)
        ]

    def recover(self, value: Any) -> tuple[Array, ...]:
        return (
            column_of(value, "label", object),
            column_of(value, "score", np.float32),
            column_of(value, "start", np.int32),
            column_of(value, "end", np.int32),
            column_of(value, "text", object),
        )

    def match(self, want: Arrays, got: Arrays, tolerance: Tolerance) -> Comparison:
        """Spans by label and place; the scores of like spans by the tolerance."""
        parts = [scored(each[1], each[0], each[2], each[3]) for each in (want, got)]
        return match_parts(parts[0], parts[1], tolerance, ("span", "from", "to"))

    def json_schema(self) -> JsonSchema:
        properties = {
            "label": {"type": "string", "enum": [*self.hit_labels]},
            "score": {"type": "number", "minimum": 0, "maximum": 1},
            **place_schemas(),
            "text": {"type": "string", "description": f"The span itself, of '{self.of}'."},
        }
        return {
            "type": "array",
            "items": closed_object(properties),
        }

    def example(self) -> Any:
        label = next(iter(self.hit_labels), None)
        return (
            []
            if label is None
            else [{"label": label, "score": 0.9, "start": 2, "end": 6, "text": "ship"}]
        )

    def features(self, name: str, files: Mapping[str, bytes], stage: Stage | None) -> Features:
        """Share of tokens that a span can hold, how certain tokens are, and few types' shares."""
        types = [of_type for of_type in dict.fromkeys(self._types) if of_type != OUTSIDE]
        each = types if len(types) <= MOST_SHARES else []
        of_label = np.array([of_type in self.ignore_labels for of_type in self._types])

        def features(values: Column) -> Mapping[str, Column]:
            rows = [np.asarray(row) for row in values]
            labels = [row.argmax(1) for row in rows]
            shares = {
                f"share.{of_type}": [
                    mean(np.array([own == of_type for own in self._types])[row]) for row in labels
                ]
                for of_type in each
            }
            return {
                "labelled": [mean(~of_label[row]) for row in labels],
                "confidence": [mean(row.max(1)) for row in rows],
                **shares,
            }

        return features


class Span(NamedTuple):
    """A labelled part of a text."""

    label: str
    score: float
    start: int
    """In code points of the text."""
    end: int


def scheme_of(labels: Sequence[str]) -> Scheme:
    """How these labels mark spans, by their letters.

    Letters beside B and I count only where every label has one: `E-MAIL` alone is a name.
    """
    letters = [label[0] if label[1:2] == "-" and len(label) > 2 else "" for label in labels]
    within = [letter for letter, label in zip(letters, labels, strict=True) if label != OUTSIDE]
    if within and all(letter in LETTERS["BILOU"] for letter in within) and set(within) - {"B", "I"}:
        return "BILOU"
    return "BIO" if {"B", "I"} & set(within) else "IO"


def changes(words: Array) -> list[int]:
    """Where a token is of another word than the one before it."""
    return [0, *(np.flatnonzero(np.diff(words)) + 1).tolist()]


def behind_spaces(text: str, offsets: Array) -> list[int]:
    """Where a token begins with a space, stands behind one, or begins the text.

    The rule is that of transformers' token classification for tokenizers without words.
    """
    return [
        place
        for place, start in enumerate(offsets[:, 0].tolist())
        if place == 0 or start == 0 or " " in text[start - 1 : start + 1]
    ]


def joined(offsets: Array, firsts: Sequence[int]) -> Array:
    """From the beginning of each group's first token to the end of its last: `(groups, 2)`."""
    lasts = [*(first - 1 for first in firsts[1:]), len(offsets) - 1]
    return np.stack([offsets[firsts, 0], offsets[lasts, 1]], 1)


def mean(values: Array) -> float:
    """The mean; 0 of nothing."""
    return float(values.mean()) if values.size else 0.0
