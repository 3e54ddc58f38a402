"""Predictions in the form that their rows came in, or in another one that was asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seatrial.bundle import Form, checked_form, is_row
from seatrial.rows_on_disk import read_data
from seatrial_contracts.answer_blocks import Block, arrays_of, described_rows, frame_of
from seatrial_contracts.contract import Contract
from seatrial_contracts.errors import Refusal
from seatrial_contracts.tables import Table, columns_of_table, empty_table, rows_of_table, table_of

if TYPE_CHECKING:
    from seatrial_serve.inference.predictor import Predictor


class Predictions:
    """Rows, frames and files to predictions; see `Bundle.predict`."""

    def __init__(self, contract: Contract, options: Mapping[str, Any]) -> None:
        """Raises `Refusal` for an option that the contract does not have."""
        self._contract, self._options = contract, contract.read_options(options)

    def answer(self, data: Any, to: Form | None, by: Predictor) -> Any:
        """The predictions in the form that goes with `data`, or in the form `to`."""
        checked_form(to)
        if isinstance(data, Path):
            data = read_data(data, self._contract)
        table = table_of(data)
        if table is not None:
            return self._formed(self._of_table(table, by), to or "frame", table)
        if is_row(data):
            found = self._formed(by.rows([data], self._options), to or "rows", None)
            return found[0] if to is None else found
        if isinstance(data, str | bytes) or not isinstance(data, Sequence):
            got = f"a {type(data).__module__}.{type(data).__name__}".replace("builtins.", "")
            want = "a row, a list of rows, a data frame, or a Path"
            mend = "pathlib.Path(...) for a file" if isinstance(data, str) else None
            raise Refusal("E_TYPE", "predict", got, want, mend)
        return self._formed(by.rows(data, self._options), to or "rows", None)

    def _of_table(self, table: Table, by: Predictor) -> Iterator[Block]:
        if by.columnar and not self._contract.prompts(self._options):
            columns = columns_of_table(table, self._contract)
            if columns is not None and len(table):
                yield from by.columns(columns, len(table))
                return
        yield from by.rows(rows_of_table(table, self._contract), self._options)

    def _formed(self, answers: Iterator[Block], to: Form, table: Table | None) -> Any:
        blocks = list(answers)
        if to == "arrays":
            return arrays_of(blocks, self._contract, self._options)
        if to == "frame":
            table = table or empty_table(sum(block.rows for block in blocks))
            return frame_of(blocks, self._contract, self._options, table)
        return plain(described_rows(blocks, self._contract, self._options))


def plain(described: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The answers as a server's JSON has them: Python's values, floats in their fewest digits."""
    import orjson

    found: list[dict[str, Any]] = orjson.loads(
        orjson.dumps(described, option=orjson.OPT_SERIALIZE_NUMPY)
    )
    return found
