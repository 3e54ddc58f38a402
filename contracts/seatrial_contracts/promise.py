"""A promise: the largest allowed distance of a variant's answers from the training side's.

A promise also bounds how much worse than the training side the variant may be against the truth.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple, Self

from pydantic import ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from seatrial_contracts.compare import Tolerance
from seatrial_contracts.contract import Contract
from seatrial_contracts.declared import Declared
from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.kinds.detections import Detections
from seatrial_contracts.kinds.label import Label
from seatrial_contracts.kinds.labels import Labels
from seatrial_contracts.kinds.number import Number
from seatrial_contracts.kinds.spans import Spans
from seatrial_contracts.measures import (
    Measures,
    decided_outputs,
    embedded_outputs,
    wide_outputs,
)

MAX_ERROR = 1e12
"""Of a promise in the output's own unit: neighbouring float32 numbers are 65,536 apart there."""


GAINS = frozenset({"accuracy", "f1", "span_f1", "map"})
"""Measures of which more is better."""


class Bar(NamedTuple):
    """The subject of one part of a promise.

    A part has a measure, the rows or outputs that show it, its right side, and whether it starts
    from the training side's own measure.
    """

    measure: str
    shown_by: str
    at_least: bool = False
    from_reference: bool = False

    def is_measured(self, measures: Measures) -> bool:
        """Is there a number to hold against the promise?"""
        return getattr(measures, self.measure) is not None

    def value(self, measures: Measures, reference: Measures) -> float | None:
        """What is held against the promise; None where it was not measured."""
        got, own = getattr(measures, self.measure), getattr(reference, self.measure)
        if not self.from_reference:
            return None if got is None else float(got)
        if got is None or own is None:
            return None
        return float(own - got if self.measure in GAINS else got - own)


LABELLED = "rows with the truth of a label"
PROBABLE = "rows with the truth of a label, and scores that are probabilities"
SEVERAL = "rows with the truth of labels of several (st.Labels)"
SPANNED = "rows with the truth of spans (st.Spans)"
BOXED = "rows with the truth of boxes (st.Detections)"
NUMBERED = "rows with the truth of a number"
BARS = {
    "cosine": Bar("cosine", "an output of more than one number with a fraction", at_least=True),
    "recall_at_10": Bar("recall_at_10", "an embedding, and 21 rows or more", at_least=True),
    "agreement": Bar("agreement", "an output of labels or whole numbers", at_least=True),
    "max_error": Bar("max_error", "answers that are finite numbers"),
    "accuracy": Bar("accuracy", LABELLED, at_least=True),
    "accuracy_drop": Bar("accuracy", LABELLED, from_reference=True),
    "f1": Bar("f1", SEVERAL, at_least=True),
    "f1_drop": Bar("f1", SEVERAL, from_reference=True),
    "span_f1": Bar("span_f1", SPANNED, at_least=True),
    "span_f1_drop": Bar("span_f1", SPANNED, from_reference=True),
    "map": Bar("map", BOXED, at_least=True),
    "map_drop": Bar("map", BOXED, from_reference=True),
    "calibration_error": Bar("calibration_error", PROBABLE),
    "calibration_error_rise": Bar("calibration_error", PROBABLE, from_reference=True),
    "absolute_error": Bar("absolute_error", NUMBERED),
    "absolute_error_rise": Bar("absolute_error", NUMBERED, from_reference=True),
}
TEXT = re.compile(r"\s*([a-z][a-z0-9_]*(?:@10)?)\s*(>=|<=)\s*([0-9.eE+-]+)\s*")


def shown(name: str) -> str:
    """A part of a promise as people write it: "recall@10"."""
    return name.replace("_at_", "@")


LATER = frozenset({"recall_at_10", "f1", "f1_drop", "span_f1", "span_f1_drop", "map", "map_drop"})
"""Parts that the first manifests do not know: they are written where they are promised."""


