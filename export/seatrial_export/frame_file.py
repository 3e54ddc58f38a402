"""Tables in files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from seatrial_contracts.errors import DeclarationError

if TYPE_CHECKING:
    import pandas


def read_frame(path: Path) -> pandas.DataFrame:
    """The table in a CSV or Parquet file. Raises `DeclarationError`."""
    import pandas

    where, readers = f"frame '{path}'", {".csv": pandas.read_csv, ".parquet": pandas.read_parquet}
    if path.suffix not in readers:
        raise DeclarationError(where, f"a file '{path.suffix}'", "a .csv or .parquet file")
    try:
        return readers[path.suffix](path)
    except ImportError:
        mend = "pip install pyarrow, or save it as .csv"
        raise DeclarationError(where, "no reader of Parquet", "pyarrow", mend) from None
    except (OSError, ValueError) as error:  # pandas' and pyarrow's own derive from them
        got = f"a file that pandas does not read ({type(error).__name__})"
        raise DeclarationError(where, got, "a table with the names of its columns") from None
