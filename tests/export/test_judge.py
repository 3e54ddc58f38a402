"""A judge of raw rows: the library that the model comes from, beside the pipeline's own module."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
import pytest
import torch
from support.declared import row_of
from torch import nn

import seatrial as st
from seatrial_contracts.receipt import Trial
from seatrial_export.gate.judged import STEP, check_judge
from seatrial_export.gate.run_steps import run_steps, silent
from seatrial_export.gate.to_onnx import export_onnx
from seatrial_export.gate.torch_candidate import TorchCandidate

Judge = Callable[[Any], list[dict[str, Any]]]
TAGS = ("urgent", "spam")


class Answer(st.Answer):
    """A number, and labels, which clients see in their own terms."""

    total: float
    tags: Annotated[list[str], st.Labels(*TAGS)]


class Twice(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        share = torch.sigmoid(x)
        return 2 * x, torch.stack([share, 1 - share], 1)


@pytest.fixture(scope="module")
def exported() -> TorchCandidate:
    """The graph, without a judge."""
    pipeline = st.Pipeline(
        name="twice", version="1.0.0", model=Twice().eval(), outputs=Answer,
        inputs=row_of(x=Annotated[float, st.Number(ge=-3, le=3)]),
        golden=[{"x": 1.0}, {"x": -2.0}, {"x": 0.5}],
    )  # fmt: skip
    candidate = TorchCandidate(pipeline)
    run_steps(candidate, [("torch.onnx.export", export_onnx)], frozenset(), silent)
    return candidate


Judged = Callable[..., list[Trial]]


@pytest.fixture
def judged_by(exported: TorchCandidate) -> Judged:
    """The receipt's lines of a judge."""

    def judged(judge: Judge, held_out: Any = ()) -> list[Trial]:
        candidate = copy(exported)
        candidate.pipeline = replace(exported.pipeline, judge=judge, held_out=held_out)
        candidate.trials = []
        run_steps(candidate, [(STEP, check_judge)], frozenset(), silent)
        return candidate.trials

    return judged


def sigmoid(x: float) -> float:
    return float(1 / (1 + np.exp(-np.float64(x))))


def right(rows: Any) -> list[dict[str, Any]]:
    """Tensors of the graph, by their names."""
    return [
        {
            "total": np.float32(2 * row["x"]),
            "tags": np.array([sigmoid(row["x"]), 1 - sigmoid(row["x"])], np.float32),
        }
        for row in rows
    ]


def right_for_clients(rows: Any) -> list[dict[str, Any]]:
    """What a client of V1 sees."""
    answers = []
    for row in rows:
        scores = dict(zip(TAGS, (sigmoid(row["x"]), 1 - sigmoid(row["x"])), strict=True))
        told = [{"label": name, "score": each} for name, each in scores.items() if each >= 0.5]
        answers.append({"tags": told})
    return answers


@pytest.mark.parametrize("judge", [right, right_for_clients])
def test_golden_held_out_and_drawn_rows_are_judged_by_name(judge: Judge, judged_by: Judged) -> None:
    trials = judged_by(judge, held_out=[{"x": 2.0}])
    assert [trial.row_set for trial in trials] == ["golden", "held-out", "drawn"]
    assert {trial.provider for trial in trials} == {judge.__name__}
    assert [trial.rows for trial in trials[:2]] == [3, 1]
    assert trials[2].rows > 3
    assert max(trial.worst_error or 0.0 for trial in trials) < 1e-6


def wrong_beyond_two(rows: Any) -> list[dict[str, Any]]:
    return [
        each | ({"total": np.float32(5.9)} if row["x"] > 2 else {})
        for row, each in zip(rows, right(rows), strict=True)
    ]


def other_label(rows: Any) -> list[dict[str, Any]]:
    return [{"tags": [{"label": "spam", "score": 1.0}]} for _ in rows]


def fails(rows: Any) -> list[dict[str, Any]]:
    raise IndexError("index out of range in self")


@pytest.mark.parametrize(
    ("judge", "message"),
    [
        (
            lambda rows: [each | {"total": np.float32(1.5)} for each in right(rows)],
            "judge: golden row 0: the graph departs from <lambda>: output 'total'.*got 2.*want 1.5",
        ),
        (wrong_beyond_two, "judge: input 'x' at 3.* departs from wrong_beyond_two: output 'total'"),
        (other_label, "golden row 0: the graph departs from other_label: output 'tags'.*label"),
        (fails, "golden row 0: fails raised IndexError: index out of range in self"),
        (
            lambda rows: [{"total": np.zeros(2, np.float32)} for _ in rows],
            r"golden row 0: the graph departs from <lambda>: output 'total'.*got \[\]",
        ),
    ],
)
def test_a_graph_that_departs_from_its_judge_is_refused(
    judge: Judge, message: str, judged_by: Judged
) -> None:
    with pytest.raises(st.GateError, match=message):
        judged_by(judge)


@pytest.mark.parametrize(
    "answer", [{}, {"sum": np.float32(1)}, {"total": 2.0}, {"sum": [{"label": "spam"}]}]
)
def test_a_judge_that_names_no_answer_is_refused(answer: dict[str, Any], judged_by: Judged) -> None:
    with pytest.raises(st.DeclarationError, match="want arrays for tags, total"):
        judged_by(lambda rows: [answer for _ in rows])


def test_a_judge_that_raises_at_a_drawn_row_is_noted(judged_by: Judged) -> None:
    def picky(rows: Any) -> list[dict[str, Any]]:
        if abs(rows[0]["x"]) > 2:
            raise ValueError("too far")
        return right(rows)

    drawn = judged_by(picky)[-1]
    assert drawn.row_set == "drawn"
    assert "input 'x' at" in drawn.finding
    assert "picky raised ValueError: too far" in drawn.finding