class Promise(Declared):
    """What is promised of all rows, and of each slice of `min_slice_rows` or more. None: nothing.

    None: nothing is promised. `tolerance` bounds every single number. The other parts are about the
    measures of the same names; a `_drop` or `_rise` is how much worse than the training side's own
    a variant may be.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tolerance: Tolerance | None = None
    cosine: float | None = Field(default=None, ge=-1, le=1)
    recall_at_10: float | None = Field(default=None, ge=0, le=1)
    agreement: float | None = Field(default=None, ge=0, le=1)
    max_error: float | None = Field(default=None, ge=0, le=MAX_ERROR)
    accuracy: float | None = Field(default=None, ge=0, le=1)
    accuracy_drop: float | None = Field(default=None, ge=0, le=1)
    f1: float | None = Field(default=None, ge=0, le=1)
    f1_drop: float | None = Field(default=None, ge=0, le=1)
    span_f1: float | None = Field(default=None, ge=0, le=1)
    span_f1_drop: float | None = Field(default=None, ge=0, le=1)
    map: float | None = Field(default=None, ge=0, le=1)
    map_drop: float | None = Field(default=None, ge=0, le=1)
    calibration_error: float | None = Field(default=None, ge=0, le=1)
    calibration_error_rise: float | None = Field(default=None, ge=0, le=1)
    absolute_error: float | None = Field(default=None, ge=0, le=MAX_ERROR)
    absolute_error_rise: float | None = Field(default=None, ge=0, le=MAX_ERROR)
    min_slice_rows: int = Field(default=1, ge=1, le=2**31)

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A promise as manifests hold it: those sealed before a part was known stay as they are."""
        told: dict[str, Any] = write(self)
        return {
            name: value for name, value in told.items() if name not in LATER or value is not None
        }

    @classmethod
    def parse(cls, *texts: str) -> Self:
        """Parse a promise: `Promise.parse("cosine>=0.995", "accuracy_drop<=0.01")`.

        Commas part several in one text. Raises `DeclarationError`.
        """
        found: dict[str, Any] = {}
        for text in ",".join(texts).split(","):
            match = TEXT.fullmatch(text)
            name = match[1].replace("@", "_at_") if match else ""
            bar = BARS.get(name)
            if match is None or bar is None or bar.at_least != (match[2] == ">="):
                known = ", ".join(
                    f"{shown(name)}{'>=' if bar.at_least else '<='}X" for name, bar in BARS.items()
                )
                raise DeclarationError("promise", repr(text)[:60], f"one of {known}")
            try:
                found[name] = float(match[3])
                cls(**found)
            except (ValueError, DeclarationError):
                raise DeclarationError(
                    "promise", repr(text)[:60], f"a number that {shown(name)} can have"
                ) from None
        return cls(**found)

    def bars(self) -> Iterator[tuple[str, Bar, float]]:
        """What is promised of the measures: name, what it is about, bound."""
        for name, bar in BARS.items():
            bound = getattr(self, name)
            if bound is not None:
                yield name, bar, bound

    def finding(self, measures: Measures, reference: Measures) -> str:
        """Name the broken part: measure, got, want, rows; empty where all parts are kept.

        `reference` are the training side's own measures. A part that the training side's own
        answers cannot show here breaks nothing: another set shows it, or the bundle is refused.
        """
        for name, bar, bound in self.bars():
            value = bar.value(measures, reference)
            if value is None and not bar.is_measured(reference):
                continue
            if value is None or (value < bound if bar.at_least else value > bound):
                got = "no number" if value is None else f"{value:.6g}"
                want = f"at {'least' if bar.at_least else 'most'} {bound:g}"
                return f"{shown(name)}: got {got}, want {want}, {measures.rows} rows"
        return ""

    def check(self, contract: Contract, *, truths: set[str]) -> None:
        """Check that every part of the promise can be measured.

        `truths` are the outputs whose truth some row holds. Raises `DeclarationError`.
        """
        kinds = {field.name: field.kind for field in contract.outputs}
        labels = {name for name, kind in kinds.items() if isinstance(kind, Label)}
        several = {name for name, kind in kinds.items() if isinstance(kind, Labels)}
        decided = decided_outputs(contract).keys()
        spans = {name for name, kind in kinds.items() if isinstance(kind, Spans)}
        boxes = {name for name, kind in kinds.items() if isinstance(kind, Detections)}
        numbers = {name for name, kind in kinds.items() if isinstance(kind, Number)}
        wide = wide_outputs(contract)
        known = {
            "cosine": wide, "recall_at_10": embedded_outputs(contract), "agreement": decided,
            "accuracy": labels & truths, "f1": several & truths,
            "calibration_error": (labels | several) & truths,
            "absolute_error": numbers & truths,
            "span_f1": spans & truths, "map": boxes & truths,
        }  # fmt: skip
        for name, bar, _ in self.bars():
            if not known.get(bar.measure, True):
                raise DeclarationError(
                    f"promise of {shown(name)}", "nothing that shows it", bar.shown_by
                )

    def __str__(self) -> str:
        parts = [
            f"{shown(name)} {'>=' if bar.at_least else '<='} {bound:g}"
            for name, bar, bound in self.bars()
        ]
        return ", ".join([*([str(self.tolerance)] if self.tolerance else []), *parts]) or "nothing"
