"""Temperature scaling: one number for each label that makes its probabilities honest.

The number is fitted on held-out rows, and becomes part of the graph.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from seatrial_contracts.calibration import Calibration
from seatrial_contracts.compare import Answers
from seatrial_contracts.contract import Contract
from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.kinds.classes import are_probabilities
from seatrial_contracts.kinds.kind import Array
from seatrial_contracts.kinds.label import Label
from seatrial_contracts.measures import calibration_error
from seatrial_contracts.sample import Sample
from seatrial_export.around import Around, naming

LEAST_ROWS = 20
LEAST, MOST = 0.05, 20.0
"""Where the temperature is looked for."""
STEPS = 60
"""Of the search: each leaves 0.618 of what it searches."""
FLOOR = 1e-30
"""Probabilities below count as this one: their logarithm must be finite, in float32 too."""


class Tempered(Around):
    """The user's model with the scores z of some labels tempered.

    Tempering makes the scores probabilities: softmax(z / T).

    Where the model answers probabilities p already, z is log p: the softmax that made them took one
    number off all logits of a row, which the next softmax does not see, so this is what dividing
    the logits would have been.
    """

    def __init__(
        self, model: nn.Module, outputs: Sequence[str], calibrations: Sequence[Calibration]
    ) -> None:
        super().__init__(model, outputs)
        self._by_output = {
            found.output: (found.temperature, found.from_probabilities) for found in calibrations
        }

    def given(self, name: str, tensor: Tensor) -> Tensor:
        """Probabilities, where the output is a label whose temperature was fitted."""
        if name not in self._by_output:
            return tensor
        temperature, from_probabilities = self._by_output[name]
        logits = tensor.clamp(min=FLOOR).log() if from_probabilities else tensor
        return torch.softmax(logits / temperature, -1)


def tempered(
    model: nn.Module,
    arguments: Sequence[str],
    outputs: Sequence[str],
    calibrations: Sequence[Calibration],
) -> nn.Module:
    """Make a `Tempered` whose `forward` shows its arguments by name."""
    return naming(Tempered, arguments)(model, outputs, calibrations)


def fit_temperatures(
    contract: Contract, samples: Sequence[Sample], answers: Answers
) -> tuple[Calibration, ...]:
    """Fit one temperature for each label with known truths (Guo et al. 2017, section 4.2).

    `answers` are the model's own. Raises `DeclarationError` where too few rows have a known truth.
    """
    found = []
    for field in contract.outputs:
        if not isinstance(field.kind, Label):
            continue
        known = [
            (answer[field.name], field.kind.classes.index(sample.truth[field.name]))
            for sample, answer in zip(samples, answers, strict=True)
            if sample.truth is not None and field.name in sample.truth
        ]
        if known:
            scores = np.stack([np.asarray(row, np.float64) for row, _ in known])
            found.append(fit(field.name, scores, np.array([true for _, true in known])))
    rows = min((calibration.rows for calibration in found), default=0)
    if rows < LEAST_ROWS:
        want = f"held_out with {LEAST_ROWS} samples or more, each with the truth of a label"
        raise DeclarationError("pipeline temperature", f"{rows} held-out rows with a truth", want)
    return tuple(found)


def fit(output: str, scores: Array, true: Array) -> Calibration:
    """Fit the temperature of one label.

    `scores` has the shape `(rows, classes)`. `true` holds the places of the true classes,
    `(rows,)`.
    """
    from_probabilities = are_probabilities(scores)
    logits = np.log(np.maximum(scores, FLOOR)) if from_probabilities else scores
    places = np.arange(len(true))
    right = (logits.argmax(1) == true).astype(np.float64)
    loss: Callable[[float], float] = lambda log: float(
        -log_softmax(logits / math.exp(log))[places, true].mean()
    )
    # Rows that are all right would ask for certainty, and are no reason for it.
    least = 1.0 if right.all() else LEAST
    temperature = float(f"{math.exp(least_at(loss, math.log(least), math.log(MOST))):.6g}")
    before, after = log_softmax(logits), log_softmax(logits / temperature)
    return Calibration(
        output=output,
        temperature=temperature,
        from_probabilities=from_probabilities,
        rows=len(true),
        error_before=calibration_error(np.exp(before).max(1), right),
        error_after=calibration_error(np.exp(after).max(1), right),
        loss_before=float(-before[places, true].mean()),
        loss_after=float(-after[places, true].mean()),
    )


def log_softmax(logits: Array) -> Array:
    """Natural logarithms of the probabilities, shape `(rows, classes)`."""
    shifted = logits - logits.max(1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(1, keepdims=True)))


def least_at(value: Callable[[float], float], low: float, high: float) -> float:
    """Find where a function with one valley is least.

    Golden-section search gives the same place on every machine.
    """
    part = (math.sqrt(5) - 1) / 2
    left, right = high - part * (high - low), low + part * (high - low)
    at_left, at_right = value(left), value(right)
    for _ in range(STEPS):
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - part * (high - low)
            at_left = value(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + part * (high - low)
            at_right = value(right)
    return (low + high) / 2
