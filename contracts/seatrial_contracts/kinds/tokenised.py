"""What texts have in common: tokenised on the host by the bundle's own `tokenizer.json`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import annotated_types
import numpy as np
from pydantic import Field, PrivateAttr

from seatrial_contracts.errors import DeclarationError, Refusal
from seatrial_contracts.kinds.kind import Array, Features, Kind, Stage, TensorSpec
from seatrial_contracts.kinds.notes import TextNote
from seatrial_contracts.kinds.token_ids import GivenTokens, TokenIdReader
from seatrial_contracts.kinds.tokenizer_file import (
    load_tokenizer,
    own_options,
    read_tokenizer,
    shared_tokenizer,
    unknown_id,
)

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy
    from tokenizers import Encoding, Tokenizer

Side = Literal["left", "right"]
ModelInput = Literal[
    "ids", "mask", "types", "positions",
    "input_ids", "attention_mask", "token_type_ids", "position_ids",
]  # fmt: skip
WHAT: Mapping[str, str] = {
    "input_ids": "ids",
    "attention_mask": "mask",
    "token_type_ids": "types",
    "position_ids": "positions",
}
"""The names that transformers' models have for their inputs -> what each is."""
CHEAP_CHARS = 1000
"""Measured: a sentence takes some 40 us to tokenise, 10,000 characters 4 ms."""

EXAMPLE = "A ship is tried at sea before it is handed over."
SPECIAL_TOKENS = 4
"""At most so many special tokens does a tokenizer put around one text, or two.

BERT's puts 2 around one and 3 around two, RoBERTa's 2 and 4.
"""
MOST_TOKEN_CHARS = 16
"""The most characters of a drawn text for each token; the example's tokens have 4 to 5."""
NO_TEXT = ("",)
"""The texts of a row that came as token ids."""
TOO_SHORT = "too short to respect the provided max_length"
"""What tokenizers say where the text to be cut cannot be cut by enough."""
ODD = (
    "",
    "a",
    EXAMPLE,
    "\u00dcber \u5e74\u9f62 \u0430 \U0001f6a2",
    "  two  spaces ",
    "one\ntwo\tthree",
    "3.14 - 2,71; a.b@c?",
)
"""Texts of other scripts, spaces, and line breaks."""


