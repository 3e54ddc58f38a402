"""A disagreement: the smallest row that training code and bundle treat unlike.

It is shown to people, and kept as a file.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seatrial_contracts.bundle import Bundle
from seatrial_contracts.canonical import readable_json
from seatrial_contracts.contract import Contract
from seatrial_contracts.kinds.file_kind import FileKind
from seatrial_contracts.rows_file import append_rows
from seatrial_parity.fuzz.case import Case

SHOWN_CHARS = 60


@dataclass(frozen=True)
class Disagreement:
    """`who` answered otherwise than the training code, alone or among `case.mates`.

    `row` is the row whose answer differs.
    """

    case: Case
    who: str
    row: Any
    together: int
    """How many rows were asked at once."""
    finding: str
    code: str = ""
    """What the training code refuses the row with, or fails with; empty where it answers."""
    mend: str = ""
    """What is to be done, where it is the model itself that fails."""

    def lines(self, contract: Contract) -> Iterator[str]:
        """For people: long values by what they are, the whole row is in the file."""
        among = f", among {self.together - 1} others" if self.together > 1 else ""
        yield f"{self.who}{among}: {self.finding}"
        if self.mend:
            yield f"  mend: {self.mend}"
        yield from described(contract, self.row)
        if self.together > 1:
            for place, mate in enumerate(self.case.mates):
                yield f"  with row {place + 1}:"
                yield from (f"  {line}" for line in described(contract, mate))

    def keep(self, path: Path) -> str:
        """Add the rows to a file of golden rows, and describe the outcome for people.

        A row that must be refused is no golden row.
        """
        if self.mend:
            return f"not kept: nothing can answer the row; {self.mend}"
        if self.code:
            return (
                "not kept: the training code refuses the row; "
                f"in the pipeline, say refused=[st.Refused(row, {self.code!r})]"
            )
        rows = [self.row, *self.case.mates] if self.together > 1 else [self.row]
        return (
            f"kept {append_rows(path, rows)} rows in {path}; "
            f"in the pipeline, say golden=[..., *st.read_rows({path.name!r})]"
        )

    def save(self, path: Path, bundle: Bundle, again: str) -> None:
        """Write the rows and how to come by them again."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(
            readable_json(
                {
                    "bundle": {
                        "name": bundle.name,
                        "version": bundle.version,
                        "digest": bundle.digest,
                    },
                    "who": self.who,
                    "finding": self.finding,
                    "row": self.row,
                    "mates": list(self.case.mates) if self.together > 1 else [],
                    "run": again,
                }
            )
        )


def described(contract: Contract, row: Any) -> Iterator[str]:
    """A row, one line for each field."""
    if not isinstance(row, dict):
        yield f"  {shown(row)}"
        return
    kinds = {field.name: field.kind for field in contract.inputs}
    for name, value in row.items():
        kind = kinds.get(name)
        if isinstance(kind, FileKind) and isinstance(value, str):
            yield f"  {name}: {shown_file(kind, value)}"
        else:
            yield f"  {name}: {shown(value)}"
    for name in set(contract.record.names) - row.keys():
        yield f"  {name}: left out"


def shown(value: Any) -> str:
    """Show a value as Python writes it.

    A long value is shown by its beginning and length, a nested one by its shape.
    """
    if isinstance(value, list):
        array = np.array(value, object) if ragged(value) else np.array(value)
        if array.size > 8 and array.dtype.kind in "fiub":
            return (
                f"{array.dtype} numbers of shape {list(array.shape)}, "
                f"{array.min():g} to {array.max():g}"
            )
    text = repr(value)
    length = f" ({len(value)} characters)" if isinstance(value, str) else ""
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}...{length}"


def ragged(value: list[Any]) -> bool:
    """Are there lists of unlike length in it?"""
    try:
        np.array(value)
    except ValueError:
        return True
    return False


def shown_file(kind: FileKind, text: str) -> str:
    """A file by what its kind sees in it."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return shown(text)
    return kind.told(data) or shown(text)
