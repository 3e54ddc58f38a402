"""A text: tokenised on the host by the bundle's own `tokenizer.json`, as training was."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, WrapValidator

from seatrial_contracts.errors import DeclarationError, Refusal
from seatrial_contracts.kinds.kind import (
    ESCAPED_BYTES,
    SHORT_BYTES,
    Array,
    Column,
    Edge,
    JsonSchema,
    Stage,
    Word,
    refuse,
    text_of,
)
from seatrial_contracts.kinds.plain_text import PlainText
from seatrial_contracts.kinds.token_ids import TokenIdReader
from seatrial_contracts.kinds.tokenised import (
    CHEAP_CHARS,
    EXAMPLE,
    SPECIAL_TOKENS,
    Tokenised,
    fill,
    front_name,
)
from seatrial_contracts.kinds.tokenizer_file import load_tokenizer, unknown_id

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy
    from tokenizers import Tokenizer


ID_BYTES = 12
"""A token id in JSON at most, with the comma and a space after it."""


class Text(Tokenised):
    """`Annotated[str, Text(tokenizer="tokenizer.json", max_chars=2000, max_tokens=256)]`.

    Without a tokenizer it is a `PlainText`, which enters the graph as a string.

    With one it enters the graph as `<field>_ids` and `<field>_mask`, int64, shape
    `(batch, tokens)`, padded to the longest of the batch with `pad_id` and 0. A text of more tokens
    than `max_tokens` (special ones included) is refused, or cut with `overflow="truncate"`.
    `padding_side`, `pad_id`
    and `truncation_side` are the `tokenizer.json`'s own where they are not said, and right, 0 and
    right where it says nothing; lengths that the file bakes in are replaced by `max_tokens`.

    `model_inputs` says what the model takes, in which order. `"ids"`, `"mask"`, `"types"` and
    `"positions"` (token types as the tokenizer gives them; places from 0) enter by the field's name
    and theirs (`text_types`); `"input_ids"`, `"attention_mask"`, `"token_type_ids"` and
    `"position_ids"` are the same by the names that transformers' models have.

    A text may spell a special token, `[SEP]` say. With `special="take"` it becomes that token, as
    the tokenizer itself reads it; with `special="words"`, and where nothing is said, it is ordinary
    text, so that no client can write one. The export refuses golden rows that hold one where
    nothing is said.

    `holds` is a special token that every text has to hold once, beside `special="take"`: the
    `[MASK]` of a model that fills it. A text that holds it otherwise is refused.

    With `token_ids`, a list of the ids of its tokens may stand in the place of a text, for clients
    that tokenise by themselves: with the special tokens around them, or without. They are checked
    as tokens and never cut; whether a text has these tokens is not asked.
    """

    kind: Literal["text"] = "text"
    overflow: Literal["refuse", "truncate"] = "refuse"
    holds: Word | None = None
    token_ids: Annotated[bool, Field(exclude_if=operator.not_)] = False

    def declared(self, annotation: Any, nullable: bool) -> Self | PlainText:
        if annotation is not str:
            raise DeclarationError("st.Text", str(annotation), "str")
        if self._tokenizer_json is None:
            return self._plain().declared(annotation, nullable)
        own = self.own_options()
        if self.holds is not None:
            self._check_held(self._tokenizer_json)
        return self.completed(**own, nullable=nullable)

    def _check_held(self, tokenizer: bytes) -> None:
        """Raise `DeclarationError` for a token to hold that no text has room for, or can spell."""
        assert self.holds is not None
        if load_tokenizer(tokenizer).token_to_id(self.holds) is None:
            want = "a token of the tokenizer"
            raise DeclarationError("st.Text", f"holds={self.holds!r}", want)
        if self.special != "take":
            mend = "a text spells a special token only so"
            raise DeclarationError("st.Text", "holds without it", 'special="take"', mend)
        if len(self.holds) > self.max_chars:
            got, want = f"max_chars={self.max_chars}", f"room for {self.holds!r}"
            raise DeclarationError("st.Text", got, want)

    @property
    def held(self) -> str | None:
        return self.holds

    def holding(self, text: str) -> str:
        """The text with the token that it has to hold behind it, cut to the longest allowed."""
        if self.holds is None:
            return text
        behind = f" {self.holds}"
        return f"{text[: max(0, self.max_chars - len(behind))]}{behind}".strip()

    def _plain(self) -> PlainText:
        """The text without a tokenizer. Raises `DeclarationError` for options that need one."""
        own = {name: getattr(self, name) for name in self.model_fields_set}
        odd = own.keys() - PlainText.model_fields.keys()
        if odd:
            mend = f"without '{min(odd)}' the graph takes the text as a string"
            want = 'st.Text(tokenizer="path/to/tokenizer.json")'
            raise DeclarationError("st.Text", f"'{min(odd)}' and no tokenizer", want, mend)
        return PlainText(**own)

    def texts_of(self, value: Any) -> tuple[str, ...]:
        return (value,)

    @property
    def takes_token_ids(self) -> bool:
        return self.token_ids

    def id_reader(self, tokenizer: Tokenizer, file: bytes) -> TokenIdReader | None:
        if not self.token_ids:
            return None
        return TokenIdReader(
            tokenizer,
            tokenizer.encode(EXAMPLE),
            unknown_id(tokenizer, file),
            takes_special=self.special == "take",
        )

    def blank(self) -> str:
        return self.holds or ""

    def truncated(self, tokenizer: Tokenizer) -> None:
        if self.overflow == "truncate":
            tokenizer.enable_truncation(self.max_tokens, direction=self.truncation_side or "right")

    def encodes_inline(self, value: Any) -> bool:
        return len(value) <= CHEAP_CHARS

    def annotation(self) -> Any:
        text = Annotated[
            str, Field(min_length=self.min_chars, max_length=self.max_chars, strict=True)
        ]
        return Annotated[text, WrapValidator(self._validated)] if self.token_ids else text

    def _validated(self, value: Any, validate: Callable[[Any], str]) -> str | list[int]:
        """A text, or the ids of its tokens."""
        if not isinstance(value, list):
            return validate(value)
        if not 0 < len(value) <= self.max_tokens:
            refuse("E_TOKENS", f"{len(value)} token ids", f"1 to {self.max_tokens} of them")
        if not all(type(each) is int for each in value):
            refuse("E_TYPE", "a list of other values than token ids", self.want())
        return value

    def breaks(self, option: str, old: Self) -> bool:
        if option == "token_ids":
            return old.token_ids
        if option == "overflow":
            return self.overflow == "refuse"
        return super().breaks(option, old)

    def want(self) -> str:
        text = (
            f"a text of {self.min_chars} to {self.max_chars} characters"
            if self.max_chars > 1
            else "a text of one character at most"
        )
        return f"{text}, or the ids of its tokens" if self.token_ids else text

    @property
    def most_bytes(self) -> int:
        ids = self.max_tokens * ID_BYTES if self.token_ids else 0
        return max(self.max_chars * ESCAPED_BYTES, ids) + SHORT_BYTES

    def column(self, values: Column) -> Column:
        texts = [text_of(value, place, self.want()) for place, value in enumerate(values)]
        for place, text in enumerate(texts):
            if not self.min_chars <= len(text) <= self.max_chars:
                raise Refusal(
                    "E_TEXT_LIMIT", f"row {place}", f"{len(text)} characters", self.want()
                )
        return texts

    def id_column(self, rows: Sequence[Array]) -> Column:
        for place, ids in enumerate(rows):
            if not 0 < len(ids) <= self.max_tokens:
                got, want = f"{len(ids)} token ids", f"1 to {self.max_tokens} of them"
                raise Refusal("E_TOKENS", f"row {place}", got, want)
        return [row.tolist() for row in rows]

    def json_schema(self) -> JsonSchema:
        text = {"type": "string", "minLength": self.min_chars, "maxLength": self.max_chars}
        if not self.token_ids:
            return text
        ids = {"items": {"type": "integer", "minimum": 0}, "minItems": 1}
        return {**text, "type": ["string", "array"], **ids, "maxItems": self.max_tokens}

    def check_rows(self, values: Sequence[Any], files: Mapping[str, bytes], name: str) -> None:
        """Also raise where the ids of a row's tokens would not become what its text becomes."""
        texts = [value for value in values if isinstance(value, str)]
        super().check_rows(texts, files, name)
        if not self.token_ids:
            return
        stage, plain = self.stage(name, files), load_tokenizer(files[front_name(name)])
        plain.encode_special_tokens = self.special != "take"
        for place, text in enumerate(texts):
            made, whole = stage(text), plain.encode(text).ids
            if len(whole) > len(made[0]):  # it is cut
                continue
            for ids in (whole, plain.encode(text, add_special_tokens=False).ids):
                if ids and not all(map(np.array_equal, stage(ids), made)):
                    raise DeclarationError(
                        f"input '{name}', row {place}",
                        "token ids that become another row than their text",
                        "the same row of both",
                        "leave token_ids out: the tokenizer does more than its ids say",
                    )

    def example(self) -> Any:
        few = max(1, self.max_tokens - SPECIAL_TOKENS)  # plain letters: a token each at most
        return self.holding(
            fill(EXAMPLE, max(self.min_chars, min(self.max_chars, few, len(EXAMPLE))))
        )

    def strategy(self) -> SearchStrategy[Any]:
        return self.drawn_text().map(self.holding)

    def edges(self, stage: Stage) -> Iterator[Edge]:
        """The shortest and the longest text that the tokenizer lets through, and odd ones."""
        yield from (Edge(self.holding(text)) for text in self.odd_texts())
        yield from (
            Edge(self.holding(fill(EXAMPLE, chars)))
            for chars in dict.fromkeys((self.min_chars, self.longest(stage, self.holding)))
            if chars
        )
