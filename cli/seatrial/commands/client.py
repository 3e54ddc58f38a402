"""`seatrial client`: write a typed client of a model, as one file that needs httpx alone."""

from __future__ import annotations

from pathlib import Path

import click

from seatrial.key_file import key_file_option
from seatrial_contracts.atomic_file import write_whole
from seatrial_contracts.errors import MissingExtra
from seatrial_contracts.key_file import read_key


@click.command("client")
@click.argument("url", metavar="URL")
@click.option(
    "--model", metavar="NAME", help="Which of the server's models.  [default: the only one]"
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("client.py"),
    show_default=True,
    help="The file to write.",
)
@key_file_option
def command(url: str, model: str | None, out: Path, key_file: Path | None) -> None:
    """Write a client of a model in Python, typed from the contract that the server tells.

    The file has classes of a row and an answer, `Client` and `AsyncClient` with retries, timeouts
    and batches, and exceptions with the server's codes. It needs httpx, and nothing of seatrial.

    \b
      seatrial client http://127.0.0.1:8000 --model churn --out churn_client.py
    """  # noqa: D301  (click's mark)
    try:
        from seatrial_client.client import Client
        from seatrial_client.written import written_client
    except ModuleNotFoundError as error:
        raise MissingExtra("seatrial client", "client") from error
    with Client(url, model, key=read_key(key_file)) as client:
        text = written_client(client.describe())
    out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(out, text.encode())
    click.echo(f"wrote {out}")
