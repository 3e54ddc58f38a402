"""`seatrial new`: a project that runs at once, to be edited."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from seatrial.projects import ABOUT, HF, OF_TABLES, TABULAR, write_project
from seatrial_contracts.errors import DeclarationError, MissingExtra


@click.command("new")
@click.argument("folder", metavar="NAME", type=click.Path(path_type=Path))
@click.option(
    "--task",
    type=click.Choice([*ABOUT]),
    help="What the model is of.  [default: tabular, where --frame is given]",
)
@click.option(
    "--frame",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="TABLE",
    help="Of tabular and sklearn: learn from this .csv or .parquet file, which is copied.  "
    "[default: a table that is made]",
)
@click.option(
    "--target", metavar="COLUMN", help="The column of --frame to learn.  [default: the last one]"
)
@click.option(
    "--without", multiple=True, metavar="COLUMN", help="A column of --frame that no client sends."
)
@click.option(
    "--folder",
    "model",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Of hf: a folder as save_pretrained writes it.  [default: a tiny one is made]",
)
def command(
    folder: Path, task: str | None, frame: Path | None, target: str | None,
    without: tuple[str, ...], model: Path | None,
) -> None:  # fmt: skip
    """Write a project: training, contract, tests, a CI workflow, and a README with its commands.

    NAME is a new folder, and the model is called as it is. The project trains a small model on data
    that it makes, so that it runs as it stands; then put your own in. With --frame the contract is
    guessed from the columns of a table, and written out to be edited: the table says nothing of
    bounds and units. More than 32 numbers and flags are packed into one tensor.

    \b
      seatrial new churn --task tabular
      seatrial new flats --frame train.csv --target price --without id
      seatrial new mood --task hf --folder ./my-folder
    """  # noqa: D301  (click's mark)
    if task is None and frame is None:
        raise click.UsageError(f"--task is missing: {', '.join(ABOUT)}; or give --frame TABLE")
    task = task or TABULAR
    for option, value, tasks in (
        ("--frame", frame, OF_TABLES),
        ("--folder", model, (HF,)),
    ):
        if value is not None and task not in tasks:
            raise DeclarationError(option, f"--task {task}", f"--task {' or '.join(tasks)}")
    for option, given in (("--target", target), ("--without", without)):
        if given and frame is None:
            raise DeclarationError(option, "no table", "--frame TABLE")
    table = None if frame is None else read_table(frame, without)
    try:
        written = write_project(folder, task, table, frame, target, model)
    except ModuleNotFoundError as error:
        raise MissingExtra(f"seatrial new --task {task}", "adopt") from error
    for path in written:
        click.echo(f"wrote {path}")
    click.echo(f"next: cd {folder}   then: the commands in README.md")


def read_table(frame: Path, without: tuple[str, ...]) -> Any:
    """The table, less the columns that nobody sends. Raises `DeclarationError`, `MissingExtra`."""
    try:
        from seatrial_export.frame_file import read_frame

        table = read_frame(frame)
    except ModuleNotFoundError:
        raise MissingExtra("seatrial new --frame", "adopt") from None
    unknown = [column for column in without if column not in table.columns]
    if unknown:
        known = ", ".join(map(str, table.columns))[:300]
        raise DeclarationError("--without", f"'{unknown[0]}'", f"a column of the table: {known}")
    return table.drop(columns=[*without])
