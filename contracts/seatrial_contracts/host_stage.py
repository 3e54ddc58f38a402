"""The host stage: validated rows to arrays. Training and serving call this one object."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from operator import itemgetter
from typing import Any

import numpy as np

from seatrial_contracts.contract import Contract
from seatrial_contracts.errors import Refusal
from seatrial_contracts.kinds.kind import Array, Column, Kind, Stage, StageTogether, TensorSpec
from seatrial_contracts.kinds.tensor import Tensor

EncodedRow = tuple[Any, ...]
"""One row after the host stage: a scalar or an array for each of the specs it was made for.

Behind them stand the row's notes, where it was encoded with them.
"""


@dataclass(slots=True)
class ColumnBlock:
    """Rows that came by column: one array for each spec, rows first.

    A slice of a `ColumnBlock` is a `ColumnBlock` again.
    """

    columns: tuple[Array, ...]

    def __len__(self) -> int:
        return len(self.columns[0])

    def __getitem__(self, part: slice) -> ColumnBlock:
        return ColumnBlock(tuple(column[part] for column in self.columns))


Part = Sequence[EncodedRow] | ColumnBlock
"""Rows of like shape that go together, in either form."""

Lengths = Mapping[str, Sequence[int]]
"""Input of the graph -> the lengths to which its batches are padded, ascending."""
NO_LENGTHS: Lengths = {}

CHEAP_ROWS = 64
"""Rows of plain scalars that take about as long as a hop to another thread."""


class HostStage:
    """The host stage of a contract; `files` are the bundle's files (a tokenizer, say)."""

    def __init__(self, contract: Contract, files: Mapping[str, bytes]) -> None:
        self.contract, self.files, self.specs = contract, files, contract.tensors
        self.columnar = not any(field.kind.by_row for field in contract.inputs)
        """Does every input enter as it comes, so that columns need no look at single rows?"""
        self._slow_kinds = [
            (field.name, field.kind.encodes_inline)
            for field in contract.inputs
            if type(field.kind).encodes_inline is not Kind.encodes_inline
        ]
        self.stages = {field.name: field.stage(files) for field in contract.inputs}
        scalars = (
            self.columnar and len(self.stages) > 1 and not any(spec.dims for spec in self.specs)
        )
        self._noting = {
            field.name: field.kind.noting_stage(field.name, files)
            for field in contract.inputs
            if field.name in contract.noted
        }
        """Of the inputs that an answer is about."""
        self._noted_stages = self.stages | self._noting
        self._shared = shared_sizes(contract)
        self._scalars: Callable[[Mapping[str, Any]], EncodedRow] | None = (
            itemgetter(*self.stages) if scalars else None
        )
        """The values of a row of plain scalars, which enter as they come unless one is missing."""

    def encodes_inline(self, rows: Sequence[Mapping[str, Any]]) -> bool:
        """May these rows be encoded on an event loop, or is it worth a thread?"""
        if not self._slow_kinds:
            return len(rows) <= CHEAP_ROWS
        return len(rows) == 1 and all(
            rows[0][name] is None or inline(rows[0][name]) for name, inline in self._slow_kinds
        )

    def encode_row(self, row: Mapping[str, Any], place: int | None = None) -> EncodedRow:
        """Encode a validated row to scalars and arrays, aligned with `specs`.

        Raises `Refusal` that names the input and row `place`.
        """
        if self._scalars is not None:
            values = self._scalars(row)
            if None not in values:
                return values
        encoded: list[Any] = []
        for name, stage in self.stages.items():
            try:
                encoded += stage(row[name])
            except Refusal as refusal:
                raise with_others(refusal, name, self.stages, row, place) from None
        if self._shared:
            check_shared(self._shared, encoded, place)
        return tuple(encoded)

    def encode_noted(self, row: Mapping[str, Any], place: int | None = None) -> EncodedRow:
        """As `encode_row`, with the row's notes behind: one for each of the contract's `noted`."""
        if not self._noting:
            return self.encode_row(row, place)
        encoded: list[Any] = []
        notes: list[Any] = []
        for name, stage in self._noted_stages.items():
            try:
                made = stage(row[name])
            except Refusal as refusal:
                raise with_others(refusal, name, self._noted_stages, row, place) from None
            add_made(encoded, notes, made, noted=name in self._noting)
        if self._shared:
            check_shared(self._shared, encoded, place)
        return (*encoded, *notes)

    def notes_of(self, row: EncodedRow) -> tuple[Any, ...]:
        """The notes of a row as `encode_noted` encodes it; none of a contract without notes."""
        return row[len(row) - len(self._noting) :]

    def notes(self, row: Any) -> tuple[Any, ...]:
        """The notes of a raw row. Raises `Refusal`."""
        return self.notes_of(self.encode_noted(self.contract.validate_row(row)))

    @cached_property
    def together(self) -> bool:
        """Do several rows together take less than one after another?"""
        return any(isinstance(stage, StageTogether) for stage in self.stages.values())

    def encode_together(
        self, rows: Sequence[Mapping[str, Any]], places: Sequence[int]
    ) -> list[EncodedRow | Refusal]:
        """Validated rows as `encode_noted` encodes them, with a `Refusal` for each refused row.

        The `Refusal` stands in the place of the row, and names the row's place in its request.
        """
        made: list[Any] = [[] for _ in rows]
        notes: list[list[Any]] = [[] for _ in rows]
        faults: dict[int, list[Refusal]] = {}
        for name, stage in self._noted_stages.items():
            values = [row[name] for row in rows]
            found = (
                stage.together(values)
                if isinstance(stage, StageTogether)
                else map(partial(refusal_of, stage), values)
            )
            for place, each in enumerate(found):
                if isinstance(each, Refusal):
                    faults.setdefault(place, []).append(
                        each.at(where_of(name, places[place], each.where))
                    )
                elif place not in faults:
                    add_made(made[place], notes[place], each, noted=name in self._noting)
        for place, found_here in faults.items():
            made[place] = Refusal.of_all(found_here, len(found_here))
        if self._shared:
            for place, each in enumerate(made):
                try:
                    if isinstance(each, list):
                        check_shared(self._shared, each, places[place])
                except Refusal as refusal:
                    made[place] = refusal
        return [
            (*each, *of_row) if isinstance(each, list) else each
            for each, of_row in zip(made, notes, strict=True)
        ]

    def encode_columns(self, columns: Mapping[str, Column]) -> ColumnBlock:
        """Validated columns of a `plain` contract, aligned with `specs`."""
        made = tuple(np.asarray(columns[field.name]) for field in self.contract.inputs)
        if self._shared:
            check_shared(self._shared, [column[0] for column in made], 0)
        return ColumnBlock(made)

    def refusal_code(self, row: Any) -> str | None:
        """The code with which contract or host stage refuse this raw row.

        None where both take the row.
        """
        try:
            self.encode_row(self.contract.validate_row(row))
        except Refusal as refusal:
            return refusal.code
        return None


