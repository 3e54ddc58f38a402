"""The lint of the graph, which must hold none of these faults.

The faults are baked sizes, another opset, chance, training mode, and rows that meet each other.
"""

from __future__ import annotations

import re

import numpy as np
import onnx

from seatrial_contracts.errors import GateError
from seatrial_export.gate.candidate import BATCH, ROWS_ALONE, Candidate, OnnxGraph
from seatrial_export.graphs.read import Shapes, constants_of, dims, nodes_of, shapes_of

RANDOM_OPS = frozenset(
    {
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
        "Bernoulli",
        "Multinomial",
    }
)
REDUCTIONS = frozenset(
    f"Reduce{name}"
    for name in (
        "Mean",
        "Sum",
        "Max",
        "Min",
        "Prod",
        "L1",
        "L2",
        "LogSum",
        "LogSumExp",
        "SumSquare",
    )
)
ALONG_AXIS = {
    "Softmax": -1,
    "LogSoftmax": -1,
    "Hardmax": -1,
    "TopK": -1,
    "ArgMax": 0,
    "ArgMin": 0,
    "LpNormalization": -1,
}
STANDARD_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml"})
DATA_DEPENDENT = re.compile(r"\bu\d+\b")


def lint(candidate: Candidate) -> None:
    """Raise `GateError` for the first thing found."""
    for graph in candidate.graphs:
        model = graph.onnx
        check_domains(model)
        check_symbolic(graph, batchable=candidate.batchable)
        check_chance(model)
        check_training(model)
        shapes = shapes_of(model.graph)
        check_data_dependent(shapes)
        if graph.batched and candidate.batchable:
            check_cross_row(model, shapes)


def check_domains(model: onnx.ModelProto) -> None:
    """Operators outside the standard run nowhere but on the author's machine."""
    known = STANDARD_DOMAINS | {function.domain for function in model.functions}
    odd = sorted(
        {f"{node.domain}.{node.op_type}" for node in nodes_of(model) if node.domain not in known}
    )
    if odd:
        shown = ", ".join(odd[:5]) + (f" and {len(odd) - 5} more" if len(odd) > 5 else "")
        raise GateError(
            "operators",
            f"operators outside the ONNX standard: {shown}",
            "use operations with a standard ONNX form",
        )


def check_symbolic(graph: OnnxGraph, *, batchable: bool) -> None:
    """Check that every size that varies is a name in the graph.

    The batch must be the first size of every output. Where rows are never run together, a batch of
    1 may stand in the graph.
    """
    values = {value.name: dims(value) for value in graph.onnx.graph.input}
    for spec in graph.specs:
        for axis, name in graph.dim_names(spec).items():
            size = values[spec.name][axis]
            if isinstance(size, int) and not (name == BATCH and size == 1 and not batchable):
                raise GateError(
                    "sizes",
                    f"input '{spec.name}' has a fixed size {size} where '{name}' varies",
                    "a size was baked in while tracing; see the torch.export step",
                )
    for value in graph.onnx.graph.output if graph.batched else []:
        sizes = dims(value)
        if not sizes or sizes[0] not in ((BATCH,) if batchable else (BATCH, 1)):
            raise GateError(
                "sizes",
                f"output '{value.name}' has sizes {sizes}: the batch is not its first",
                "return one answer for each row, rows first; if it takes one row at a time, "
                + ROWS_ALONE,
            )


def check_chance(model: onnx.ModelProto) -> None:
    """No random operator."""
    found = sorted({node.op_type for node in nodes_of(model)} & RANDOM_OPS)
    if found:
        raise GateError(
            "random operator",
            f"the graph draws random numbers: {', '.join(found)}",
            "take torch.rand*, torch.bernoulli or noise out of forward",
        )


def check_training(model: onnx.ModelProto) -> None:
    """Check that no Dropout or BatchNormalization is in training mode.

    A node whose mode is decided while the graph runs fails too.
    """
    constants = constants_of(model)
    for node in nodes_of(model):
        mode = node.input[2] if node.op_type == "Dropout" and len(node.input) > 2 else ""
        drops = bool(mode) and (mode not in constants or bool(np.any(constants[mode])))
        norm = node.op_type == "BatchNormalization" and (
            any(a.name == "training_mode" and a.i for a in node.attribute)
            or sum(map(bool, node.output))
            > 1  # before opset 14, which has the attribute, this is what training mode is
        )
        if norm or drops:
            raise GateError(
                "training mode",
                f"{node.op_type} '{node.name}' is in training mode in the graph",
                "call model.eval(); give F.dropout and F.batch_norm training=self.training",
            )


def check_data_dependent(shapes: Shapes) -> None:
    """A size that depends on the data lets one request ask for any amount of memory."""
    for name, sizes in shapes.items():
        if any(isinstance(size, str) and DATA_DEPENDENT.search(size) for size in sizes):
            raise GateError(
                "sizes",
                f"the size of '{name}' depends on the data: {sizes}",
                "replace nonzero(), unique(), masked_select() or a computed range by a mask",
            )


def check_cross_row(model: onnx.ModelProto, shapes: Shapes) -> None:
    """No operator reduces over the rows of a batch, and no value compares each row with each."""
    constants = constants_of(model)
    for node in model.graph.node:
        for axis in reduced_axes(node, constants, shapes):
            size = shapes[node.input[0]][axis]
            if isinstance(size, str) and re.search(rf"\b{BATCH}\b", size):
                _rows_meet(f"{node.op_type} '{node.name}' runs over the rows of the batch")
    for name, sizes in shapes.items():
        if sum(size == BATCH for size in sizes) > 1:
            _rows_meet(f"'{name}' has sizes {sizes}: each row meets each")


def reduced_axes(
    node: onnx.NodeProto, constants: dict[str, np.ndarray], shapes: Shapes
) -> list[int]:
    """The axes that a node runs over, of its first input.

    The list is empty where the node runs over none, or the axes are not known.
    """
    rank = len(shapes.get(node.input[0], [])) if node.input else 0
    attributes = {attribute.name: attribute for attribute in node.attribute}
    if not rank:
        return []
    if node.op_type in ALONG_AXIS:
        return [attributes["axis"].i if "axis" in attributes else ALONG_AXIS[node.op_type]]
    if node.op_type == "CumSum":
        return [
            int(axis)
            for axis in np.atleast_1d(constants.get(node.input[1], np.array([], np.int64)))
        ]
    if node.op_type not in REDUCTIONS:
        return []
    if "axes" in attributes:
        return list(attributes["axes"].ints)
    if len(node.input) > 1 and node.input[1]:
        return [int(axis) for axis in constants.get(node.input[1], [])]
    return (
        []
        if attributes.get("noop_with_empty_axes") and attributes["noop_with_empty_axes"].i
        else list(range(rank))
    )


def _rows_meet(cause: str) -> None:
    raise GateError(
        "rows apart",
        cause,
        "a row's answer must not depend on its mates; if the model must see all rows at once, "
        + ROWS_ALONE,
    )
