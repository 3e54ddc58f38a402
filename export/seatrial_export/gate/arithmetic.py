"""Arithmetic that the graph does otherwise than PyTorch, or not at all.

Each finding has the line of the model it stands on.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any, NamedTuple

from seatrial_contracts.errors import GateError
from seatrial_export.gate.candidate import Candidate
from seatrial_export.gate.model_lines import lines_of

INEXACT = re.compile(r"aten\.(div|floor_divide|remainder|fmod|sum|cumsum|prod|mean|pow)\b")
"""Operations on whole numbers that differ, measured with torch 2.13 and onnxruntime 1.32.

Division goes through float32 (exact up to 2**24), a sum of int32 saturates, and a sum of int64
loses digits above 2**53.
"""
NARROW = ("bfloat16", "float16")
"""onnxruntime has no product of bfloat16 on the processor, and rounds float16 elsewhere."""
MEND_NARROW = (
    "compute in float32: leave torch.autocast and casts to 16 bits out of forward and call "
    "model.float(); speed is a variant's: variants=['fp16'] or ['int8_per_token']"
)

MEND_DOUBLE = (
    "onnxruntime has some operators in float32 alone: where the contract has no field of float64, "
    "a model of float64 is sealed in float32"
)


class Told(NamedTuple):
    """What such arithmetic adds to a message (empty where there is none), and the mend."""

    cause: str
    mend: str


def told(candidate: Candidate, mend: str) -> Told:
    """Look for such arithmetic in what was traced; `mend` is the mend where there is none."""
    programs = [getattr(graph, "exported", None) for graph in candidate.graphs]
    for name in NARROW:
        found = lines_of(programs, partial(_computes_in, name))
        if found:
            return Told(f"; the model computes in {name}: {found}", MEND_NARROW)
    if lines_of(programs, partial(_computes_in, "float64")):
        return Told("; the model computes in float64", MEND_DOUBLE)
    found = lines_of(programs, _inexact)
    cause = (
        "; whole numbers are exact in PyTorch, in onnxruntime only within 2**24 (division) or "
        f"2**53 (sums): {found}"
    )
    return Told(cause if found else "", mend)


def check_loads(candidate: Candidate) -> None:
    """Load each graph into onnxruntime. Raises `GateError`, with the types that it may lack."""
    for graph in candidate.graphs:
        try:
            _ = graph.session
        except GateError as error:
            cause, mend = told(candidate, error.mend)
            raise GateError(error.step, error.cause + cause, mend) from error


def _computes_in(name: str, target: str, dtype: Any) -> bool:
    return str(dtype) == f"torch.{name}" and not target.startswith("aten._to_copy")


def _inexact(target: str, dtype: Any) -> bool:
    return dtype is not None and not dtype.is_floating_point and bool(INEXACT.match(target))
