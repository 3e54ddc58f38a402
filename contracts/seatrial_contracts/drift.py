"""Drift: the distance between present values and those that the model was trained on.

The module holds the formulas, and one field's finding. `docs/concepts/drift.md` holds the same two
formulas in PromQL.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from seatrial_contracts.bins import MISSING_BIN, UNSEEN_BIN
from seatrial_contracts.profile import Histogram, Profile

LEAST_SHARE = 1e-4
"""The share that an empty bin counts as in PSI, whose logarithm has no value for none.

The value is the usual choice; Evidently's too.
"""


def shares(counts: Sequence[float]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Counts as shares of their sum; of no counts, NaN."""
    array = np.asarray(counts, np.float64)
    total = array.sum()
    return array / total if total else np.full(len(array), math.nan)


def population_stability_index(reference: Sequence[float], live: Sequence[float]) -> float:
    """PSI of two histograms over the same bins, from 0.

    PSI is the sum over bins of `(live - reference) * ln(live / reference)`. 0.1 is usually called a
    small shift, 0.2 a large one. Siddiqi, Credit Risk Scorecards (2006); as a symmetric
    Kullback-Leibler divergence: Jeffreys (1946). Shares below 1e-4 count as 1e-4.
    """
    expected, got = (np.maximum(shares(each), LEAST_SHARE) for each in (reference, live))
    return float(((got - expected) * np.log(got / expected)).sum())


def jensen_shannon(reference: Sequence[float], live: Sequence[float]) -> float:
    """Jensen-Shannon distance of two histograms over the same bins, from 0 to 1.

    The distance is the square root of the divergence in bits. Lin, Divergence measures based on the
    Shannon entropy (1991); Endres and Schindelin (2003) for the root.
    """
    expected, got = shares(reference), shares(live)
    middle = (expected + got) / 2

    def bits(part: np.ndarray[Any, np.dtype[np.float64]]) -> float:
        there = part > 0
        return float((part[there] * np.log2(part[there] / middle[there])).sum())

    if np.isnan(got).any() or np.isnan(expected).any():
        return math.nan
    return math.sqrt(max((bits(expected) + bits(got)) / 2, 0.0))


def stability_by_chance(bins: int, live: float, reference: float) -> float:
    """PSI of two samples of one population, on average: `(bins - 1) * (1/live + 1/reference)`.

    Yurdakul and Naranjo, Statistical properties of the population stability index (2020).
    """
    return (bins - 1) * (1 / live + 1 / reference) if live and reference else math.nan


@dataclass(frozen=True)
class FieldDrift:
    """One field's live histogram against its reference."""

    field: str
    reference: Histogram
    live: tuple[float, ...]
    """Values in each bin; Prometheus estimates them, so they need not be whole."""

    @property
    def rows(self) -> float:
        """Live values seen."""
        return sum(self.live)

    @property
    def psi(self) -> float:
        """See `population_stability_index`; NaN where nothing was seen."""
        return population_stability_index(self.reference.counts, self.live)

    @property
    def distance(self) -> float:
        """See `jensen_shannon`; NaN where nothing was seen."""
        return jensen_shannon(self.reference.counts, self.live)

    @property
    def by_chance(self) -> float:
        """See `stability_by_chance`."""
        return stability_by_chance(len(self.live), self.rows, self.reference.rows)

    @property
    def missing(self) -> float | None:
        """Share of missing values; None where none may be."""
        return self._share(MISSING_BIN)

    @property
    def unseen(self) -> float | None:
        """Share of words outside the list; None where there is no list."""
        return self._share(UNSEEN_BIN)

    def _share(self, name: str) -> float | None:
        names = self.reference.bins.names
        return self.live[names.index(name)] / self.rows if name in names and self.rows else None

    def above(self, psi: float, distance: float) -> bool:
        """Is it further from the reference than either limit allows?"""
        return self.psi > psi or self.distance > distance

    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON values."""
        bins = [
            {"bin": name, "reference": reference, "live": live}
            for name, reference, live in zip(
                self.reference.bins.names, self.reference.counts, self.live, strict=True
            )
        ]
        figures = {"psi": self.psi, "js": self.distance, "by_chance": self.by_chance}
        told = {name: None if math.isnan(value) else value for name, value in figures.items()}
        return {
            "field": self.field,
            "rows": self.rows,
            **told,
            "missing": self.missing,
            "unseen": self.unseen,
            "bins": bins,
        }


def drifts(profile: Profile, live: Mapping[str, Sequence[float]]) -> Iterator[FieldDrift]:
    """The finding of each field of a profile; `live`: values in each of its bins."""
    for name, histogram in profile.fields.items():
        counts = live.get(name, [0] * len(histogram.counts))
        yield FieldDrift(name, histogram, tuple(map(float, counts)))
