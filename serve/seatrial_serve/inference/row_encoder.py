"""Raw rows to what a model's graph takes: the host stage and the prepare graph of one bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from seatrial_contracts.answer_faults import OutputFault
from seatrial_contracts.bundle import Bundle
from seatrial_contracts.errors import ModelError, Refusal, Unavailable
from seatrial_contracts.host_stage import (
    ColumnBlock,
    EncodedRow,
    HostStage,
    padded_length,
    shape_key,
)
from seatrial_serve.runtimes.runtime import Runtime

REMOTE_ANSWER = "the runtime behind this server answers what the model must not"


class RowEncoder:
    """Host stage and prepare graph of a bundle, loaded; whoever runs its model graph."""

    remote = False
    """Does a runtime that is none of ours run the model graph?"""

    @property
    def refused(self) -> bool:
        """Does whoever runs it not admit this version any more?"""
        return False

    def __init__(self, bundle: Bundle, front: HostStage, prepare: Runtime | None) -> None:
        self.bundle = bundle
        self.contract = bundle.contract
        self.front = front
        self._prepare = prepare
        self.specs = bundle.specs
        self._sources = self._plan()
        self._scalars = not any(spec.dims for spec in self.specs)
        self.columnar = prepare is None and front.columnar
        """Do columns enter the graph as they come?"""

    def _plan(self) -> list[tuple[bool, int]]:
        """Return for each input of the model whether prepare makes it, and its place.

        The place is that in the row or in prepare's outputs.
        """
        made = (
            [spec.name for spec in self.bundle.manifest.prepare.outputs]
            if self.bundle.manifest.prepare
            else []
        )
        raw = [spec.name for spec in self.front.specs]
        return [
            (spec.name in made, (made if spec.name in made else raw).index(spec.name))
            for spec in self.specs
        ]

    def encode(self, row: Mapping[str, Any], place: int | None = None) -> EncodedRow:
        """Return a validated row after the host stage and prepare: one value for each of `specs`.

        The row's notes stand behind. Raises `Refusal` or `ModelError`.
        """
        encoded = self.front.encode_noted(row, place)
        if self._prepare is None:
            return encoded
        taken = self._prepare.inputs
        feeds = {
            spec.name: np.asarray(value, spec.array_dtype)
            for spec, value in zip(self.front.specs, encoded, strict=False)
            if spec.name in taken
        }
        made = list(self._prepare.run(feeds).values())
        values = [
            made[place_] if prepared else encoded[place_] for prepared, place_ in self._sources
        ]
        return (*values, *self.front.notes_of(encoded))

    def encodes_inline(self, rows: Sequence[Mapping[str, Any]]) -> bool:
        """May `encode` run on an event loop for these rows?"""
        return self._prepare is None and self.front.encodes_inline(rows)

    @property
    def together(self) -> bool:
        """Does `encode_together` take less than `encode` of one row after another?"""
        return self._prepare is None and self.front.together

    def encode_together(
        self, rows: Sequence[Mapping[str, Any]], places: Sequence[int]
    ) -> list[EncodedRow | Refusal]:
        """See `HostStage.encode_together`; for an engine without a prepare graph."""
        return self.front.encode_together(rows, places)

    def batch_key(self, row: EncodedRow) -> tuple[tuple[tuple[int, ...], ...], int]:
        """What rows must share to be run together (shapes), and this row's padded length."""
        if self._scalars:
            return (), 1
        return shape_key(self.specs, row), padded_length(self.specs, row)

    def batch_key_of_block(self, block: ColumnBlock) -> tuple[tuple[tuple[int, ...], ...], int]:
        """`batch_key` of each row of a block."""
        shapes = (
            column.shape[1:]
            for spec, column in zip(self.specs, block.columns, strict=True)
            if spec.dims
        )
        return tuple(shapes), 1

    def fault(self, found: OutputFault, row: int) -> ModelError | Unavailable:
        """A fault as the error of the row at this place: the model's, or a remote runtime's."""
        return Unavailable("E_RUNTIME_ANSWER", REMOTE_ANSWER) if self.remote else found.error(row)

    def close(self) -> None:
        """Let go of the graph."""
        if self._prepare is not None:
            self._prepare.close()
