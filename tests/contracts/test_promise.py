"""Promises: what they take and what they find.

A slice beyond a promise fails although the mean keeps it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support.labelled import CONTRACT, answers

import seatrial as st
from seatrial_contracts.golden import HELD_OUT, Golden
from seatrial_contracts.judge import judge
from seatrial_contracts.measures import Measures


def golden(rows: int = 20, **other: Any) -> Golden:
    return Golden(
        tuple({"x": float(place)} for place in range(rows)), tuple(answers(rows)), **other
    )


def flipped(want: Golden, places: set[int]) -> list[dict[str, Any]]:
    """The same answers, with the scores of some rows turned round so that another class wins."""
    return [
        {**row, "word": np.roll(row["word"], 1)} if place in places else dict(row)
        for place, row in enumerate(want.answers)
    ]


def test_a_promise_is_read_from_text_and_a_wrong_one_says_what_there_is() -> None:
    assert st.Promise.parse("cosine>=0.995", "accuracy_drop <= 0.01,max_error<=1e-3") == st.Promise(
        cosine=0.995, accuracy_drop=0.01, max_error=1e-3
    )
    for wrong in (
        "cosine<=0.9",
        "speed>=2",
        "cosine>=x",
        "cosine>=2",
        "cosine",
        "min_slice_rows>=3",
        "",
        "max_error<=.",
    ):
        with pytest.raises(st.DeclarationError, match="promise"):
            st.Promise.parse(wrong)


@pytest.mark.parametrize(
    ("promise", "got", "said"),
    [
        ("cosine>=0.9", Measures(rows=7, cosine=0.89),
         "cosine: got 0.89, want at least 0.9, 7 rows"),
        ("cosine>=0.9", Measures(rows=7, cosine=0.9), ""),
        ("max_error<=0.1", Measures(rows=7, max_error=0.2),
         "max_error: got 0.2, want at most 0.1, 7 rows"),
        ("max_error<=0.1", Measures(rows=7), "max_error: got no number, want at most 0.1, 7 rows"),
        ("accuracy>=0.9", Measures(rows=7, accuracy=0.5),
         "accuracy: got 0.5, want at least 0.9, 7 rows"),
        ("accuracy_drop<=0.2", Measures(rows=7, accuracy=0.5),
         "accuracy_drop: got 0.3, want at most 0.2, 7 rows"),
        ("accuracy_drop<=0.2", Measures(rows=7, accuracy=0.9), ""),
        ("calibration_error_rise<=0.01", Measures(rows=7, calibration_error=0.3),
         "calibration_error_rise: got 0.2, want at most 0.01, 7 rows"),
        ("absolute_error_rise<=0.1", Measures(rows=7, absolute_error=2.5),
         "absolute_error_rise: got 0.5, want at most 0.1, 7 rows"),
        ("accuracy>=0.9", Measures(rows=7), "accuracy: got no number, want at least 0.9, 7 rows"),
        ("agreement>=0.9", Measures(rows=7), ""),
    ],
)  # fmt: skip
def test_a_broken_promise_says_measure_got_want_and_rows(
    promise: str, got: Measures, said: str
) -> None:
    own = Measures(
        rows=7, max_error=0.0, cosine=1.0, accuracy=0.8, calibration_error=0.1, absolute_error=2.0
    )
    assert st.Promise.parse(promise).finding(got, own) == said


def test_a_slice_beyond_the_promise_fails_although_the_mean_keeps_it() -> None:
    want = golden(slices=tuple(("rare",) if place < 4 else ("usual",) for place in range(20)))
    got, promise = flipped(want, {1}), st.Promise(agreement=0.9)
    found = judge(CONTRACT, promise, want, got)
    assert found.measures is not None
    assert found.measures.agreement == 0.95
    assert found.finding == "slice 'rare', agreement: got 0.75, want at least 0.9, 4 rows"
    assert (
        judge(CONTRACT, promise.model_copy(update={"min_slice_rows": 5}), want, got).finding == ""
    )
    assert judge(CONTRACT, promise, golden(), got).finding == ""


def test_a_promise_about_the_truth_starts_from_what_the_training_side_answers() -> None:
    classes = CONTRACT.outputs[0].kind.classes  # type: ignore[union-attr]
    own = golden()
    truth = tuple({"word": classes[int(row["word"].argmax())]} for row in own.answers)
    want = replace(own, truth=truth)
    found = judge(CONTRACT, st.Promise(accuracy_drop=0.05), want, flipped(want, {3, 5}))
    assert found.finding == "accuracy_drop: got 0.1, want at most 0.05, 20 rows"
    assert judge(CONTRACT, st.Promise(accuracy_drop=0.1), want, flipped(want, {3, 5})).finding == ""


def test_without_a_promise_the_tolerance_of_the_contract_judges_and_the_trial_keeps_the_worst_rows() -> (  # noqa: E501  (a test's name is a sentence)
    None
):
    want = golden()
    got = [dict(row) for row in want.answers]
    got[6]["size"] = np.float32(got[6]["size"] + 0.5)
    found = judge(CONTRACT, None, want, got)
    assert found.finding.startswith("sample 6, output 'size'")
    trial = found.trial("onnxruntime", "fp32", None, 8)
    assert not trial.passed
    assert [row.sample for row in trial.worst] == [6]
    assert trial.worst[0].answers["size"] == {0: pytest.approx(float(got[6]["size"]))}
    assert sum(trial.errors) == 20
    assert trial.errors[0] == 19
    assert judge(CONTRACT, st.Promise(max_error=0.6), want, got).finding == ""


def test_answers_too_few_or_of_another_shape_break_every_promise() -> None:
    want = golden()
    assert (
        "19 answers"
        in judge(CONTRACT, st.Promise(cosine=0.1), want, list(want.answers[1:])).finding
    )
    short = [{**row, "word": row["word"][:2]} for row in want.answers]
    assert "want shape [3]" in judge(CONTRACT, st.Promise(agreement=0.0), want, short).finding


@pytest.mark.parametrize(
    ("promise", "truths"),
    [
        ("accuracy>=0.5", set()),
        ("absolute_error<=1", {"word"}),
        ("calibration_error<=1", {"size"}),
    ],
)
def test_a_promise_that_nothing_can_show_is_refused(promise: str, truths: set[str]) -> None:
    with pytest.raises(st.DeclarationError, match="rows with the truth"):
        st.Promise.parse(promise).check(CONTRACT, truths=truths)
    st.Promise.parse(promise).check(CONTRACT, truths={"word", "size"})


def test_truth_and_slices_come_back_from_the_files_and_an_odd_number_of_them_is_refused() -> None:
    truth = ({"word": "a"}, None, {"size": 1.5})
    slices = (("one", "two"), (), ("one",))
    want = Golden(
        tuple({"x": float(i)} for i in range(3)), tuple(answers(3)), truth=truth, slices=slices
    )
    files = want.to_files(HELD_OUT)
    again = Golden.from_files(files, CONTRACT, HELD_OUT)
    assert (again.rows, again.truth, again.slices, again.refusals) == (want.rows, truth, slices, ())
    assert sorted(golden(3).to_files()) == ["golden/answers.jsonl", "golden/rows.jsonl"]
    with pytest.raises(st.BundleError, match="held-out set: got 3 rows and 1"):
        Golden.from_files(files | {f"{HELD_OUT}/truth.jsonl": b"{}\n"}, CONTRACT, HELD_OUT)


def test_a_promise_of_an_older_manifest_is_written_as_it_was_read() -> None:
    parts = (
        "absolute_error", "absolute_error_rise", "accuracy", "accuracy_drop", "agreement",
        "calibration_error", "calibration_error_rise", "cosine", "max_error", "tolerance",
    )  # fmt: skip
    older = dict.fromkeys(parts) | {"cosine": 0.99, "min_slice_rows": 1}
    assert st.Promise.model_validate(older).model_dump(mode="json") == older
    assert st.Promise.parse("f1>=0.8").model_dump(mode="json")["f1"] == 0.8
