"""What is measured of answers. scikit-learn and numpy's own formulas are the judge."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score
from sklearn.metrics.pairwise import cosine_similarity
from support.labelled import CLASSES, CONTRACT, In, answers

import seatrial as st
from seatrial_contracts.measures import calibration_error, measure, measure_slices


def truths(rows: int) -> list[dict[str, Any]]:
    random = np.random.default_rng(9)
    return [
        {"word": CLASSES[random.integers(3)], "size": float(random.normal())} for _ in range(rows)
    ]


def binned_calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """Guo et al. 2017, equation 3, written out bin by bin."""
    total = 0.0
    for low, high in zip(np.arange(15) / 15, np.arange(1, 16) / 15, strict=True):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return total


def test_every_measure_is_what_an_outside_judge_computes() -> None:
    want, got, truth = answers(500), answers(500, noise=0.8), truths(500)
    found = measure(CONTRACT, want, got, truth)
    scores, own = np.stack([row["word"] for row in got]), np.stack([row["word"] for row in want])
    winners = scores.argmax(1)
    assert found.rows == 500
    assert found.accuracy == pytest.approx(
        accuracy_score([row["word"] for row in truth], np.array(CLASSES)[winners])
    )
    assert found.agreement == pytest.approx(accuracy_score(own.argmax(1), winners))
    cosines = np.diag(cosine_similarity(scores.astype(np.float64), own.astype(np.float64)))
    assert (found.cosine, found.least_cosine) == (
        pytest.approx(cosines.mean()),
        pytest.approx(cosines.min()),
    )
    assert found.max_error == pytest.approx(np.abs(scores.astype(np.float64) - own).max())
    right = np.array([row["word"] for row in truth]) == np.array(CLASSES)[winners]
    assert found.calibration_error == pytest.approx(
        binned_calibration_error(scores.max(1).astype(np.float64), right), abs=1e-6
    )
    errors = [abs(float(row["size"]) - true["size"]) for row, true in zip(got, truth, strict=True)]
    assert found.absolute_error == pytest.approx(np.mean(errors))


def test_the_calibration_error_of_a_bin_counts_its_upper_edge_and_a_certain_answer() -> None:
    assert calibration_error(np.array([1.0, 1.0]), np.array([1.0, 0.0])) == pytest.approx(0.5)
    assert calibration_error(np.array([3 / 15, 2.5 / 15]), np.array([1.0, 0.0])) == pytest.approx(
        abs(1 - 5.5 / 15) / 2
    )


def test_what_no_row_or_output_allows_is_not_measured() -> None:
    class Size(st.Answer):
        size: float

    contract = st.contract_from_rows(In, Size)
    rows = [{"size": np.float32(value)} for value in (1.0, -2.0)]
    found = measure(contract, rows, rows)
    assert found.model_dump(exclude_defaults=True) == {"rows": 2, "max_error": 0.0}
    logits = [{"word": np.array([3.0, -1.0, 0.0], np.float32), "size": np.float32(0)}]
    assert measure(CONTRACT, logits, logits, [{"word": "a"}]).calibration_error is None


def test_a_broken_answer_has_no_error_no_angle_and_no_label() -> None:
    want = answers(2)
    nan = {"word": np.full(3, np.nan, np.float32), "size": np.float32(0)}
    found = measure(CONTRACT, want, [want[0], nan])
    assert (found.max_error, found.least_cosine, found.agreement) == (None, 0.0, 0.5)
    found = measure(
        CONTRACT, want, [want[0], {"word": np.zeros(2, np.float32), "size": np.float32(0)}]
    )
    assert (found.max_error, found.least_cosine, found.agreement) == (None, 0.0, 0.5)


def test_a_slice_is_measured_as_if_its_rows_were_all() -> None:
    want, got, truth = answers(60), answers(60, noise=1.0), truths(60)
    slices = [("even",) * (place % 2 == 0) + ("third",) * (place % 3 == 0) for place in range(60)]
    found = measure_slices(CONTRACT, want, got, truth, slices)
    assert list(found) == ["even", "third"]
    assert found["third"] == measure(CONTRACT, want[::3], got[::3], truth[::3])
