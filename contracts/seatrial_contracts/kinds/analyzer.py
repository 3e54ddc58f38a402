"""How a text becomes terms: words or runs of characters, as scikit-learn's vectorizers cut them.

The names of the options and what they mean are scikit-learn's.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from seatrial_contracts.kinds.kind import Word
from seatrial_contracts.kinds.murmur_hash import murmur_hash
from seatrial_contracts.kinds.vocabulary import Vocabulary, Words

MOST_FEATURES = 2**18
"""Columns of a hashed text: a row holds them all, 1 MB in float32."""
MOST_GRAM = 32
MOST_OPTIONAL = 4
SPACES = re.compile(r"\s\s+")
ATOM = r"(?:\\[wWdDsS]|\\[^\w\s]|\[\^?(?:\\.|[^\]\\\[])+\]|[^\\\[\](){}|*+?.^$])"
"""One character of a token: a class of characters, or the character itself."""
ALTERNATIVE = re.compile(
    rf"(?P<start>\\b)?(?:{ATOM}(?:\?|\{{\d{{1,2}}\}})?)*?{ATOM}"
    rf"(?P<many>\+|\{{[1-9]\d?,\d{{0,2}}\}}|\{{[1-9]\d?\}})?(?P<end>\\b)?"
)
"""A pattern that finds no empty token, and whose cost grows as the text does.

Only the last character repeats without end. What follows it, a word's end, can fail only where the
pattern begins at a word's start, so that no other start lies within what was tried.
"""

Cut = Callable[[str], list[str]]


class Analyzer(BaseModel):
    """What one vectorizer makes of a text: terms, and the number of each.

    The number is its place in the `vocabulary`, whose terms lie beside the contract. Without one it
    is the remainder of the term's MurmurHash3 by `hashed`, plus `hashed` where the hash is
    negative.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    analyzer: Literal["word", "char", "char_wb"] = "word"
    lowercase: bool = True
    strip_accents: Literal["ascii", "unicode"] | None = None
    token_pattern: Annotated[str, Field(max_length=1000)] | None = None
    ngram_range: tuple[int, int] = (1, 1)
    stop_words: tuple[Word, ...] = Field(default=(), max_length=2**16)
    vocabulary: Vocabulary | None = None
    hashed: Annotated[int, Field(ge=1, le=MOST_FEATURES)] | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        least, most = self.ngram_range
        if not 1 <= least <= most <= MOST_GRAM:
            raise ValueError(f"ngram_range from 1 to {MOST_GRAM}")
        if (self.vocabulary is None) == (self.hashed is None):
            raise ValueError("a vocabulary or a number of hashed features")
        if (self.analyzer == "word") != (self.token_pattern is not None):
            raise ValueError("a token_pattern where words are cut, and there alone")
        if self.token_pattern is not None and not is_linear(self.token_pattern):
            raise ValueError("a token_pattern whose cost grows as the text does")
        return self

    @property
    def numbers(self) -> int:
        """How many numbers of terms there are."""
        return self.vocabulary.count if self.vocabulary is not None else 2 * (self.hashed or 0)

    def cut(self) -> Cut:
        """The function from a text to its terms, n-grams included, each as often as it stands."""
        grams, prepare = (
            {"word": self._words(), "char": self._runs, "char_wb": self._inner_runs}[self.analyzer],
            self._prepare(),
        )
        return lambda text: grams(prepare(text))

    def number(self, terms: Sequence[str]) -> Callable[[str], int | None]:
        """The function from a term to its number; None of what `terms` lack."""
        if self.hashed is None:
            return {term: place for place, term in enumerate(terms)}.get
        features = self.hashed

        def hashed(term: str) -> int:
            value = murmur_hash(term)
            return abs(value) % features + (features if value < 0 else 0)

        return hashed

    def _prepare(self) -> Callable[[str], str]:
        accents = {None: None, "ascii": ascii_letters, "unicode": plain_letters}[self.strip_accents]
        if not self.lowercase:
            return accents or (lambda text: text)
        if accents is None:
            return str.lower
        return lambda text: accents(text.lower())

    def _words(self) -> Cut:
        found = re.compile(self.token_pattern or "").findall
        (least, most), stop = self.ngram_range, frozenset(self.stop_words)

        def words(text: str) -> list[str]:
            tokens: list[str] = found(text)
            if stop:
                tokens = [token for token in tokens if token not in stop]
            if most == 1:
                return tokens
            count = len(tokens)
            grams = list(tokens) if least == 1 else []
            for size in range(max(least, 2), min(most, count) + 1):
                grams += [" ".join(tokens[at : at + size]) for at in range(count - size + 1)]
            return grams

        return words

    def _runs(self, text: str) -> list[str]:
        text, (least, most) = SPACES.sub(" ", text), self.ngram_range
        return [
            text[at : at + size]
            for size in range(least, min(most, len(text)) + 1)
            for at in range(len(text) - size + 1)
        ]

    def _inner_runs(self, text: str) -> list[str]:
        """Runs within words, with a space on both sides; a word shorter than a run counts once."""
        found, (least, most) = list[str](), self.ngram_range
        for word in text.split():
            padded = f" {word} "
            length = len(padded)
            for size in range(least, most + 1):
                found += [padded[at : at + size] for at in range(max(1, length - size + 1))]
                if length <= size:
                    break
        return found


def ascii_letters(text: str) -> str:
    """As scikit-learn's `strip_accents_ascii`: what has no form in ASCII is left out."""
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()


def plain_letters(text: str) -> str:
    """As scikit-learn's `strip_accents_unicode`: letters without their marks."""
    if text.isascii():
        return text
    apart = unicodedata.normalize("NFKD", text)
    return "".join(letter for letter in apart if not unicodedata.combining(letter))


def is_linear(pattern: str) -> bool:
    """Does finding all tokens of a text cost as much as the text is long, whatever it holds?

    Only patterns of `ALTERNATIVE`'s form are known to.
    """
    try:
        re.compile(pattern)
    except re.error:
        return False
    return all(map(_is_linear, _alternatives(pattern.removeprefix("(?u)"))))


def _is_linear(alternative: str) -> bool:
    found = ALTERNATIVE.fullmatch(alternative)
    if found is None or re.sub(ATOM, "", alternative).count("?") > MOST_OPTIONAL:
        return False
    return found["end"] is None or found["start"] is not None or not _is_open(found["many"])


def _is_open(many: str | None) -> bool:
    return many is not None and (many == "+" or many.endswith(",}"))


def _alternatives(pattern: str) -> Iterator[str]:
    """The parts between `|`, where it stands for itself in no class and behind no backslash."""
    start = 0
    for part in re.finditer(rf"{ATOM}|\\b|(?P<bar>\|)|.", pattern, re.DOTALL):
        if part["bar"]:
            yield pattern[start : part.start()]
            start = part.end()
    yield pattern[start:]


def written(terms: Sequence[str]) -> bytes:
    """Terms as the bundle holds them: one a line, in UTF-8, in the order of their numbers."""
    return Words.of([_escaped(term) for term in terms]).to_file()


def read(data: bytes) -> list[str]:
    """The terms of such a file. Raises `ValueError`."""
    return [_unescaped(line) for line in Words(data)]


def _escaped(term: str) -> str:
    return term.replace("\\", "\\\\").replace("\n", "\\n")


def _unescaped(line: str) -> str:
    return re.sub(r"\\(.)", lambda found: "\n" if found[1] == "n" else found[1], line)