SharedSize = tuple[str, list[tuple[str, int, int]]]
"""A size that has a name, and where it stands: input, place of its tensor, and axis."""


def shared_sizes(contract: Contract) -> list[SharedSize]:
    """Sizes whose name stands more than once in tensors that clients send."""
    found: dict[str, list[tuple[str, int, int]]] = {}
    place = 0
    for field in contract.inputs:
        if isinstance(field.kind, Tensor):
            for axis, dim in enumerate(field.tensors[0].dims):
                if isinstance(dim, str):
                    found.setdefault(dim, []).append((field.name, place, axis))
        place += len(field.tensors)
    return [(name, places) for name, places in found.items() if len(places) > 1]


def check_shared(shared: Sequence[SharedSize], row: Sequence[Any], place: int | None) -> None:
    """Raise `Refusal` where one name stands for two sizes in an encoded row."""
    for size, (first, *others) in shared:
        want = row[first[1]].shape[first[2]]
        for field, tensor, axis in others:
            got = row[tensor].shape[axis]
            if got != want:
                raise Refusal(
                    "E_SHAPE",
                    where_of(field, place),
                    f"{got} for the size '{size}'",
                    f"{want}, as input '{first[0]}' has",
                )


def where_of(name: str, place: int | None, inner: str = "") -> str:
    """An input for messages, with the row's place in its request where that is known.

    `inner` is a place within the value, such as "item 2".
    """
    row = f"row {place}" if place is not None else ""
    return ", ".join(filter(None, (f"input '{name}'", inner, row)))


def add_made(encoded: list[Any], notes: list[Any], made: Sequence[Any], *, noted: bool) -> None:
    """Add what a stage made of a value: its tensors, and the note behind them if it is `noted`."""
    if noted:
        *made, note = made
        notes.append(note)
    encoded += made


def refusal_of(stage: Stage, value: Any) -> tuple[Any, ...] | Refusal:
    """What a stage makes of a value, or why it refuses it."""
    try:
        return stage(value)
    except Refusal as refusal:
        return refusal