class Tokenised(Kind):
    """A kind whose value is one text or several, which become one row of tokens."""

    takes_notes: ClassVar[bool] = True
    staged: ClassVar[bool] = True
    keeps: ClassVar[Mapping[type, str]] = {
        annotated_types.MinLen: "min_chars",
        annotated_types.MaxLen: "max_chars",
    }
    max_chars: Annotated[int, Field(ge=1, le=2**24)] = 4096
    """Of each text."""
    min_chars: Annotated[int, Field(ge=0, le=2**24)] = 0
    max_tokens: Annotated[int, Field(ge=1, le=2**20)] = 512
    pad_id: Annotated[int, Field(ge=-(2**31), lt=2**31)] | None = None
    padding_side: Side | None = None
    truncation_side: Side | None = None
    special: Literal["take", "words"] | None = None
    model_inputs: Annotated[tuple[ModelInput, ...], Field(strict=False, max_length=4)] | None = None

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

    @property
    def title(self) -> str:
        """The kind as declarations spell it."""
        return f"st.{type(self).__name__}"

    def own_options(self) -> dict[str, Any]:
        """All options that are not said, as the tokenizer's file has them.

        Raises `DeclarationError`.
        """
        if self._tokenizer_json is None:
            want = f'{self.title}(tokenizer="path/to/tokenizer.json")'
            raise DeclarationError(self.title, "no tokenizer", want)
        own = own_options(self._tokenizer_json)
        return {name: value for name, value in own.items() if getattr(self, name) is None}

    def check(self) -> None:
        if self.min_chars > self.max_chars:
            got = f"{self.min_chars} to {self.max_chars} characters"
            raise DeclarationError(self.title, got, "min_chars <= max_chars")
        if self.model_inputs is not None:
            what = [WHAT.get(name, name) for name in self.model_inputs]
            if "ids" not in what or len(set(what)) < len(what):
                got = f"model_inputs {self.model_inputs!r}"[:120]
                raise DeclarationError(self.title, got, "the ids and other inputs, each once")

    @property
    def text_names(self) -> tuple[str, ...]:
        """What each text is called; a single one is not."""
        return ("",)

    @property
    def held(self) -> str | None:
        """The token that a value has to hold once; None where there is no such token."""
        return None

    @abstractmethod
    def texts_of(self, value: Any) -> tuple[str, ...]:
        """The texts of a validated value, in order."""

    @abstractmethod
    def truncated(self, tokenizer: Tokenizer) -> None:
        """Let the tokenizer cut what is too long, as declared."""

    def encodes_inline(self, value: Any) -> bool:
        return sum(map(len, self.texts_of(value))) <= CHEAP_CHARS

    def front_names(self, field: str) -> tuple[str, ...]:
        return (front_name(field),)

    def front_files(self, field: str) -> Mapping[str, bytes]:
        return {front_name(field): self._tokenizer_json} if self._tokenizer_json is not None else {}

    def breaks(self, option: str, old: Any) -> bool:
        if option == "max_chars":
            return bool(self.max_chars < old.max_chars)
        if option == "max_tokens":
            return bool(self.max_tokens < old.max_tokens)
        if option == "min_chars":
            return bool(self.min_chars > old.min_chars)
        if option == "special":
            return "take" in (self.special, old.special)
        return option not in ("pad_id", "padding_side", "model_inputs") and super().breaks(
            option, old
        )

    @property
    def datatype(self) -> str:
        return "BYTES"

    def drawn_text(self) -> SearchStrategy[str]:
        """Hypothesis strategy of one text, up to the longest allowed."""
        from hypothesis import strategies as some

        letters = some.characters(codec="utf-8")
        written = some.text(
            letters, min_size=self.min_chars, max_size=max(self.min_chars, min(self.max_chars, 400))
        )
        lengths = some.integers(max(self.min_chars, 1), max(self.min_chars, self.max_chars, 1))
        repeated = some.builds(fill, some.text(letters, min_size=1, max_size=12), lengths)
        return written | repeated

    def odd_texts(self) -> list[str]:
        """Odd texts that the field takes."""
        return [text for text in ODD if self.min_chars <= len(text) <= self.max_chars]

    def longest(self, stage: Stage, value_of: Callable[[str], Any]) -> int:
        """How many characters of the example, again and again, the tokenizer lets through."""
        least = self.min_chars
        most = max(self.min_chars, min(self.max_chars, MOST_TOKEN_CHARS * self.max_tokens))
        while least < most:
            middle = (least + most + 1) // 2
            try:
                stage(value_of(fill(EXAMPLE, middle)))
                least = middle
            except Refusal:
                most = middle - 1
        return least

    def tensors(self, name: str) -> tuple[TensorSpec, ...]:
        return tuple(
            TensorSpec(
                name=each if each in WHAT else f"{name}_{each}",
                dtype="int64",
                dims=(f"{name}_tokens",),
                pad=(self.pad_id or 0) if WHAT.get(each, each) == "ids" else 0,
                pad_left=self.padding_side == "left",
            )
            for each in self._model_inputs
        )

    @property
    def _model_inputs(self) -> tuple[str, ...]:
        return self.model_inputs or ("ids", "mask")

    def sizes(self, name: str) -> Mapping[str, tuple[int, int]]:
        return {f"{name}_tokens": (1, self.max_tokens)}

    def filler(self, stage: Stage) -> tuple[Any, ...]:
        """The tokens of no text: the special ones alone."""
        return stage(self.blank())

    @abstractmethod
    def blank(self) -> Any:
        """A value whose texts are all empty."""

    def stage(self, name: str, files: Mapping[str, bytes]) -> Tokenise:
        return self._tokenise(files[front_name(name)], noted=False)

    def noting_stage(self, name: str, files: Mapping[str, bytes]) -> Tokenise:
        return self._tokenise(files[front_name(name)], noted=True)

    def _tokenise(self, file: bytes, *, noted: bool) -> Tokenise:
        tokenizer = self._loaded(file)
        return Tokenise(self, tokenizer, self.id_reader(tokenizer, file), noted=noted)

    def _loaded(self, file: bytes) -> Tokenizer:
        """The tokenizer as this kind reads texts with it, shared with all kinds alike."""
        return shared_tokenizer(file, self.model_dump_json(), self._set_up)

    def _set_up(self, tokenizer: Tokenizer) -> None:
        tokenizer.encode_special_tokens = self.special != "take"
        self.truncated(tokenizer)

    def id_reader(self, tokenizer: Tokenizer, file: bytes) -> TokenIdReader | None:
        """What takes token ids in the place of texts; None where the contract takes none."""
        return None

    def check_rows(self, values: Sequence[Any], files: Mapping[str, bytes], name: str) -> None:
        if self.special is not None:
            return
        words = load_tokenizer(files[front_name(name)])
        take = load_tokenizer(files[front_name(name)])
        words.encode_special_tokens, take.encode_special_tokens = True, False
        for place, texts in enumerate(map(self.texts_of, values)):
            if encoded(take, texts).ids != encoded(words, texts).ids:
                raise DeclarationError(
                    f"input '{name}', row {place}",
                    "a text that spells a special token of the tokenizer",
                    "what it means",
                    f'{self.title}(special="take") reads it as that token, special="words" as '
                    "ordinary text",
                )

    def features(self, name: str, files: Mapping[str, bytes], stage: Stage | None) -> Features:
        file = files[front_name(name)]
        tokenizer = self._loaded(file)
        unknown = unknown_id(tokenizer, file)
        decode = tokenizer.decode if self.takes_token_ids else None
        inputs = [WHAT.get(each, each) for each in self._model_inputs]
        ids = inputs.index("ids")

        def share(value: Any) -> float:
            tokens = stage(value)[ids] if stage is not None else np.zeros(1)
            return float(np.mean(tokens == unknown))

        def texts_of(value: Any) -> tuple[str, ...]:
            if decode is not None and isinstance(value, list):
                return (decode(value),)
            return self.texts_of(value)

        def features(values: Any) -> Mapping[str, Any]:
            texts = list(zip(*map(texts_of, values), strict=True))
            chars = {
                f"{word}_chars".lstrip("_"): list(map(len, own))
                for word, own in zip(self.text_names, texts, strict=True)
            }
            return {**chars, "unknown": [share(value) for value in values]}

        return features


