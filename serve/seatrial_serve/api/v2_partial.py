"""The columns of a partial answer, on their way in and out.

On the way in they hold the rows that the contract takes. On the way out NaN stands for a row
without an answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from seatrial_contracts.contract import Contract
from seatrial_contracts.element_types import DTYPES, FLOATS
from seatrial_contracts.errors import MOST_FAULTS, Refusal
from seatrial_contracts.kinds.kind import Array, Column
from seatrial_contracts.kinds.output_kind import AnswerTensor
from seatrial_serve.models.answer import Answer
from seatrial_serve.models.request import rows_at
from seatrial_serve.v2.message import Wanted


def refuse_without_nan(tensors: Mapping[str, AnswerTensor], wanted: Sequence[Wanted]) -> None:
    """Raise `Refusal` if an output of a partial answer has no value for a row without answer."""
    for name, best in ((each.name, each.best) for each in wanted):
        datatype = tensors[name].datatype if best is None else "BYTES"
        if datatype not in FLOATS:
            raise Refusal(
                "E_UNSUPPORTED",
                "header X-Partial",
                f"output '{name}' of {datatype}, which has no NaN for a row without an answer",
                "outputs of FP32 or FP64 alone",
                "name those in 'outputs', or ask over V1",
            )


def sound_columns(
    contract: Contract, columns: Mapping[str, Column], rows: int
) -> tuple[Mapping[str, Column], dict[int, Refusal]]:
    """Return the columns of the rows that the contract takes, and the other rows' errors.

    The columns are validated. The errors say, by place, why the contract refuses a row.

    Raises `Refusal` for what is wrong with a column as a whole: one that is missing, or of rows
    that are all too large.
    """
    refused: dict[int, Refusal] = {}
    room = MOST_FAULTS
    stretches = [(0, rows)]
    while stretches:
        start, stop = stretches.pop()
        try:
            contract.validate_columns(
                {name: column[start:stop] for name, column in columns.items()}, stop - start
            )
        except Refusal as refusal:
            if not refusal.of_a_row:
                raise
            if stop - start == 1:
                alone = {name: column[start:stop] for name, column in columns.items()}
                found = (contract.column_faults(alone, 1) if room > 0 else []) or [refusal]
                faults = [fault.in_row(start) for fault in found]
                refused[start] = Refusal.of_all(faults[: max(1, room)], len(faults))
                room -= len(faults)
                continue
            middle = (start + stop) // 2
            stretches += [(middle, stop), (start, middle)]
    places = [place for place in range(rows) if place not in refused]
    if not places:
        return {}, refused
    sound = rows_at(columns, places) if refused else columns
    assert isinstance(sound, Mapping)
    return contract.validate_columns(sound, len(places)), refused


def whole_array(
    contract: Contract, answer: Answer, name: str, mapped: Mapping[str, Array],
    tensors: Mapping[str, AnswerTensor],
) -> Array:  # fmt: skip
    """Return one output of all rows of a request, rows first.

    `mapped` holds those outputs that are not the graph's own tensors, `tensors` are those that the
    client sees. NaN stands for the rows
    without an answer.

    Raises what `Answer.array` raises, and `Refusal` if NaN in as many rows takes more than an
    answer may.
    """
    if not answer.errors:
        return mapped[name] if name in mapped else answer.array(name)
    tensor = tensors[name]
    if answer.parts:
        known = mapped[name] if name in mapped else answer.array(name)
    else:
        known = np.empty((0, *(side or 0 for side in tensor.shape)))
    size_bytes, most = answer.rows * known[:1].nbytes, contract.limits.max_answer_bytes
    if size_bytes > most:
        mend = "ask for fewer or smaller rows at once"
        raise Refusal(
            "E_ANSWER_BYTES", "the answer", f"{size_bytes} bytes", f"at most {most}", mend
        )
    array = np.full((answer.rows, *known.shape[1:]), np.nan, DTYPES[tensor.datatype])
    array[answer.places] = known
    return array
