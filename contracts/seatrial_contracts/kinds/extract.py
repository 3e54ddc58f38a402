"""Extract: the parts of a text that answer a question, from each token's two logits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
from pydantic import Field

from seatrial_contracts.compare import Comparison, Tolerance
from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.kinds.kind import (
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
from seatrial_contracts.kinds.notes import TextNote, text_place
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
from seatrial_contracts.kinds.truncation import check_text

MOST_ANSWERS = 1000
SPARE = 8
"""So many more candidates than answers are sorted at first: some are white space alone."""


class Extract(MappedKind):
    """`Annotated[list[dict], Extract(of="pair", text="passage")]`: extractive question answering.

    The model answers float32 logits, shape `(batch, tokens, 2)`, for each token of the field `of`:
    does an answer begin there, does one end there? A client sees the best answers first:
    `[{"answer", "score", "start", "end"}, ...]`. `start` and `end` count code points of the
    client's text, and `answer` is `text[start:end]`. Of an `st.TextPair`, `text` names the one that
    holds the answer; the second unless said.

    The rules:

    - A softmax over all starts, and one over all ends, makes probabilities. It is taken over the
      tokens of the text and the row's first token, where that is special (`[CLS]`).
    - A candidate begins at a token of the text and ends at the same or a later one, `longest`
      tokens at most. Its score is the product of both probabilities.
    - White space at its ends is no part of it. Candidates without a character are left out, and of
      several with the same place only the best counts.
    - The `top` candidates with the highest scores are answers. Of equal ones the earlier goes
      first, then the shorter.
    - With `null_threshold`, the text may have no answer: `{"answer": "", "start": 0, "end": 0}`,
      whose score is that of the first token as start and end. It goes first where both logits of
      the first token are together more than `null_threshold` above those of the best candidate
      (SQuAD 2.0's `null_score_diff_threshold`, 0 by custom), and is left out otherwise.

    Requests may choose `top_k`, where the contract declares it.
    """

    reads_options: ClassVar[frozenset[str]] = frozenset({"top_k"})
    kind: Literal["extract"] = "extract"
    of: Word = ""
    text: Word | None = None
    top: Annotated[int, Field(ge=1, le=MOST_ANSWERS)] = 1
    longest: Annotated[int, Field(ge=1, le=2**16)] = 15
    null_threshold: Annotated[float, Field(ge=-1e6, le=1e6)] | None = None

    def declared(self, annotation: Any, nullable: bool) -> Self:
        if not is_objects(annotation):
            raise DeclarationError("st.Extract", str(annotation), "list[dict]")
        return self.completed(nullable=nullable)

    def check(self) -> None:
        if self.nullable or not self.of:
            raise DeclarationError("st.Extract", "no text", 'the field of a text: of="pair"')

    @property
    def needs_text(self) -> bool:
        return True

    def check_about(self, kind: Kind) -> None:
        check_text("st.Extract", self.of, self.text, kind)

    @property
    def about(self) -> str | None:
        return self.of

    def annotation(self) -> Any:
        return list[dict[str, Any]]

    def want(self) -> str:
        return f"the best {self.top} parts of '{self.text or self.of}'"

    @property
    def datatype(self) -> str:
        return "FP32"

    @property
    def shape(self) -> tuple[int | None, ...]:
        return (None, 2)

    def client_tensors(self, name: str) -> tuple[AnswerTensor, ...]:
        return (
            AnswerTensor(f"{name}_answers", "BYTES", (None,)),
            AnswerTensor(f"{name}_scores", "FP32", (None,)),
            AnswerTensor(f"{name}_starts", "INT32", (None,)),
            AnswerTensor(f"{name}_ends", "INT32", (None,)),
        )

    def client(self, arrays: Arrays, note: Any, options: OptionValues) -> tuple[Array, ...]:
        check_tokens(arrays[0], note, f"parts of '{self.of}'")
        place = text_place(note, self.text)
        text = note.texts[place]
        found = self._best(arrays[0], note, place, options.get("top_k", self.top))
        return (
            np.array([text[each.start : each.end] for each in found], object),
            np.array([each.score for each in found], np.float32),
            np.array([each.start for each in found], np.int32),
            np.array([each.end for each in found], np.int32),
        )

    def _best(self, logits: Array, note: TextNote, place: int, top: int) -> list[_Part]:
        tokens = np.flatnonzero((note.sequences == place) & ~note.special)
        has_null = bool(note.special[:1].any())
        logs = log_softmax(logits[[0, *tokens]] if has_null else logits[tokens])
        null = float(logs[0].sum()) if has_null else -np.inf
        inside, offsets = logs[int(has_null) :], note.offsets[tokens]
        found: list[_Part] = []
        seen = set()
        for first, last, log in candidates(inside, self.longest, top + SPARE):
            part = trimmed(note.texts[place], int(offsets[first, 0]), int(offsets[last, 1]))
            if part[0] < part[1] and part not in seen:
                seen.add(part)
                found.append(_Part(float(np.exp(log)), log, *part))
            if len(found) == top:
                break
        if self.null_threshold is not None and has_null:
            best = found[0].log if found else -np.inf
            if null - best > self.null_threshold:
                found = [_Part(float(np.exp(null)), null, 0, 0), *found][:top]
        return found

    def written(self, values: Arrays) -> Any:
        return [
            {"answer": answer, "score": score, "start": start, "end": end}
            for answer, score, start, end in zip(*values, strict=True)
        ]

    def recover(self, value: Any) -> tuple[Array, ...]:
        return (
            column_of(value, "answer", object),
            column_of(value, "score", np.float32),
            column_of(value, "start", np.int32),
            column_of(value, "end", np.int32),
        )

    def whole_options(self) -> OptionValues:
        return {"top_k": self.top}

    def match(self, want: Arrays, got: Arrays, tolerance: Tolerance) -> Comparison:
        """Answers by place, whatever their order; their scores by the tolerance.

        An answer that one list lacks is no mismatch where its score ties with the last of the list.
        """
        least = min((float(each[1].min()) for each in (want, got) if len(each[1])), default=None)
        parts = [scored(each[1], each[2], each[3]) for each in (want, got)]
        return match_parts(parts[0], parts[1], tolerance, ("part from", "to"), least)

    def json_schema(self) -> JsonSchema:
        properties = {
            "answer": {"type": "string", "description": "The part itself; empty: no answer."},
            "score": {"type": "number", "minimum": 0, "maximum": 1},
            **place_schemas(),
        }
        return {
            "type": "array",
            "maxItems": MOST_ANSWERS,
            "items": closed_object(properties),
        }

    def example(self) -> Any:
        return [{"answer": "ship", "score": 0.9, "start": 2, "end": 6}]

    def features(self, name: str, files: Mapping[str, bytes], stage: Stage | None) -> Features:
        """How certain the most probable start and end are, over all of the row's tokens."""

        def features(values: Column) -> Mapping[str, Column]:
            best = [np.exp(log_softmax(np.asarray(row)).max(0)) for row in values]
            return {
                "start_confidence": [float(each[0]) for each in best],
                "end_confidence": [float(each[1]) for each in best],
            }

        return features


class _Part(NamedTuple):
    score: float
    log: float
    start: int
    end: int


def log_softmax(logits: Array) -> Array:
    """Logarithms of probabilities over the tokens, float64, `(tokens, 2)`."""
    shifted = logits.astype(np.float64) - logits.max(0, initial=-np.inf)
    made: Array = shifted - np.log(np.exp(shifted).sum(0, keepdims=True))
    return made


def candidates(logs: Array, longest: int, first: int) -> Iterator[tuple[int, int, float]]:
    """Yield first token, last token and the logarithm of the score, the best first.

    Of equal ones the earlier goes first, then the shorter. Only the `first` best are sorted unless
    more are taken.
    """
    tokens, longest = len(logs), min(longest, len(logs))
    if not tokens:
        return
    scores = np.full((tokens, longest), -np.inf)
    for more in range(longest):
        scores[: tokens - more, more] = logs[: tokens - more, 0] + logs[more:, 1]
    flat = scores.ravel()
    given = 0
    for many in (min(first, flat.size), flat.size):
        least = np.partition(flat, flat.size - many)[flat.size - many]
        places = np.flatnonzero((flat >= least) & (flat > -np.inf))
        for place in places[np.argsort(-flat[places], kind="stable")][given:].tolist():
            given += 1
            start, more = divmod(place, longest)
            yield start, start + more, float(flat[place])
