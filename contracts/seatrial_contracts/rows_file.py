"""A file of raw rows, one JSON object a line.

The file holds rows that fuzzing kept, for a pipeline to take as further golden rows.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from seatrial_contracts.canonical import canonical_json
from seatrial_contracts.errors import DeclarationError


def read_rows(path: str | Path) -> list[dict[str, Any]]:
    """Read the rows of a file, none where there is no such file yet.

    Raises `DeclarationError` that names the line which is no row.
    """
    path, rows = Path(path), []
    lines = path.read_bytes().splitlines() if path.exists() else []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise DeclarationError(
                f"rows file '{path.name}', line {number}", "no JSON object", "one row on each line"
            )
        rows.append(row)
    return rows


def append_rows(path: Path, rows: list[dict[str, Any]]) -> int:
    """Add those rows that the file does not hold yet, and return their number.

    Raises `DeclarationError` where the file holds other things.
    """
    known = {canonical_json(row) for row in read_rows(path)}
    new = [line for row in rows if (line := canonical_json(row)) not in known]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(b"".join(new))
    return len(new)
