"""What the gate says of a model that is sealed at another precision than its own."""

from __future__ import annotations

import numpy as np
import torch

from seatrial_contracts.receipt import Trial
from seatrial_export.gate.torch_candidate import TorchCandidate
from seatrial_export.pipeline import Pipeline
from seatrial_export.precision import as_given, is_double, narrow_weights

FEW = 8
"""Golden rows at which a raised model is compared with the module as it was given."""


def note_precision(candidate: TorchCandidate) -> None:
    """Say in the receipt what was raised, and how far the module's own answers are from that."""
    pipeline = candidate.pipeline
    if pipeline.narrow:
        given = as_given(pipeline.model)
        what = (
            f"the weights of {pipeline.narrow} were raised to float32"
            if narrow_weights(given)
            else f"what it computes in {pipeline.narrow} was raised to float32"
        )
        finding = f"model: {what}; {distance(pipeline)}"
    elif pipeline.is_lowered:
        finding = "model: float64, sealed in float32; the module in float64 is the reference"
    elif is_double(pipeline.model):
        finding = "model: sealed in float64, as it is"
    else:
        return
    candidate.trials.append(
        Trial(
            runner="precision",
            variant="fp32",
            rows=0,
            worst_error=None,
            allowed=None,
            passed=True,
            finding=finding,
        )
    )


def distance(pipeline: Pipeline) -> str:
    """How far the module's answers in its own precision are from the raised ones."""
    given = as_given(pipeline.model)
    worst = 0.0
    for row in pipeline.encoded_golden[:FEW]:
        feeds = pipeline.batch([row])
        want = pipeline.call(feeds)
        try:
            got = own_answers(pipeline, given, feeds)
        except Exception as error:  # forward may raise anything
            return f"it does not run in its own precision here ({type(error).__name__})"
        for name, value in want.items():
            if not value.is_floating_point():
                continue
            one, other = value.double().numpy(), got[name].double().numpy()
            largest = float(np.abs(one).max(initial=0.0)) or 1.0
            worst = max(worst, float(np.abs(one - other).max(initial=0.0)) / largest)
    if not np.isfinite(worst):
        return f"in {pipeline.narrow} its own answers are not finite"
    return f"its own answers differ from these by {worst:.1%} of the largest number at most"


def own_answers(
    pipeline: Pipeline, module: torch.nn.Module, feeds: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """The module's answers as it was given, its inputs in the type of its weights if it needs it.

    Raises what forward raises.
    """
    weights = narrow_weights(module)
    arguments = [feeds[name].clone() for name in pipeline.arguments]
    with torch.no_grad():
        try:
            return pipeline.by_name(module(*arguments))
        except RuntimeError:
            if not weights:
                raise
            dtype = weights[0].dtype
            cast = [each.to(dtype) if each.is_floating_point() else each for each in arguments]
            return pipeline.by_name(module(*cast))
