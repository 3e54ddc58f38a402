"""A fitted scikit-learn estimator as a graph.

Its input is one matrix of numbers, or a port for each column where some columns are words.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import onnx
from onnx import helper

from seatrial_contracts.errors import GateError, MissingExtra, SeatrialError
from seatrial_export.adopt.casts import element_type
from seatrial_export.adopt.parts import last_of
from seatrial_export.adopt.stand_ins import stand_in
from seatrial_export.adopt.trees import tree_converters
from seatrial_export.graphs.exporter_messages import first_lines
from seatrial_export.graphs.session import Session

OPSET, ML_OPSET = 18, 3
MATRIX = "matrix_of_columns"
"""Unlike a field's name, which would be taken for it."""
MEND = "use estimators that skl2onnx converts, or train the part it names in PyTorch"
VOTERS = frozenset(
    {
        "RandomForestClassifier",
        "ExtraTreesClassifier",
        "BaggingClassifier",
        "VotingClassifier",
        "DecisionTreeClassifier",
        "ExtraTreeClassifier",
        "KNeighborsClassifier",
        "RadiusNeighborsClassifier",
    }
)
"""Classifiers whose scores are means of few votes, so that classes tie."""
TIE_STEPS = 2**20
"""Scores of voters are rounded to steps of 2**-20.

So a sum's last bit, which depends on the order of the sum, decides no tie.
"""


class Column(NamedTuple):
    """A column's name, empty where it has none, and what it holds."""

    name: str
    holds: Literal["numbers", "words", "terms"]
    """Words are strings, terms the numbers of those in a text, as many as there are."""


