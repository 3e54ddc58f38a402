"""Rows in a file, by its name: JSON, CSV, Parquet, or a picture or sound that is a row itself."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

from seatrial_contracts.contract import Contract
from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.rows_file import read_rows

TABLES = {".csv": "read_csv", ".parquet": "read_parquet"}
"""Ending -> what pandas reads it with."""


def read_data(path: Path, contract: Contract) -> Any:
    """A row, rows or a data frame.

    Raises `DeclarationError` where the file cannot be read, or is none that holds rows.
    """
    where, ending = f"file '{path.name}'", path.suffix.lower()
    if not path.is_file():
        raise DeclarationError(where, "no file there", "a file of rows")
    if ending in TABLES:
        return _read_table(path, where, TABLES[ending])
    if ending == ".jsonl":
        return read_rows(path)
    if ending == ".json":
        try:
            return json.loads(path.read_bytes())
        except ValueError:
            raise DeclarationError(where, "no JSON", "a row, or a list of rows") from None
    if contract.file_input is None:
        known = ", ".join((".json", ".jsonl", *TABLES))
        raise DeclarationError(where, f"the ending '{ending}'", known)
    return {contract.file_input.name: path.read_bytes()}


def _read_table(path: Path, where: str, reader: str) -> Any:
    try:
        pandas = importlib.import_module("pandas")
        return getattr(pandas, reader)(path)
    except ImportError as error:
        name = getattr(error, "name", None) or "pyarrow"
        want = f"{name}, which reads it"
        raise DeclarationError(where, f"no {name}", want, f"pip install {name}") from error
    except ValueError as error:  # pandas' own words for a file that it cannot parse
        raise DeclarationError(where, str(error)[:200], "a table with a head") from None
