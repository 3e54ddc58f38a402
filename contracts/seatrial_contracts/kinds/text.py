"""A text: tokenised on the host by the bundle's own `tokenizer.json`, as training was."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import annotated_types
import numpy as np
from pydantic import Field, PrivateAttr

from seatrial_contracts.errors import DeclarationError, MissingExtra, Refusal
from seatrial_contracts.kinds.kind import (
    ESCAPED_BYTES,
    SHORT_BYTES,
    Column,
    Edge,
    Features,
    JsonSchema,
    Kind,
    Stage,
    TensorSpec,
    text_of,
)
from seatrial_contracts.kinds.notes import TextNote

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy
    from tokenizers import Encoding, Tokenizer

Side = Literal["left", "right"]
CHEAP_CHARS = 1000
"""Measured: a sentence takes some 40 us to tokenise, 10,000 characters 4 ms."""

EXAMPLE = "A ship is tried at sea before it is handed over."
SPECIAL_TOKENS = 4
"""At most so many special tokens does a tokenizer put around one text.

BERT's and RoBERTa's put 2, and no known tokenizer more than 3.
"""
MOST_TOKEN_CHARS = 16
"""The most characters of a drawn text for each token; the example's tokens have 4 to 5."""


class Text(Kind):
    """`Annotated[str, Text(tokenizer="tokenizer.json", max_chars=2000, max_tokens=256)]`.

    It enters the graph as `<field>_ids` and `<field>_mask`, int64, shape `(batch, tokens)`, padded
    to the longest of the batch with `pad_id` and 0. A text of more tokens than `max_tokens`
    (special ones included) is refused, or cut with `overflow="truncate"`. `padding_side`, `pad_id`
    and `truncation_side` are the `tokenizer.json`'s own where they are not said, and right, 0 and
    right where it says nothing; lengths that the file bakes in are replaced by `max_tokens`.

    A text may spell a special token, `[SEP]` say. With `special="take"` it becomes that token, as
    the tokenizer itself reads it; with `special="words"`, and where nothing is said, it is ordinary
    text, so that no client can write one. The export refuses golden rows that hold one where
    nothing is said.
    """

    takes_notes: ClassVar[bool] = True
    staged: ClassVar[bool] = True
    keeps: ClassVar[Mapping[type, str]] = {
        annotated_types.MinLen: "min_chars",
        annotated_types.MaxLen: "max_chars",
    }
    kind: Literal["text"] = "text"
    max_chars: Annotated[int, Field(ge=1, le=2**24)] = 4096
    min_chars: Annotated[int, Field(ge=0, le=2**24)] = 0
    max_tokens: Annotated[int, Field(ge=1, le=2**20)] = 512
    overflow: Literal["refuse", "truncate"] = "refuse"
    pad_id: Annotated[int, Field(ge=-(2**31), lt=2**31)] | None = None
    padding_side: Side | None = None
    truncation_side: Side | None = None
    special: Literal["take", "words"] | None = None

    _tokenizer_json: bytes | None = PrivateAttr(default=None)

    def __init__(self, *, tokenizer: str | Path | bytes | None = None, **options: Any) -> None:
        """Take the options, and the tokenizer: path or bytes of a HF `tokenizer.json`.

        The bundle carries the tokenizer. `tokenizer` is left out when the kind is read from a
        contract.
        """
        super().__init__(**options)
        self._tokenizer_json = (
            read_tokenizer(tokenizer) if isinstance(tokenizer, (str, Path)) else tokenizer
        )

    def declared(self, annotation: Any, nullable: bool) -> Self:
        if annotation is not str:
            raise DeclarationError("st.Text", str(annotation), "str")
        if self._tokenizer_json is None:
            raise DeclarationError(
                "st.Text", "no tokenizer", 'st.Text(tokenizer="path/to/tokenizer.json")'
            )
        own = own_options(self._tokenizer_json)
        said = {name: getattr(self, name) for name in own if getattr(self, name) is not None}
        return self.completed(**{**own, **said}, nullable=nullable)

    def check(self) -> None:
        if self.nullable:
            raise DeclarationError(
                "st.Text", "a text that may be missing", "str", "an absent text is the empty text"
            )
        if self.min_chars > self.max_chars:
            raise DeclarationError(
                "st.Text",
                f"{self.min_chars} to {self.max_chars} characters",
                "min_chars <= max_chars",
            )

    def encodes_inline(self, value: Any) -> bool:
        return len(value) <= CHEAP_CHARS

    def front_names(self, field: str) -> tuple[str, ...]:
        return (front_name(field),)

    def front_files(self, field: str) -> Mapping[str, bytes]:
        return {front_name(field): self._tokenizer_json} if self._tokenizer_json is not None else {}

    def annotation(self) -> Any:
        return Annotated[
            str, Field(min_length=self.min_chars, max_length=self.max_chars, strict=True)
        ]

    def breaks(self, option: str, old: Self) -> bool:
        if option == "max_chars":
            return self.max_chars < old.max_chars
        if option == "max_tokens":
            return self.max_tokens < old.max_tokens
        if option == "min_chars":
            return self.min_chars > old.min_chars
        if option == "overflow":
            return self.overflow == "refuse"
        if option == "special":
            return "take" in (self.special, old.special)
        return option not in ("pad_id", "padding_side") and super().breaks(option, old)

    def want(self) -> str:
        return (
            f"a text of {self.min_chars} to {self.max_chars} characters"
            if self.max_chars > 1
            else "a text of one character at most"
        )

    @property
    def datatype(self) -> str:
        return "BYTES"

    @property
    def most_bytes(self) -> int:
        return self.max_chars * ESCAPED_BYTES + SHORT_BYTES

    def column(self, values: Column) -> Column:
        texts = [text_of(value, place, self.want()) for place, value in enumerate(values)]
        for place, text in enumerate(texts):
            if not self.min_chars <= len(text) <= self.max_chars:
                raise Refusal(
                    "E_TEXT_LIMIT", f"row {place}", f"{len(text)} characters", self.want()
                )
        return texts

    def json_schema(self) -> JsonSchema:
        return {"type": "string", "minLength": self.min_chars, "maxLength": self.max_chars}

    def example(self) -> Any:
        few = max(1, self.max_tokens - SPECIAL_TOKENS)  # plain letters: a token each at most
        return fill(EXAMPLE, max(self.min_chars, min(self.max_chars, few, len(EXAMPLE))))

    def strategy(self) -> SearchStrategy[Any]:
        from hypothesis import strategies as some

        letters = some.characters(codec="utf-8")
        written = some.text(
            letters, min_size=self.min_chars, max_size=max(self.min_chars, min(self.max_chars, 400))
        )
        lengths = some.integers(max(self.min_chars, 1), max(self.min_chars, self.max_chars, 1))
        # Up to the longest allowed.
        repeated = some.builds(fill, some.text(letters, min_size=1, max_size=12), lengths)
        return written | repeated

    def edges(self, stage: Stage) -> Iterator[Edge]:
        """The shortest and the longest text that the tokenizer lets through, and odd ones.

        Odd texts hold letters of other scripts, spaces, and line breaks.
        """
        odd = (
            "",
            "a",
            EXAMPLE,
            "\u00dcber \u5e74\u9f62 \u0430 \U0001f6a2",
            "  two  spaces ",
            "one\ntwo\tthree",
            "3.14 - 2,71; a.b@c?",
        )
        taken = [text for text in odd if self.min_chars <= len(text) <= self.max_chars]
        yield from map(Edge, taken)
        yield from (
            Edge(fill(EXAMPLE, chars))
            for chars in dict.fromkeys((self.min_chars, self._longest(stage)))
            if chars
        )

    def _longest(self, stage: Stage) -> int:
        """How many characters of the example, again and again, the tokenizer lets through."""
        least = self.min_chars
        most = max(self.min_chars, min(self.max_chars, MOST_TOKEN_CHARS * self.max_tokens))
        while least < most:
            middle = (least + most + 1) // 2
            try:
                stage(fill(EXAMPLE, middle))
                least = middle
            except Refusal:
                most = middle - 1
        return least

    def tensors(self, name: str) -> tuple[TensorSpec, ...]:
        dims, left = (f"{name}_tokens",), self.padding_side == "left"
        return (
            TensorSpec(
                name=f"{name}_ids", dtype="int64", dims=dims, pad=self.pad_id or 0, pad_left=left
            ),
            TensorSpec(name=f"{name}_mask", dtype="int64", dims=dims, pad=0, pad_left=left),
        )

    def sizes(self, name: str) -> Mapping[str, tuple[int, int]]:
        return {f"{name}_tokens": (1, self.max_tokens)}

    def stage(self, name: str, files: Mapping[str, bytes]) -> Stage:
        return Tokenise(self._tokenizer(name, files), self.max_tokens)

    def noting_stage(self, name: str, files: Mapping[str, bytes]) -> Stage:
        return TokeniseNoted(self._tokenizer(name, files), self.max_tokens)

    def _tokenizer(self, name: str, files: Mapping[str, bytes]) -> Tokenizer:
        tokenizer = load_tokenizer(files[front_name(name)])
        tokenizer.encode_special_tokens = self.special != "take"
        if self.overflow == "truncate":
            tokenizer.enable_truncation(self.max_tokens, direction=self.truncation_side or "right")
        return tokenizer

    def check_rows(self, values: Sequence[Any], files: Mapping[str, bytes], name: str) -> None:
        if self.special is not None:
            return
        words = load_tokenizer(files[front_name(name)])
        take = load_tokenizer(files[front_name(name)])
        words.encode_special_tokens, take.encode_special_tokens = True, False
        for place, text in enumerate(values):
            if take.encode(text).ids != words.encode(text).ids:
                raise DeclarationError(
                    f"input '{name}', row {place}",
                    "a text that spells a special token of the tokenizer",
                    "what it means",
                    'st.Text(special="take") reads it as that token, special="words" as ordinary '
                    "text",
                )

    def features(self, name: str, files: Mapping[str, bytes], stage: Stage | None) -> Features:
        unknown = unknown_id(files[front_name(name)])

        def share(value: str) -> float:
            ids = stage(value)[0] if stage is not None else np.zeros(1)
            return float(np.mean(ids == unknown))

        return lambda values: {
            "chars": [len(value) for value in values],
            "unknown": [share(value) for value in values],
        }


