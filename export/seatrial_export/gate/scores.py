"""Scores that clients read as probabilities: which answers hold others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from seatrial_contracts.contract import Contract
from seatrial_contracts.errors import GateError
from seatrial_contracts.kinds.classes import are_probabilities
from seatrial_contracts.kinds.detections import Detections
from seatrial_contracts.kinds.kind import Array
from seatrial_contracts.kinds.label import Label
from seatrial_contracts.kinds.labels import Labels
from seatrial_contracts.kinds.output_kind import OutputKind
from seatrial_contracts.kinds.spans import Spans
from seatrial_contracts.receipt import Trial
from seatrial_export.gate.candidate import Candidate

LAYERS = {Label: "Softmax(-1)", Spans: "Softmax(-1)", Labels: "Sigmoid()", Detections: "Sigmoid()"}
"""Kind of answer -> the layer of `torch.nn` that makes its scores of logits."""


class OddScores(NamedTuple):
    """Scores of an answer that are no probabilities."""

    output: str
    """The tensor."""
    row: int
    numbers: str
    """The first of them."""
    kind: OutputKind

    @property
    def together(self) -> bool:
        """Have they to add up to 1?"""
        return isinstance(self.kind, Label)

    @property
    def want(self) -> str:
        """What they have to be."""
        return "numbers from 0 to 1" + (", together 1" if self.together else "")


def odd_scores(contract: Contract, answers: Sequence[Mapping[str, Array]]) -> Iterator[OddScores]:
    """Yield the first odd scores of each output that has some."""
    for field in contract.outputs:
        kind, names = field.kind, contract.tensor_names[field.name]
        if type(kind) not in LAYERS:
            continue
        name = names[1 if isinstance(kind, Detections) else 0]
        for row, answer in enumerate(answers):
            scores = np.asarray(answer[name], np.float64)
            is_right = (
                are_probabilities(scores)
                if isinstance(kind, Label)
                else ((scores >= 0) & (scores <= 1)).all()
            )
            if scores.size and not is_right:
                numbers = ", ".join(f"{score:.4g}" for score in scores.ravel()[:4])
                yield OddScores(name, row, numbers, kind)
                break


def check_scores(candidate: Candidate) -> None:
    """Say in the receipt which outputs answer scores that are no probabilities.

    Raises `GateError` where the kind of the answer takes no others.
    """
    for odd in odd_scores(candidate.declared.contract, candidate.golden.answers):
        layer = LAYERS[type(odd.kind)]
        mend = f"if they are logits, return {odd.output}.{layer.lower()} in forward"
        what = f"output '{odd.output}', golden row {odd.row}"
        got = f"got the scores {odd.numbers}, want {odd.want}"
        if odd.kind.is_bounded:
            raise GateError("scores", f"{what}: {got}", mend)
        candidate.trials.append(
            Trial(
                runner="scores",
                variant="fp32",
                rows=len(candidate.golden.rows),
                worst_error=None,
                allowed=None,
                passed=True,
                finding=f"{what}: {got}: clients get them as they are; {mend}",
            )
        )
