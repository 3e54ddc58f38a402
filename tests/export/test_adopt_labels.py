"""Labels of adopted estimators: those of their own `predict`, by one rule, or a refusal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_iris
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    TunedThresholdClassifierCV,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, NuSVC
from support.foreign import answers, findings

import seatrial as st

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(
        "ignore:.*deprecated in 1.9:FutureWarning"
    ),  # SVC(probability=True), which people still have
]
IRIS = load_iris()
MEASURES, SPECIES = (
    IRIS.data.astype(np.float32).astype(float),
    np.array(["setosa", "versicolor", "virginica"])[IRIS.target],
)
TWO = np.where(IRIS.target == 1, "versicolor", "other")


class Flower(st.Row):
    measures: st.Tensor[np.float32, 4]


class Three(st.Answer):
    species: Annotated[str, st.Label("setosa", "versicolor", "virginica")]


class Either(st.Answer):
    species: Annotated[str, st.Label("other", "versicolor")]


class Scores(st.Answer):
    scores: st.Tensor[np.float32, 2]


def adopted(made: Any, outputs: type[st.Answer], folder: Path) -> st.Bundle:
    golden = [{"measures": row.astype(np.float32)} for row in MEASURES[::15]]
    adoption = st.Adoption.of_estimator(
        made, name="iris", version="1.0.0", inputs=Flower, outputs=outputs, golden=golden
    )
    return st.open_bundle(st.adopt_model(adoption, folder).path)


@pytest.mark.parametrize(
    ("made", "cause", "cure"),
    [
        (
            SVC(probability=True, random_state=0),
            "SVC(probability=True) labels rows by its decision function",
            "CalibratedClassifierCV(SVC(), ensemble=False)",
        ),
        (
            NuSVC(probability=True, random_state=0),
            "NuSVC(probability=True) labels rows by its decision function",
            "CalibratedClassifierCV",
        ),
        (
            make_pipeline(StandardScaler(), SVC(probability=True, random_state=0)),
            "SVC(probability=True) labels rows",
            "CalibratedClassifierCV",
        ),
        (
            GridSearchCV(SVC(probability=True, random_state=0), {"C": [1.0, 2.0]}, cv=2),
            "SVC(probability=True) labels rows",
            "CalibratedClassifierCV",
        ),
        (
            FixedThresholdClassifier(LogisticRegression(max_iter=500), threshold=0.3),
            "FixedThresholdClassifier labels rows by the threshold 0.3",
            "let the answer be the scores",
        ),
        (
            TunedThresholdClassifierCV(
                LogisticRegression(max_iter=500), cv=3, thresholds=[0.2, 0.35]
            ),
            "TunedThresholdClassifierCV labels rows by the threshold",
            "let the answer be the scores",
        ),
    ],
    ids=["svc", "nu-svc", "piped", "searched", "fixed", "tuned"],
)
def test_a_label_that_does_not_follow_from_the_scores_is_refused_with_the_cure(
    made: Any, cause: str, cure: str, tmp_path: Path
) -> None:
    two = "Threshold" in type(made).__name__
    made.fit(MEASURES, TWO if two else SPECIES)
    with pytest.raises(st.SeatrialError) as said:
        adopted(made, Either if two else Three, tmp_path)
    assert cause in str(said.value)
    assert cure in str(said.value)
    assert not list(tmp_path.rglob("*"))


def test_the_cures_named_answer_as_predict_does(tmp_path: Path) -> None:
    calibrated = CalibratedClassifierCV(SVC(), ensemble=False).fit(MEASURES, SPECIES)
    rows = [{"measures": row.astype(np.float32)} for row in MEASURES]
    got = np.stack(
        [row["species"] for row in answers(adopted(calibrated, Three, tmp_path / "svc"), rows, 32)]
    )
    assert (calibrated.classes_[got.argmax(1)] == calibrated.predict(MEASURES)).all()
    fixed = FixedThresholdClassifier(LogisticRegression(max_iter=500), threshold=0.3).fit(
        MEASURES, TWO
    )
    scores = np.stack(
        [row["scores"] for row in answers(adopted(fixed, Scores, tmp_path / "fixed"), rows, 32)]
    )
    assert (np.where(scores[:, 1] >= 0.3, "versicolor", "other") == fixed.predict(MEASURES)).all()


@pytest.mark.parametrize(
    "made",
    [
        RandomForestClassifier(10, max_depth=2, max_features=1, random_state=0),
        ExtraTreesClassifier(10, max_depth=3, random_state=0),
        VotingClassifier(
            [
                ("a", RandomForestClassifier(4, random_state=0)),
                ("b", RandomForestClassifier(2, random_state=1)),
            ],
            voting="soft",
        ),
    ],
    ids=lambda made: type(made).__name__,
)
def test_rows_that_tie_have_one_label_in_every_batch_and_the_receipt_tells_them(
    made: Any, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    noisy = np.where(rng.random(150) < 0.35, rng.permutation(SPECIES), SPECIES)
    made.fit(MEASURES.round(0), noisy)
    rows = [{"measures": row.astype(np.float32)} for row in MEASURES.round(0)]
    bundle = adopted(made, Three, tmp_path)
    alone, together = (
        np.stack([row["species"] for row in answers(bundle, rows, size)]) for size in (1, 32)
    )
    want = made.predict_proba(MEASURES.round(0))
    assert alone == pytest.approx(want, abs=1e-6)
    assert (alone.argmax(1) == together.argmax(1)).all()
    ordered = np.sort(want, 1)
    tied = ordered[:, -1] - ordered[:, -2] < 1e-6
    first = (want > ordered[:, -1:] - 1e-6).argmax(1)
    assert (alone.argmax(1) == first).all()
    assert (made.classes_[alone.argmax(1)] == made.predict(MEASURES.round(0)))[~tied].all()
    if tied[::15].any():
        assert f"{int(tied[::15].sum())} of 10 golden rows tie" in findings(bundle)
