"""The option of commands that ask a server which wants an API key."""

from __future__ import annotations

from pathlib import Path

import click

key_file_option = click.option(
    "--key-file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="A file that holds the server's API key, where it wants one.",
)


def key_in(file: Path | None) -> str | None:
    """The key, without the end of its line; None where there is no file."""
    return None if file is None else file.read_text("utf-8").strip()
