"""What a contract promises of a graph: the tensors that it must answer."""

from __future__ import annotations

from typing import NamedTuple

from seatrial_contracts.contract import Contract
from seatrial_contracts.element_types import DTYPES
from seatrial_contracts.kinds.kind import Dim
from seatrial_contracts.kinds.label import Label


class Promised(NamedTuple):
    """A tensor that the contract promises."""

    name: str
    dtype: str
    """Numpy's name of what it is made of."""
    shape: tuple[int | None, ...]
    """Without the batch; None is any size."""
    classes: tuple[str, ...] = ()
    """Of the label whose scores it holds, in their order."""


def promised_by(contract: Contract) -> list[Promised]:
    """What a graph must answer, in the order of the contract's outputs."""
    return [
        Promised(
            tensor.name,
            DTYPES[tensor.datatype],
            tensor.shape,
            field.kind.classes if isinstance(field.kind, Label) else (),
        )
        for field in contract.outputs
        for tensor in field.kind.answer_tensors(field.name)
    ]


def shape_of(field: Promised, batch: Dim) -> tuple[Dim, ...]:
    """Sizes of an output, those that are open by names of their own."""
    return (
        batch,
        *(
            f"{field.name}_{axis}" if size is None else size
            for axis, size in enumerate(field.shape)
        ),
    )
