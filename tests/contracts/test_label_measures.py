"""Labels of several against their truth, judged by scikit-learn; promises, drift, changes."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_recall_fscore_support

import seatrial as st
from seatrial_contracts.answer_changes import compare_answers
from seatrial_contracts.golden import Golden
from seatrial_contracts.judge import judge
from seatrial_contracts.kinds.kind import Array
from seatrial_contracts.kinds.labels import Labels
from seatrial_contracts.measures import measure

NAMES = ("urgent", "billing", "spam", "never")
LEAST = np.array([0.5, 0.5, 0.75, 0.5], np.float32)


class Row(st.Row):
    x: float


class Tags(st.Answer):
    tags: Annotated[list[str], st.Labels(*NAMES, thresholds={"spam": 0.75})]


CONTRACT = st.contract_from_rows(Row, Tags)
SCORES = np.random.default_rng(0).random((200, 4)).astype(np.float32) * (1, 1, 1, 0.4)
TRUE = np.random.default_rng(1).random((200, 4)) < (0.5, 0.3, 0.2, 0)
PASSED = SCORES.astype(np.float32) >= LEAST


def answers(scores: Array) -> list[dict[str, Array]]:
    return [{"tags": row} for row in scores.astype(np.float32)]


def truths() -> list[dict[str, Any]]:
    return [{"tags": [NAMES[place] for place in np.flatnonzero(row)]} for row in TRUE]


def test_every_measure_of_labels_is_scikit_learns() -> None:
    got = answers(SCORES)
    found = measure(CONTRACT, got, got, truths())
    micro = precision_recall_fscore_support(TRUE, PASSED, average="micro")
    assert (found.precision, found.recall, found.f1) == pytest.approx(micro[:3])
    macro = f1_score(TRUE, PASSED, average="macro", zero_division=0)
    assert found.f1_macro == pytest.approx(macro)
    each = precision_recall_fscore_support(TRUE, PASSED, average=None, zero_division=0)
    for place, name in enumerate(NAMES):
        own = found.by_label[name]
        want = [float(values[place]) for values in each[:3]]
        assert [own.precision, own.recall, own.f1] == pytest.approx(want)
        assert (own.true, own.passed) == (TRUE[:, place].sum(), PASSED[:, place].sum())
    assert found.accuracy is None
    assert found.agreement == 1


def test_calibration_of_labels_is_that_of_every_score_as_a_probability() -> None:
    certain = np.where(TRUE, 0.97, 0.01)
    calm = measure(CONTRACT, answers(certain), answers(certain), truths()).calibration_error
    loud = measure(CONTRACT, answers(SCORES), answers(SCORES), truths()).calibration_error
    assert calm == pytest.approx(np.where(TRUE, 0.03, 0.01).mean(), abs=1e-6)
    assert loud is not None
    assert loud > 0.1


def test_agreement_and_flips_are_about_the_labels_that_pass() -> None:
    moved = SCORES.copy()
    moved[3, 0] = 1 - moved[3, 0]
    found = measure(CONTRACT, answers(SCORES), answers(moved))
    assert found.agreement == pytest.approx(199 / 200)
    [flip] = compare_answers(CONTRACT, answers(SCORES), answers(moved)).flips
    assert (flip.row, "urgent" in flip.was) == (3, "urgent" not in flip.is_)


def test_nothing_true_and_nothing_passed_is_no_measure() -> None:
    nothing = answers(np.zeros((3, 4)))
    found = measure(CONTRACT, nothing, nothing, [{"tags": []}] * 3)
    assert (found.f1, found.precision, found.by_label) == (None, None, {})


@pytest.mark.parametrize("truth", ["spam", ["spam", "ham"], [1], None, {"spam": 1}])
def test_a_truth_that_is_no_list_of_its_labels_is_refused(truth: Any) -> None:
    from seatrial_contracts.sample import check_samples

    sample = st.Sample({"x": 1.0}, truth={"tags": truth})
    with pytest.raises(st.DeclarationError, match="a list of some of its 4 classes"):
        check_samples([sample], CONTRACT, "golden")


def test_truths_of_labels_come_back_from_a_bundle() -> None:
    rows = tuple({"x": float(place)} for place in range(200))
    golden = Golden(rows, tuple(answers(SCORES)), truth=tuple(truths()))
    back = Golden.from_files(golden.to_files(), CONTRACT)
    assert list(back.truth) == truths()


def test_a_promise_of_f1_is_broken_by_a_variant_that_loses_labels() -> None:
    right = np.where(TRUE, 0.9, 0.1)
    rows = tuple({"x": float(place)} for place in range(200))
    golden = Golden(rows, tuple(answers(right)), truth=tuple(truths()))
    worse = answers(np.where(TRUE & (np.arange(200) % 4 > 0)[:, None], 0.9, 0.1))
    promise = st.Promise.parse("f1_drop<=0.05,f1>=0.9")
    promise.check(CONTRACT, truths={"tags"})
    assert not judge(CONTRACT, promise, golden, list(golden.answers)).finding
    assert "f1: got" in judge(CONTRACT, promise, golden, worse).finding
    with pytest.raises(st.DeclarationError, match="labels of several"):
        promise.check(CONTRACT, truths=set())


def test_drift_of_labels_sees_shares_and_the_best_one() -> None:
    kind = Labels(*NAMES, thresholds={"spam": 0.75})
    seen = kind.features("tags", {}, None)(SCORES.astype(np.float32))
    assert np.mean(seen["passes.spam"]) == PASSED[:, 2].mean()
    rows = SCORES.astype(np.float32)
    best = [
        NAMES[int(np.where(passed, row, -1).argmax())] if passed.any() else "(none)"
        for row, passed in zip(rows, PASSED, strict=True)
    ]
    assert seen[""] == best
    assert kind.split("", best).names == (*NAMES, "(none)")
    many = Labels(*map(str, range(1000)))
    assert len(many.split("", ["3"] * 5).names) <= 256
    assert set(many.features("tags", {}, None)(np.ones((2, 1000), np.float32))) == {
        "", "passed", "confidence",
    }  # fmt: skip