class Tokenise:
    """The host stage of texts. With `noted`, it keeps where the tokens lie in them."""

    def __init__(
        self, kind: Tokenised, tokenizer: Tokenizer, ids: TokenIdReader | None, *, noted: bool
    ) -> None:
        self.tokenizer, self._ids = tokenizer, ids
        self._max_tokens, self._noted = kind.max_tokens, noted
        self._texts_of, self._names = kind.texts_of, kind.text_names
        self._held = kind.held
        self._held_id = None if kind.held is None else tokenizer.token_to_id(kind.held)
        self._make = [MAKE[WHAT.get(each, each)] for each in kind.model_inputs or ("ids", "mask")]

    def __call__(self, value: Any) -> tuple[Any, ...]:
        """The model's inputs, and the note behind them. Raises `Refusal`."""
        if self._ids is not None and isinstance(value, list):
            return self._made(NO_TEXT, self._ids.read(value))
        texts = self._texts_of(value)
        return self._made(texts, self._encoded(texts))

    def together(self, values: Sequence[Any]) -> list[tuple[Any, ...] | Refusal]:
        """Encode several values, while others may use the interpreter."""
        texts = [
            None if self._ids is not None and isinstance(value, list) else self._texts_of(value)
            for value in values
        ]
        encodings = iter(self._all_encoded([each for each in texts if each is not None]))
        found: list[tuple[Any, ...] | Refusal] = []
        for value, each in zip(values, texts, strict=True):
            encoding = None if each is None else next(encodings)
            try:
                found.append(
                    self(value) if each is None or encoding is None else self._made(each, encoding)
                )
            except Refusal as refusal:
                found.append(refusal)
        return found

    def _all_encoded(self, texts: Sequence[tuple[str, ...]]) -> Sequence[Encoding | None]:
        """The encodings of several values; None where each has to be tried alone."""
        given = [each[0] if len(each) == 1 else each for each in texts]
        encode = self.tokenizer.encode_batch if self._noted else self.tokenizer.encode_batch_fast
        try:
            return list(encode(given))
        except Exception as error:  # tokenizers' own, of no class
            if TOO_SHORT not in str(error):
                raise
            return [None] * len(texts)

    def cuts(self, value: Any) -> bool:
        """Does it cut this value? Raises `Refusal`."""
        if self._ids is not None and isinstance(value, list):
            return False
        return bool(self._encoded(self._texts_of(value)).overflowing)

    def _encoded(self, texts: tuple[str, ...]) -> Encoding:
        try:
            return encoded(self.tokenizer, texts)
        except Exception as error:  # tokenizers' own, of no class
            if TOO_SHORT not in str(error):
                raise
            raise self._refusal("more tokens, whatever is cut") from None

    def _made(self, texts: tuple[str, ...], encoding: Encoding | GivenTokens) -> tuple[Any, ...]:
        if not 0 < len(encoding) <= self._max_tokens:
            raise self._refusal(f"{len(encoding)} tokens")
        if self._held_id is not None and encoding.ids.count(self._held_id) != 1:
            got = f"a text that holds it {encoding.ids.count(self._held_id)} times"
            raise Refusal("E_TOKENS", "", got, f"{self._held} once")
        made = tuple([make(encoding) for make in self._make])
        return (*made, note_of(texts, self._names, encoding)) if self._noted else made

    def _refusal(self, got: str) -> Refusal:
        noun = "a text of" if len(self._names) == 1 else "texts of"
        return Refusal("E_TOKENS", "", f"{noun} {got}", f"1 to {self._max_tokens} tokens")


