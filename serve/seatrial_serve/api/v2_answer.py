"""The outputs of V2 and gRPC: what a client sees of an answer, as arrays with the rows first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from seatrial_contracts.answer_forms import MappedOutput
from seatrial_contracts.contract import Contract
from seatrial_contracts.kinds.kind import Array
from seatrial_contracts.kinds.mapped_kind import stacked
from seatrial_contracts.kinds.output_kind import AnswerTensor, OptionValues
from seatrial_serve.api.v2_partial import whole_array
from seatrial_serve.models.answer import Answer
from seatrial_serve.v2.message import Wanted


def client_arrays(
    contract: Contract, answer: Answer, wanted: Sequence[Wanted], options: OptionValues,
    seen: Mapping[str, AnswerTensor],
) -> list[Array]:  # fmt: skip
    """The array of each output that is wanted, shape `(rows, ...)`.

    `seen` are the tensors that a client with these options sees.

    Raises `Refusal` where rows have answers of unlike shape, or their answers are too large.
    """
    names = {each.name for each in wanted}
    made: dict[str, Array] = {}
    for output in contract.mapped:
        tensors = output.kind.counted_tensors(output.name)
        if answer.parts and names & {tensor.name for tensor in tensors}:
            arrays = mapped_arrays(output, answer, options)
            made |= {tensor.name: array for tensor, array in zip(tensors, arrays, strict=True)}
    return [
        array if array.ndim > 1 else array[:, None]
        for name in (each.name for each in wanted)
        for array in (whole_array(contract, answer, name, made, seen),)
    ]


def mapped_arrays(output: MappedOutput, answer: Answer, options: OptionValues) -> list[Array]:
    """The client's tensors of all rows that have an answer, and the counts where these differ."""
    rows = [
        output.client({name: outputs[name][index] for name in output.tensors}, notes, options)
        for (outputs, index), notes in zip(answer, answer.notes_by_row, strict=False)
    ]
    return stacked(output.kind.client_tensors(output.name), rows)
