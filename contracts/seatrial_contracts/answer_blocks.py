"""Answers of many rows, as Python's users take them: rows, a data frame, or arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from seatrial_contracts.contract import Contract
from seatrial_contracts.errors import Refusal
from seatrial_contracts.kinds.kind import Array
from seatrial_contracts.kinds.mapped_kind import stacked
from seatrial_contracts.kinds.output_kind import FlatColumn, OptionValues
from seatrial_contracts.records import SEPARATOR
from seatrial_contracts.tables import Table


class Block(NamedTuple):
    """The model's answers for rows that follow each other: batched tensors, by name.

    `notes` are those of each row; empty where no answer is about an input.
    """

    outputs: Mapping[str, Array]
    rows: int
    notes: Sequence[Sequence[Any]] = ()

    def notes_of(self, row: int) -> Sequence[Any]:
        """The notes of a row of the block."""
        return self.notes[row] if self.notes else ()


def blocks_of(
    answers: Sequence[Mapping[str, Array]], notes: Sequence[Sequence[Any]]
) -> Iterator[Block]:
    """The answers of single rows as one block, or as one for each row where shapes differ."""
    alike = {tuple(np.shape(array) for array in answer.values()) for answer in answers}
    if len(alike) == 1:
        whole = {name: np.stack([answer[name] for answer in answers]) for name in answers[0]}
        yield Block(whole, len(answers), notes)
        return
    for place, answer in enumerate(answers):
        single = {name: np.asarray(array)[None] for name, array in answer.items()}
        yield Block(single, 1, notes[place : place + 1])


def described_rows(
    blocks: Sequence[Block], contract: Contract, options: OptionValues
) -> list[dict[str, Any]]:
    """What a client sees of each row, as JSON values and numpy's scalars and arrays."""
    return [
        contract.describe(block.outputs, row, block.notes_of(row), options)
        for block in blocks
        for row in range(block.rows)
    ]


def arrays_of(
    blocks: Sequence[Block], contract: Contract, options: OptionValues
) -> dict[str, Array]:
    """The tensors of the answers, rows first, by the names that V2 has.

    Raises `Refusal` where answers of rows are of unlike shape, and where there are none.
    """
    if not blocks:
        raise Refusal("E_EMPTY_BATCH", "predict", "no rows", "at least one, for arrays")
    found: dict[str, Array] = {
        tensor.name: _joined([block.outputs[tensor.name] for block in blocks], tensor.name)
        for tensor in contract.plain_tensors
    }
    for output in contract.mapped:
        rows = [
            output.client(
                {name: block.outputs[name][row] for name in output.tensors},
                block.notes_of(row),
                options,
            )
            for block in blocks
            for row in range(block.rows)
        ]
        names = [tensor.name for tensor in output.kind.counted_tensors(output.name)]
        made = stacked(output.kind.client_tensors(output.name), rows)
        found |= dict(zip(names, made, strict=True))
    return {name: found[name] for name in contract.client_tensors}


def _joined(parts: Sequence[Array], name: str) -> Array:
    if len({part.shape[1:] for part in parts}) > 1:
        raise Refusal(
            "E_SHAPE", f"output '{name}'", "answers of unlike shape", "rows of like shape",
            "take rows (to='rows'), or fewer at once",
        )  # fmt: skip
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def frame_of(
    blocks: Sequence[Block], contract: Contract, options: OptionValues, table: Table
) -> Any:
    """A frame like `table`, with the columns that `pandas.json_normalize` makes of the answers.

    `species.label` is the label of the answer `species`, `species.scores.Adelie` the score of a
    class. A label's column is categorical in pandas.
    """
    flat = flat_columns(blocks, contract)
    if flat is None:
        return table.like(normalised(described_rows(blocks, contract, options)), {})
    words = {column.name: column.words for column in flat if column.words is not None}
    return table.like({column.name: column.values for column in flat}, words)


def flat_columns(blocks: Sequence[Block], contract: Contract) -> list[FlatColumn] | None:
    """The columns of the answers, made of whole tensors.

    None where the answers have to be described row by row.
    """
    if not blocks:
        return None
    found: list[FlatColumn] = []
    for name, kind in contract.answered.items():
        arrays = [
            _joined([block.outputs[each] for block in blocks], each)
            for each in contract.tensor_names[name]
        ]
        own = kind.flat_columns(arrays)
        if own is None:
            return None
        found += [
            column._replace(name=SEPARATOR.join(filter(None, (name, column.name))))
            for column in own
        ]
    return found


def normalised(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The columns of described rows: an object's values stand by their names, joined by a dot."""
    flat = [dict(_leaves(row)) for row in rows]
    names = dict.fromkeys(name for row in flat for name in row)
    return {name: _column([row.get(name) for row in flat]) for name in names}


def _leaves(value: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, each in value.items():
        if isinstance(each, Mapping) and each:
            yield from _leaves(each, f"{before}{name}{SEPARATOR}")
        else:
            yield f"{before}{name}", each


def _column(values: list[Any]) -> Any:
    if all(isinstance(value, np.generic) for value in values):
        return np.array(values)
    if all(type(value) in (bool, int, float) for value in values):
        return values
    column = np.empty(len(values), object)
    for place, value in enumerate(values):
        column[place] = value.tolist() if isinstance(value, np.ndarray) else value
    return column
