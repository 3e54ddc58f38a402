"""Ranges of the values inside a graph, measured on calibration rows.

Static quantisation takes its scales from these ranges.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from seatrial_contracts.kinds.kind import Array
from seatrial_export.graphs.session import Session
from seatrial_export.variants.entropy import least_divergent_bound

Range = tuple[np.float32, np.float32]
Ranges = Mapping[str, Range]
"""Value's name -> least and most."""
BINS, LEVELS = 2048, 128
"""Bins of a histogram, and levels that the entropy method compares it with.

Both are TensorRT's (Migacz 2017).
"""


class RangeRule(BaseModel):
    """The rule that reads a range off the values seen.

    The range is that of all values, of all but the outermost, or the one where the least
    information is lost.
    """

    model_config = ConfigDict(frozen=True)

    method: Literal["minmax", "percentile", "entropy"] = "minmax"
    percentile: float = Field(default=99.99, gt=50, le=100)


def measure_ranges(
    model: onnx.ModelProto,
    feeds: Sequence[Mapping[str, Array]],
    rule: RangeRule,
    operators: Sequence[str],
) -> Ranges:
    """Run every row alone, at its own length, and read ranges.

    The ranges are those of the inputs and outputs of these operators.
    """
    session = Session(with_outputs(model, watched(model, operators)))
    ranges = seen_ranges(session, feeds)
    if rule.method == "minmax":
        return ranges
    histograms = {name: np.zeros(BINS, np.int64) for name in ranges}
    bounds = {
        name: max(abs(float(least)), abs(float(most)), 1e-12)
        for name, (least, most) in ranges.items()
    }
    for name, values in values_of(session, feeds):
        if name in ranges:
            histograms[name] += np.histogram(values, BINS, (-bounds[name], bounds[name]))[0]
    read = percentile_range if rule.method == "percentile" else entropy_range
    return {
        name: clipped(
            read(counts, np.linspace(-bounds[name], bounds[name], BINS + 1), rule), ranges[name]
        )
        for name, counts in histograms.items()
    }


def percentile_range(
    counts: NDArray[Any], edges: NDArray[Any], rule: RangeRule
) -> tuple[float, float]:
    """The range of the middle values, `percentile` percent of them.

    As many values are left out on either side.
    """
    shares = np.cumsum(counts) / counts.sum()
    outside = (100 - rule.percentile) / 200
    low, high = (int(np.searchsorted(shares, share)) for share in (outside, 1 - outside))
    return float(edges[low]), float(edges[min(high + 1, len(counts))])


def entropy_range(counts: NDArray[Any], edges: NDArray[Any], _: RangeRule) -> tuple[float, float]:
    """The range at which the least information is lost.

    The range is symmetric before it is clipped to the values that were seen.
    """
    bound = least_divergent_bound(counts, edges, LEVELS)
    return -bound, bound


def clipped(found: tuple[float, float], seen: Range) -> Range:
    """No wider than what was seen."""
    return np.float32(max(found[0], float(seen[0]))), np.float32(min(found[1], float(seen[1])))


def watched(model: onnx.ModelProto, operators: Sequence[str]) -> list[str]:
    """List the float values that go in or out of nodes of these operators.

    Weights are left out; the values are in the graph's order.
    """
    inferred = onnx.shape_inference.infer_shapes(model).graph
    floats = {
        value.name for value in (*inferred.value_info, *inferred.input, *inferred.output)
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    }  # fmt: skip
    weights = {tensor.name for tensor in model.graph.initializer}
    names = [
        name
        for node in model.graph.node
        if node.op_type in operators
        for name in (*node.input, *node.output)
    ]
    return [name for name in dict.fromkeys(names) if name in floats and name not in weights]


def with_outputs(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """The graph with these values as its outputs; an input is passed on by a node of its own."""
    watching = onnx.ModelProto()
    watching.CopyFrom(model)
    del watching.graph.output[:]
    inputs = {value.name for value in model.graph.input}
    for name in names:
        if name in inputs:
            watching.graph.node.append(onnx.helper.make_node("Identity", [name], [f"{name}.seen"]))
        shown = f"{name}.seen" if name in inputs else name
        watching.graph.output.append(
            onnx.helper.make_tensor_value_info(shown, onnx.TensorProto.FLOAT, None)
        )
    return watching


def values_of(
    session: Session, feeds: Sequence[Mapping[str, Array]]
) -> Iterator[tuple[str, NDArray[Any]]]:
    """Every watched value of every row, flat."""
    for row in feeds:
        for name, values in session.run(row).items():
            yield name.removesuffix(".seen"), values.ravel()


def seen_ranges(session: Session, feeds: Sequence[Mapping[str, Array]]) -> dict[str, Range]:
    """Least and most finite number of each value over all rows."""
    found: dict[str, Range] = {}
    for name, values in values_of(session, feeds):
        finite = values[np.isfinite(values)]
        if finite.size:
            least, most = found.get(name, (np.float32(np.inf), np.float32(-np.inf)))
            found[name] = min(least, finite.min()), max(most, finite.max())
    return found


def names_beyond(
    model: onnx.ModelProto, feeds: Sequence[Mapping[str, Array]], most: float
) -> set[str]:
    """Names of the float values in a graph that some row, alone, brings beyond this size.

    An infinity counts as beyond it.
    """
    session = Session(
        with_outputs(model, watched(model, [node.op_type for node in model.graph.node]))
    )
    found = set[str]()
    for name, values in values_of(session, feeds):
        if (np.abs(values) > most).any():
            found.add(name)
    return found
