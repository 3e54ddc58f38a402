"""The texts among an estimator's columns: which vectorizers cut each, and by which rules."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import ValidationError

from seatrial_contracts.errors import GateError
from seatrial_contracts.kinds.analyzer import MOST_FEATURES, Analyzer, is_linear, written
from seatrial_contracts.kinds.plain_text import PlainText
from seatrial_contracts.kinds.text_terms import TextTerms
from seatrial_contracts.kinds.vocabulary import Words
from seatrial_export.adopt.parts import children_of, is_part

VECTORIZERS = frozenset({"CountVectorizer", "TfidfVectorizer", "HashingVectorizer"})
OWN_FUNCTIONS = ("preprocessor", "tokenizer", "strip_accents", "analyzer")
BEFORE = "do it before the text is sent, or with the vectorizer's own options"


def is_vectorizer(part: Any) -> bool:
    """Does it cut texts into terms, and count them?"""
    return type(part).__name__ in VECTORIZERS and type(part).__module__.startswith("sklearn.")


def vectorizers_of(part: Any, columns: Sequence[int]) -> Iterator[tuple[Any, int]]:
    """Every vectorizer in a part that takes these columns, and the column that it reads.

    Raises `GateError` for a vectorizer of several columns.
    """
    from seatrial_export.adopt.stand_ins import places_of

    if is_vectorizer(part):
        if len(columns) != 1:
            raise GateError(
                type(part).__name__,
                f"it was fitted on {len(columns)} columns, of which it saw the names alone",
                "name the column of the text in a ColumnTransformer: ('words', vectorizer, 'text')",
            )
        yield part, columns[0]
    elif hasattr(part, "best_estimator_"):  # what it tried are parts too, and are not fitted
        yield from vectorizers_of(part.best_estimator_, columns)
    elif hasattr(part, "transformers_"):
        names = list(getattr(part, "feature_names_in_", ()))
        for _, step, chosen in part.transformers_:
            if is_part(step):
                places = places_of(chosen, part.n_features_in_, names)
                yield from vectorizers_of(step, [columns[place] for place in places])
    elif hasattr(part, "steps"):
        first = next((step for _, step in part.steps if is_part(step)), None)
        if first is not None:
            yield from vectorizers_of(first, columns)
    else:
        for child in children_of(part):
            yield from vectorizers_of(child, columns)


def analyzer_of(vectorizer: Any) -> tuple[Analyzer, bytes]:
    """The rules of a fitted vectorizer, and the file of its terms, empty where it hashes them.

    Raises `GateError` that names what has no form in a bundle.
    """
    step = type(vectorizer).__name__
    for name in OWN_FUNCTIONS:
        if callable(getattr(vectorizer, name)):
            raise GateError(step, f"{name}= is a function of yours: a bundle holds none", BEFORE)
    if vectorizer.input != "content":
        raise GateError(step, f"input='{vectorizer.input}'", "input='content'")
    words = vectorizer.analyzer == "word"
    if words and not is_linear(vectorizer.token_pattern):
        raise GateError(
            step,
            f"token_pattern={vectorizer.token_pattern!r}: how long it takes can grow faster than "
            "the text does",
            r"one or more characters of which the last alone repeats: r'\b\w+\b', r'[a-z]{3,}', "
            r"r'\w+|[^\w\s]'",
        )
    hashed = vectorizer.n_features if step == "HashingVectorizer" else None
    if hashed is not None and hashed > MOST_FEATURES:
        raise GateError(
            step,
            f"n_features={hashed}: the graph holds them all for each row",
            f"n_features=2**18 ({MOST_FEATURES}) or fewer",
        )
    data = b"" if hashed is not None else written(terms_of(vectorizer))
    try:
        analyzer = Analyzer(
            analyzer=vectorizer.analyzer,
            lowercase=bool(vectorizer.lowercase),
            strip_accents=vectorizer.strip_accents,
            token_pattern=vectorizer.token_pattern if words else None,
            ngram_range=vectorizer.ngram_range,
            stop_words=tuple(sorted(vectorizer.get_stop_words() or ())) if words else (),
            vocabulary=Words(data).facts if data else None,
            hashed=hashed,
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        said = re.sub(r"^Value error, ", "", first["msg"])
        raise GateError(step, f"options that a bundle does not hold; want {said}", BEFORE) from None
    return analyzer, data


def terms_of(vectorizer: Any) -> list[str]:
    """The terms of a fitted vectorizer, in the order of its columns."""
    places = vectorizer.vocabulary_
    return sorted(places, key=places.__getitem__)


class TextColumns:
    """The vectorizers of an estimator, by the column that each reads."""

    def __init__(self, estimator: Any, columns: int) -> None:
        """Take an estimator of so many columns. Raises `GateError`."""
        self._found: dict[int, dict[Analyzer, bytes]] = {}
        self._first: dict[int, int] = {}
        for vectorizer, column in vectorizers_of(estimator, range(columns)):
            analyzer, data = analyzer_of(vectorizer)
            held = self._found.setdefault(column, {})
            held.setdefault(analyzer, data)
            before = list(held)[: list(held).index(analyzer)]
            self._first[id(vectorizer)] = sum(each.numbers for each in before)

    @property
    def columns(self) -> frozenset[int]:
        """The columns that vectorizers read."""
        return frozenset(self._found)

    def kind_of(self, column: int, text: PlainText) -> TextTerms:
        """A plain text with the rules of the vectorizers that read it."""
        found = self._found[column]
        options = text.model_dump(exclude={"kind"})
        return TextTerms(**options, analyzers=tuple(found)).hold(list(found.values()))

    def first_of(self, vectorizer: Any) -> int:
        """The number at which the terms of a vectorizer of this estimator begin."""
        return self._first[id(vectorizer)]
