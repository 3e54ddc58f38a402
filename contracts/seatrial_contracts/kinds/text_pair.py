"""A pair of texts: one encoding of both, by the template of the bundle's own tokenizer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, PlainValidator

from seatrial_contracts.errors import DeclarationError, Refusal
from seatrial_contracts.kinds.kind import (
    ESCAPED_BYTES,
    SHORT_BYTES,
    Column,
    Edge,
    JsonSchema,
    Stage,
    Word,
    closed_object,
    refuse,
    text_of,
)
from seatrial_contracts.kinds.tokenised import (
    EXAMPLE,
    SPECIAL_TOKENS,
    Tokenised,
    fill,
)
from seatrial_contracts.kinds.tokenizer_file import load_tokenizer

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy
    from tokenizers import Tokenizer

STRATEGIES = {"second": "only_second", "first": "only_first", "longest": "longest_first"}
"""What is cut -> the tokenizers' own word for it."""
QUESTION = "What is tried?"
MOST_WINDOW_TOKENS = 2**15
"""Cutting the longest text, tokenizers keep each part of one text beside each of the other.

Measured with tokenizers 0.23: some 600 bytes and 4 us a token, so 20 MB and 0.15 s at most.
"""


class TextPair(Tokenised):
    """`Annotated[dict[str, str], TextPair("query", "passage", tokenizer="tokenizer.json")]`.

    The value is an object with both texts, by these names; in V2 it is BYTES of shape `[rows, 2]`,
    in this order. Both become one row of tokens, as the template of the tokenizer has it
    (`[CLS] query [SEP] passage [SEP]`), which enters the graph as `<field>_ids`, `<field>_mask`
    and, where the template tells the texts apart by them, `<field>_types`, int64, shape
    `(batch, tokens)`. `model_inputs` says it otherwise, as for `st.Text`: a model of transformers
    takes `("input_ids", "attention_mask", "token_type_ids")`.

    Pairs of more tokens than `max_tokens` (special ones included) are refused, or `cut` in the
    `"second"` text, in the `"first"`, or in whichever is `"longest"`, on `truncation_side`. A pair
    is refused all the same where the text to be cut is too short for it. `min_chars` and
    `max_chars` bound each text. All other options are those of `st.Text`.
    """

    kind: Literal["text_pair"] = "text_pair"
    texts: Annotated[tuple[Word, ...], Field(strict=False, max_length=2)] = ()
    cut: Literal["refuse", "second", "first", "longest"] = "refuse"

    def __init__(self, *texts: str, **options: Any) -> None:
        super().__init__(**({"texts": texts} | options if texts else options))

    def declared(self, annotation: Any, nullable: bool) -> Self:
        if annotation != dict[str, str]:
            raise DeclarationError("st.TextPair", str(annotation), "dict[str, str]")
        own = self.own_options()
        assert self._tokenizer_json is not None
        tokenizer = load_tokenizer(self._tokenizer_json)
        special = tokenizer.num_special_tokens_to_add(True)
        if self.max_tokens < special + 2:
            raise DeclarationError(
                "st.TextPair", f"max_tokens={self.max_tokens}",
                f"at least {special + 2}: {special} special tokens, and one of each text",
            )  # fmt: skip
        windows = 4 * self.max_chars**2 // self.max_tokens
        if self.cut == "longest" and windows > MOST_WINDOW_TOKENS:
            most = int((MOST_WINDOW_TOKENS * self.max_tokens / 4) ** 0.5)
            raise DeclarationError(
                "st.TextPair", f"cut='longest' with max_chars={self.max_chars}",
                f"max_chars of {most} at most",
                "tokenizers pair each part of one text with each of the other; cut='second' is free"
                " of it",
            )  # fmt: skip
        if self.model_inputs is None:
            has_types = any(tokenizer.encode("a", "b").type_ids)
            own["model_inputs"] = ("ids", "mask", *(["types"] if has_types else []))
        return self.completed(**own, nullable=nullable)

    def check(self) -> None:
        super().check()
        if len(set(self.texts)) != 2 or not all(text.isidentifier() for text in self.texts):
            got = f"texts {self.texts!r}"[:100]
            want = 'the names of two texts: st.TextPair("query", "passage")'
            raise DeclarationError("st.TextPair", got, want)

    @property
    def text_names(self) -> tuple[str, ...]:
        return self.texts

    def texts_of(self, value: Any) -> tuple[str, ...]:
        first, second = self.texts
        return (value[first], value[second])

    def blank(self) -> dict[str, str]:
        return dict.fromkeys(self.texts, "")

    def truncated(self, tokenizer: Tokenizer) -> None:
        if self.cut != "refuse":
            tokenizer.enable_truncation(
                self.max_tokens,
                strategy=STRATEGIES[self.cut],
                direction=self.truncation_side or "right",
            )

    def annotation(self) -> Any:
        return Annotated[dict[str, str], PlainValidator(self._validated)]

    def _validated(self, value: Any) -> dict[str, str]:
        """Both texts in order, of an object that holds nothing else."""
        if not isinstance(value, dict):
            code, got = ("E_MISSING", "null") if value is None else ("E_TYPE", "no object")
            refuse(code, got, self.want())
        for name in self.texts:
            text = value.get(name)
            if text is None:
                refuse("E_MISSING", f"no {name}", self.want())
            if not isinstance(text, str):
                refuse("E_TYPE", f"{name}: no string", self.want())
            if not self.min_chars <= len(text) <= self.max_chars:
                refuse("E_TEXT_LIMIT", f"{name}: {len(text)} characters", self.want())
            if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
                refuse("E_ENCODING", f"{name}: half a character", self.want())
        if len(value) > len(self.texts):
            refuse("E_UNKNOWN_FIELD", "an object with more in it", self.want())
        return {name: value[name] for name in self.texts}

    def breaks(self, option: str, old: Self) -> bool:
        if option == "cut":
            return self.cut == "refuse"
        return super().breaks(option, old)

    def want(self) -> str:
        first, second = self.texts
        return (
            f"an object with '{first}' and '{second}', texts of {self.min_chars} to "
            f"{self.max_chars} characters each"
        )

    @property
    def row_shape(self) -> tuple[int | None, ...]:
        return (2,)

    @property
    def most_values(self) -> int:
        return 2

    @property
    def most_bytes(self) -> int:
        names = sum(map(len, self.texts)) * ESCAPED_BYTES
        return 2 * (self.max_chars * ESCAPED_BYTES + SHORT_BYTES) + names

    def wire(self, value: Any) -> Any:
        if len(value) > len(self.texts):
            raise KeyError("more than the texts")
        return [value[name] for name in self.texts]

    def column(self, values: Column) -> Column:
        pairs = []
        for place, row in enumerate(values):
            pair = {
                name: row[name] if isinstance(row, dict) else text_of(row[at], place, self.want())
                for at, name in enumerate(self.texts)
            }
            for name, text in pair.items():
                if not self.min_chars <= len(text) <= self.max_chars:
                    got = f"{name}: {len(text)} characters"
                    raise Refusal("E_TEXT_LIMIT", f"row {place}", got, self.want())
            pairs.append(pair)
        return pairs

    def json_schema(self) -> JsonSchema:
        text = {"type": "string", "minLength": self.min_chars, "maxLength": self.max_chars}
        return closed_object({name: dict(text) for name in self.texts})

    def example(self) -> Any:
        few = max(1, (self.max_tokens - SPECIAL_TOKENS) // 2)  # plain letters: a token at most each
        return {
            name: fill(text, max(self.min_chars, min(self.max_chars, few, len(text))))
            for name, text in zip(self.texts, (QUESTION, EXAMPLE), strict=True)
        }

    def strategy(self) -> SearchStrategy[Any]:
        from hypothesis import strategies as some

        return some.fixed_dictionaries({name: self.drawn_text() for name in self.texts})

    def edges(self, stage: Stage) -> Iterator[Edge]:
        """Odd texts on either side, and the longest that the tokenizer lets through there."""
        first, second = self.texts
        example = self.example()
        odd = self.odd_texts()
        for text in odd:
            yield Edge({**example, second: text})
        for text in odd:
            yield Edge({**example, first: text})
        if "" in odd:
            yield Edge({first: "", second: ""})
        for name in (second, first):
            chars = self.longest(stage, lambda text, name=name: {**example, name: text})  # type: ignore[misc]
            if chars:
                yield Edge({**example, name: fill(EXAMPLE, chars)})