def write_graph(
    estimator: Any, columns: Sequence[Column], missing: Any, dtype: str,
    packs: Mapping[str, Sequence[str]],
) -> onnx.ModelProto:  # fmt: skip
    """The graph that computes in `dtype`.

    It has an input `[batch, 1]` for each column, in this order, `[batch, terms]` for that of a
    text, or a matrix where the columns have no names. `packs` are inputs of several columns: name
    -> the columns, of which there are no others.

    Raises `GateError` where skl2onnx has no form for a part.
    """
    try:
        from skl2onnx import convert_sklearn
        from skl2onnx.common import data_types
    except ImportError:
        raise MissingExtra("adopting a scikit-learn estimator", "adopt") from None

    floats = data_types.DoubleTensorType if dtype == "float64" else data_types.FloatTensorType
    if any(column.holds != "numbers" for column in columns):
        # skl2onnx makes the answers of some models whole where an input is, so terms are floats
        # until the graph is written.
        words = data_types.StringTensorType
        types = [
            (column.name, (words if column.holds == "words" else floats)([None, 1]))
            for column in columns
        ]
    else:
        types = [(MATRIX, floats([None, len(columns)]))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of deprecations inside the converter
        try:
            model = convert_sklearn(
                stand_in(estimator, len(columns), missing, dtype),
                initial_types=types,
                target_opset={"": OPSET, "ai.onnx.ml": ML_OPSET},
                custom_conversion_functions=tree_converters(estimator),
            )
        except SeatrialError:
            raise
        except Exception as error:  # skl2onnx and the estimators raise kinds of their own
            raise GateError("skl2onnx", cause_of(error), MEND) from error
    assert isinstance(model, onnx.ModelProto)
    if types[0][0] == MATRIX and columns[0].name:
        split_matrix(model, [column.name for column in columns], dtype)
    for name, packed in packs.items():
        pack_columns(model, name, packed)
    open_terms(model, [column.name for column in columns if column.holds == "terms"])
    settle_types(model)
    if type(last_of(estimator)).__name__ in VOTERS:
        round_scores(model)
    open_widths(model)
    Session(model)
    return model


def cause_of(error: Exception) -> str:
    """What skl2onnx could not do, in few words where it only lacks a class."""
    lacking = re.search(r"for (?:type|alias) .*?(\w+)'>", str(error))
    if lacking is not None and type(error).__name__ in (
        "MissingShapeCalculator",
        "MissingConverter",
    ):
        return f"it has no form for {lacking[1]}"
    return f"{type(error).__name__}: {first_lines(error)}"


def open_widths(model: onnx.ModelProto) -> None:
    """Leave the width of the outputs open: skl2onnx declares a column for several targets."""
    for value in model.graph.output:
        if (
            value.type.WhichOneof("value") == "tensor_type"
            and len(value.type.tensor_type.shape.dim) == 2
        ):
            value.type.tensor_type.shape.dim[1].dim_param = "columns"


def open_terms(model: onnx.ModelProto, names: Sequence[str]) -> None:
    """Let the inputs of texts be whole numbers, as many as a row has terms."""
    for value in model.graph.input:
        if value.name in names:
            value.type.tensor_type.elem_type = onnx.TensorProto.INT64
            value.type.tensor_type.shape.dim[1].dim_param = f"{value.name}_terms"


def settle_types(model: onnx.ModelProto) -> None:
    """Let each output be of the type that is declared of it.

    skl2onnx declares float64 where the inputs are, and trees answer float32 all the same; a ZipMap
    takes float32 alone.
    """
    graph = model.graph
    declared = {
        value.name: value.type.tensor_type.elem_type
        for value in graph.output
        if value.type.tensor_type.elem_type == onnx.TensorProto.DOUBLE
    }
    for value in graph.output:
        if value.type.WhichOneof("value") == "sequence_type":
            scores = value.type.sequence_type.elem_type.map_type.value_type.tensor_type
            scores.elem_type = onnx.TensorProto.FLOAT
    for node in tuple(graph.node):
        if node.op_type == "ZipMap":
            made = node.input[0]
            node.input[0] = f"{made}_single"
            _cast(graph, made, node.input[0], onnx.TensorProto.FLOAT)
        for place, name in enumerate(node.output):
            if name in declared:
                node.output[place] = f"{name}_made"
                _cast(graph, node.output[place], name, declared[name])


def _cast(graph: onnx.GraphProto, given: str, made: str, to: int) -> None:
    """Put a cast behind the node that makes a value."""
    place = next(place for place, node in enumerate(graph.node) if given in node.output)
    cast = helper.make_node("Cast", [given], [made], name=f"{made}_settled", to=to)
    graph.node.insert(place + 1, cast)


def split_matrix(model: onnx.ModelProto, names: Sequence[str], dtype: str) -> None:
    """An input for each column in the place of the matrix."""
    graph = model.graph
    del graph.input[:]
    graph.input.extend(
        helper.make_tensor_value_info(name, element_type(dtype), [None, 1]) for name in names
    )
    graph.node.insert(0, helper.make_node("Concat", list(names), [MATRIX], name="columns", axis=1))


def pack_columns(model: onnx.ModelProto, name: str, columns: Sequence[str]) -> None:
    """One input in the place of those of these columns.

    If the graph begins by putting just these together, that is the input in their order.
    """
    graph = model.graph
    own = {value.name: value for value in graph.input}
    element = own[columns[0]].type.tensor_type.elem_type
    kept = [value for value in graph.input if value.name not in columns]
    made = helper.make_tensor_value_info(name, element, [None, len(columns)])
    del graph.input[:]
    graph.input.extend([*kept, made])
    first = graph.node[0]
    if first.op_type == "Concat" and sorted(first.input) == sorted(columns):
        order = f"{name}_order"
        places = np.array([list(columns).index(each) for each in first.input])
        graph.initializer.append(onnx.numpy_helper.from_array(places, order))
        node = helper.make_node("Gather", [name, order], [*first.output], name=order, axis=1)
        graph.node.remove(first)
    else:
        sizes = f"{name}_sizes"
        ones = np.ones(len(columns), np.int64)
        graph.initializer.append(onnx.numpy_helper.from_array(ones, sizes))
        node = helper.make_node("Split", [name, sizes], [*columns], name=f"{name}_parts", axis=1)
    graph.node.insert(0, node)


def round_scores(model: onnx.ModelProto) -> None:
    """Let scores that tie be the same number, in whatever order they were summed."""
    graph = model.graph
    zipped = {node.output[0]: node for node in graph.node if node.op_type == "ZipMap"}
    for value in graph.output:
        if value.name in ("output_label", "label", "variable"):
            continue
        node = zipped.get(value.name)
        made = node.input[0] if node is not None else value.name
        _round(graph, made)


def _round(graph: onnx.GraphProto, made: str) -> None:
    """Put the rounding behind the node that makes a value; of operators that every opset has."""
    place, maker = next(
        (place, node) for place, node in enumerate(graph.node) if made in node.output
    )
    exact, scaled, whole = (f"{made}_{what}" for what in ("exact", "scaled", "whole"))
    maker.output[list(maker.output).index(made)] = exact
    for name, factor in (
        (f"{made}_steps", TIE_STEPS),
        (f"{made}_step", 1 / TIE_STEPS),
        (f"{made}_half", 0.5),
    ):
        graph.initializer.append(onnx.numpy_helper.from_array(np.array(factor, np.float32), name))
    nodes = [
        helper.make_node(
            "Cast", [exact], [f"{made}_float"], name=f"{made}_cast", to=onnx.TensorProto.FLOAT
        ),
        helper.make_node("Mul", [f"{made}_float", f"{made}_steps"], [scaled], name=f"{made}_scale"),
        helper.make_node("Add", [scaled, f"{made}_half"], [f"{made}_raised"], name=f"{made}_raise"),
        helper.make_node("Floor", [f"{made}_raised"], [whole], name=f"{made}_floor"),
        helper.make_node("Mul", [whole, f"{made}_step"], [made], name=f"{made}_unscale"),
    ]
    for offset, node in enumerate(nodes):
        graph.node.insert(place + 1 + offset, node)
