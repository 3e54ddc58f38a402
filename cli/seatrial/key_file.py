"""The option of commands that ask a server which wants an API key."""

from __future__ import annotations

from pathlib import Path

import click

key_file_option = click.option(
    "--key-file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="A file whose first line is the key that a server asks for.",
)
