"""The lines of a model that the operations of its traced program come from."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from seatrial_export.graphs.exporter_messages import is_users

FRAME = re.compile(r'File "([^"]+)", line (\d+)')
MOST_SHOWN = 3
Wanted = Callable[[str, Any], bool]
"""An operation's name and its answer's element type -> is it one to tell?"""


def lines_of(programs: list[Any], wanted: Wanted) -> str:
    """The first operations that are wanted: "aten.div.Tensor at model.py:12, aten.sum".

    The text is empty if there is none; a program that is None has none.
    """
    found = [
        _shown(node)
        for program in programs
        for node in (program.graph.nodes if program is not None else ())
        if node.op == "call_function"
        and wanted(str(node.target), getattr(node.meta.get("val"), "dtype", None))
    ]
    return ", ".join(list(dict.fromkeys(found))[:MOST_SHOWN])


def _shown(node: Any) -> str:
    frames = [
        frame for frame in FRAME.findall(node.meta.get("stack_trace") or "") if is_users(frame[0])
    ]
    at = f" at {frames[-1][0].rpartition('/')[2]}:{frames[-1][1]}" if frames else ""
    return f"{str(node.target).removesuffix('.default')}{at}"