def with_others(
    first: Refusal, name: str, stages: Mapping[str, Stage], row: Mapping[str, Any],
    place: int | None,
) -> Refusal:  # fmt: skip
    """Why the stages refuse a row: `first`, of the input `name`, and what is wrong behind it."""
    faults = [first.at(where_of(name, place, first.where))]
    for other in [*stages][[*stages].index(name) + 1 :]:
        made = refusal_of(stages[other], row[other])
        if isinstance(made, Refusal):
            faults.append(made.at(where_of(other, place, made.where)))
    return Refusal.of_all(faults, len(faults))


def group_places(keys: Iterable[Hashable]) -> dict[Any, list[int]]:
    """Key -> the places where it stands, in order: which rows may run together."""
    places: dict[Any, list[int]] = {}
    for place, key in enumerate(keys):
        places.setdefault(key, []).append(place)
    return places


def in_batches(keys: Iterable[Hashable], size: int) -> Iterator[list[int]]:
    """Yield the places of rows that run together: those of one key, at most `size` of them."""
    for places in group_places(keys).values():
        for start in range(0, len(places), size):
            yield places[start : start + size]


def collate(
    specs: Sequence[TensorSpec], rows: Sequence[EncodedRow], lengths: Lengths = NO_LENGTHS
) -> dict[str, Array]:
    """Collate encoded rows of like shape to a batch: name -> array with the rows first.

    Rows are padded where the spec gives a `pad`: to the longest of them, or to the next of the
    input's `lengths`, if one is that long. Notes behind a row's tensors enter no batch.
    """
    feeds: dict[str, Array] = {}
    for spec, column in zip(specs, zip(*rows, strict=True), strict=False):
        if spec.pad is not None:
            to = lengths.get(spec.name, ())
            feeds[spec.name] = pad(column, spec.pad, left=spec.pad_left, lengths=to)
        elif spec.dims:
            feeds[spec.name] = aligned(column[0][None]) if len(column) == 1 else np.stack(column)
        else:
            feeds[spec.name] = np.array(column, spec.array_dtype)
    return feeds


def collate_parts(
    specs: Sequence[TensorSpec], parts: Sequence[Part], lengths: Lengths = NO_LENGTHS
) -> dict[str, Array]:
    """Parts of like shape to one batch, in order; see `collate`."""
    if len(parts) == 1:
        return _collated(specs, parts[0], lengths)
    if any(isinstance(part, ColumnBlock) for part in parts):
        batches = [_collated(specs, part, lengths) for part in parts]
        return {
            spec.name: np.concatenate([batch[spec.name] for batch in batches]) for spec in specs
        }
    rows = [row for part in parts if not isinstance(part, ColumnBlock) for row in part]
    return collate(specs, rows, lengths)


def _collated(specs: Sequence[TensorSpec], part: Part, lengths: Lengths) -> dict[str, Array]:
    if isinstance(part, ColumnBlock):
        pairs = zip(specs, part.columns, strict=True)
        return {spec.name: aligned(column) for spec, column in pairs}
    return collate(specs, part, lengths)


def aligned(array: Array) -> Array:
    """The array, as runtimes read it: bytes of a request may lie askew."""
    return array if array.flags.aligned else array.copy()


def pad(
    column: Sequence[Array], value: int | str, *, left: bool = False, lengths: Sequence[int] = ()
) -> Array:
    """Pad arrays of unlike length, alike in their other sides, to `(rows, longest, ...)`.

    The filling stands on the right, or on the left with `left`. `lengths`: see `collate`.
    """
    longest = max(len(item) for item in column)
    if lengths:
        longest = next((length for length in lengths if length >= longest), longest)
    if all(len(item) == longest for item in column):
        return np.stack(column)
    padded = np.full((len(column), longest, *column[0].shape[1:]), value, column[0].dtype)
    for place, item in enumerate(column):
        padded[place, longest - len(item) if left else 0 :][: len(item)] = item
    return padded


def shape_key(specs: Sequence[TensorSpec], row: EncodedRow) -> tuple[tuple[int, ...], ...]:
    """What rows must have in common to share a batch: the shapes of what is not padded."""
    return tuple(
        value.shape if spec.pad is None else value.shape[1:]
        for spec, value in zip(specs, row, strict=False)
        if len(spec.dims) > (spec.pad is not None)
    )


def padded_length(specs: Sequence[TensorSpec], row: EncodedRow) -> int:
    """The longest paddable side of a row; 1 where nothing is padded, or all of it is empty.

    The cost of a batch is its rows times the longest of these sides.
    """
    sides = (len(value) for spec, value in zip(specs, row, strict=False) if spec.pad is not None)
    return max((1, *sides))
