"""All that is wrong with the tensors of a refused request, not only what was found first.

A good request never comes here. A refused one is looked at once more, from its beginning.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from seatrial_contracts.contract import Contract
from seatrial_contracts.errors import Refusal
from seatrial_contracts.kinds.kind import Column
from seatrial_serve.v2.columns import add_column
from seatrial_serve.v2.message import Tensor


def with_others(
    first: Refusal, contract: Contract, tensors: Sequence[Callable[[], Tensor]]
) -> Refusal:
    """The refusal of a request together with everything else that is wrong with its inputs.

    `tensors` read one input each, and raise `Refusal` where it cannot be read. Of an input whose
    values are wrong, the first row is named; of the first of these rows, every input is looked at.
    """
    if first.field is None and first.row is None and first.code != "E_UNKNOWN_FIELD":
        return first
    faults: list[Refusal] = []
    columns: dict[str, Column] = {}
    whole: list[Tensor] = []
    for read in tensors:
        try:
            tensor = read()
            whole.append(tensor)
            add_column(contract, columns, tensor, whole[0])
        except Refusal as refusal:
            faults.append(refusal)
    rows = whole[0].shape[0] if whole else 0
    if 0 < rows <= contract.limits.max_rows:
        unread = {fault.field for fault in faults}
        faults += contract.column_faults(columns, rows, unread)
    return Refusal.of_all(faults, len(faults)) if faults else first
