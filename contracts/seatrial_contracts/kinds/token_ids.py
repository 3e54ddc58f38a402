"""Token ids in the place of a text: clients that tokenise by themselves send them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from seatrial_contracts.errors import DeclarationError, Refusal

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer


@dataclass(frozen=True, slots=True)
class GivenTokens:
    """A row of tokens, as an `Encoding` of the tokenizers library shows itself, without a text."""

    ids: list[int]
    type_ids: list[int]
    special_tokens_mask: list[int]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def offsets(self) -> list[tuple[int, int]]:
        """Of no text: each token is an empty part."""
        return [(0, 0)] * len(self.ids)

    @property
    def sequence_ids(self) -> list[int | None]:
        """The only text, of which special tokens are no part."""
        return [None if special else 0 for special in self.special_tokens_mask]

    @property
    def word_ids(self) -> list[int | None]:
        """None: words are parts of a text."""
        return [None] * len(self.ids)

    @property
    def overflowing(self) -> list[Encoding]:
        """None: ids are never cut."""
        return []


class TokenIdReader:
    """Takes the token ids of a text, with the special tokens around them or without."""

    def __init__(
        self, tokenizer: Tokenizer, shown: Encoding, unknown: int, *, takes_special: bool
    ) -> None:
        """Take what the tokenizer puts around a text from one that is `shown`.

        `unknown` is the id of words outside the vocabulary, which are ordinary words of a text.
        `takes_special`: may a text spell special tokens? Raises `DeclarationError` where the
        tokenizer puts special tokens elsewhere than around the text.
        """
        self._known = tokenizer.get_vocab_size()
        added = tokenizer.get_added_tokens_decoder()
        special = {place for place, token in added.items() if token.special} - {unknown}
        self._special = frozenset() if takes_special else frozenset(special)
        own = np.flatnonzero(np.array(shown.special_tokens_mask) == 0)
        if not len(own) or len(own) != own[-1] + 1 - own[0]:
            got = "a tokenizer that puts special tokens between those of a text"
            raise DeclarationError("st.Text", got, "token_ids of a tokenizer that does not")
        first, end = int(own[0]), int(own[-1]) + 1
        self._before, self._behind = shown.ids[:first], shown.ids[end:]
        self._types = shown.type_ids[:first], shown.type_ids[first], shown.type_ids[end:]

    def read(self, ids: Sequence[int]) -> GivenTokens:
        """The whole row of tokens. Raises `Refusal` for ids that no text has."""
        given = [*ids]
        if min(given) < 0 or max(given) >= self._known:
            want = f"ids from 0 to {self._known - 1}, as the model's own tokenizer has them"
            odd = next(each for each in given if not 0 <= each < self._known)
            raise Refusal("E_TOKENS", "", f"the token id {odd}", want)
        before, behind = self._before, self._behind
        around = len(before) + len(behind)
        is_whole = (
            len(given) >= around
            and given[: len(before)] == before
            and given[len(given) - len(behind) :] == behind
        )
        own = given[len(before) : len(given) - len(behind)] if is_whole else given
        if not self._special.isdisjoint(own):
            raise Refusal(
                "E_TOKENS",
                "",
                f"the special token {next(filter(self._special.__contains__, own))} in a text",
                "special tokens around the text alone",
                f"the row begins with {before} and ends with {behind}, or has neither",
            )
        type_before, type_own, type_behind = self._types
        return GivenTokens(
            [*before, *own, *behind],
            [*type_before, *[type_own] * len(own), *type_behind],
            [*[1] * len(before), *[0] * len(own), *[1] * len(behind)],
        )
