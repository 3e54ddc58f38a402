"""Trees of scikit-learn's in a graph, to the side that scikit-learn itself sends each row.

skl2onnx writes them, and what it leaves out is written here: the sides of missing values, and the
number type in which a threshold is compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import onnx

from seatrial_contracts.errors import GateError
from seatrial_export.adopt.boosters import float32_threshold, library_of
from seatrial_export.adopt.casts import element_type
from seatrial_export.adopt.parts import parts_of
from seatrial_export.gate.lookup import ML_DOMAIN

TENSORS_SINCE = 3
"""The version of ONNX's operators for trees that hold float64."""
MEND = "use estimators that skl2onnx converts"
FORESTS = frozenset(
    {
        "DecisionTreeClassifier",
        "DecisionTreeRegressor",
        "ExtraTreeClassifier",
        "ExtraTreeRegressor",
        "RandomForestClassifier",
        "RandomForestRegressor",
        "ExtraTreesClassifier",
        "ExtraTreesRegressor",
    }
)
"""scikit-learn's trees that send missing values to a side of their own at each split."""
SINGLE = FORESTS | {"GradientBoostingClassifier", "GradientBoostingRegressor", "IsolationForest"}
"""scikit-learn's trees that round a number to float32 before they compare it."""
HISTOGRAMS = frozenset({"HistGradientBoostingClassifier", "HistGradientBoostingRegressor"})
DOUBLE = HISTOGRAMS | {"KBinsDiscretizer", "Binarizer"}
"""What compares numbers as float64 with thresholds."""
EXACT = frozenset(
    {
        "Pipeline",
        "ColumnTransformer",
        "FeatureUnion",
        "OneHotEncoder",
        "OrdinalEncoder",
        "SimpleImputer",
        "MissingIndicator",
        "CountVectorizer",
        "SelectKBest",
        "SelectPercentile",
        "VarianceThreshold",
        "VotingClassifier",
        "VotingRegressor",
    }
)
"""Steps that hand numbers on as they came, or whole numbers."""


def compares_doubles(estimator: Any) -> bool:
    """May the rounding of a number to float32 send a row to another side of a threshold?

    So it may where thresholds are compared as float64, and where trees compare what arithmetic
    made: a whole number that was scaled often lies at a threshold.
    """
    single = arithmetic = False
    for part in parts_of(estimator):
        name, library = type(part).__name__, library_of(part)
        if library == "lightgbm" or (name in DOUBLE and not library):
            return True
        if library or name in SINGLE:
            single = True
        else:
            arithmetic = arithmetic or (hasattr(part, "transform") and name not in EXACT)
    return single and arithmetic


def rounds(model: Any) -> bool:
    """Are some of a model's trees of those that round numbers, and none of the others?"""
    names = {type(part).__name__ for part in parts_of(model)}
    return bool(names & SINGLE) and not names & DOUBLE


Convert = Callable[[Any, Any, Any], None]


def tree_converters(estimator: Any) -> dict[type, Convert]:
    """A converter for each class of trees in the estimator."""
    kinds = {type(part) for part in parts_of(estimator)}
    return {
        kind: convert_trees
        for kind in kinds
        if kind.__name__ in SINGLE | HISTOGRAMS and kind.__module__.startswith("sklearn.")
    }


