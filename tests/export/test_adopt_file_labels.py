"""Labels of adopted files: of the file itself, and of `predict` where an estimator is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
from skl2onnx import to_onnx
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import TunedThresholdClassifierCV
from sklearn.svm import SVC
from support.foreign import adopt, answers, parsed, refused

import seatrial as st

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*deprecated in (version )?1.9:FutureWarning"
)  # SVC(probability=True), which people still have
IRIS = load_iris()
MEASURES = IRIS.data.astype(np.float32).astype(float)
SPECIES = np.where(IRIS.target == 1, "versicolor", "other")
GOLDEN = [{"measures": row.astype(np.float32)} for row in MEASURES[::15]]


class Flower(st.Row):
    measures: st.Tensor[np.float32, 4]


class Either(st.Answer):
    species: Annotated[str, st.Label("other", "versicolor")]


def filed(estimator: Any) -> Any:
    return to_onnx(
        estimator.fit(MEASURES, SPECIES),
        MEASURES[:1].astype(np.float32),
        options={id(estimator): {"zipmap": False}},
    )


def test_the_file_of_a_support_vector_machine_with_platt_scaling_is_refused_by_name(
    tmp_path: Path,
) -> None:
    said = refused(filed(SVC(probability=True, random_state=0)), tmp_path, Flower, Either, GOLDEN)
    assert "output 'species' has the scores of a support vector machine by Platt scaling" in said
    assert "let the answer be the scores" in said
    assert "CalibratedClassifierCV(SVC(), ensemble=False)" in said


def test_an_estimator_that_is_the_reference_of_its_file_is_asked_for_its_labels(
    tmp_path: Path,
) -> None:
    estimator = TunedThresholdClassifierCV(LogisticRegression(), cv=3, thresholds=[0.2, 0.35])
    model = filed(estimator)  # skl2onnx 1.20 leaves the threshold out
    said = refused(model, tmp_path, Flower, Either, GOLDEN, training_side=estimator)
    assert "TunedThresholdClassifierCV labels rows by the threshold" in said
    assert "let the answer be the scores" in said


def test_an_estimator_of_the_plain_rule_is_the_reference_of_its_file(tmp_path: Path) -> None:
    estimator = LogisticRegression(max_iter=500)
    bundle = adopt(filed(estimator), tmp_path, Flower, Either, GOLDEN, training_side=estimator)
    assert bundle.manifest.origin.reference == "scikit-learn"
    got = np.stack([row["species"] for row in answers(bundle, GOLDEN, 4)])
    assert (estimator.classes_[got.argmax(1)] == estimator.predict(MEASURES[::15])).all()


class Size(st.Row):
    x: Annotated[float, st.Number(ge=0, le=10)]


class Kind(st.Answer):
    kind: Annotated[str, st.Label("cat", "dog")]


TUNED = """g (float[n, 1] x) => (string[n] label, float[n, 2] scores)
<float limit = {9.5}, float[1, 2] w = {0.0, 1.0}, float[2] b = {5.0, 0.0},
 string[1] cat = {"cat"}, string[1] dog = {"dog"}, int64[1] flat = {-1}> {
  raw = MatMul(x, w) moved = Add(raw, b) scores = Softmax<axis=1>(moved)
  column = Reshape(x, flat) over = Greater(column, limit) label = Where(over, dog, cat) }"""
"""The label changes at 9.5, the highest score at 5."""


@pytest.mark.parametrize(("most", "where"), [(9.0, "golden row 1"), (4.0, "input 'x' at ")])
def test_a_label_of_the_file_that_is_not_that_of_its_scores_is_refused_at_golden_and_at_drawn_rows(
    most: float, where: str, tmp_path: Path
) -> None:
    rows = [{"x": 1.0}, {"x": most}]
    said = refused(parsed(TUNED), tmp_path, Size, Kind, rows)
    assert f"labels: {where}" in said
    assert "own label is cat, and the highest of its scores, output 'kind', is that of dog" in said
    assert "let the answer be the scores" in said
    given = refused(
        parsed(TUNED),
        tmp_path / "with a reference",
        Size,
        Kind,
        rows,
        training_side=lambda given: np.stack([softmax(5.0, row["x"]) for row in given]),
    )
    assert f"labels: {where}" in given


def softmax(*scores: float) -> Any:
    powers = np.exp(np.array(scores) - max(scores))
    return (powers / powers.sum()).astype(np.float32)


def test_a_further_output_that_holds_no_class_is_no_label(tmp_path: Path) -> None:
    model = parsed(TUNED.replace('{"cat"}', '{"small"}').replace('{"dog"}', '{"large"}'))
    got = answers(adopt(model, tmp_path, Size, Kind, [{"x": 1.0}, {"x": 9.0}]), [{"x": 9.0}])
    assert int(got[0]["kind"].argmax()) == 1
