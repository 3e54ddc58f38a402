"""Held-out rows, truths, slices and promises at export.

They are sealed, judged, and refused where they are none.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import seatrial as st

CLASSES = ("low", "high")


class Point(st.Row):
    x: st.Tensor[np.float32, 2]


class Side(st.Answer):
    side: Annotated[str, st.Label(*CLASSES)]


class Net(nn.Module):
    """Certain that a point is high where its first number is above 0, whatever is true of it."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(torch.stack([-4 * x[:, 0], 4 * x[:, 0]], 1), 1)


def samples(rows: int, wrong: float, slice_: str) -> list[st.Sample]:
    random = np.random.default_rng(len(slice_))
    points = random.normal(size=(rows, 2)).astype(np.float32)
    turned = random.random(rows) < wrong
    return [
        st.Sample({"x": point}, {"side": CLASSES[int((point[0] > 0) != turn)]}, (slice_,))
        for point, turn in zip(points, turned, strict=True)
    ]


def pipeline(**other: Any) -> st.Pipeline:
    held_out = [*samples(90, 0.0, "clear"), *samples(10, 0.5, "murky")]
    declared: dict[str, Any] = {
        "name": "sides",
        "version": "1.0.0",
        "inputs": Point,
        "outputs": Side,
        "model": Net().eval(),
        "golden": [{"x": [0.5, 1.0]}, {"x": [-1.0, 0.0]}, {"x": [0.0, 0.0]}],
        "held_out": held_out,
    }
    return st.Pipeline(**declared | other)


@pytest.mark.slow
def test_held_out_rows_are_sealed_and_their_slices_are_in_the_receipt(tmp_path: Path) -> None:
    bundle = st.export(pipeline(), tmp_path)
    again = st.open_bundle(bundle.path)
    assert again.held_out is not None
    assert len(again.held_out.rows) == 100
    assert again.held_out.slices[0] == ("clear",)
    trial = next(trial for trial in again.receipts()[0].trials if trial.held_out)
    assert trial.measures is not None
    assert trial.measures.agreement == 1.0
    assert list(trial.slices) == ["clear", "murky"]
    assert trial.slices["clear"].accuracy == 1.0
    assert trial.slices["murky"].accuracy is not None
    assert trial.slices["murky"].accuracy < 0.8 < trial.measures.accuracy  # type: ignore[operator]


@pytest.mark.slow
def test_a_slice_that_breaks_the_promise_stops_the_export_although_all_rows_keep_it(
    tmp_path: Path,
) -> None:
    said = r"held-out rows: slice 'murky', accuracy: got 0\.\d+, want at least 0.9, 10 rows"
    with pytest.raises(st.GateError, match=said):
        st.export(pipeline(promise=st.Promise(accuracy=0.9)), tmp_path)
    assert not list(tmp_path.iterdir())
    bundle = st.export(pipeline(promise=st.Promise(accuracy=0.9, min_slice_rows=20)), tmp_path)
    assert bundle.manifest.variants[0].promise == st.Promise(
        accuracy=0.9, min_slice_rows=20, tolerance=bundle.contract.tolerance
    )


@pytest.mark.parametrize(
    ("sample", "said"),
    [
        (
            st.Sample({"x": [0, 0]}, {"side": "middle"}),
            r"golden\[0\], truth of 'side': got 'middle', want one of its 2",
        ),
        (st.Sample({"x": [0, 0]}, {"end": "low"}), r"truth of 'end'"),
        (st.Sample({"x": [0, 0]}, slices="ab"), r"slices: got one string"),
        (st.Sample({"x": [0, 0]}, slices=("a\nb",)), r"slice: got"),
        (st.Sample({"x": [0, 0]}, slices=("",)), r"slice: got"),
    ],
)
def test_a_truth_or_slice_that_is_none_is_refused_before_the_gate(
    sample: st.Sample, said: str, tmp_path: Path
) -> None:
    with pytest.raises(st.DeclarationError, match=said):
        st.export(pipeline(golden=[sample, sample]), tmp_path)


@pytest.mark.parametrize("where", ["golden", "held_out"])
def test_a_row_that_the_contract_refuses_is_named_with_its_place(
    where: str, tmp_path: Path
) -> None:
    rows = [{"x": [0.5, 1.0]}, {"x": [0.5, 1.0]}, {"x": [0.5]}]
    with pytest.raises(st.Refusal, match=f"pipeline {where}, input 'x', row 2"):
        st.export(pipeline(**{where: rows}), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_promise_that_no_row_can_show_is_refused_before_the_gate(tmp_path: Path) -> None:
    bare = [replace(sample, truth=None) for sample in samples(5, 0, "clear")]
    with pytest.raises(st.DeclarationError, match="promise of accuracy"):
        st.export(pipeline(held_out=bare, promise=st.Promise(accuracy=0.5)), tmp_path)
