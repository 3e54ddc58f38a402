"""Truncation: which part of a text the model has read. It needs no tensor of the graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

import numpy as np

from seatrial_contracts.compare import Comparison, Tolerance, compare_arrays
from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.kinds.kind import (
    Array,
    Features,
    JsonSchema,
    Kind,
    Stage,
    Word,
    closed_object,
)
from seatrial_contracts.kinds.mapped_kind import MappedKind
from seatrial_contracts.kinds.notes import text_place
from seatrial_contracts.kinds.output_kind import AnswerTensor, Arrays, OptionValues
from seatrial_contracts.kinds.parts import is_object
from seatrial_contracts.kinds.tokenised import Tokenised


class Truncation(MappedKind):
    """`Annotated[dict, Truncation(of="text")]`: says of each row how much of its text was read.

    The answer is `{"truncated": true, "start": 0, "end": 1987}`: the model has read
    `text[start:end]`, in code points. Of a text that was not cut, it is the whole. Beside an
    `st.TextPair`, `text` names one of its two texts; the second unless said.

    Any model whose input is a text that may be cut can answer it; the model itself answers nothing
    for it. In V2 it is `<field>_truncated`, BOOL, and `<field>_start` and `<field>_end`, INT32.
    """

    kind: Literal["truncation"] = "truncation"
    of: Word = ""
    text: Word | None = None

    def declared(self, annotation: Any, nullable: bool) -> Self:
        if not is_object(annotation):
            raise DeclarationError("st.Truncation", str(annotation), "dict")
        return self.completed(nullable=nullable)

    def check(self) -> None:
        if self.nullable or not self.of:
            raise DeclarationError("st.Truncation", "no text", 'the field of a text: of="text"')

    @property
    def needs_text(self) -> bool:
        return True

    def check_about(self, kind: Kind) -> None:
        check_text("st.Truncation", self.of, self.text, kind)

    @property
    def about(self) -> str | None:
        return self.of

    def annotation(self) -> Any:
        return dict[str, Any]

    def want(self) -> str:
        return f"the part of '{self.of}' that was read"

    @property
    def datatype(self) -> str:
        return "INT32"

    @property
    def shape(self) -> tuple[int | None, ...]:
        return ()

    def answer_tensors(self, name: str) -> tuple[AnswerTensor, ...]:
        return ()

    def client_tensors(self, name: str) -> tuple[AnswerTensor, ...]:
        return (
            AnswerTensor(f"{name}_truncated", "BOOL"),
            AnswerTensor(f"{name}_start", "INT32"),
            AnswerTensor(f"{name}_end", "INT32"),
        )

    def client(self, arrays: Arrays, note: Any, options: OptionValues) -> tuple[Array, ...]:
        place = text_place(note, self.text)
        start, end = 0, len(note.texts[place])
        if note.cuts[place]:
            own = note.offsets[(note.sequences == place) & ~note.special]
            start, end = (int(own[0, 0]), int(own[-1, 1])) if len(own) else (0, 0)
        return (
            np.array(note.cuts[place], np.bool_),
            np.array(start, np.int32),
            np.array(end, np.int32),
        )

    def written(self, values: Arrays) -> Any:
        truncated, start, end = (value.item() for value in values)
        return {"truncated": truncated, "start": start, "end": end}

    def recover(self, value: Any) -> tuple[Array, ...]:
        return (
            np.array(value["truncated"], np.bool_),
            np.array(value["start"], np.int32),
            np.array(value["end"], np.int32),
        )

    def match(self, want: Arrays, got: Arrays, tolerance: Tolerance) -> Comparison:
        return compare_arrays(
            np.array([int(value) for value in want]),
            np.array([int(value) for value in got]),
            tolerance,
            1.0,
        )

    def json_schema(self) -> JsonSchema:
        place = {"type": "integer", "minimum": 0}
        return closed_object(
            {
                "truncated": {"type": "boolean", "description": "Had the text more tokens?"},
                "start": {**place, "description": "Where reading began, in code points."},
                "end": {**place, "description": "Behind the last character read, in code points."},
            }
        )

    def example(self) -> Any:
        return {"truncated": False, "start": 0, "end": 48}

    def features(self, name: str, files: Mapping[str, bytes], stage: Stage | None) -> Features:
        """None: the lengths of texts are features of their own field."""
        return lambda _values: {}


def check_text(who: str, of: str, text: str | None, kind: Kind) -> None:
    """Raise `DeclarationError` where a kind has no such text."""
    if not isinstance(kind, Tokenised):
        raise DeclarationError(who, f"of={of!r}, a {kind.name}", "an st.Text or st.TextPair")
    if text is not None and text not in kind.text_names:
        known = ", ".join(filter(None, kind.text_names)) or "none: it is a single text"
        raise DeclarationError(who, f"text={text!r}", f"one of: {known}")
