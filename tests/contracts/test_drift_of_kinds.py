"""What drift counts of each kind of input, against numpy, Pillow, soundfile and Python's Counter.

The judge has the raw JSON values, the edges and words of the bins, and the textbook's formula.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from support.input_kinds import KINDS, InputKind, files_of

from seatrial_contracts.bins import Words
from seatrial_contracts.drift import drifts
from seatrial_contracts.host_stage import HostStage
from seatrial_contracts.profile import DriftFeatures, Histogram, Profile, columns_of

REFERENCE, LIVE = 60, 40


def counted(kind: InputKind, histogram: Histogram, values: list[Any]) -> list[int]:
    """How many of the judge's values lie in each bin."""
    there = [value for value in values if value is not None]
    bins = histogram.bins
    if isinstance(bins, Words):
        others = ("(unseen)", "(other)")
        told = [word if word in bins.words else others[word in kind.listed] for word in there]
        told += ["(missing)"] * (len(values) - len(there))
        by_word = Counter(told)
        assert set(by_word) <= set(bins.names)
        return [by_word[name] for name in bins.names]
    edges = [-np.inf, *bins.edges, np.inf]
    found = np.histogram(np.array(there, np.float64), edges)[0].tolist()
    assert bins.missing or len(there) == len(values)
    return [*found, *([len(values) - len(there)] if bins.missing else [])]


@pytest.mark.parametrize("name", KINDS)
def test_drift_and_its_psi_are_what_a_judge_makes_of_the_raw_values(name: str) -> None:
    kind = KINDS[name]
    reference, live = kind.rows(REFERENCE, 0), kind.rows(LIVE, 2, moved=1.0)
    front = HostStage(kind.contract, files_of(kind))
    features = DriftFeatures(front)
    rows = [front.contract.validate_row(row) for row in reference]
    answers = [{"score": np.float32(0.5)} for _ in rows]
    profile = Profile.from_json(features.profile(rows, answers).to_json())
    fields = {f"x.{trait}".rstrip("."): judge for trait, judge in kind.traits.items()}
    assert set(profile.inputs) == set(fields)
    columns = columns_of([front.contract.validate_row(row) for row in live])
    found = features.count(profile, columns, {"score": np.zeros(LIVE, np.float32)})
    told = {field.field: field for field in drifts(profile, found)}
    shifted = False
    for field, judge in fields.items():
        histogram = profile.inputs[field]
        before, after = (
            counted(kind, histogram, [judge(row["x"]) for row in some])
            for some in (reference, live)
        )
        assert (field, before) == (field, list(histogram.counts))
        assert (field, after) == (field, found[field].tolist())
        p, q = (np.maximum(np.array(each) / sum(each), 1e-4) for each in (before, after))
        psi = float(np.sum((q - p) * np.log(q / p)))
        assert told[field].psi == pytest.approx(psi, abs=1e-9)
        shifted |= psi > 0.2
    assert shifted or "list" in name, "a population that moved is seen"
