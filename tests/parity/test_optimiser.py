"""Where onnxruntime's optimiser spoils an answer, the level and the node are named.

They are those where the spoiling begins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

import seatrial as st
from seatrial_contracts.kinds.kind import Array
from seatrial_parity.bisect.optimiser import blame_optimiser
from seatrial_parity.bisect.probed import Level, Probed

FEEDS: Mapping[str, Array] = {"x": np.array([[-1.0, 2.0]], np.float32)}


def chain() -> onnx.ModelProto:
    """x -> Neg -> Relu -> Exp -> Neg -> y."""
    steps = [("Neg", "x", "a"), ("Relu", "a", "b"), ("Exp", "b", "c"), ("Neg", "c", "y")]
    nodes = [
        helper.make_node(op, [given], [made], name=f"node_{made}") for op, given, made in steps
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", 2]) for name in ("x", "y")
    ]
    graph = helper.make_graph(nodes, "graph", ends[:1], ends[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


class Spoiling(Probed):
    """An onnxruntime whose extended optimisations get Exp wrong."""

    def answer(
        self, feeds: Mapping[str, Array], level: Any, wanted: Sequence[str] = ()
    ) -> dict[str, Array]:
        if level in (Level.ORT_DISABLE_ALL, Level.ORT_ENABLE_BASIC):
            return super().answer(feeds, level, wanted)
        right, spoilt = self.model, onnx.ModelProto()
        spoilt.CopyFrom(right)
        next(node for node in spoilt.graph.node if node.op_type == "Exp").op_type = "Sigmoid"
        self.model = spoilt
        try:
            return super().answer(feeds, level, wanted)
        finally:
            self.model = right


def test_the_level_and_the_node_are_named() -> None:
    said = blame_optimiser(Spoiling(chain()), FEEDS, st.Tolerance())
    assert "level 'extended'" in said
    assert "begins at node 'node_c' (Exp), value 'c'" in said


def test_an_optimiser_that_changes_nothing_is_not_blamed() -> None:
    assert blame_optimiser(Probed(chain()), FEEDS, st.Tolerance()) == ""
