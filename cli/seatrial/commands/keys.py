"""`seatrial keys`: the keys that `seatrial serve --api-keys` asks for."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import click

SCOPES = ("infer", "read", "metrics", "feedback", "admin")
DAYS = re.compile(r"([1-9][0-9]{0,4})d")
FILE = click.option(
    "--file",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="The file of keys, as --api-keys names it.",
)


class Until(click.ParamType[datetime]):
    """A date, or a number of days from now on."""

    name = "DATE|DAYSd"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """The moment, in UTC."""
        if isinstance(value, datetime):
            return value
        match = DAYS.fullmatch(value)
        if match is not None:
            return (datetime.now(UTC) + timedelta(days=int(match[1]))).replace(microsecond=0)
        try:
            day = date.fromisoformat(value)
        except ValueError:
            self.fail(f"got {value!r}, want a date such as 2027-03-31, or 90d", param, ctx)
        return datetime(day.year, day.month, day.day, tzinfo=UTC)


@click.group("keys")
def command() -> None:
    """Make, list and revoke the keys that a server asks for.

    `seatrial serve --api-keys FILE` lets only those in who have a key of the file. A running server
    sees a change of the file within a second.

    \b
      seatrial keys new --file keys.toml --name shop --scope infer
      seatrial serve --api-keys keys.toml
    """  # noqa: D301  (click's mark)


@command.command("new")
@FILE
@click.option("--name", required=True, help="What logs call whoever has the key.")
@click.option(
    "--scope", "scopes", type=click.Choice(SCOPES), multiple=True, required=True,
    help="What it may ask for; give it several times.",
)  # fmt: skip
@click.option(
    "--model", "models", multiple=True,
    help="A pattern of the models that it is for, with *; give it several times. By default all.",
)  # fmt: skip
@click.option(
    "--expires", type=Until(), help="Until when it counts: 2027-03-31, or 90d. By default for ever."
)
@click.option(
    "--requests-per-s", type=click.FloatRange(min=0, min_open=True, max=1e6),
    help="How many requests a second each server process takes with it. By default any number.",
)  # fmt: skip
def new(
    file: Path,
    name: str,
    scopes: tuple[str, ...],
    models: tuple[str, ...],
    expires: datetime | None,
    requests_per_s: float | None,
) -> None:
    """Add a key to the file, and print it: it is nowhere to be read again.

    The file keeps a hash of it, and is made where there is none.

    \b
      seatrial keys new --file keys.toml --name shop --scope infer --expires 90d
    """  # noqa: D301  (click's mark)
    from seatrial_serve.access.keys_file import new_entry

    entry, key = new_entry(file, name, scopes, models, expires, requests_per_s)
    told = f"key {entry.id} ('{name}') is in {file}; it is shown this once:"
    click.echo(told, err=True)
    click.echo(key)


@command.command("list")
@FILE
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_keys(file: Path, as_json: bool) -> None:
    """Show the keys of the file, without their secrets.

    \b
      seatrial keys list --file keys.toml
    """  # noqa: D301  (click's mark)
    from seatrial_serve.access.keys_file import read_keys, rows_of

    rows = rows_of(read_keys(file), datetime.now(UTC))
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    titles = ("id", "name", "state", "scopes", "models", "expires")
    table = [titles] + [
        (
            row["id"], row["name"], row["state"], ",".join(row["scopes"]), ",".join(row["models"]),
            row["expires"] or "never",
        )
        for row in rows
    ]  # fmt: skip
    widths = [max(len(line[place]) for line in table) for place in range(len(titles))]
    for line in table:
        click.echo("  ".join(map(str.ljust, line, widths)).rstrip())


@command.command("revoke")
@FILE
@click.argument("named", metavar="ID|NAME...", nargs=-1, required=True)
def revoke(file: Path, named: tuple[str, ...]) -> None:
    """Revoke keys, by id or by name. The file keeps them as revoked.

    \b
      seatrial keys revoke --file keys.toml shop
    """  # noqa: D301  (click's mark)
    from seatrial_serve.access.keys_file import revoke_keys

    for key_id in revoke_keys(file, named, datetime.now(UTC).replace(microsecond=0)):
        click.echo(f"revoked {key_id}")
