"""A transcript: a text that the model answers as token ids, such as what is said in a sound."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, PrivateAttr

from seatrial_contracts.compare import Comparison, Tolerance, mismatch
from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.kinds.kind import Array, Column, Features, JsonSchema, Kind, Stage
from seatrial_contracts.kinds.mapped_kind import MappedKind
from seatrial_contracts.kinds.output_kind import AnswerTensor, Arrays, OptionValues
from seatrial_contracts.kinds.tokenised import front_name
from seatrial_contracts.kinds.tokenizer_file import load_tokenizer, read_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MOST_IDS = 2**20


class Transcript(MappedKind):
    """`Annotated[str, Transcript(tokenizer="path/to/tokenizer.json", max_ids=1500)]`.

    The model answers token ids, int64, `(batch, max_ids)`, or `(batch, n)` of any n where `max_ids`
    is not said. An id below 0 is no token: such ids fill a row up. A client sees the text that the
    decoder of the `tokenizer.json` makes of the others, without special tokens, and without white
    space at its ends. In V2 it is one BYTES element a row.

    The bundle carries the tokenizer, which is a path or the bytes of a HF `tokenizer.json`.
    `tokenizer` is left out when the kind is read from a contract.
    """

    kind: Literal["transcript"] = "transcript"
    max_ids: Annotated[int, Field(ge=1, le=MOST_IDS)] | None = None

    _tokenizer_json: bytes | None = PrivateAttr(default=None)

    def __init__(self, *, tokenizer: str | Path | bytes | None = None, **options: Any) -> None:
        super().__init__(**options)
        self._tokenizer_json = (
            read_tokenizer(tokenizer) if isinstance(tokenizer, (str, Path)) else tokenizer
        )
        if self._tokenizer_json is not None:
            _ = self._tokenizer  # is it one?

    def declared(self, annotation: Any, nullable: bool) -> Self:
        if annotation is not str:
            raise DeclarationError("st.Transcript", str(annotation), "str")
        if self._tokenizer_json is None:
            want = 'st.Transcript(tokenizer="path/to/tokenizer.json")'
            raise DeclarationError("st.Transcript", "no tokenizer", want)
        return self.completed(nullable=nullable)

    def front_names(self, field: str) -> tuple[str, ...]:
        return (front_name(field),)

    def front_files(self, field: str) -> Mapping[str, bytes]:
        return {front_name(field): self._tokenizer_json} if self._tokenizer_json is not None else {}

    def with_files(self, name: str, files: Mapping[str, bytes]) -> Self:
        if self._tokenizer_json is not None:
            return self
        options = {option: getattr(self, option) for option in self.model_fields_set}
        return type(self)(**options, tokenizer=files[front_name(name)])

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        if self._tokenizer_json is None:
            got, want = "a contract without its tokenizer", "the bundle's contract"
            raise DeclarationError("st.Transcript", got, want)
        return load_tokenizer(self._tokenizer_json)

    def annotation(self) -> Any:
        return str

    def want(self) -> str:
        return "a text"

    @property
    def datatype(self) -> str:
        return "INT64"

    @property
    def shape(self) -> tuple[int | None, ...]:
        return (self.max_ids,)

    def client_tensors(self, name: str) -> tuple[AnswerTensor, ...]:
        return (AnswerTensor(name, "BYTES"),)

    @property
    def answers_slowly(self) -> bool:
        return True

    def breaks_answer(self, option: str, old: Self) -> bool:
        return option != "max_ids" and super().breaks_answer(option, old)

    def faults(self, arrays: Arrays, about: Kind | None) -> Mapping[int, str]:
        most = self._tokenizer.get_vocab_size()
        bad = (arrays[0] >= most).any(1)
        return dict.fromkeys(np.flatnonzero(bad).tolist(), f"a token that is not below {most}")

    def agrees(self, want: Array, got: Array) -> bool:
        """Whether both hold the same tokens, whatever fills them up."""
        return np.array_equal(want[want >= 0], got[got >= 0])

    def client(self, arrays: Arrays, note: Any, options: OptionValues) -> tuple[Array, ...]:
        ids = arrays[0]
        text = self._tokenizer.decode(ids[ids >= 0].tolist(), skip_special_tokens=True)
        return (np.array(text.strip(), object),)

    def written(self, values: Arrays) -> Any:
        return text_in(values[0])

    def recover(self, value: Any) -> tuple[Array, ...]:
        return (np.array(value, object),)

    def match(self, want: Arrays, got: Arrays, tolerance: Tolerance) -> Comparison:
        """Two texts are equal or they are not."""
        wanted, found = text_in(want[0]), text_in(got[0])
        if wanted == found:
            return Comparison(passed=True, rows=0, worst_error=0.0, allowed=0.0)
        pairs = enumerate(zip(wanted, found, strict=False))
        alike = next((at for at, (one, other) in pairs if one != other), None)
        at = min(len(wanted), len(found)) if alike is None else alike
        return mismatch(
            f"a text of {len(found)} characters, want one of {len(wanted)}: they part at "
            f"character {at}"
        )

    def json_schema(self) -> JsonSchema:
        return {"type": "string"}

    def example(self) -> Any:
        return "a ship is tried at sea"

    def features(self, name: str, files: Mapping[str, bytes], stage: Stage | None) -> Features:
        """How many tokens there are, and how many different ones."""

        def features(values: Column) -> Mapping[str, Column]:
            rows = [np.asarray(row) for row in values]
            rows = [row[row >= 0] for row in rows]
            return {
                "tokens": [float(len(row)) for row in rows],
                "different": [float(len(np.unique(row))) for row in rows],
            }

        return features


def text_in(value: Any) -> str:
    """The text that an array without sides, or an element of one with rows, holds."""
    return str(np.asarray(value, object).item())
