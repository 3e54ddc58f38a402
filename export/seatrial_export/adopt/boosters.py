"""Trees of LightGBM, XGBoost and CatBoost, read off each library's own dump.

A dump holds the splits, where missing values go, and the link of the loss.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seatrial_contracts.errors import GateError
from seatrial_export.adopt.native import NativeBooster

LIBRARIES = ("lightgbm", "xgboost", "catboost")
IDENTITY, SIGMOID, SOFTMAX, EXPONENTIAL, LOG1P_EXP, SIGNED_SQUARE = (
    "identity", "sigmoid", "softmax", "exponential", "log1p of exponential", "signed square",
)  # fmt: skip


@dataclass(frozen=True)
class Split:
    """An inner node: `x[feature] <mode> threshold` leads to `true`, else to `false`.

    NaN leads to `true` where `nan_true`.

    XGBoost and CatBoost compare with float32 numbers, which their JSON rounds: training rows often
    lie at one exactly.
    """

    feature: int
    mode: str
    threshold: float
    nan_true: bool
    true: Split | float
    false: Split | float


@dataclass(frozen=True)
class Ensemble:
    """The sum of all trees by target, times `scale`, plus `bias`, behind a link."""

    trees: tuple[tuple[int, Split | float], ...]
    """Each with the target that it adds to."""
    targets: int
    link: str
    bias: NDArray[np.float64]
    steepness: float = 1.0
    """What a sigmoid's argument is multiplied by."""
    zero_is_missing: frozenset[int] = field(default_factory=frozenset)
    """Features whose zeros count as missing."""
    missing: float = float("nan")
    """A number that counts as missing too."""
    single: bool = True
    """Are numbers rounded to float32 before they are compared?"""


def library_of(estimator: Any) -> str:
    """Which of the three made it; empty where none did."""
    if isinstance(estimator, NativeBooster):
        return estimator.library
    package = type(estimator).__module__.partition(".")[0]
    return package if package in LIBRARIES else ""


def read_ensemble(estimator: Any) -> Ensemble:
    """The trees of a fitted booster. Raises `GateError` that names what has no form in a graph."""
    native = estimator.native if isinstance(estimator, NativeBooster) else estimator
    return READERS[library_of(estimator)](native)


def refuse(library: str, cause: str, mend: str) -> GateError:
    """What a booster cannot be, as an error to raise."""
    return GateError(library, cause, mend)


LIGHTGBM_LINKS = {
    "binary": SIGMOID,
    "multiclass": SOFTMAX,
    "multiclassova": SIGMOID,
    "cross_entropy": SIGMOID,
    "cross_entropy_lambda": LOG1P_EXP,
    "poisson": EXPONENTIAL,
    "gamma": EXPONENTIAL,
    "tweedie": EXPONENTIAL,
    "regression": IDENTITY,
    "regression_l1": IDENTITY,
    "huber": IDENTITY,
    "fair": IDENTITY,
    "quantile": IDENTITY,
    "mape": IDENTITY,
    "lambdarank": IDENTITY,
    "rank_xendcg": IDENTITY,
}


