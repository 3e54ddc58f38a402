"""A copy of a fitted estimator in which skl2onnx writes every part rightly.

Parts that skl2onnx has no right form for are replaced by equals.

The estimator itself stays as it is, and stays the reference.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline

from seatrial_contracts.errors import GateError
from seatrial_export.adopt.booster_graph import BoostedTrees
from seatrial_export.adopt.boosters import library_of
from seatrial_export.adopt.calibrated import Calibrated
from seatrial_export.adopt.parts import held_by, is_part, last_of
from seatrial_export.adopt.term_counts import TermCounts, TermWeights
from seatrial_export.adopt.text_columns import TextColumns
from seatrial_export.adopt.trees import rounds
from seatrial_export.adopt.written_models import Distances, Layers
from seatrial_export.adopt.written_steps import (
    FUNCTIONS,
    Affine,
    Applied,
    Binned,
    Filled,
    Gaps,
    Lookup,
    Single,
)

STEP = "scikit-learn"
Rule = Callable[["StandIns", Any], Any]


class StandIns:
    """The rules, by the name of a class, for an estimator of so many columns.

    `missing` is how a missing word stands in training, `dtype` what the graph computes in. `copied`
    is the copy. Raises `GateError` for a part that can have no right form.
    """

    def __init__(self, estimator: Any, columns: int, missing: Any, dtype: str) -> None:
        self.missing, self.dtype = missing, dtype
        copied = copy.deepcopy(estimator)
        self._texts = TextColumns(copied, columns)
        self.copied = self.rounded(self._replaced(copied, transforms=False))

    def rounded(self, model: Any) -> Any:
        """A model that rounds its numbers to float32 itself is given such ones.

        skl2onnx writes ensembles of trees for float32 alone.
        """
        if self.dtype == "float32" or hasattr(model, "steps") or not rounds(model):
            return model
        return Pipeline([("single", Single()), ("model", model)])

    def counted(self, vectorizer: Any) -> TermCounts:
        """A vectorizer of texts."""
        return TermCounts(vectorizer, self._texts.first_of(vectorizer), self.dtype)

    def _replaced(self, value: Any, *, transforms: bool) -> Any:
        """A part and all inside it; `transforms` where it is asked for columns, not for answers."""
        if type(value) in (list, tuple):
            return type(value)(self._replaced(item, transforms=transforms) for item in value)
        if not is_part(value):
            return value
        if library_of(value):
            return BoostedTrees(value, self.dtype)
        for name in held_by(value):
            held = getattr(value, name)
            if (type(value).__name__, name) not in LEFT and (
                type(held) in (list, tuple) or is_part(held)
            ):
                columns = (
                    transforms if name == "steps" else name in ("transformers_", "transformer_list")
                )
                setattr(
                    value,
                    name,
                    self._steps(held, columns)
                    if name == "steps"
                    else self._replaced(held, transforms=columns),
                )
        if not type(value).__module__.startswith("sklearn."):
            return value
        check_members(value)
        rule = (TRANSFORMING if transforms else ANSWERING).get(type(value).__name__) or RULES.get(
            type(value).__name__
        )
        return value if rule is None else rule(self, value)

    def _steps(self, steps: Any, transforms: bool) -> Any:
        """A pipeline's steps that do something; all but the last are there to transform."""
        kept = [
            (name, step) for name, step in steps if step is not None and not isinstance(step, str)
        ]
        last = len(kept) - 1
        return [
            (name, self._replaced(step, transforms=transforms or place < last))
            for place, (name, step) in enumerate(kept)
        ]


def check_members(ensemble: Any) -> None:
    """Raise `GateError` for a booster as a member of an ensemble of scikit-learn's."""
    if hasattr(ensemble, "estimators_") and not hasattr(ensemble, "steps"):
        members = np.ravel(np.array(ensemble.estimators_, object)).tolist()
        odd = [member for member in members if isinstance(last_of(member), BoostedTrees)]
        if odd:
            raise GateError(
                STEP,
                f"{type(ensemble).__name__} around a booster of another library: the graph has no "
                "form for it",
                "adopt the booster alone, in a pipeline, a search or a CalibratedClassifierCV",
            )


LEFT = frozenset(
    {
        ("TransformedTargetRegressor", "transformer_"),
        ("GradientBoostingRegressor", "init_"),
        ("GradientBoostingClassifier", "init_"),
        ("RandomTreesEmbedding", "one_hot_encoder_"),
        ("SimpleImputer", "indicator_"),
        ("KNNImputer", "indicator_"),
    }
)
"""What the rules or skl2onnx read as it is."""