def convert_trees(scope: Any, operator: Any, container: Any) -> None:
    """skl2onnx's own converter for float32, and then what it leaves out."""
    from skl2onnx.common import _registration

    given = operator.inputs[0]
    double = is_double(given)
    widened = {place: made for place, made in enumerate(operator.outputs) if is_double(made)}
    if double:
        operator.inputs.set_element(0, single(given, scope))
        cast(given, operator.inputs[0], "float32", scope, container)
        for place, made in widened.items():
            operator.outputs.set_element(place, single(made, scope))
    before = len(container.nodes)
    _registration.get_converter(operator.type)(scope, operator, container)
    if double:
        operator.inputs.set_element(0, given)
        for place, made in widened.items():
            cast(operator.outputs[place], made, "float64", scope, container)
            operator.outputs.set_element(place, made)
    model, name = operator.raw_operator, type(operator.raw_operator).__name__
    for node in container.nodes[before:]:
        if not node.op_type.startswith("TreeEnsemble"):
            continue
        if name in FORESTS:
            members = [model] if hasattr(model, "tree_") else model.estimators_
            send_missing(node, [member.tree_ for member in members])
        elif name in HISTOGRAMS:
            rounds = model._predictors  # noqa: SLF001  (skl2onnx reads it too)
            Histograms(node, [tree for round_ in rounds for tree in round_]).write(
                given.full_name if double else ""
            )
            container.node_domain_version_pair_sets.add((ML_DOMAIN, TENSORS_SINCE))


def is_double(variable: Any) -> bool:
    """Is a variable of skl2onnx's float64?"""
    return type(variable.type).__name__ == "DoubleTensorType"


def single(variable: Any, scope: Any) -> Any:
    """A variable of skl2onnx's for the same numbers as float32."""
    from skl2onnx.common.data_types import FloatTensorType

    made = scope.declare_local_variable("single", FloatTensorType(variable.type.shape))
    made.init_status(is_fed=True)
    return made


def cast(given: Any, made: Any, dtype: str, scope: Any, container: Any) -> None:
    """The operator between two such variables."""
    name = scope.get_unique_operator_name("Cast")
    container.add_node("Cast", [given.full_name], made.full_name, name=name, to=element_type(dtype))


def send_missing(node: onnx.NodeProto, trees: Sequence[Any]) -> None:
    """Write to which side each split sends NaN.

    Raises `GateError` where the node's trees are not these.
    """
    held = {attribute.name: attribute for attribute in node.attribute}
    sides = [
        int(trees[tree].missing_go_to_left[place])
        for tree, place in _places(held, [tree.node_count for tree in trees])
    ]
    del held["nodes_missing_value_tracks_true"].ints[:]
    held["nodes_missing_value_tracks_true"].ints.extend(sides)


class Histograms:
    """The node of a HistGradientBoosting, whose thresholds are float64."""

    def __init__(self, node: onnx.NodeProto, trees: Sequence[Any]) -> None:
        """Raises `GateError` where the node's trees are not these."""
        self._node, self._held = node, {each.name: each for each in node.attribute}
        self._splits = [
            trees[tree].nodes[place]
            for tree, place in _places(self._held, [len(tree.nodes) for tree in trees])
        ]

    def write(self, double: str) -> None:
        """Compare numbers as scikit-learn does: those of the value `double`, or float32 ones."""
        thresholds = [
            0.0 if split["is_leaf"] else float(split["num_threshold"]) for split in self._splits
        ]
        if not double:
            rounded = [float32_threshold("BRANCH_LEQ", value) for value in thresholds]
            self._held["nodes_values"].floats[:] = rounded
            return
        self._node.input[0] = double
        numbers = {"nodes_values": thresholds}
        for name in ("class_weights", "target_weights", "base_values"):
            if name in self._held:
                numbers[name] = list(self._held[name].floats)
        kept = [each for each in self._node.attribute if each.name not in numbers]
        tensors = [
            onnx.helper.make_attribute(
                f"{name}_as_tensor",
                onnx.numpy_helper.from_array(np.array(values, np.float64), name),
            )
            for name, values in numbers.items()
        ]
        hitrates = [each for each in kept if each.name != "nodes_hitrates"]
        del self._node.attribute[:]
        self._node.attribute.extend([*hitrates, *tensors])


def _places(held: dict[str, Any], counts: Sequence[int]) -> Iterator[tuple[int, int]]:
    """The tree and the node of each entry of a node's attributes."""
    ids, places = held["nodes_treeids"].ints, held["nodes_nodeids"].ints
    if np.bincount(ids, minlength=len(counts)).tolist() != list(counts):
        raise GateError("scikit-learn", "trees that skl2onnx writes in another form", MEND)
    return zip(ids, places, strict=True)
