"""Non-maximum suppression in a model, judged by onnxruntime's own operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from support.properties import drawing
from torch import Tensor, nn
from torch.export import Dim

import seatrial as st
from seatrial_export.formats.torchscript import foreign_operators
from seatrial_export.gate.translations import TRANSLATIONS
from seatrial_export.graphs.exporter_messages import quiet

IOU, SCORE = 0.5, 0.25


class Suppressed(nn.Module):
    def forward(self, boxes: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        return (
            st.suppress(boxes, scores, iou=IOU, score=SCORE),
            st.suppress(boxes, scores[:, :, 0], iou=IOU),
        )


@pytest.fixture(scope="module")
def exported() -> Callable[[Any, Any], list[Any]]:
    arguments = torch.rand(3, 5, 4), torch.rand(3, 5, 2)
    sizes = {0: Dim("rows", max=64), 1: Dim("boxes", max=4096)}
    with quiet():
        program = torch.onnx.export(
            Suppressed().eval(), arguments, dynamo=True, dynamic_shapes=(sizes, sizes),
            verbose=False, custom_translation_table=dict(TRANSLATIONS),
        )  # fmt: skip
    assert program is not None
    assert "NonMaxSuppression" in {node.op_type for node in program.model_proto.graph.node}
    onnx.checker.check_model(program.model_proto)
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
    names = [each.name for each in session.get_inputs()]
    return lambda *feeds: session.run(None, dict(zip(names, feeds, strict=True)))


@pytest.mark.slow
@given(some.integers(0, 2**32 - 1), some.integers(1, 4), some.integers(1, 24))
@drawing(100)
def test_the_scores_that_stay_are_those_of_onnxruntime(
    exported: Callable[[Any, Any], list[Any]], seed: int, rows: int, number: int
) -> None:
    random = np.random.default_rng(seed)
    boxes = random.integers(-3, 9, (rows, number, 4)).astype(np.float32)  # some end before
    scores = (random.integers(0, 9, (rows, number, 2)) / 8).astype(np.float32)  # ties
    want = exported(boxes, scores)
    got = Suppressed()(torch.tensor(boxes), torch.tensor(scores))
    for theirs, ours in zip(want, got, strict=True):
        assert np.array_equal(theirs, ours.numpy())


@pytest.mark.slow
def test_nan_is_not_suppressed(exported: Callable[[Any, Any], list[Any]]) -> None:
    boxes = np.tile(np.array([0, 0, 9, 9], np.float32), (1, 2, 1))
    scores = np.array([[[np.nan, 0.5], [0.9, 0.75]]], np.float32)
    want = exported(boxes, scores)[0]
    got = Suppressed()(torch.tensor(boxes), torch.tensor(scores))[0].numpy()
    assert np.array_equal(want, got, equal_nan=True)
    assert np.isnan(got[0, 0, 0])
    assert got[0, :, 1].tolist() == [0, 0.75]


def test_a_box_goes_where_a_better_one_of_its_class_covers_it() -> None:
    boxes = torch.tensor([[[0.0, 0, 10, 10], [1, 0, 10, 10], [20, 0, 30, 10]]])
    scores = torch.tensor([[[0.6, 0.9], [0.8, 0.1], [0.5, 0.5]]])
    found = st.suppress(boxes, scores, iou=0.5)
    assert found.tolist() == torch.tensor([[[0, 0.9], [0.8, 0], [0.5, 0.5]]]).tolist()
    assert st.suppress(boxes, scores, iou=0.95).equal(scores)


@pytest.mark.parametrize(
    ("boxes", "scores", "iou", "message"),
    [
        ((2, 3), (1, 2, 3), 0.5, r"boxes of shape \[2, 3\]"),
        ((1, 2, 4), (2,), 0.5, r"scores of shape \[2\]"),
        ((1, 2, 4), (1, 2, 3), 1.5, "iou 1.5, want 0 to 1"),
    ],
)
def test_what_cannot_be_suppressed_is_refused(
    boxes: tuple[int, ...], scores: tuple[int, ...], iou: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        st.suppress(torch.zeros(boxes), torch.zeros(scores), iou=iou)
    with pytest.raises(ValueError, match="want float32"):
        st.suppress(torch.zeros(1, 2, 4).double(), torch.zeros(1, 2))


def test_torchscript_is_refused_by_the_name_of_the_operator() -> None:
    trace: Any = torch.jit.trace
    with quiet():
        module = trace(Suppressed().eval(), (torch.rand(1, 5, 4), torch.rand(1, 5, 2)))
    assert "operators of seatrial" in foreign_operators(torch.jit.freeze(module))
    plain = trace(nn.Linear(2, 3).eval(), (torch.rand(1, 2),))
    assert foreign_operators(torch.jit.freeze(plain)) == ""