def searched(_: StandIns, search: Any) -> Any:
    """A search answers by its best."""
    return search.best_estimator_


def thresholded(_: StandIns, tuned: Any) -> Any:
    """The scores are those of the classifier inside."""
    return tuned.estimator_


def looked_up(rules: StandIns, encoder: Any) -> Any:
    """An encoder of categories."""
    return Lookup(encoder, rules.missing, rules.dtype)


def filled(rules: StandIns, imputer: Any) -> Any:
    """SimpleImputer."""
    return Filled(imputer, rules.dtype)


def counted(rules: StandIns, vectorizer: Any) -> Any:
    """CountVectorizer, TfidfVectorizer, HashingVectorizer."""
    return rules.counted(vectorizer)


def weighted(rules: StandIns, transformer: Any) -> Any:
    """TfidfTransformer."""
    return TermWeights(transformer, rules.dtype)


def gaps(rules: StandIns, indicator: Any) -> Any:
    """MissingIndicator."""
    return Gaps(indicator, rules.dtype)


def binned(rules: StandIns, bins: Any) -> Any:
    """KBinsDiscretizer."""
    return Binned(bins, rules.dtype)


def applied(rules: StandIns, transformer: Any) -> Any:
    """FunctionTransformer of a function that is numpy's; the identity stays."""
    if transformer.func is None:
        return Affine(1.0, 0.0, rules.dtype)
    known = [function for function in FUNCTIONS if function is transformer.func]
    if not known or transformer.kw_args:
        called = getattr(transformer.func, "__name__", "a function")
        raise GateError(
            STEP,
            f"FunctionTransformer({called}): the graph cannot hold a function of yours",
            "compute it before the pipeline, let the contract take what it gives, or use one of "
            "numpy's: " + ", ".join(sorted(function.__name__ for function in FUNCTIONS)),
        )
    return Applied(known[0], rules.dtype)


def chosen(_: StandIns, columns: Any) -> Any:
    """ColumnTransformer: write its columns as positions.

    The columns may be names, masks, slices or counted from the end.
    """
    names = list(getattr(columns, "feature_names_in_", ()))
    columns.transformers_ = [
        (name, step, places_of(chosen, columns.n_features_in_, names))
        for name, step, chosen in columns.transformers_
    ]
    columns.transformers_ = [each for each in columns.transformers_ if len(each[2])]
    return columns


def places_of(chosen: Any, count: int, names: list[str]) -> list[int]:
    """Positions from 0 of the columns that were chosen."""
    if isinstance(chosen, slice):
        ends = [chosen.start, chosen.stop]
        if any(isinstance(end, str) for end in ends):  # names: both ends are in
            start = names.index(ends[0]) if ends[0] is not None else 0
            stop = names.index(ends[1]) + 1 if ends[1] is not None else count
            return list(range(start, stop))[:: chosen.step]
        return list(range(count))[chosen]
    listed = [chosen] if isinstance(chosen, (str, int, np.integer)) else list(chosen)
    if listed and all(isinstance(item, (bool, np.bool_)) for item in listed):
        return [place for place, taken in enumerate(listed) if taken]
    return [names.index(item) if isinstance(item, str) else int(item) % count for item in listed]


def chained(rules: StandIns, pipeline: Any) -> Any:
    """A pipeline of one step is that step; of none, it hands its columns on."""
    if not pipeline.steps:
        return Affine(1.0, 0.0, rules.dtype)
    if len(pipeline.steps) == 1:
        return pipeline.steps[0][1]
    name, last = pipeline.steps[-1]
    pipeline.steps[-1] = (name, rules.rounded(last))
    return pipeline


def projected(_: StandIns, discriminant: Any) -> Any:
    """LinearDiscriminantAnalysis as a step before others."""
    start = (
        discriminant.xbar_
        if discriminant.solver == "svd"
        else np.zeros(discriminant.scalings_.shape[0])
    )
    most = min(len(discriminant.classes_) - 1, discriminant.n_features_in_)
    kept = most if discriminant.n_components is None else discriminant.n_components
    return _projection(start, discriminant.scalings_[:, :kept].T)


def measured(rules: StandIns, clusters: Any) -> Any:
    """Clusters as a step before others."""
    return Distances(clusters, rules.dtype)


