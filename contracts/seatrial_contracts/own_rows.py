"""Rows that a user has in Python: what stands for a missing value, and what is shown of a fault.

Rows of clients hide their values in messages. A user's own rows show theirs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

import numpy as np
from pydantic import BaseModel

from seatrial_contracts.contract import Contract
from seatrial_contracts.errors import Refusal
from seatrial_contracts.kinds.category import Category
from seatrial_contracts.own_values import own_value
from seatrial_contracts.records import Record
from seatrial_contracts.row import Row, plain_row
from seatrial_contracts.sample import Sample

ITEM = re.compile(r"item (\d+)")
MOST_SHOWN = 60
"""Characters of a value in a message."""
MOST_COMPARED = 1000
"""Words of a category that a wrong one is compared with."""
HIDDEN = frozenset({"E_BASE64", "E_BODY_BYTES"})


def own_row(row: Any) -> Any:
    """A row of the user's own as a raw row; what is no row stays as it is."""
    if isinstance(row, Row):
        row = plain_row(row)
    elif isinstance(row, BaseModel):
        row = row.model_dump()
    if not isinstance(row, Mapping):
        return row
    return {name: own_value(value) for name, value in row.items()}


def own_rows(rows: Any, contract: Contract) -> Sequence[Any]:
    """Rows of the user's own as raw rows: a list of them or of samples, or a data frame.

    Raises `Refusal` where a frame has a column that the contract does not know.
    """
    from seatrial_contracts.tables import rows_of_table, table_of

    table = table_of(rows)
    if table is not None:
        return rows_of_table(table, contract)
    return [
        replace(row, row=own_row(row.row)) if isinstance(row, Sample) else own_row(row)
        for row in rows
    ]


def validate_own(contract: Contract, row: Any, place: int | None = None) -> dict[str, Any]:
    """Validate a row of the user's own, as `Contract.validate_row` does.

    Raises `Refusal` that shows the value, or the key, that is wrong.
    """
    try:
        return contract.validate_row(own_row(row), place)
    except Refusal as refusal:
        raise showing(refusal, row, contract) from None


def showing(refusal: Refusal, row: Any, contract: Contract) -> Refusal:
    """The refusal of a row with the value or the key that it is about.

    So does each of the faults that it lists. Wrong keys come first: a missing one may be meant.
    """
    shown_faults = [_showing(each, row, contract) for each in refusal.listed or (refusal,)]
    faults = [*{str(each): each for each in shown_faults}.values()]  # one names all odd keys
    faults.sort(key=lambda each: each.code != "E_UNKNOWN_FIELD")
    return Refusal.of_all(faults, len(faults) + refusal.unlisted)


def _showing(refusal: Refusal, row: Any, contract: Contract) -> Refusal:
    if isinstance(row, BaseModel):
        row = dict(row.__dict__)
    if not isinstance(row, Mapping):
        return refusal.got(f"{shown(row)}, a {type(row).__name__}") if refusal.of_a_row else refusal
    found, value = _value_at(row, refusal.field)
    if not found or refusal.code in HIDDEN:
        return refusal
    item = ITEM.search(refusal.where)
    if item and isinstance(value, (list, tuple, np.ndarray)) and int(item[1]) < len(value):
        value = value[int(item[1])]
    if refusal.code == "E_UNKNOWN_FIELD" and isinstance(value, Mapping):
        at, _ = contract.record.find((refusal.field or "").split("."))
        return _naming(refusal, value, at.names) if isinstance(at, Record) else refusal
    if isinstance(value, (bytes, np.ndarray, list, tuple, Mapping)):
        return refusal
    return refusal.got(shown(value), _near_word(value, refusal, contract))


def _near_word(value: Any, refusal: Refusal, contract: Contract) -> str | None:
    """The word that is meant, where a near one is of the category's."""
    kind = next((each.kind for each in contract.inputs if each.name == refusal.field), None)
    if not isinstance(kind, Category) or kind.whole or not isinstance(value, str):
        return None
    words = {str(word).casefold().strip(): str(word) for word in kind.known[:MOST_COMPARED]}
    near = get_close_matches(value.casefold().strip(), words, n=1, cutoff=0.8)
    return f"did you mean {shown(words[near[0]])}?" if near else None


def _naming(refusal: Refusal, row: Mapping[Any, Any], known: Sequence[str]) -> Refusal:
    odd = [key for key in row if key not in known]
    if not odd:
        return refusal
    near = get_close_matches(str(odd[0]), known, n=1)
    got = f"the key{'s' if len(odd) > 1 else ''} {', '.join(map(shown, odd[:8]))}"
    return refusal.got(got, f"did you mean '{near[0]}'?" if near else None)


def _value_at(row: Mapping[Any, Any], field: str | None) -> tuple[bool, Any]:
    """Whether the row has a value there, and the value; the row itself where no field is named."""
    value: Any = row
    for part in field.split(".") if field else ():
        if not isinstance(value, Mapping) or part not in value:
            return False, None
        value = value[part]
    return True, value


def shown(value: Any) -> str:
    """A value of the user's own, in a message."""
    text = repr(value.item() if isinstance(value, np.generic) else value)
    return text if len(text) <= MOST_SHOWN else f"{text[: MOST_SHOWN - 4]} ..."