MAKE: Mapping[str, Callable[[Encoding | GivenTokens], Array]] = {
    "ids": lambda encoding: np.array(encoding.ids, np.int64),
    "mask": lambda encoding: np.ones(len(encoding), np.int64),
    "types": lambda encoding: np.array(encoding.type_ids, np.int64),
    "positions": lambda encoding: np.arange(len(encoding), dtype=np.int64),
}
"""Inputs of a model -> how they are made of a row's tokens, int64, `(tokens,)`."""


def encoded(tokenizer: Tokenizer, texts: tuple[str, ...]) -> Encoding:
    """One text, or two, as the tokenizer encodes them."""
    return tokenizer.encode(texts[0], texts[1] if len(texts) > 1 else None)


def note_of(
    texts: tuple[str, ...], names: tuple[str, ...], encoding: Encoding | GivenTokens
) -> TextNote:
    """Where the tokens of encoded texts lie in them."""
    offsets, sequences = places_of(encoding)
    return TextNote(
        texts,
        names,
        offsets,
        np.array(encoding.special_tokens_mask, bool),
        sequences,
        np.array([-1 if word is None else word for word in encoding.word_ids], np.int64),
        cuts_of(encoding, len(texts), offsets, sequences),
    )


def places_of(encoding: Encoding | GivenTokens) -> tuple[Array, Array]:
    """Where each token begins and ends in its text, and which text that is; -1 is none."""
    return (
        np.array(encoding.offsets, np.int64).reshape(-1, 2),
        np.array([-1 if each is None else each for each in encoding.sequence_ids], np.int64),
    )


def cuts_of(
    encoding: Encoding | GivenTokens, texts: int, offsets: Array, sequences: Array
) -> tuple[bool, ...]:
    """Which texts had more tokens than were kept.

    Of two texts, tokenizers list what was cut of the first with what was kept of the second first,
    and what was kept of the first with what was cut of the second last.
    """
    windows = encoding.overflowing
    if not windows or texts == 1:
        return (bool(windows),) * texts
    beyond = [places_of(windows[place]) for place in (0, -1)]
    return tuple(
        any(
            not np.array_equal(places[owners == text], offsets[sequences == text])
            for places, owners in beyond
        )
        for text in range(texts)
    )


def fill(text: str, chars: int) -> str:
    """The text again and again, with spaces between, to a length."""
    return (f"{text} " * (chars // (len(text) + 1) + 1))[:chars]


def front_name(field: str) -> str:
    """Where a text field's tokenizer lies in the bundle."""
    return f"front/{field}.tokenizer.json"
