"""Answers in the client's own terms: made from the graph's tensors, and compared there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from seatrial_contracts.compare import Answers, Array, Comparison, Tolerance, worst_of
from seatrial_contracts.host_stage import HostStage

Notes = tuple[Any, ...]
"""Of one row, one for each of the contract's `noted`."""
Client = Mapping[str, tuple[Array, ...]]
"""One row's mapped outputs: name -> the client's tensors."""


class ClientTerms:
    """The mapped outputs of a contract, whose answers need the rows that they are about."""

    def __init__(self, front: HostStage) -> None:
        self._front, self._contract = front, front.contract

    def notes(self, rows: Sequence[Any]) -> list[Notes]:
        """The notes of raw rows. Raises `Refusal` where the contract refuses one."""
        return [self._front.notes(row) if self._contract.noted else () for row in rows]

    def of(self, notes: Sequence[Notes], answers: Answers) -> list[Client]:
        """What a client sees who asks for all of these answers, to rows with these notes."""
        options = {**self._contract.default_options, **self._contract.whole_options}
        return [
            {
                output.name: output.client(answer, of_row, options)
                for output in self._contract.mapped
            }
            for of_row, answer in zip(notes, answers, strict=True)
        ]

    def compare(
        self, want: Sequence[Client], got: Sequence[Client], tolerance: Tolerance
    ) -> list[Comparison]:
        """Compare answers in the client's terms: for each row the worst of its outputs.

        `want` and `got` hold one mapping for each row, in the same order.
        """
        kinds = {output.name: output.kind for output in self._contract.mapped}
        return [
            worst_of(
                [
                    kind.match(expected[name], have[name], tolerance).model_copy(
                        update={"sample": sample, "output": name, "rows": len(want)}
                    )
                    for name, kind in kinds.items()
                ]
            )
            for sample, (expected, have) in enumerate(zip(want, got, strict=True))
        ]
