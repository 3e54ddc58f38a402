"""`seatrial predict`: rows or a file against a bundle in this process, or against a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from seatrial.rows import read_rows
from seatrial_contracts.errors import Refusal


@click.command("predict")
@click.argument("target", metavar="BUNDLE|URL")
@click.argument("rows", metavar="[ROWS]", required=False)
@click.option("--model", metavar="NAME", help="Which model to ask, where the target is a server's URL.")
@click.option(
    "--file",
    "file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A file to ask about (an image), for models with one such input.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON instead of indented text.")
def command(target: str, rows: str | None, model: str | None, file: Path | None, as_json: bool) -> None:
    r"""Ask for predictions.

    TARGET is a bundle folder, which is loaded into this process, or the URL of a server (with --model). ROWS is a JSON row, a
    list of rows, the name of a .json or .jsonl file, or - for standard input; without rows, the contract's example is asked.

    \b
      seatrial predict bundles/penguins/1.0.0 '{"island": "Dream", ...}'
      seatrial predict http://127.0.0.1:8000 --model digits --file seven.png
    """
    remote = target.startswith(("http://", "https://"))
    if remote and not model:
        raise click.UsageError("a URL needs --model NAME: which of the server's models to ask")
    given = None if rows is None else read_rows(rows)
    data = file.read_bytes() if file else None
    predictions = ask_server(target, str(model), given, data) if remote else ask_bundle(Path(target), given, data)
    click.echo(json.dumps(predictions, indent=None if as_json else 1, ensure_ascii=False))


def ask_bundle(path: Path, rows: list[Any] | None, data: bytes | None) -> list[Any]:
    """Predictions from a bundle in this process."""
    import orjson

    from seatrial_contracts.bundle import open_bundle
    from seatrial_serve.engine import load_engine
    from seatrial_serve.runtimes.runtime import RuntimeOptions

    bundle = open_bundle(path)
    contract = bundle.contract
    if data is not None:
        if contract.file_input is None:
            raise Refusal("E_CONTENT_TYPE", "--file", "a file", "rows: this model has no single file input")
        rows = [{contract.file_input.name: data}]
    answers = load_engine(bundle, RuntimeOptions()).answer(rows or [contract.example_row()])
    described = [contract.describe({name: array[None] for name, array in answer.items()}, 0) for answer in answers]
    predictions: list[Any] = orjson.loads(orjson.dumps(described, option=orjson.OPT_SERIALIZE_NUMPY))
    return predictions


def ask_server(url: str, model: str, rows: list[Any] | None, data: bytes | None) -> list[Any]:
    """Predictions from a server. Raises `Refusal` with what it said."""
    from seatrial_contracts.errors import MissingExtra, Unavailable

    try:
        import httpx
    except ImportError as error:
        raise MissingExtra("asking a server", "parity") from error
    base = f"{url.rstrip('/')}/v1/models/{model}"
    try:
        if data is not None:
            reply = httpx.post(
                f"{base}:predict", content=data, headers={"Content-Type": "application/octet-stream"}, timeout=60
            )
        else:
            rows = rows or [httpx.get(base, timeout=60).raise_for_status().json()["example"]]
            reply = httpx.post(f"{base}:predict", json={"instances": rows}, timeout=60)
    except httpx.HTTPError as error:
        raise Unavailable(
            "E_UNREACHABLE", f"{url}: no answer ({type(error).__name__}); is `seatrial serve` running there?"
        ) from None
    if reply.status_code != 200:
        failure = reply.json()
        raise Refusal(failure["code"], f"status {reply.status_code} {failure['code']}: {failure['error']}")
    predictions: list[Any] = reply.json()["predictions"]
    return predictions
