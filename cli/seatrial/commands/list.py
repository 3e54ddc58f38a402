"""`seatrial list`: which bundles there are, here or at a server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from seatrial.identity_option import identity_option
from seatrial.key_file import key_file_option
from seatrial_contracts.errors import MissingExtra, Refusal, SeatrialError
from seatrial_contracts.key_file import read_key

COLUMNS = ("model", "version", "state", "digest", "size", "variants")


@click.command("list")
@click.argument("place", metavar="[FOLDER|URL]", default="bundles")
@click.option(
    "--verify", is_flag=True, help="Read every byte of each bundle, and check it; of folders alone."
)
@key_file_option
@click.option("--json", "as_json", is_flag=True, help="Print a list of JSON objects.")
@identity_option
def command(place: str, verify: bool, key_file: Path | None, as_json: bool) -> None:
    """List bundles: model, version, state, digest, size and variants.

    FOLDER holds bundles as <name>/<version>, or is one; by default it is ./bundles. URL is a
    server's. Exits with 1 if a bundle of a folder is damaged, or a server's model takes no traffic.

    \b
      seatrial list
      seatrial list bundles --verify
      seatrial list http://127.0.0.1:8000
    """  # noqa: D301  (click's mark)
    remote = place.startswith(("http://", "https://"))
    if remote and verify:
        raise click.UsageError("--verify reads a folder's bundles: a server has verified its own")
    rows = list(of_server(place, key_file) if remote else of_folder(Path(place), verify=verify))
    if as_json:
        click.echo(json.dumps(rows, indent=1))
    else:
        show(rows)
    if not all(row["state"] in ("sealed", "verified", "READY") for row in rows):
        raise click.exceptions.Exit(1)


def of_folder(folder: Path, *, verify: bool) -> Iterator[dict[str, Any]]:
    """The bundles of a folder; without `verify`, each manifest alone is read.

    Raises `DeclarationError` where there is none.
    """
    from seatrial_contracts.bundle import open_bundle, read_manifest
    from seatrial_contracts.manifest import version_key
    from seatrial_serve.models.scan import folder_homes

    for home in folder_homes(folder):
        for version in sorted(home.paths, key=version_key, reverse=True):
            row: dict[str, Any] = {"model": home.name, "version": version}
            path = home.paths[version]
            try:
                manifest = open_bundle(path).manifest if verify else read_manifest(path)
            except SeatrialError as error:
                yield row | {"state": "damaged", "reason": str(error)}
                continue
            yield row | {
                "state": "verified" if verify else "sealed",
                "digest": manifest.digest,
                "size_bytes": sum(file.size for file in manifest.files.values()),
                "variants": [variant.name for variant in manifest.variants],
            }


def of_server(url: str, key_file: Path | None) -> Iterator[dict[str, Any]]:
    """The versions that a server knows. Raises `Refusal` or `Unavailable`."""
    try:
        from seatrial_parity.http_client import HttpClient, error_of, object_of, odd_answer
    except ModuleNotFoundError as error:
        if error.name != "httpx":
            raise
        raise MissingExtra("asking a server", "client") from error
    client = HttpClient(url, read_key(key_file))

    def ask(path: str) -> dict[str, Any]:
        reply = client.get(path)
        if reply.status_code != 200:
            code, text = error_of(reply)
            raise Refusal(code, f"status {reply.status_code} {code}: {text}")
        return object_of(reply)

    try:
        for model in ask("/v1/models")["models"]:
            for state in model["versions"]:
                row = {"model": model["name"], "version": state["version"], "state": state["state"]}
                if "reason" in state:
                    yield row | {"reason": state["reason"]}
                    continue
                about = ask(f"/v1/models/{model['name']}/versions/{state['version']}")
                bundle = about.get("bundle", {})
                yield row | {
                    "digest": state.get("digest"),
                    "size_bytes": bundle.get("size_bytes"),
                    "variants": [each["name"] for each in bundle.get("variants", [])],
                    "served": about.get("execution", {}).get("variant"),
                }
    except (KeyError, TypeError) as error:
        raise odd_answer("a list of another kind", "a seatrial server's models") from error
    finally:
        client.close()


def show(rows: list[dict[str, Any]]) -> None:
    """Print a table, and below it what is wrong."""
    table = Table(*COLUMNS, box=None, pad_edge=False)
    for row in rows:
        size = row.get("size_bytes")
        served = row.get("served")
        table.add_row(
            row["model"],
            row["version"],
            row["state"],
            (row.get("digest") or "")[:12],
            "" if size is None else f"{size / 1e6:.2f} MB",
            ", ".join(
                f"{name} (served)" if name == served else name for name in row.get("variants", [])
            ),
        )
    console = Console()
    console.print(table, highlight=False)
    for row in rows:
        if "reason" in row:
            console.print(
                f"{row['model']} {row['version']}: {row['reason']}", highlight=False, markup=False
            )
