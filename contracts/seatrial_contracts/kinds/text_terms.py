"""A plain text of which the graph counts the terms: the host stage cuts it, as training did."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, PrivateAttr

from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.kinds.analyzer import MOST_GRAM, Analyzer, read
from seatrial_contracts.kinds.kind import Array, Column, Edge, Features, Stage, TensorSpec
from seatrial_contracts.kinds.plain_text import PlainText
from seatrial_contracts.kinds.tokenised import CHEAP_CHARS

NO_TERM = -1
"""What fills up the rows of a batch."""
MOST_DRAWN, DRAWN_TOGETHER = 96, 6
"""Terms of a vocabulary that drawn rows hold, and how many a text."""
LONGEST_LETTER = 18
"""Letters that one may become: U+FDFA, when its accents are stripped."""


class TextTerms(PlainText):
    """An `st.Text()` without a tokenizer whose words a vectorizer of scikit-learn's counts.

    `seatrial adopt` makes it of a plain text. It enters the graph as the numbers of its terms,
    int64, shape `(batch, terms)`, padded with -1. The numbers of an analyzer begin where those of
    the one before it end. A term that the vocabulary lacks has no number.
    """

    kind: Literal["text_terms"] = "text_terms"  # type: ignore[assignment]  # a kind of its own
    analyzers: tuple[Analyzer, ...] = Field(strict=False, min_length=1, max_length=MOST_GRAM)
    staged: ClassVar[bool] = True

    _files: tuple[bytes, ...] = PrivateAttr(default=())

    def hold(self, files: Sequence[bytes]) -> Self:
        """Take the files of the analyzers' terms, one for each, empty for a hashed one."""
        self._files = tuple(files)
        return self

    def with_files(self, name: str, files: Mapping[str, bytes]) -> Self:
        names = (terms_name(name, place) for place in range(len(self.analyzers)))
        return self.model_copy().hold([files.get(each, b"") for each in names])

    def front_names(self, field: str) -> tuple[str, ...]:
        return tuple(
            terms_name(field, place)
            for place, analyzer in enumerate(self.analyzers)
            if analyzer.vocabulary is not None
        )

    def front_files(self, field: str) -> Mapping[str, bytes]:
        held = [data for data in self._files if data]
        return dict(zip(self.front_names(field), held, strict=True)) if held else {}

    def encodes_inline(self, value: Any) -> bool:
        return len(value) <= CHEAP_CHARS

    def breaks(self, option: str, old: Any) -> bool:
        """How a text is cut is no matter of clients."""
        return option not in ("analyzers", "kind") and super().breaks(option, old)

    def edges(self, stage: Stage) -> Iterator[Edge]:
        """Texts of terms that the vocabularies hold, some twice, besides those of any text."""
        yield from map(Edge, self._known_texts())
        yield from super().edges(stage)

    def _known_texts(self) -> Iterator[str]:
        for data in filter(None, self._files):
            terms = read(data)
            some = terms[:: len(terms) // MOST_DRAWN + 1]
            for start in range(0, len(some), DRAWN_TOGETHER):
                group = some[start : start + DRAWN_TOGETHER]
                text = " ".join([*group, *group[: start % DRAWN_TOGETHER + 1]])[: self.max_chars]
                if len(text) >= self.min_chars:
                    yield text if start % (2 * DRAWN_TOGETHER) else text.upper()[: self.max_chars]

    def tensors(self, name: str) -> tuple[TensorSpec, ...]:
        return (TensorSpec(name=name, dtype="int64", dims=(f"{name}_terms",), pad=NO_TERM),)

    def sizes(self, name: str) -> Mapping[str, tuple[int, int]]:
        letters = 3 * LONGEST_LETTER * self.max_chars  # a word of one has a space on both sides
        return {f"{name}_terms": (1, len(self.analyzers) * MOST_GRAM * letters)}

    def filler(self, stage: Stage) -> tuple[Any, ...]:
        """What the graph sees in the place of a missing text: no term."""
        return stage("")

    def stage(self, name: str, files: Mapping[str, bytes]) -> Stage:
        cuts, first = [], 0
        for place, analyzer in enumerate(self.analyzers):
            number = analyzer.number(
                self._terms(analyzer, files.get(terms_name(name, place)), name)
            )
            cuts.append((analyzer.cut(), number, first))
            first += analyzer.numbers

        def stage(text: str) -> tuple[Array]:
            found = [
                number + first
                for cut, number_of, first in cuts
                for number in map(number_of, cut(text))
                if number is not None
            ]
            return (np.array(found or (NO_TERM,), np.int64),)

        return stage

    def _terms(self, analyzer: Analyzer, data: bytes | None, name: str) -> list[str]:
        """The terms of an analyzer. Raises `DeclarationError` where they are not those sealed."""
        if analyzer.vocabulary is None:
            return []
        if data is not None and sha256(data).hexdigest() == analyzer.vocabulary.sha256:
            try:
                terms = read(data)
                if len(terms) == analyzer.vocabulary.count:
                    return terms
            except ValueError:
                pass  # said below
        raise DeclarationError(f"terms of '{name}'", "another vocabulary", f"{analyzer.vocabulary}")

    def features(self, name: str, files: Mapping[str, bytes], stage: Stage | None) -> Features:
        """How long the text is, and how many of its terms the model knows."""

        def features(values: Column) -> Mapping[str, Column]:
            found: dict[str, Column] = {"chars": list(map(len, values))}
            if stage is not None:
                found["terms"] = [int((stage(value)[0] >= 0).sum()) for value in values]
            return found

        return features


def terms_name(field: str, place: int) -> str:
    """Where the terms of one of a field's analyzers lie in the bundle."""
    return f"front/{field}.terms_{place}.txt"
