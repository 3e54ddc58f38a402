"""Whole-number arithmetic that PyTorch does exactly and the graph does not.

Each finding has the line of the model it stands on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from seatrial_export.gate.candidate import Candidate
from seatrial_export.graphs.exporter_messages import is_users

INEXACT = re.compile(r"aten\.(div|floor_divide|remainder|fmod|sum|cumsum|prod|mean|pow)\b")
"""Operations that differ, measured with torch 2.13 and onnxruntime 1.32.

Division goes through float32 (exact up to 2**24), a sum of int32 saturates, and a sum of int64
loses digits above 2**53.
"""
FRAME = re.compile(r'File "([^"]+)", line (\d+)')
MOST_SHOWN = 3


def integer_lines(candidate: Candidate) -> str:
    """The part of a message about such arithmetic.

    The text is empty where there is none, or the candidate was not traced.
    """
    found = [
        place for graph in candidate.graphs for place in _places(getattr(graph, "exported", None))
    ]
    if not found:
        return ""
    shown = ", ".join(dict.fromkeys(found[:MOST_SHOWN]))
    return (
        "; whole numbers are exact in PyTorch, in onnxruntime only within 2**24 (division) or "
        f"2**53 (sums): {shown}"
    )


def _places(exported: Any) -> Iterator[str]:
    for node in exported.graph.nodes if exported is not None else ():
        value = node.meta.get("val")
        floating = getattr(getattr(value, "dtype", None), "is_floating_point", True)
        if not floating and INEXACT.match(str(node.target)):
            frames = [
                frame
                for frame in FRAME.findall(node.meta.get("stack_trace") or "")
                if is_users(frame[0])
            ]
            at = f" at {frames[-1][0].rpartition('/')[2]}:{frames[-1][1]}" if frames else ""
            yield f"{str(node.target).removesuffix('.default')}{at}"
