"""The finding: the first node of a graph whose value departs from PyTorch's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from seatrial_contracts.compare import Comparison, Tolerance, compare_outputs
from seatrial_contracts.kinds.kind import Array
from seatrial_parity.bisect.origin import Origin

MASK = 1e30
"""The bound on numbers that set the scale of errors.

Attention masks add numbers beyond this bound in place of minus infinity; they must not set the
scale.
"""


@dataclass(frozen=True)
class Departure:
    """A node, the value of it that departs, and what shows why."""

    role: str
    """Which graph it stands in: "model" or "prepare"."""
    node: onnx.NodeProto
    value: str
    origin: Origin | None
    found: Comparison
    alone: Comparison | None
    """The same node on PyTorch's own inputs; None where PyTorch has no value for one of them."""
    differs: tuple[str, ...]
    inputs: Mapping[str, Array]
    """What the node read in the graph, its weights aside."""
    training_inputs: Mapping[str, Array]
    """The same in PyTorch, as far as it has them."""
    got: Array
    want: Array
    replay: onnx.ModelProto
    """The node as a model of its own."""

    def lines(self) -> Iterator[str]:
        """For people, most telling first."""
        name = self.node.name or self.value
        yield (
            f"first departure: node '{name}' ({self.node.op_type}) of the {self.role} graph, "
            f"its value '{self.value}'"
        )
        nowhere = "no module of yours: the graph has it, the traced model does not"
        yield f"  in      {self.origin or nowhere}"
        place = "".join(f"[{i}]" for i in self.found.index)
        numbers = (
            f"got {self.found.got:.9g}, want {self.found.want:.9g}, "
            if self.found.got is not None
            else ""
        )
        error = f"error {self.found.worst_error:.2e}, allowed {self.found.allowed:.2e}"
        yield f"  there   {self.found.cause or f'{place} {numbers}{error}'.strip()}"
        if self.alone is not None:
            yield f"  alone   {self.said_alone(self.alone)}"
        for difference in self.differs:
            yield f"  differs {difference}"

    @staticmethod
    def said_alone(alone: Comparison) -> str:
        """What the node does with PyTorch's own inputs."""
        if alone.passed:
            return (
                f"on PyTorch's own inputs this node is right (error {alone.worst_error:.2e}): "
                "small errors before it add up here"
            )
        return (
            f"on PyTorch's own inputs too this node is off by {alone.worst_error:.2e}: "
            "the fault lies in it"
        )


def compare_values(want: Array, got: Array, tolerance: Tolerance) -> Comparison:
    """Two arrays by the rule that answers are compared by."""
    if want.size == got.size == 1:
        want, got = want.reshape(()), got.reshape(())
    return compare_outputs([{"value": tamed(want)}], [{"value": tamed(got)}], tolerance)


def tamed(values: Array) -> Array:
    """Numbers that stand for an infinity as infinities."""
    if values.dtype.kind != "f":
        return values
    beyond = (
        np.abs(values) >= MASK
        if values.dtype != np.float16
        else np.abs(values) >= np.finfo(np.float16).max
    )
    return np.where(beyond, np.copysign(np.inf, values), values)
