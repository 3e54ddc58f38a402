"""A named input: what enters the graph of it, what clients send of it, what drift sees of it.

A kind knows values that are there. The field adds the missing ones, and those of rows of unlike
length.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SerializeAsAny, TypeAdapter

from seatrial_contracts.element_types import DTYPES
from seatrial_contracts.errors import Refusal
from seatrial_contracts.kinds import kind_of
from seatrial_contracts.kinds.kind import Array, Column, Features, Kind, Stage, TensorSpec, in_graph
from seatrial_contracts.kinds.missing import (
    marked_features,
    marked_stage,
    present_rows,
)
from seatrial_contracts.kinds.raw_tensor import LENGTH, PRESENT, TOKEN_IDS, RawTensor


class InputField(BaseModel):
    """A named input."""

    model_config = ConfigDict(frozen=True, extra="forbid", ignored_types=(cached_property,))
    name: str
    kind: Annotated[SerializeAsAny[Kind], BeforeValidator(kind_of)]
    default: Any = Field(default=None, exclude_if=lambda value: value is None)
    """What a row without the field has there, in its JSON form.

    None: such a row is refused or, where the field may be missing, it is missing.
    """

    @property
    def optional(self) -> bool:
        """May a row leave it out?"""
        return self.kind.nullable or self.default is not None

    @cached_property
    def default_value(self) -> Any:
        """The validated default; None where there is none. Raises `ValidationError`."""
        if self.default is None:
            return None
        return TypeAdapter(self.kind.annotation()).validate_python(self.default, strict=True)

    @cached_property
    def graph_name(self) -> str:
        """What the graph and the model call the field."""
        return in_graph(self.name)

    @cached_property
    def sizes(self) -> Mapping[str, tuple[int, int]]:
        """Name of each varying size in `tensors` -> the contract's least and most."""
        return self.kind.sizes(self.graph_name)

    @cached_property
    def tensors(self) -> tuple[TensorSpec, ...]:
        """What this field is when it enters the graph.

        Behind a kind's own tensors stands `<field>_present`, bool, `(batch,)`, where a mark says
        what is missing.
        """
        own = self.kind.tensors(self.graph_name)
        mark = TensorSpec(name=f"{self.graph_name}_{PRESENT}", dtype="bool")
        return (*own, mark) if self.kind.marked else own

    @cached_property
    def raw_tensors(self) -> tuple[RawTensor, ...]:
        """What clients send of this field over V2 and gRPC, the values first."""
        kind, name = self.kind, self.name
        optional = self.optional or kind.takes_token_ids
        found = [RawTensor(name, kind.datatype, kind.row_shape, optional, kind.want())]
        if kind.takes_token_ids:
            want = f"the ids of its tokens, in the place of '{name}'"
            found.append(RawTensor(f"{name}_{TOKEN_IDS}", "INT64", (None,), True, want))
        if kind.ragged or kind.takes_token_ids:
            want = "how many of the row's values count"
            found.append(RawTensor(f"{name}_{LENGTH}", "INT64", (1,), True, want))
        if kind.marked:
            found.append(RawTensor(f"{name}_{PRESENT}", "BOOL", (1,), True, "true or false"))
        return tuple(found)

    def stage(self, files: Mapping[str, bytes]) -> Stage:
        """The host stage of one value, or of None where it may be missing.

        See `Kind.stage`.
        """
        stage = self.kind.stage(self.name, files)
        return marked_stage(stage, self.kind.filler(stage)) if self.kind.marked else stage

    def features(self, files: Mapping[str, bytes], stage: Stage) -> Features:
        """The traits for drift, missing values among them. `stage` is the field's own."""
        features = self.kind.features(self.name, files, stage)
        if not self.kind.marked:
            return features
        example = TypeAdapter(self.kind.annotation()).validate_python(self.kind.example())
        return marked_features(features, example)

    def column(self, columns: Mapping[str, Column], rows: int) -> Column:
        """The validated column of a request's raw tensors, by their names.

        Raises `Refusal`.
        """
        kind, where = self.kind, f"input '{self.name}'"
        values = columns.get(self.name)
        ids = columns.get(f"{self.name}_{TOKEN_IDS}") if kind.takes_token_ids else None
        if ids is not None and values is not None:
            got = f"'{self.name}_{TOKEN_IDS}' beside it"
            raise Refusal("E_UNKNOWN_FIELD", where, got, "one of the two in a request")
        if ids is not None:
            return self._of_ids(ids, columns)
        if values is None:
            if not self.optional:
                raise Refusal("E_MISSING", where, "nothing", kind.want())
            if self.default is not None:
                return kind.column(self._default_column(rows))
            if kind.marked or kind.datatype == "BYTES":
                values = [None] * rows
            else:
                values = np.full(rows, kind.missing_element, DTYPES[kind.datatype])
            if kind.marked:
                return values
        try:
            if kind.ragged:
                values = self._rows_of(values, columns.get(f"{self.name}_{LENGTH}"))
            if not kind.marked:
                return kind.column(values)
            present = columns.get(f"{self.name}_{PRESENT}")
            mark = None if present is None else np.asarray(present)
            return present_rows(values, mark, kind.column)
        except Refusal as refusal:
            raise refusal.at(", ".join(filter(None, (where, refusal.where)))) from None

    def _of_ids(self, ids: Column, columns: Mapping[str, Column]) -> Column:
        """The validated column of texts that came as token ids. Raises `Refusal`."""
        present = columns.get(f"{self.name}_{PRESENT}") if self.kind.marked else None
        mark = None if present is None else np.asarray(present)
        try:
            rows = self._rows_of(ids, columns.get(f"{self.name}_{LENGTH}"))
            return present_rows(rows, mark, self.kind.id_column)
        except Refusal as refusal:
            where = f"input '{self.name}_{TOKEN_IDS}'"
            raise refusal.at(", ".join(filter(None, (where, refusal.where)))) from None

    def _default_column(self, rows: int) -> Column:
        """A V2 column of the default alone."""
        element = self.kind.wire(self.default)
        if self.kind.datatype == "BYTES" and isinstance(element, str):
            return [element] * rows
        return np.asarray([element] * rows, DTYPES.get(self.kind.datatype, object))

    def _rows_of(self, values: Column, lengths: Column | None) -> list[Array]:
        """Each row's own values, without what fills it up. Raises `Refusal`."""
        rows = list(values)
        if lengths is None:
            return rows
        for place, (row, length) in enumerate(zip(rows, lengths, strict=True)):
            if not 0 <= length <= len(row):
                raise Refusal(
                    "E_SHAPE",
                    f"row {place}",
                    f"the length {length}",
                    f"0 to {len(row)}, the values that came",
                )
        return [row[:length] for row, length in zip(rows, lengths, strict=True)]
