"""The counts of a text's terms, as scikit-learn's vectorizers make them, in a graph."""

from __future__ import annotations

from typing import Any

import numpy as np

from seatrial_export.adopt.casts import element_type
from seatrial_export.adopt.written_steps import Writer, WrittenStep


class TermCounts(WrittenStep):
    """A CountVectorizer, TfidfVectorizer or HashingVectorizer.

    It takes the numbers of a row's terms, of which its own begin at `first`, and counts each.
    """

    def __init__(self, vectorizer: Any, first: int, dtype: str) -> None:
        self.first, self.dtype = first, dtype
        self.hashed = getattr(vectorizer, "n_features", None)
        vocabulary = getattr(vectorizer, "vocabulary_", ())
        self.width = len(vocabulary) if self.hashed is None else int(self.hashed)
        self.signed = self.hashed is not None and bool(vectorizer.alternate_sign)
        self.binary = bool(vectorizer.binary)
        own = getattr(vectorizer, "_tfidf", None)
        weights = None if own is None else TermWeights(own, dtype)
        norm = getattr(vectorizer, "norm", None) if self.hashed is not None else None
        self.weights, self.norm = weights, norm

    def write(self, writer: Writer) -> str:
        """See `WrittenStep.write`."""
        place, ones = self._places(writer)
        counts = self._sums(writer, place, ones)
        if self.binary:
            counts = writer.floats(writer.add("Greater", counts, writer.constant(np.array(0.0))))
        if self.weights is not None:
            return self.weights.weigh(writer, counts)
        return normalised(writer, counts, self.norm)

    def _places(self, writer: Writer) -> tuple[str, str]:
        """The column of each term, the last one for what is not counted, and what it adds."""
        assert self.width is not None, "of a fitted vectorizer"
        (given,) = (variable.full_name for variable in writer.inputs)
        numbers = writer.add("Cast", given, to=element_type("int64"))
        width = writer.constant(np.array(self.width))
        own = writer.add("Sub", numbers, writer.constant(np.array(self.first)))
        signs = writer.constant(np.array([1.0]))
        signs = writer.add("Expand", signs, writer.add("Shape", numbers))
        halves = 1 if self.hashed is None else 2
        inside = writer.add(
            "And",
            writer.add("GreaterOrEqual", own, writer.constant(np.array(0))),
            writer.add("Less", own, writer.constant(np.array(halves * self.width))),
        )
        if self.hashed is not None:
            second = writer.add("GreaterOrEqual", own, width)
            own = writer.add("Where", second, writer.add("Sub", own, width), own)
            if self.signed and not self.binary:
                signs = writer.add("Where", second, writer.add("Neg", signs), signs)
        return writer.add("Where", inside, own, width), signs

    def _sums(self, writer: Writer, place: str, ones: str) -> str:
        """What the terms of each column add up to: shape `(batch, width)`."""
        assert self.width is not None, "of a fitted vectorizer"
        rows = writer.add("Shape", place, start=0, end=1)
        shape = writer.add("Concat", rows, writer.constant(np.array([self.width + 1])), axis=0)
        none = writer.add("Expand", writer.constant(np.array([[0.0]])), shape)
        summed = writer.add("ScatterElements", none, place, ones, axis=1, reduction="add")
        ends = [writer.constant(np.array([end])) for end in (0, self.width, 1)]
        return writer.add("Slice", summed, *ends)


class TermWeights(WrittenStep):
    """TfidfTransformer: counts, weighted by how rare each term is, and brought to one length."""

    def __init__(self, transformer: Any, dtype: str) -> None:
        self.dtype, self.norm = dtype, transformer.norm
        self.sublinear = bool(transformer.sublinear_tf)
        self.rareness = np.asarray(transformer.idf_, np.float64) if transformer.use_idf else None

    def write(self, writer: Writer) -> str:
        """See `WrittenStep.write`."""
        return self.weigh(writer, writer.whole())

    def weigh(self, writer: Writer, counts: str) -> str:
        """Nodes that weigh counts, shape `(batch, width)`."""
        if self.sublinear:
            none, one = (writer.constant(np.array(value)) for value in (0.0, 1.0))
            there = writer.add("Not", writer.add("Equal", counts, none))
            safe = writer.add("Where", there, counts, one)
            grown = writer.add("Add", writer.add("Log", safe), one)
            counts = writer.add("Where", there, grown, none)
        if self.rareness is not None:
            counts = writer.add("Mul", counts, writer.constant(self.rareness[None]))
        return normalised(writer, counts, self.norm)


def normalised(writer: Writer, values: str, norm: str | None) -> str:
    """Rows of the length 1 by the norm "l1" or "l2"; a row of zeros stays one."""
    if norm is None:
        return values
    axis = writer.constant(np.array([1]))
    length = writer.add("ReduceL1" if norm == "l1" else "ReduceL2", values, axis, keepdims=1)
    none = writer.add("Equal", length, writer.constant(np.array(0.0)))
    return writer.add(
        "Div", values, writer.add("Where", none, writer.constant(np.array(1.0)), length)
    )