def layered(rules: StandIns, network: Any) -> Any:
    """A network that gives several values, or counts."""
    plain = network.n_outputs_ == 1 and network.out_activation_ == "identity"
    return network if plain else Layers(network, rules.dtype)


def neighbours_fill(_: StandIns, __: Any) -> Any:
    """KNNImputer, which skl2onnx answers otherwise."""
    raise GateError(
        STEP,
        "KNNImputer: skl2onnx writes it so that it fills in other values than scikit-learn does",
        "use SimpleImputer, or a model that bears missing values: HistGradientBoosting, a forest",
    )


def _projection(start: Any, components: Any) -> Any:
    """`(x - start) @ components.T`, which is what PCA does."""
    from sklearn.decomposition import PCA

    made = PCA(len(components))
    made.mean_ = np.asarray(start)
    made.components_ = np.asarray(components)
    made.n_components_ = len(components)
    made.n_features_in_ = components.shape[1]
    return made


def logistic(_: StandIns, discriminant: Any) -> Any:
    """LinearDiscriminantAnalysis scores as a logistic regression of its coefficients."""
    from sklearn.linear_model import LogisticRegression

    made = LogisticRegression()
    made.coef_ = discriminant.coef_
    made.intercept_ = discriminant.intercept_
    made.classes_ = discriminant.classes_
    made.n_features_in_ = discriminant.coef_.shape[1]
    return made


def unmixed(_: StandIns, analysis: Any) -> Any:
    """FastICA projects as PCA does."""
    start = getattr(analysis, "mean_", None)
    return _projection(
        np.zeros(analysis.components_.shape[1]) if start is None else start, analysis.components_
    )


def least_squares(_: StandIns, regression: Any) -> Any:
    """Regressions by latent variables are linear in the end."""
    from sklearn.linear_model import LinearRegression

    made = LinearRegression()
    coef = np.asarray(regression.coef_, np.float64)
    at_zero = np.ravel(regression.predict(np.zeros((1, coef.shape[1]))))
    made.coef_, made.intercept_ = coef, at_zero  # `regression.intercept_` is that of centred rows
    if len(coef) == 1:
        made.coef_, made.intercept_ = coef[0], float(np.ravel(made.intercept_)[0])
    made.n_features_in_ = coef.shape[1]
    return made


def constant_classes(_: StandIns, dummy: Any) -> Any:
    """A classifier that always answers the shares of the classes."""
    if dummy.strategy not in ("prior", "most_frequent", "constant"):
        raise GateError(
            STEP,
            f"DummyClassifier(strategy='{dummy.strategy}') answers by chance",
            "strategy='prior'",
        )
    from sklearn.linear_model import LogisticRegression

    width = int(dummy.n_features_in_)
    shares = dummy.predict_proba(np.zeros((1, width)))[0]
    with np.errstate(divide="ignore"):
        scores = np.maximum(np.log(shares), -100.0)
    made = LogisticRegression()
    binary = len(shares) == 2
    made.coef_ = np.zeros((1 if binary else len(shares), width))
    made.intercept_ = np.array([scores[1] - scores[0]]) if binary else scores
    made.classes_, made.n_features_in_ = dummy.classes_, width
    return made


def constant_value(_: StandIns, dummy: Any) -> Any:
    """A regressor that always answers the same."""
    from sklearn.linear_model import LinearRegression

    made, width = LinearRegression(), int(dummy.n_features_in_)
    values = np.ravel(dummy.constant_)
    made.coef_ = np.zeros(width) if len(values) == 1 else np.zeros((len(values), width))
    made.intercept_ = float(values[0]) if len(values) == 1 else values
    made.n_features_in_ = width
    return made


def targets(rules: StandIns, regression: Any) -> Any:
    """TransformedTargetRegressor: the regressor, and its transformer's way back."""
    back = regression.transformer_
    kind = type(back).__name__
    if kind == "FunctionTransformer":  # of no function
        return regression.regressor_
    if kind == "StandardScaler":
        scale = np.ones(back.n_features_in_) if back.scale_ is None else back.scale_
        last: Any = Affine(scale, 0.0 if back.mean_ is None else back.mean_, rules.dtype)
    elif kind == "MinMaxScaler":
        last = Affine(1 / back.scale_, -back.min_ / back.scale_, rules.dtype)
    else:
        raise GateError(
            STEP,
            f"TransformedTargetRegressor with {kind}: the graph has no form for its way back",
            "use func and inverse_func of numpy's, StandardScaler or MinMaxScaler, or invert the "
            "answer where it is used",
        )
    return Pipeline([("regressor", regression.regressor_), ("back", last)])


