"""`seatrial predict`: rows or a file against a bundle in this process, or against a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from seatrial.identity_option import identity_option
from seatrial.row_argument import read_rows
from seatrial_contracts.errors import Refusal

if TYPE_CHECKING:
    import httpx


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
    "--key-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A file whose first line is the key that a server asks for.",
)
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
    given = None if rows is None else read_rows(rows)
    data = file.read_bytes() if file else None
    predictions = (
        ask_server(target, str(model), given, data, key_file)
        if remote
        else ask_bundle(Path(target), given, data)
    )
    click.echo(json.dumps(predictions, indent=None if as_json else 1, ensure_ascii=False))


def ask_bundle(path: Path, rows: list[Any] | None, data: bytes | None) -> list[Any]:
    """Predictions from a bundle in this process."""
    import orjson

    from seatrial_contracts.bundle import open_bundle
    from seatrial_serve.inference.engine import load_engine
    from seatrial_serve.runtimes.runtime import RuntimeOptions

    bundle = open_bundle(path)
    contract = bundle.contract
    if data is not None:
        if contract.file_input is None:
            raise Refusal(
                "E_CONTENT_TYPE", "--file", "a file", "rows: this model has no single file input"
            )
        rows = [{contract.file_input.name: data}]
    rows, engine = rows or [contract.example_row()], load_engine(bundle, RuntimeOptions())
    described = list(map(engine.describe, rows, engine.answer(rows)))
    predictions: list[Any] = orjson.loads(
        orjson.dumps(described, option=orjson.OPT_SERIALIZE_NUMPY)
    )
    return predictions


def ask_server(
    url: str, model: str, rows: list[Any] | None, data: bytes | None, key_file: Path | None
) -> list[Any]:
    """Get predictions from a server.

    Raises `Refusal` with the server's own text, and `Unavailable` where the reply cannot be read.
    """
    from seatrial_contracts.errors import MissingExtra

    try:
        from seatrial_parity.http_client import JSON_HEADERS, HttpClient, object_of, odd_answer
        from seatrial_parity.key_file import read_key
    except ModuleNotFoundError as error:
        if error.name != "httpx":
            raise
        raise MissingExtra("asking a server", "parity") from error
    client, path = HttpClient(url, read_key(key_file)), f"/v1/models/{model}"
    if data is not None:
        reply = client.post(f"{path}:predict", data, {"Content-Type": "application/octet-stream"})
    else:
        rows = rows or [example_of(client.get(path))]
        reply = client.post(
            f"{path}:predict", json.dumps({"instances": rows}).encode(), JSON_HEADERS
        )
    client.close()
    check(reply)
    predictions = object_of(reply).get("predictions")
    if not isinstance(predictions, list):
        raise odd_answer("an answer without predictions", "a list of them")
    return predictions


def example_of(reply: httpx.Response) -> Any:
    """The example row in what a server says of a model."""
    from seatrial_parity.http_client import object_of

    check(reply)
    return object_of(reply).get("example")


def check(reply: httpx.Response) -> None:
    """Raise `Refusal` with what a server said, where it is no answer."""
    from seatrial_parity.http_client import error_of

    if reply.status_code != 200:
        code, text = error_of(reply)
        raise Refusal(code, f"status {reply.status_code} {code}: {text}")
