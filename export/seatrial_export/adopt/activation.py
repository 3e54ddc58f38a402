"""Activations: what makes probabilities of the logits that a foreign file answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import numpy as np

from seatrial_contracts.contract import Contract
from seatrial_contracts.element_types import FLOATS
from seatrial_contracts.errors import DeclarationError, GateError
from seatrial_contracts.kinds.kind import Array
from seatrial_export.gate.scores import odd_scores

Activation = Literal["softmax", "sigmoid", "none"]
"""`"none"`: the file's scores are answered as they are."""
Activations = Mapping[str, Activation]
"""By the name of the tensor of the contract."""
OPERATORS: Mapping[str, str] = {"softmax": "Softmax", "sigmoid": "Sigmoid"}
"""Those that stand behind the graph, in ONNX."""
WHERE = "activation"


def check_activations(contract: Contract, activations: Mapping[str, str]) -> None:
    """Raise `DeclarationError` for an activation that is none, or of what it cannot be put on."""
    tensors = {tensor.name: tensor for tensor in contract.answer_tensors}
    known = ", ".join(get_args(Activation))
    for name, activation in activations.items():
        if activation not in get_args(Activation):
            raise DeclarationError(f"{WHERE} of '{name}'", repr(activation)[:60], known)
        tensor = tensors.get(name)
        floats = [each.name for each in contract.answer_tensors if each.datatype in FLOATS]
        if tensor is None or name not in floats:
            got = "no output of numbers with a fraction"
            want = f"one of {', '.join(floats) or 'none'}"
            raise DeclarationError(f"{WHERE} of '{name}'", got, want)
        if activation == "softmax" and not tensor.shape:
            got = "softmax of one number"
            raise DeclarationError(f"{WHERE} of '{name}'", got, "several, or sigmoid")


def activated(values: Array, activation: str) -> Array:
    """Numbers of one row after their activation; softmax is over the last axis. float64 inside."""
    if activation not in OPERATORS:
        return values
    wide = np.asarray(values, np.float64)
    with np.errstate(over="ignore"):
        if activation == "sigmoid":
            return np.asarray(1 / (1 + np.exp(-wide)), values.dtype)
        powers = np.exp(wide - wide.max(-1, keepdims=True, initial=-np.inf))
    return np.asarray(powers / powers.sum(-1, keepdims=True), values.dtype)


def check_probabilities(
    contract: Contract, answers: Sequence[Mapping[str, Array]], activations: Activations
) -> None:
    """Raise `GateError` for the first answer whose scores are no probabilities.

    Scores of a label may be others if the activation `"none"` says so.
    """
    for odd in odd_scores(contract, answers):
        name, said = odd.output, activations.get(odd.output)
        if odd.together and said == "none":
            continue
        if said in OPERATORS:
            mend = f"let the reference answer what {said} makes of its scores, as clients get them"
        else:
            mend = f"if they are logits: --activation {name}=softmax, or {name}=sigmoid"
            if odd.together:
                mend += f"; if clients shall see such scores: --activation {name}=none"
        cause = f"golden row {odd.row}, output '{name}': got the scores {odd.numbers}"
        raise GateError("answers", f"{cause}, want {odd.want}", mend)