def inverse(rules: StandIns, regression: Any) -> Any:
    """TransformedTargetRegressor by `func` and `inverse_func`, else by its transformer."""
    if regression.func is None and regression.inverse_func is None:
        return targets(rules, regression)
    known = [function for function in FUNCTIONS if function is regression.inverse_func]
    if not known:
        raise GateError(
            STEP, "TransformedTargetRegressor: the graph cannot hold an inverse_func of yours",
            "use one of numpy's: " + ", ".join(sorted(function.__name__ for function in FUNCTIONS)),
        )  # fmt: skip
    return Pipeline(
        [("regressor", regression.regressor_), ("back", Applied(known[0], rules.dtype))]
    )


def boosted(rules: StandIns, boosting: Any) -> Any:
    """HistGradientBoosting: add the exponential of a loss with a log link.

    skl2onnx leaves the exponential out.
    """
    if getattr(boosting, "is_categorical_", None) is not None and np.any(boosting.is_categorical_):
        raise GateError(
            STEP,
            f"{type(boosting).__name__} with categorical_features: the graph has no form for its "
            "splits by category",
            "encode the words before it, by OneHotEncoder or TargetEncoder in a ColumnTransformer",
        )
    if getattr(boosting, "loss", "") in ("poisson", "gamma"):
        return Pipeline([("trees", boosting), ("exponential", Applied(np.exp, rules.dtype))])
    return boosting


def gaussian(_: StandIns, __: Any) -> Any:
    """GaussianProcessClassifier, which no released onnxruntime runs as skl2onnx writes it."""
    raise GateError(
        STEP,
        "GaussianProcessClassifier: skl2onnx writes it for two classes alone, with an operator "
        "outside the ONNX standard (com.microsoft.Solve)",
        "another classifier by a kernel has a form: CalibratedClassifierCV(SVC())",
    )


def calibrated(rules: StandIns, classifier: Any) -> Any:
    """CalibratedClassifierCV."""
    return Calibrated(classifier, rules.dtype)


def voted(_: StandIns, voting: Any) -> Any:
    """`flatten_transform` is of `transform` alone."""
    voting.flatten_transform = False
    if getattr(voting, "voting", "") == "hard":
        raise GateError(STEP, "VotingClassifier(voting='hard') has no scores", "voting='soft'")
    return voting


RULES: dict[str, Rule] = {
    "GridSearchCV": searched,
    "RandomizedSearchCV": searched,
    "HalvingGridSearchCV": searched,
    "HalvingRandomSearchCV": searched,
    "FixedThresholdClassifier": thresholded,
    "TunedThresholdClassifierCV": thresholded,
    "OneHotEncoder": looked_up,
    "OrdinalEncoder": looked_up,
    "TargetEncoder": looked_up,
    "SimpleImputer": filled,
    "KNNImputer": neighbours_fill,
    "MissingIndicator": gaps,
    "CountVectorizer": counted,
    "TfidfVectorizer": counted,
    "HashingVectorizer": counted,
    "TfidfTransformer": weighted,
    "KBinsDiscretizer": binned,
    "FunctionTransformer": applied,
    "ColumnTransformer": chosen,
    "Pipeline": chained,
    "FastICA": unmixed,
    "PLSRegression": least_squares,
    "PLSCanonical": least_squares,
    "DummyClassifier": constant_classes,
    "DummyRegressor": constant_value,
    "TransformedTargetRegressor": inverse,
    "HistGradientBoostingClassifier": boosted,
    "HistGradientBoostingRegressor": boosted,
    "VotingClassifier": voted,
    "CalibratedClassifierCV": calibrated,
    "GaussianProcessClassifier": gaussian,
    "MLPRegressor": layered,
}
"""Name of a class -> what stands for it."""
ANSWERING: dict[str, Rule] = {"LinearDiscriminantAnalysis": logistic}
TRANSFORMING: dict[str, Rule] = {
    "LinearDiscriminantAnalysis": projected,
    "KMeans": measured,
    "MiniBatchKMeans": measured,
    "BisectingKMeans": measured,
}
"""The same by what a part is asked for."""


def stand_in(estimator: Any, columns: int, missing: Any, dtype: str) -> Any:
    """The copy that skl2onnx is given of an estimator of so many columns.

    Raises `GateError` for a part that can have no right form.
    """
    return StandIns(estimator, columns, missing, dtype).copied
