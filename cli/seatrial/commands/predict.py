"""`seatrial predict`: rows or a file against a bundle in this process, or against a server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from seatrial.bundle import open_bundle
from seatrial.identity_option import identity_option
from seatrial.key_file import key_file_option
from seatrial.row_argument import read_rows
from seatrial.rows_on_disk import TABLES, read_data
from seatrial.scoring import Ask, Source, check_files, score, source_of
from seatrial_contracts.contract import Contract
from seatrial_contracts.errors import MissingExtra
from seatrial_contracts.key_file import read_key


@click.command("predict")
@click.argument("target", metavar="BUNDLE|URL")
@click.argument("rows", metavar="[ROWS]", required=False)
@click.option(
    "--model", metavar="NAME", help="Which model to ask, where the target is a server's URL."
)
@click.option(
    "--file",
    "file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A file to ask about (an image, a sound), for models with one such input.",
)
@click.option(
    "--out",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the answers to this .csv, .parquet or .jsonl file, with the place of each row. "
    "ROWS is then a .csv, .parquet, .json or .jsonl file, or a folder of files.",
)
@click.option(
    "--refused",
    metavar="FILE.jsonl",
    type=click.Path(path_type=Path, dir_okay=False),
    help="With --out: rows that the contract refuses go to this file, each with its message, and "
    "the others are answered.  [default: the first refused row ends the run]",
)
@key_file_option
@click.option(
    "--json", "as_json", is_flag=True, help="Print one line of JSON instead of indented text."
)
@identity_option
def command(
    target: str,
    rows: str | None,
    model: str | None,
    file: Path | None,
    out: Path | None,
    refused: Path | None,
    key_file: Path | None,
    as_json: bool,
) -> None:
    """Ask for predictions.

    TARGET is a bundle folder, which is loaded into this process, or the URL of a server (with
    --model). ROWS is a JSON row, a list of rows, the name of a .json, .jsonl, .csv or .parquet
    file, or - for standard input; without rows, the contract's example is asked.

    \b
      seatrial predict bundles/penguins/1.0.0 '{"island": "Dream", ...}'
      seatrial predict http://127.0.0.1:8000 --model digits --file seven.png
      seatrial predict bundles/churn/1.0.0 customers.csv --out answers.csv --refused refused.jsonl
    """  # noqa: D301  (click's mark)
    remote = target.startswith(("http://", "https://"))
    if remote and not model:
        raise click.UsageError("a URL needs --model NAME: which of the server's models to ask")
    if out is not None:
        if rows is None:
            raise click.UsageError("--out needs ROWS: a file of rows, or a folder of files")
        check_files(Path(rows), out, refused)
    elif refused is not None:
        raise click.UsageError("--refused needs --out FILE: where the answers go")
    given = file if rows is None or out is not None else given_rows(rows)
    with asked(target, model, key_file, remote=remote) as (contract, ask, example):
        if out is not None and rows is not None:
            score_files(source_of(Path(rows), contract), ask, out, refused, as_json=as_json)
            return
        if isinstance(given, Path):
            given = read_data(given, contract)
        found = ask(example if given is None else given, "rows")
    click.echo(json.dumps(found, indent=None if as_json else 1, ensure_ascii=False))


@contextmanager
def asked(
    target: str, model: str | None, key_file: Path | None, *, remote: bool
) -> Iterator[tuple[Contract, Ask, list[Any]]]:
    """The contract of a model, what asks it, and its example, from a bundle or a server.

    A server's refusals and faults have its own code and text.
    """
    if not remote:
        bundle = open_bundle(Path(target))
        ask = lambda data, to: bundle.predict(data, to=to)
        yield bundle.contract, ask, [bundle.contract.example_row()]
        return
    try:
        from seatrial_client.client import Client
    except ModuleNotFoundError as error:
        raise MissingExtra("asking a server", "client") from error
    with Client(target, model, key=read_key(key_file)) as client:
        described = client.describe()
        ask = lambda data, to: client.predict(data, to=to)
        yield described.contract, ask, [described.example]


def given_rows(text: str) -> Any:
    """Rows as text or of a file; the `Path` of a table. Raises `DeclarationError`."""
    return Path(text) if Path(text).suffix.lower() in TABLES else read_rows(text)


def score_files(
    source: Source, ask: Ask, out: Path, refused: Path | None, *, as_json: bool
) -> None:
    """Answer rows into a file, with a bar, and say what became of them."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("scoring", total=len(source), rate="")
        tell = lambda done, rate: progress.update(task, completed=done, rate=f"{rate:,.0f} rows/s")
        scored = score(source, ask, out, refused, tell)
    click.echo(json.dumps(scored._asdict()) if as_json else f"{scored.told}: {out}")
