"""A bundle on the bench: its fp32 graph and its rows.

The rows are taken through host stage and prepare; further rows are those that ranges are measured
on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import onnx

from seatrial_contracts.bundle import Bundle
from seatrial_contracts.drawn_rows import DrawnRow, draw_rows
from seatrial_contracts.errors import DeclarationError, Refusal
from seatrial_contracts.golden import Golden
from seatrial_contracts.host_stage import EncodedRow, collate, padded_length
from seatrial_contracts.kinds.kind import Array
from seatrial_contracts.kinds.tensor import Tensor
from seatrial_contracts.own_rows import validate_own
from seatrial_export.gate.independence import answerable
from seatrial_export.graphs.scratch import Scratch
from seatrial_export.graphs.sealed import read_graph
from seatrial_export.graphs.session import Model, PrepareStage
from seatrial_export.variants.original import Original

FP32 = "fp32"


class Subject:
    """Raw rows go the whole way: contract, host stage, prepare graph, model graph."""

    def __init__(
        self,
        bundle: Bundle,
        calibration: Sequence[Mapping[str, Any]] | None = None,
        scratch: Scratch | None = None,
    ) -> None:
        """Take a bundle, which may be one that is not written yet.

        `calibration` are raw rows; the golden ones where there are none. Weights of variants lie in
        `scratch` until they are sealed, where they are many.
        """
        self.scratch = scratch or Scratch()
        self.bundle, self.contract, self.specs = bundle, bundle.contract, bundle.specs
        self.batchable = bundle.manifest.batchable
        self.calibration = bundle.golden.rows if calibration is None else calibration
        self.front, stage = bundle.make_front(), bundle.manifest.prepare
        self._prepare = PrepareStage(
            bundle.contract.tensors,
            bundle.specs,
            *((stage.inputs, stage.outputs, read_graph(bundle, stage.graph)) if stage else ()),
        )

    def prepared(self, row: Mapping[str, Any]) -> EncodedRow:
        """A raw row to one for the model graph. Raises `Refusal`."""
        return self._prepare(self.front.encode_row(validate_own(self.contract, row)))

    @cached_property
    def fp32_graph(self) -> onnx.ModelProto:
        """What variants are made of. Raises `DeclarationError` where the bundle has none."""
        found = [
            variant
            for variant in self.bundle.manifest.variants
            if variant.name == FP32 and variant.format == "onnx"
        ]
        if not found:
            raise DeclarationError(
                f"bundle {self.bundle.name} {self.bundle.version}",
                "no fp32 ONNX graph",
                "one to make variants of",
            )
        return read_graph(self.bundle, found[0].graph)

    @cached_property
    def fp32(self) -> Model:
        """What variants are measured beside."""
        return Model(self.fp32_graph, self.specs)

    @cached_property
    def original(self) -> Original:
        """The starting point of recipes.

        Raises `DeclarationError` that names a calibration row which the contract refuses.
        """
        feeds = []
        for place, row in enumerate(self.calibration):
            try:
                feeds.append(collate(self.specs, [self.prepared(row)]))
            except Refusal as refusal:
                raise DeclarationError(f"calibration row {place}: {refusal}") from None
        edges = [collate(self.specs, [row]) for _, row in self.edge_rows]
        # A copy, which gets names for its nodes.
        model = onnx.ModelProto()
        model.CopyFrom(self.fp32_graph)
        return Original(model, feeds, edges=edges, batchable=self.batchable, scratch=self.scratch)

    @cached_property
    def _drawn(self) -> list[tuple[DrawnRow, EncodedRow]]:
        """Rows drawn from the contract and prepared, on which the fp32 graph does not raise."""
        drawn = draw_rows(self.front, self.bundle.golden.rows)
        ready = [(each, row) for each in drawn if (row := self._probe(each)) is not None]
        answered = {id(row) for row in answerable(self.fp32, [row for _, row in ready])}
        return [(each, row) for each, row in ready if id(row) in answered]

    @cached_property
    def _edges(self) -> list[tuple[DrawnRow, EncodedRow, Mapping[str, Array]]]:
        """Drawn rows that fp32 answers as a server may, each with its prepared form and answer.

        No tensor of numbers beyond all bounds is among them.
        """
        open_tensors = tuple(
            f"input '{field.name}' at"
            for field in self.contract.inputs
            if isinstance(field.kind, Tensor)
        )
        drawn = [
            (each, row)
            for each, row in self._drawn
            if each.named or not each.where.startswith(open_tensors)
        ]
        answers = self.fp32.run_in_batches([row for _, row in drawn], 1)
        return [
            (each, row, answer)
            for (each, row), answer in zip(drawn, answers, strict=True)
            if self.contract.fault_of(answer) is None
        ]

    @property
    def edge_rows(self) -> list[tuple[DrawnRow, EncodedRow]]:
        """Rows at the bounds of the contract that fp32 answers, and their prepared form."""
        return [(drawn, row) for drawn, row, _ in self._edges]

    @property
    def edge_answers(self) -> list[Mapping[str, Array]]:
        """The answers of fp32 to them."""
        return [answer for _, _, answer in self._edges]

    @cached_property
    def sets(self) -> list[tuple[Golden, list[EncodedRow]]]:
        """The golden set, and the held-out one where there is one, each with its prepared rows."""
        sets = [self.bundle.golden, *([self.bundle.held_out] if self.bundle.held_out else [])]
        return [(golden, [self.prepared(row) for row in golden.rows]) for golden in sets]

    @cached_property
    def probes(self) -> list[EncodedRow]:
        """Prepared rows, drawn from the contract and golden, that stand beside others in a batch.

        The fp32 graph answers each.
        """
        return [*(row for _, row in self._drawn), *self.sets[0][1]]

    def _probe(self, drawn: DrawnRow) -> EncodedRow | None:
        try:
            return self.prepared(drawn.row)
        except Exception:  # onnxruntime's own kinds
            # the prepare graph raises on the row, which fails alone in a server too
            return None

    @cached_property
    def truths(self) -> set[str]:
        """The outputs that some row knows the truth of."""
        return {name for golden, _ in self.sets for true in golden.truth for name in true or {}}

    @cached_property
    def middling(self) -> EncodedRow:
        """The prepared row of middling length: what is timed."""
        rows = sorted(
            (row for _, rows in self.sets for row in rows),
            key=lambda row: padded_length(self.specs, row),
        )
        return rows[len(rows) // 2]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Batch sizes that variants are tried and timed at."""
        return (1, 8, 32) if self.batchable else (1,)
