"""`seatrial new`: a row class by the columns of a table, written out to be edited."""

from __future__ import annotations

from pathlib import Path

import click

from seatrial_contracts.errors import DeclarationError, MissingExtra


@click.command("new")
@click.argument("file", metavar="FILE.py", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--frame",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="TABLE",
    help="A table with the columns of a row: a .csv or .parquet file.",
)
@click.option("--without", multiple=True, metavar="COLUMN", help="A column that no client sends.")
@click.option("--class", "name", default="Rows", show_default=True, help="The name of the class.")
def command(file: Path, frame: Path, without: tuple[str, ...], name: str) -> None:
    """Write the row class of a table's columns as Python, a start to be edited.

    Types, words and what may be missing are those of the table. It says nothing of bounds and
    units: write them in. More than 32 numbers and flags are packed into one tensor.

    \b
      seatrial new rows.py --frame train.csv --without price
    """  # noqa: D301  (click's mark)
    try:
        from seatrial_export.frame_file import read_frame

        table = read_frame(frame)
    except ModuleNotFoundError:
        raise MissingExtra("seatrial new", "adopt") from None
    from seatrial_contracts.frames import row_code

    unknown = [column for column in without if column not in table.columns]
    if unknown:
        known = ", ".join(map(str, table.columns))[:300]
        raise DeclarationError("--without", f"'{unknown[0]}'", f"a column of the table: {known}")
    if not name.isidentifier():
        raise DeclarationError("--class", f"'{name}'", "a name that a class can have")
    code = row_code(table.drop(columns=[*without]), name)
    if file.exists():
        raise DeclarationError(f"file '{file}'", "a file that is there", "a new one")
    file.write_text(code, "utf-8")
    click.echo(f"wrote {file}: the class {name}, to be edited")