class Tokenise:
    """The host stage of a text."""

    def __init__(self, tokenizer: Tokenizer, max_tokens: int) -> None:
        self.tokenizer = tokenizer
        self._max_tokens = max_tokens

    def __call__(self, value: str) -> tuple[Any, ...]:
        """Ids and mask. Raises `Refusal`."""
        return self._tensors(self.tokenizer.encode(value).ids)

    def together(self, values: Sequence[str]) -> list[tuple[Any, ...] | Refusal]:
        """Encode several texts without offsets, while others may use the interpreter."""
        found: list[tuple[Any, ...] | Refusal] = []
        for encoding in self.tokenizer.encode_batch_fast(list(values)):
            try:
                found.append(self._tensors(encoding.ids))
            except Refusal as refusal:
                found.append(refusal)
        return found

    def _tensors(self, ids: list[int]) -> tuple[Any, ...]:
        if not 0 < len(ids) <= self._max_tokens:
            raise Refusal(
                "E_TOKENS", "", f"a text of {len(ids)} tokens", f"1 to {self._max_tokens} tokens"
            )
        return np.array(ids, np.int64), np.ones(len(ids), np.int64)


class TokeniseNoted(Tokenise):
    """The host stage of a text that an answer is about: it keeps where the tokens lie."""

    def __call__(self, value: str) -> tuple[Any, ...]:
        """Ids, mask and note. Raises `Refusal`."""
        encoding = self.tokenizer.encode(value)
        return (*self._tensors(encoding.ids), note_of(value, encoding))

    def together(self, values: Sequence[str]) -> list[tuple[Any, ...] | Refusal]:
        """Encode several texts, while others may use the interpreter."""
        found: list[tuple[Any, ...] | Refusal] = []
        encodings = self.tokenizer.encode_batch(list(values))
        for value, encoding in zip(values, encodings, strict=True):
            try:
                found.append((*self._tensors(encoding.ids), note_of(value, encoding)))
            except Refusal as refusal:
                found.append(refusal)
        return found


