"""Missing cells, missing words and words never seen.

The answer is scikit-learn's own, or a refusal that names the field.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.ensemble import (
    BaggingClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.impute import KNNImputer, MissingIndicator, SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler, TargetEncoder
from sklearn.tree import DecisionTreeClassifier
from support.foreign import answers

import seatrial as st

pytestmark = pytest.mark.slow


class Cells(st.Row):
    a: float | None
    b: float | None
    c: float | None


class Words(st.Row):
    town: Literal["Graz", "Linz", "Wien"] | None
    size: float


class MoreWords(st.Row):
    town: Literal["Graz", "Linz", "Paris", "Wien"]
    size: float


class AnyWords(st.Row):
    town: Annotated[str, st.Category("Graz", "Linz", unknown="bucket")]
    size: float


class Two(st.Answer):
    answer: Annotated[str, st.Label("0", "1")]


class Value(st.Answer):
    answer: float


def cells(seed: int, holes: float, rows: int = 200) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        rng.normal(0, 1, (rows, 3)).astype(np.float32).astype(float), columns=["a", "b", "c"]
    )
    return frame.mask(rng.random(frame.shape) < holes)


def truth(frame: pd.DataFrame) -> Any:
    return ((frame["a"].fillna(0.5) + frame["b"].fillna(-1.0) > 0) ^ frame["c"].isna()).astype(int)


def raw(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {name: None if value != value or value is None else value for name, value in row.items()}
        for row in frame.to_dict("records")
    ]


def served(made: Any, inputs: type[st.Row], golden: Any, asked: Any, folder: Path) -> Any:
    outputs = Two if hasattr(made, "predict_proba") else Value
    adoption = st.Adoption.of_estimator(
        made, name="holes", version="1.0.0", inputs=inputs, outputs=outputs, golden=raw(golden)
    )
    bundle = st.open_bundle(st.adopt_model(adoption, folder).path)
    return np.stack([row["answer"] for row in answers(bundle, raw(asked), batch_rows=16)])


FOREST = RandomForestClassifier(8, random_state=0)


@pytest.mark.parametrize("trained_with_holes", [True, False])
@pytest.mark.parametrize(
    "estimator",
    [
        FOREST,
        DecisionTreeClassifier(max_depth=6, random_state=0),
        ExtraTreesClassifier(8, random_state=0),
        HistGradientBoostingClassifier(max_iter=6, min_samples_leaf=5),
        BaggingClassifier(n_estimators=4, random_state=0),
        VotingClassifier(
            [("a", FOREST), ("b", HistGradientBoostingClassifier(max_iter=4))], voting="soft"
        ),
        StackingClassifier(
            [("a", FOREST), ("b", DecisionTreeClassifier(max_depth=3, random_state=0))], cv=2
        ),
        CalibratedClassifierCV(FOREST, cv=2),
        RandomForestRegressor(8, random_state=0),
    ],
    ids=lambda made: type(made).__name__,
)
def test_a_missing_cell_goes_where_scikit_learn_sends_it_though_no_golden_row_has_one(
    estimator: Any, trained_with_holes: bool, tmp_path: Path
) -> None:
    train = cells(0, 0.15 if trained_with_holes else 0.0)
    made = estimator.fit(train, truth(train))
    asked = cells(7, 0.3)
    got = served(made, Cells, train.dropna().head(6), asked, tmp_path)
    want = made.predict_proba(asked) if hasattr(made, "predict_proba") else made.predict(asked)
    assert got == pytest.approx(want, abs=2e-6)


@pytest.mark.parametrize(
    "step",
    [
        SimpleImputer(),
        SimpleImputer(strategy="median", add_indicator=True),
        make_union(
            SimpleImputer(strategy="constant", fill_value=-9), MissingIndicator(features="all")
        ),
        make_column_transformer(
            (SimpleImputer(), ["c", "a"]),
            remainder=make_pipeline(SimpleImputer(), StandardScaler()),
        ),
    ],
    ids=["mean", "indicator", "union", "columns"],
)
def test_imputers_fill_in_what_they_fill_in_in_training(step: Any, tmp_path: Path) -> None:
    train, asked = cells(0, 0.15), cells(7, 0.3)
    made = make_pipeline(step, LogisticRegression()).fit(train, truth(train))
    got = served(made, Cells, train.dropna().head(6), asked, tmp_path)
    assert got == pytest.approx(made.predict_proba(asked), abs=1e-5)


@pytest.mark.parametrize(
    ("estimator", "words"),
    [
        (
            make_pipeline(KNNImputer(), LogisticRegression()),
            "KNNImputer: skl2onnx writes it so that",
        ),
        (
            GradientBoostingClassifier(n_estimators=3),
            "field 'a' may be missing, and the estimator raises there",
        ),
        (LogisticRegression(), "field 'a' may be missing, and the estimator raises there"),
    ],
)
def test_what_cannot_bear_missing_cells_is_refused_by_name(
    estimator: Any, words: str, tmp_path: Path
) -> None:
    train = cells(0, 0.15 if "KNN" in words else 0.0)
    with pytest.raises(st.SeatrialError) as said:
        served(estimator.fit(train, truth(train)), Cells, train.dropna().head(6), train, tmp_path)
    assert words in str(said.value)
    assert "mend: " in str(said.value)
    assert not list(tmp_path.rglob("*"))


def towns(seed: int, missing: Any, rows: int = 160) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    words = rng.choice(
        np.array(["Graz", "Linz", "Wien", missing], object), rows, p=[0.5, 0.25, 0.1, 0.15]
    )
    return pd.DataFrame(
        {
            "town": pd.Series(words, dtype=object),
            "size": rng.normal(0, 1, rows).astype(np.float32).astype(float),
        }
    )


def worth(frame: pd.DataFrame) -> Any:
    return (
        (frame["town"] == "Wien") * 2 + frame["town"].isna() * 1.5 + frame["size"] > 0.5
    ).astype(int)


ENCODERS = [
    OneHotEncoder(),
    OneHotEncoder(handle_unknown="ignore", sparse_output=False),
    OneHotEncoder(drop="first"),
    OneHotEncoder(min_frequency=0.2, handle_unknown="infrequent_if_exist"),
    OrdinalEncoder(),
    OrdinalEncoder(encoded_missing_value=-5),
    OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2),
    OrdinalEncoder(max_categories=3),
    TargetEncoder(cv=3),
]


@pytest.mark.parametrize("missing", [np.nan, None], ids=["NaN", "None"])
@pytest.mark.parametrize("encoder", ENCODERS, ids=str)
def test_a_missing_word_has_the_encoders_own_category_for_it(
    encoder: Any, missing: Any, tmp_path: Path
) -> None:
    train, asked = towns(0, missing), towns(7, missing)
    columns = ColumnTransformer(
        [("words", encoder, ["town"])], remainder="passthrough", sparse_threshold=0
    )
    made = make_pipeline(
        columns, HistGradientBoostingClassifier(max_iter=6, min_samples_leaf=4)
    ).fit(train, worth(train))
    got = served(made, Words, train.dropna().head(8), asked, tmp_path)
    assert got == pytest.approx(made.predict_proba(asked), abs=2e-6)


def test_words_filled_in_before_the_encoder_are_filled_in_in_the_graph(tmp_path: Path) -> None:
    train, asked = towns(0, np.nan), towns(7, np.nan)
    for place, filler in enumerate(
        (
            SimpleImputer(strategy="most_frequent"),
            SimpleImputer(strategy="constant", fill_value="none"),
        )
    ):
        columns = ColumnTransformer(
            [("words", make_pipeline(filler, OneHotEncoder()), ["town"])], remainder="passthrough"
        )
        made = make_pipeline(columns, LogisticRegression()).fit(train, worth(train))
        got = served(made, Words, train.dropna().head(8), asked, tmp_path / str(place))
        assert got == pytest.approx(made.predict_proba(asked), abs=1e-5)


@pytest.mark.parametrize(
    ("encoder", "inputs", "words"),
    [
        (
            OneHotEncoder(),
            MoreWords,
            "field 'town' takes the word 'Paris', which the estimator has never seen",
        ),
        (
            OrdinalEncoder(),
            MoreWords,
            "field 'town' takes the word 'Paris', which the estimator has never seen",
        ),
        (
            OneHotEncoder(),
            AnyWords,
            "field 'town' takes a word outside the list, which the estimator has never seen",
        ),
        (OneHotEncoder(), Words, "field 'town' may be missing, and the estimator raises there"),
    ],
)
def test_a_word_that_the_estimator_never_saw_is_refused_at_adoption(
    encoder: Any, inputs: type[st.Row], words: str, tmp_path: Path
) -> None:
    train = towns(0, "Wien")
    columns = ColumnTransformer([("words", encoder, ["town"])], remainder="passthrough")
    made = make_pipeline(columns, LogisticRegression()).fit(train, worth(train))
    with pytest.raises(st.SeatrialError) as said:
        served(made, inputs, train.head(8), train, tmp_path)
    assert words in str(said.value)
    assert "mend: " in str(said.value)


@pytest.mark.parametrize(
    "encoder",
    [
        OneHotEncoder(handle_unknown="ignore"),
        OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
        TargetEncoder(cv=3),
    ],
    ids=str,
)
def test_an_encoder_that_says_what_becomes_of_unknown_words_is_asked(
    encoder: Any, tmp_path: Path
) -> None:
    train = towns(0, "Linz")
    train["town"] = train["town"].replace("Wien", "Graz")
    asked = train.assign(town=["Graz", "Linz", "Oslo", "Rom"] * 40)
    columns = ColumnTransformer(
        [("words", encoder, ["town"])], remainder="passthrough", sparse_threshold=0
    )
    made = make_pipeline(columns, LogisticRegression()).fit(
        train, (train["size"] + (train["town"] == "Linz") > 0.3).astype(int)
    )
    got = served(made, AnyWords, train.head(8), asked, tmp_path)
    assert got == pytest.approx(made.predict_proba(asked), abs=1e-5)
