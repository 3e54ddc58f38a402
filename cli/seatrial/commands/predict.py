"""`seatrial predict`: rows or a file against a bundle in this process, or against a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from seatrial.bundle import open_bundle
from seatrial.identity_option import identity_option
from seatrial.key_file import key_file_option
from seatrial.row_argument import read_rows
from seatrial.rows_on_disk import read_data
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
    key_file: Path | None,
    as_json: bool,
) -> None:
    """Ask for predictions.

    TARGET is a bundle folder, which is loaded into this process, or the URL of a server (with
    --model). ROWS is a JSON row, a list of rows, the name of a .json or .jsonl file, or - for
    standard input; without rows, the contract's example is asked.

    \b
      seatrial predict bundles/penguins/1.0.0 '{"island": "Dream", ...}'
      seatrial predict http://127.0.0.1:8000 --model digits --file seven.png
    """  # noqa: D301  (click's mark)
    remote = target.startswith(("http://", "https://"))
    if remote and not model:
        raise click.UsageError("a URL needs --model NAME: which of the server's models to ask")
    given: Any = file if rows is None else read_rows(rows)
    found = (
        ask_server(target, str(model), given, read_key(key_file))
        if remote
        else ask_bundle(Path(target), given)
    )
    click.echo(json.dumps(found, indent=None if as_json else 1, ensure_ascii=False))


def ask_bundle(path: Path, given: Any) -> list[dict[str, Any]]:
    """Predictions of rows, of a file, or of the contract's example, in this process."""
    bundle = open_bundle(path)
    found: list[dict[str, Any]] = bundle.predict(
        [bundle.contract.example_row()] if given is None else given, to="rows"
    )
    return found


def ask_server(url: str, model: str, given: Any, key: str | None) -> list[dict[str, Any]]:
    """The same from a server.

    Raises `Refusal` and `Unavailable` with the server's own code and text.
    """
    try:
        from seatrial_client.client import Client
    except ModuleNotFoundError as error:
        raise MissingExtra("asking a server", "client") from error
    with Client(url, model, key=key) as client:
        if isinstance(given, Path):
            given = read_data(given, client.describe().contract)
        found: list[dict[str, Any]] = client.predict(
            [client.describe().example] if given is None else given, to="rows"
        )
    return found
