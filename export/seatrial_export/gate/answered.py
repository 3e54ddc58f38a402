"""What becomes of rows that a reference or a graph is asked: an answer, or why there is none."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from seatrial_contracts.contract import Contract
from seatrial_contracts.errors import GateError, SeatrialError
from seatrial_contracts.kinds.kind import Array
from seatrial_export.graphs.exporter_messages import first_lines

Numbers = Mapping[str, Array]
LABELS = "labels"
"""The step of the gate that judges labels, whatever step gave the rows."""
ROW = re.compile(r"^(golden )?row 0[,:] ")
"""The place of the only row of a question, which says nothing to a reader."""


class NoAnswer(NamedTuple):
    """Why a row has no answer."""

    cause: str
    raised: bool = True
    """Was an error raised?

    If not, there are numbers, some of which are NaN, infinite or out of their bounds: a server
    refuses to give them.
    """
    refused: GateError | None = None
    """What is the matter with the model itself, wherever the row stands."""


Answered = Numbers | NoAnswer


def ask_rows(
    contract: Contract, ask: Callable[[Sequence[Any]], Sequence[Numbers]], rows: Sequence[Any]
) -> list[Answered]:
    """All rows at once; where that raises, each alone."""
    if not rows:
        return []
    try:
        return [unfit(contract, answer) or answer for answer in ask(rows)]
    except Exception as error:  # the user's modules and onnxruntime raise kinds of their own
        if len(rows) == 1:
            return [no_answer(error)]
    return [ask_rows(contract, ask, [row])[0] for row in rows]


def unfit(contract: Contract, answer: Numbers) -> NoAnswer | None:
    """Why no server may give this answer."""
    fault = contract.fault_of(answer)
    return (
        None if fault is None else NoAnswer(f"output '{fault.output}': {fault.cause}", raised=False)
    )


def no_answer(error: Exception) -> NoAnswer:
    """What was raised.

    A reference whose numbers are not finite raises too, from the step that names it. So does one
    whose labels contradict its scores, which is a fault of the model and of no row.
    """
    if isinstance(error, GateError):
        cause = ROW.sub("", error.cause)
        return NoAnswer(
            cause, raised=error.step != "answers", refused=error if error.step == LABELS else None
        )
    return NoAnswer(
        str(error)
        if isinstance(error, SeatrialError)
        else f"{type(error).__name__}: {first_lines(error)}"
    )