def note_of(text: str, encoding: Encoding) -> TextNote:
    """Where the tokens of an encoded text lie in it."""
    return TextNote(
        text,
        np.array(encoding.offsets, np.int64).reshape(-1, 2),
        np.array(encoding.special_tokens_mask, bool),
        np.array([-1 if word is None else word for word in encoding.word_ids], np.int64),
        bool(encoding.overflowing),
    )


def fill(text: str, chars: int) -> str:
    """The text again and again, with spaces between, to a length."""
    return (f"{text} " * (chars // (len(text) + 1) + 1))[:chars]


def front_name(field: str) -> str:
    """Where a text field's tokenizer lies in the bundle."""
    return f"front/{field}.tokenizer.json"


def read_tokenizer(path: str | Path) -> bytes:
    """The file's bytes. Raises `DeclarationError` where it cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        where = f"st.Text tokenizer '{path}'"
        raise DeclarationError(
            where, error.strerror or "no file", "a readable tokenizer.json"
        ) from None


def own_options(tokenizer: bytes) -> dict[str, Any]:
    """A `tokenizer.json`'s own values for options that are not set: sides and the padding's id.

    Raises `DeclarationError`.
    """
    try:
        file = json.loads(tokenizer)
        padding, truncation = file.get("padding") or {}, file.get("truncation") or {}
        sides = [str(part.get("direction", "right")).lower() for part in (padding, truncation)]
        return {
            "padding_side": sides[0],
            "truncation_side": sides[1],
            "pad_id": int(padding.get("pad_id", 0)),
        }
    except (ValueError, AttributeError, TypeError):
        raise DeclarationError(
            "tokenizer", "a file that is no JSON object", "a tokenizer.json"
        ) from None


def load_tokenizer(data: bytes) -> Tokenizer:
    """The tokenizer, with the padding and truncation of its file taken off."""
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise MissingExtra("a text field", "text") from None
    try:
        tokenizer = Tokenizer.from_buffer(data)
    except Exception:  # the library raises nothing narrower; its words may hold the file's
        raise DeclarationError(
            "tokenizer", "a file that tokenizers cannot read", "a tokenizer.json"
        ) from None
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def unknown_id(tokenizer: bytes) -> int:
    """The id of the token for words outside the vocabulary.

    The id is -1 where there is no such token, as in byte-level vocabularies.
    """
    model = json.loads(tokenizer)["model"]
    if model.get("unk_id") is not None:  # Unigram
        return int(model["unk_id"])
    vocabulary = model["vocab"]
    return int(vocabulary.get(model.get("unk_token"), -1)) if isinstance(vocabulary, dict) else -1