def _lightgbm(estimator: Any) -> Ensemble:
    dump = getattr(estimator, "booster_", estimator).dump_model()
    said = str(dump.get("objective", "custom")).split()
    objective, options = said[0], dict(part.split(":", 1) for part in said[1:] if ":" in part)
    if objective not in LIGHTGBM_LINKS:
        raise refuse(
            "lightgbm",
            f"the objective '{objective}': its link is not known",
            f"one of {', '.join(LIGHTGBM_LINKS)}",
        )
    targets = int(dump["num_tree_per_iteration"])
    count = max(1, len(dump["tree_info"]) // targets)
    share = 1 / count if dump.get("average_output") else 1.0
    zero: set[int] = set()
    other: set[int] = set()
    trees = [
        (place % targets, _lightgbm_node(each["tree_structure"], share, zero, other))
        for place, each in enumerate(dump["tree_info"])
    ]
    if zero & other:
        raise refuse(
            "lightgbm",
            "features whose zeros are missing at some splits alone",
            "fit with zero_as_missing=False",
        )
    link = SIGNED_SQUARE if "sqrt" in said[1:] else LIGHTGBM_LINKS[objective]
    steepness = (
        float(options.get("sigmoid", 1.0)) if objective in ("binary", "multiclassova") else 1.0
    )
    bias, missing = np.zeros(targets), frozenset(zero)
    return Ensemble(tuple(trees), targets, link, bias, steepness, missing, single=False)


def _lightgbm_node(
    node: Mapping[str, Any], share: float, zero: set[int], other: set[int]
) -> Split | float:
    """A node of `dump_model`; LightGBM takes NaN for 0 at splits that saw none missing."""
    if "leaf_coeff" in node:
        raise refuse(
            "lightgbm", "linear_tree=True: its leaves are regressions", "fit with linear_tree=False"
        )
    if "leaf_value" in node:
        return float(node["leaf_value"]) * share
    if node["decision_type"] != "<=":
        cause = "splits by category: the graph has no form for them"
        raise refuse(
            "lightgbm",
            cause,
            "encode the words before it, by OneHotEncoder, or give them as plain numbers",
        )
    threshold = float(node["threshold"])
    feature = int(node["split_feature"])
    missing = node["missing_type"]
    (zero if missing == "Zero" else other if missing == "NaN" else set()).add(feature)
    nan_true = threshold >= 0 if missing == "None" else bool(node["default_left"])
    sides = (
        _lightgbm_node(node[side], share, zero, other) for side in ("left_child", "right_child")
    )
    return Split(feature, "BRANCH_LEQ", threshold, nan_true, *sides)


XGBOOST_LINKS = {
    "binary:logistic": SIGMOID,
    "reg:logistic": SIGMOID,
    "multi:softprob": SOFTMAX,
    "multi:softmax": SOFTMAX,
    "count:poisson": EXPONENTIAL,
    "reg:gamma": EXPONENTIAL,
    "reg:tweedie": EXPONENTIAL,
    "reg:squarederror": IDENTITY,
    "reg:absoluteerror": IDENTITY,
    "reg:quantileerror": IDENTITY,
    "reg:pseudohubererror": IDENTITY,
    "reg:squaredlogerror": IDENTITY,
    "rank:pairwise": IDENTITY,
    "rank:ndcg": IDENTITY,
}


def _xgboost(estimator: Any) -> Ensemble:
    booster = estimator.get_booster()
    best = booster.attr("best_iteration")
    if best is not None:
        booster = booster[: int(best) + 1]
    learner = json.loads(bytes(booster.save_raw("json")))["learner"]
    objective, parameters = learner["objective"]["name"], learner["learner_model_param"]
    if objective not in XGBOOST_LINKS:
        raise refuse(
            "xgboost",
            f"the objective '{objective}': its link is not known",
            f"one of {', '.join(XGBOOST_LINKS)}",
        )
    model = learner["gradient_booster"]
    drops = model.get("weight_drop")
    if model["name"] == "gblinear":
        raise refuse(
            "xgboost",
            "booster='gblinear', which is no tree",
            "LinearRegression or LogisticRegression of scikit-learn",
        )
    model = model.get("gbtree", model)["model"]
    targets = max(int(parameters["num_class"]), int(parameters.get("num_target", 1)), 1)
    start = np.atleast_1d(np.array(json.loads(parameters["base_score"]), np.float64))
    link = XGBOOST_LINKS[objective]
    if link == SIGMOID:
        start = np.log(start / (1 - start))
    if link == EXPONENTIAL:
        start = np.log(start)
    weights = drops or [1.0] * len(model["trees"])
    trees = [
        (int(target), _xgboost_node(tree, 0, weight))
        for tree, target, weight in zip(model["trees"], model["tree_info"], weights, strict=True)
    ]
    missing = getattr(estimator, "missing", np.nan)
    return Ensemble(
        tuple(trees),
        targets,
        link,
        np.broadcast_to(start, (targets,)),
        missing=float(np.nan if missing is None else missing),
    )


def _xgboost_node(tree: Mapping[str, Any], place: int, weight: float) -> Split | float:
    if int(tree["tree_param"].get("size_leaf_vector", 1)) > 1:
        raise refuse(
            "xgboost", "leaves of several values", "fit with multi_strategy='one_output_per_tree'"
        )
    left, right = tree["left_children"][place], tree["right_children"][place]
    value = float(tree["split_conditions"][place])
    if left == -1:
        return value * weight
    if tree["split_type"][place]:
        cause = "splits by category: the graph has no form for them"
        raise refuse(
            "xgboost",
            cause,
            "encode the words before it, by OneHotEncoder, and fit with enable_categorical=False",
        )
    sides = (_xgboost_node(tree, child, weight) for child in (left, right))
    return Split(
        int(tree["split_indices"][place]),
        "BRANCH_LT",
        float(np.float32(value)),
        bool(tree["default_left"][place]),
        *sides,
    )


CATBOOST_LINKS = {
    "Logloss": SIGMOID,
    "CrossEntropy": SIGMOID,
    "MultiClass": SOFTMAX,
    "MultiClassOneVsAll": SIGMOID,
    "RMSE": IDENTITY,
    "MAE": IDENTITY,
    "Quantile": IDENTITY,
    "MAPE": IDENTITY,
    "Huber": IDENTITY,
    "LogCosh": IDENTITY,
    "Lq": IDENTITY,
    "Expectile": IDENTITY,
    "Poisson": EXPONENTIAL,
    "Tweedie": EXPONENTIAL,
    "MultiRMSE": IDENTITY,
}


def _catboost(estimator: Any) -> Ensemble:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.json"
        try:
            estimator.save_model(str(path), format="json")
        except Exception as error:  # the library's own kind, where features are words or texts
            raise refuse(
                "catboost",
                f"it does not write the model: {type(error).__name__}",
                "fit without cat_features and text_features",
            ) from error
        model = json.loads(path.read_text("utf-8"))
    loss = str(estimator.get_all_params().get("loss_function", "")).partition(":")[0]
    if loss not in CATBOOST_LINKS:
        raise refuse(
            "catboost",
            f"the loss '{loss}': its link is not known",
            f"one of {', '.join(CATBOOST_LINKS)}",
        )
    if model.get("ctrs") or model["features_info"].get("categorical_features"):
        raise refuse(
            "catboost",
            "features of words",
            "encode them before it, by OneHotEncoder, and fit without cat_features",
        )
    if "oblivious_trees" not in model:
        raise refuse(
            "catboost", "trees that are not symmetric", "fit with grow_policy='SymmetricTree'"
        )
    scale, bias = model["scale_and_bias"]
    features = {each["feature_index"]: each for each in model["features_info"]["float_features"]}
    trees = []
    targets = max(1, len(bias))
    for tree in model["oblivious_trees"]:
        leaves = (
            np.array(tree["leaf_values"], np.float64).reshape(2 ** len(tree["splits"] or ()), -1)
            * scale
        )
        targets = leaves.shape[1]
        trees += [
            (target, _catboost_node(tree["splits"] or [], leaves[:, target], features))
            for target in range(targets)
        ]
    return Ensemble(
        tuple(trees),
        targets,
        CATBOOST_LINKS[loss],
        np.broadcast_to(np.array(bias, np.float64), (targets,)),
    )


def _catboost_node(
    splits: list[Mapping[str, Any]], leaves: NDArray[np.float64], features: Mapping[int, Any]
) -> Split | float:
    """A symmetric tree: the last split is the highest bit of a leaf's place."""
    if not splits:
        return float(leaves[0])
    *rest, split = splits
    if split.get("split_type", "FloatFeature") != "FloatFeature":
        raise refuse("catboost", "splits by words", "encode them before it, by OneHotEncoder")
    feature, half = features[split["float_feature_index"]], len(leaves) // 2
    nan_true = feature.get("nan_value_treatment") == "AsTrue"
    sides = (_catboost_node(rest, part, features) for part in (leaves[half:], leaves[:half]))
    return Split(
        int(feature["flat_feature_index"]),
        "BRANCH_GT",
        float(np.float32(split["border"])),
        nan_true,
        *sides,
    )


READERS: dict[str, Callable[[Any], Ensemble]] = {
    "lightgbm": _lightgbm,
    "xgboost": _xgboost,
    "catboost": _catboost,
}


def float32_threshold(mode: str, threshold: float) -> float:
    """The float32 at which each float32 x falls to the same side as at the threshold itself."""
    near = np.float32(threshold)
    if mode in ("BRANCH_LEQ", "BRANCH_GT") and near > threshold:
        near = np.nextafter(near, np.float32(-np.inf))
    if mode == "BRANCH_LT" and near < threshold:
        near = np.nextafter(near, np.float32(np.inf))
    return float(near)


def tree_attributes(ensemble: Ensemble) -> dict[str, list[Any]]:
    """The attributes of a TreeEnsembleRegressor, thresholds aside, which are under "thresholds"."""
    held: dict[str, list[Any]] = {
        name: []
        for name in (
            "nodes_treeids",
            "nodes_nodeids",
            "nodes_featureids",
            "nodes_modes",
            "nodes_truenodeids",
            "nodes_falsenodeids",
            "nodes_missing_value_tracks_true",
            "thresholds",
            "target_treeids",
            "target_nodeids",
            "target_ids",
            "weights",
        )
    }
    for tree, (target, root) in enumerate(ensemble.trees):
        left: list[Split | float] = [root]
        for place, node in enumerate(left):  # it grows while it is gone through
            row: tuple[Any, ...] = (tree, place, 0, "LEAF", 0, 0, 0, 0.0)
            if isinstance(node, Split):
                row = (
                    tree,
                    place,
                    node.feature,
                    node.mode,
                    len(left),
                    len(left) + 1,
                    int(node.nan_true),
                    node.threshold,
                )
                left += [node.true, node.false]
            for name, value in zip(list(held)[:8], row, strict=True):
                held[name].append(value)
            if not isinstance(node, Split):
                for name, value in zip(list(held)[8:], (tree, place, target, node), strict=True):
                    held[name].append(value)
    return held
